//! The outcome of an attempt, as far as it says something about the endpoint.

use std::fmt;

use http::StatusCode;

use crate::http::error::Error;

/// The outcome of one attempt: the behaviour of its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttemptOutcome {
    /// It sent the head of a response.
    Response(StatusCode),
    /// No connection to it could be opened, or not in time.
    ConnectFailed,
    /// It took a connection, but was too slow to respond.
    TimedOut,
    /// It closed the connection, or sent something that is no response.
    Broken,
    /// Nothing: the attempt waited in the queue until its end, met a kept connection that was closed, or was ended by
    /// the client's side.
    Nothing,
}

impl AttemptOutcome {
    /// Returns true if the endpoint failed, in general: it sent no response, or one that says so.
    pub(super) fn is_failure(self) -> bool {
        match self {
            Self::Response(status) => status.is_server_error(),
            Self::ConnectFailed | Self::TimedOut | Self::Broken => true,
            Self::Nothing => false,
        }
    }

    /// Returns the kind of failure of an attempt without a response, by its name in `health.passive.on`.
    pub(super) fn failure(self) -> Option<&'static str> {
        match self {
            Self::ConnectFailed => Some("connect"),
            Self::TimedOut => Some("timeout"),
            Self::Broken => Some("reset"),
            Self::Response(_) | Self::Nothing => None,
        }
    }

    /// Returns what `error` says about the endpoint of an open connection.
    pub(super) fn failing(error: Error) -> Self {
        match error {
            Error::PerTryTimeout
            | Error::RequestTimeout
            | Error::ResponseHeaderTimeout
            | Error::IdleTimeout => Self::TimedOut,
            error if error.is_client_side() => Self::Nothing,
            _ => Self::Broken,
        }
    }
}

impl fmt::Display for AttemptOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Response(status) => write!(f, "status {}", status.as_u16()),
            Self::ConnectFailed => f.write_str("no connection"),
            Self::TimedOut => f.write_str("too slow"),
            Self::Broken => f.write_str("broken connection"),
            Self::Nothing => f.write_str("unknown"),
        }
    }
}
