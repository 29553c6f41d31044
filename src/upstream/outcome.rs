//! The outcome of an attempt, as far as it says something about the endpoint.

use std::fmt;

use http::StatusCode;
use tokio::time::Instant;

use crate::http::error::Error;
use crate::net::clock;

/// The outcome of one attempt at an endpoint.
pub(crate) struct AttemptOutcome {
    /// The time at which the attempt began, if the balancer measures latency.
    pub(super) began: Option<Instant>,
    pub(super) seen: Seen,
}

/// The behaviour of an endpoint during an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
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

impl Seen {
    /// Returns what `error` says about the endpoint of an open connection.
    pub(super) fn failing(error: Error) -> Self {
        match error {
            Error::PerTryTimeout
            | Error::RequestTimeout
            | Error::ResponseHeaderTimeout
            | Error::IdleTimeout => Seen::TimedOut,
            error if error.is_client_side() => Seen::Nothing,
            _ => Seen::Broken,
        }
    }
}

impl fmt::Display for AttemptOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seen {
            Seen::Response(status) => write!(f, "status {}", status.as_u16())?,
            Seen::ConnectFailed => f.write_str("no connection")?,
            Seen::TimedOut => f.write_str("too slow")?,
            Seen::Broken => f.write_str("broken connection")?,
            Seen::Nothing => f.write_str("unknown")?,
        }
        self.began.map_or(Ok(()), |began| write!(f, " after {:?}", clock::since(began)))
    }
}
