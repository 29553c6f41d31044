//! What serves the requests of a connection, as the connection sees it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use crate::downstream::h1::ServerOptions;
use crate::downstream::h1::shared::Interim;
use crate::http::body::Body;
use crate::http::error::Error;
use crate::http::message::{Request, Response};
use crate::net::stream::Stream;
use crate::net::timer::Timer;

/// Answers requests.
pub(crate) trait Service {
    /// What is kept of an exchange until its last byte is sent.
    type Record: Record;

    /// Brings limits and timeouts up to date. Called when a request begins to come; they hold until the next one does.
    fn refresh(&self, options: &mut Arc<ServerOptions>);

    /// Answers one request.
    fn call(&self, request: Request, call: Call) -> impl Future<Output = Reply<Self::Record>>;

    /// Answers a request whose head could not be read.
    fn refuse(&self, error: Error) -> Reply<Self::Record>;
}

/// Is told how an exchange ended. Dropped without a word, the client went away before its answer was
/// there, or the worker ended first.
pub(crate) trait Record {
    /// Returns the response that takes the place of one that broke with `error` before any of it was sent, or `None` if
    /// the client gets no response.
    fn replace(&mut self, error: Error) -> Option<Response<Body>>;

    /// The exchange is over at the time `now`: bytes of body received and sent, and what cut it short.
    fn end(self, now: Instant, received: u64, sent: u64, error: Option<Error>);
}

/// What a request comes with.
#[derive(Clone)]
pub(crate) struct Call {
    /// The timer of the task that serves it.
    pub(crate) timer: Timer,
    /// Where interim responses go; HTTP/1.1 only.
    pub(crate) interim: Option<Interim>,
}

/// An answer.
pub(crate) struct Reply<R> {
    pub(crate) response: Response<Body>,
    pub(crate) record: R,
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
