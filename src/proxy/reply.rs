//! What a connection hands to the proxy with a request, and what it gets back.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use super::exchange_log::ExchangeLog;
use crate::http::body::Body;
use crate::http::error::Error;
use crate::http::interim::Interim;
use crate::http::message::Response;
use crate::net::stream::Stream;
use crate::net::timer::Timer;

/// What a request comes with.
#[derive(Clone)]
pub(crate) struct Call {
    /// The timer of the task that serves it.
    pub(crate) timer: Timer,
    /// Sends interim responses; HTTP/1.1 only.
    pub(crate) interim: Option<Interim>,
}

/// An answer.
pub(crate) struct Reply {
    pub(crate) response: Response<Body>,
    pub(crate) log: ExchangeLog,
    /// Close the connection after it.
    pub(crate) close: bool,
    /// Nothing is sent, for this reason: the client is gone, or a filter has given the request up.
    pub(crate) unsent: Option<Error>,
    /// What becomes of the connection after a 101.
    pub(crate) tunnel: Option<Tunnel>,
}

/// Takes over an upgraded client connection and the bytes that came on it already; ends with the bytes carried
/// from and to the client, and what went wrong.
pub(crate) type Tunnel =
    Box<dyn FnOnce(Stream, Bytes) -> Pin<Box<dyn Future<Output = (u64, u64, Option<Error>)>>>>;

/// A response on its way to the client, before its exchange is logged.
pub(crate) struct Answer {
    pub(crate) response: Response<Body>,
    pub(crate) tunnel: Option<Tunnel>,
    /// The client's connection cannot be used any more.
    pub(crate) close: bool,
}

impl From<Response<Body>> for Answer {
    fn from(response: Response<Body>) -> Self {
        Answer { response, tunnel: None, close: false }
    }
}

impl From<Error> for Answer {
    fn from(error: Error) -> Self {
        Answer { response: error.into(), tunnel: None, close: error.closes_connection() }
    }
}
