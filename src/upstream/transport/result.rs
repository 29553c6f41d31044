//! The results of an exchange, in every protocol.

use std::io;

use http::{StatusCode, Version};

use crate::http::body::Body;
use crate::http::error::Error;
use crate::http::fields::Fields;

/// An exchange that brought no response, with what a retry needs to know.
#[derive(Debug)]
pub(crate) struct ExchangeFailure<B = Option<Body>> {
    pub(crate) error: Error,
    /// True if not one byte of a response arrived, and the connection, not a timeout, is at fault.
    pub(crate) unanswered: bool,
    /// True if nothing of the request was written.
    pub(crate) unsent: bool,
    /// True if the peer has certainly not processed the request, whatever was written of it (RFC 9113 §8.7).
    pub(crate) unprocessed: bool,
    /// True if all of the body that had come was sent: the client, or a filter, had not brought the rest.
    pub(crate) starved: bool,
    /// The error that ended reading, for the log. A server with TLS 1.3 rejects a client certificate at this point.
    pub(crate) broken: Option<io::Error>,
    /// The request's body, if it is still whole: nothing was taken from it, or what was taken has been kept.
    pub(crate) body: B,
}

impl ExchangeFailure {
    /// Returns what the worker of the request needs to know. It has the body itself.
    pub(crate) fn for_relay(self) -> ExchangeFailure<()> {
        let Self { error, unanswered, unsent, unprocessed, starved, .. } = self;
        ExchangeFailure { error, unanswered, unsent, unprocessed, starved, broken: None, body: () }
    }
}

/// The head of a final response, or of a requested 101.
pub(crate) struct ReceivedHead {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) headers: Fields,
}
