//! The check of a connection before a request rides on it.

use std::time::Duration;

use http::Method;
use tokio::time::Instant;

use crate::http::fields::Fields;
use crate::http::h2::OutgoingRequest;

/// A request that waits for a connection to prove that it is alive.
pub(super) struct Pinging {
    pub(super) head: OwnedHead,
    /// The connection's count of reads when it was pinged.
    pub(super) reads: u64,
    pub(super) until: Option<Instant>,
}

/// The head of a request, kept until it can be sent.
pub(super) struct OwnedHead {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) scheme: &'static str,
    pub(super) headers: Fields,
    pub(super) length: Option<u64>,
}

/// The check of a connection on which nothing has arrived for long.
#[derive(Debug, Clone, Copy)]
pub(in crate::upstream) struct PingCheck {
    /// `pool.ping_interval`.
    pub(in crate::upstream) after: Duration,
    /// The time to wait for the answer.
    pub(in crate::upstream) timeout: Duration,
}

impl OwnedHead {
    pub(super) fn as_outgoing<'a>(&'a self, authority: &'a [u8]) -> OutgoingRequest<'a> {
        OutgoingRequest {
            method: &self.method,
            scheme: self.scheme,
            authority,
            path: &self.target,
            protocol: None,
            headers: &self.headers,
            length: self.length,
        }
    }
}
