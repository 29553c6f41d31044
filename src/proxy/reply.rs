//! The data that a connection passes to the proxy with a request, and the reply that it gets back.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use super::exchange_log::ExchangeLog;
use crate::http::body::Body;
use crate::http::error::Error;
use crate::http::interim::Interim;
use crate::http::message::Response;
use crate::net::timer::Timer;
use crate::net::tunnel_end::TunnelEnd;

/// The context that comes with a request.
#[derive(Clone)]
pub(crate) struct Call {
    /// The timer of the task that serves the request.
    pub(crate) timer: Timer,
    /// Sends interim responses. HTTP/1.0 has none.
    pub(crate) interim: Option<Interim>,
    /// True for the first request of a client's connection.
    pub(crate) is_first: bool,
}

pub(crate) struct Reply {
    pub(crate) response: Response<Body>,
    pub(crate) log: ExchangeLog,
    /// True if the connection must be closed after the response.
    pub(crate) close: bool,
    /// The reason why no response is sent: the client is gone, or a filter has given up the request.
    pub(crate) unsent: Option<Error>,
    /// The tunnel that takes over the connection after a 101.
    pub(crate) tunnel: Option<Tunnel>,
}

/// A function that takes over an upgraded client connection, or a stream on one, and the bytes that have already arrived on it.
/// It ends with the bytes carried from and to the client, and the error if there was one.
pub(crate) type Tunnel =
    Box<dyn FnOnce(Box<dyn TunnelEnd>, Bytes) -> Pin<Box<dyn Future<Output = (u64, u64, Option<Error>)>>>>;

/// A response on its way to the client, before its exchange is logged.
pub(crate) struct Answer {
    pub(crate) response: Response<Body>,
    pub(crate) tunnel: Option<Tunnel>,
    /// True if the client's connection cannot be used any more.
    pub(crate) close: bool,
}

impl From<Response<Body>> for Answer {
    fn from(response: Response<Body>) -> Self {
        Answer { response, tunnel: None, close: false }
    }
}
