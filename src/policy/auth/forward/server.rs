//! The server that a way by another server asks. This room knows no upstreams, so it comes from elsewhere.

use std::any::Any;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::Method;

use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::message::Response;

/// The largest body of an answer that is passed on to a client.
pub(crate) const BODY_BYTES_MAX: usize = 64 << 10;

/// A question about a request: a request of the gateway's own, without a body.
pub(crate) struct Question {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) headers: Fields,
    /// The time until the last byte of the answer.
    pub(crate) timeout: Duration,
}

/// The answer to a question. The body of a 2xx is not read.
pub(crate) type Asked<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, Error>> + 'a>>;

/// A server that decides about requests.
pub(crate) trait AuthServer: Send + Sync {
    /// Asks a question.
    ///
    /// # Errors
    /// Fails if there is no answer in time, or one with a body larger than [`BODY_BYTES_MAX`].
    fn ask(&self, question: Question) -> Asked<'_>;

    /// Returns true if the other is the same server, with the same settings.
    fn is_same(&self, other: &dyn AuthServer) -> bool;

    fn as_any(&self) -> &dyn Any;
}
