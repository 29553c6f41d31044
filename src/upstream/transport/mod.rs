//! Connections to endpoints: dialling, and the protocols spoken on them.

pub(crate) mod dial;
pub(super) mod h1;
pub(super) mod result;

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body::SizeHint;

use self::h1::client::H1Exchange;
use self::h1::connection::H1Connection;
use self::result::{ExchangeFailure, ReceivedHead};
use crate::http::body::{Body, KeptBody, PollFrame};
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::net::stream::Stream;
use crate::net::timer::Timer;
use crate::upstream::close_reason::CloseReason;
use crate::upstream::request::{SendOptions, UpstreamRequest};

/// A connection on which an exchange can start, in the protocol that it speaks.
#[derive(Debug)]
pub(crate) enum Transport {
    /// In a box, because it is moved in and out of the pool by each request.
    H1(Box<H1Connection>),
}

/// A request and its response on a transport.
pub(crate) enum TransportExchange {
    H1(H1Exchange),
}

impl Transport {
    /// Returns the transport of a new connection.
    pub(crate) fn new(stream: Stream) -> Self {
        Transport::H1(Box::new(H1Connection::new(stream)))
    }

    /// Starts an exchange: prepares to send `request` and `body`. `target` has the base path of the endpoint. Data taken
    /// from the body goes into `kept`.
    pub(super) fn start(
        self,
        request: &UpstreamRequest<'_>,
        target: &str,
        options: &SendOptions<'_>,
        body: Body,
        kept: Option<Box<KeptBody>>,
    ) -> TransportExchange {
        let Self::H1(connection) = self;
        TransportExchange::H1(h1::start(connection, request, target, options, body, kept))
    }

    /// Returns the longest time that it may be idle by the server's word.
    pub(super) fn idle_max(&self) -> Option<Duration> {
        let Self::H1(connection) = self;
        connection.server_keeps
    }

    /// Returns the time for which it must have been idle before it serves a request that cannot be sent again, if its
    /// server may be about to close it.
    pub(super) fn settles_after(&self) -> Option<Duration> {
        let Self::H1(connection) = self;
        connection.settles_after()
    }

    /// Records that it was idle for that time.
    pub(super) fn settle(&mut self) {
        let Self::H1(connection) = self;
        connection.settle();
    }

    /// Returns true if bytes have arrived that belong to no response, even if the reactor does not know of them yet.
    pub(super) fn has_forbidden_body(&mut self) -> bool {
        let Self::H1(connection) = self;
        connection.has_forbidden_body()
    }

    /// Checks, without waiting, whether it is dead while no exchange uses it. Wakes `cx` when it dies later.
    pub(super) fn poll_dead(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let Self::H1(connection) = self;
        connection.poll_dead(cx)
    }

    /// Prepares it to move to another worker's reactor.
    ///
    /// # Errors
    /// Returns an error if it cannot move; it is unusable then.
    pub(super) fn detach(&mut self) -> io::Result<()> {
        let Self::H1(connection) = self;
        connection.stream.detach()
    }

    /// Closes the socket.
    pub(super) fn close(self) {
        let Self::H1(connection) = self;
        connection.close();
    }
}

/// See the methods of [`H1Exchange`].
impl TransportExchange {
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        interim: &mut dyn FnMut(StatusCode, Fields),
    ) -> Poll<Result<ReceivedHead, Error>> {
        let Self::H1(exchange) = self;
        exchange.poll_head(cx, interim).map_ok(|head| ReceivedHead {
            status: head.status,
            version: head.version,
            headers: head.headers,
        })
    }

    pub(super) fn fail(&mut self, error: Error) -> ExchangeFailure {
        let Self::H1(exchange) = self;
        exchange.fail(error)
    }

    pub(super) fn complete_body(&mut self) -> Option<Bytes> {
        let Self::H1(exchange) = self;
        exchange.complete_body()
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> PollFrame {
        let Self::H1(exchange) = self;
        exchange.poll_frame(cx)
    }

    pub(super) fn poll_background(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let Self::H1(exchange) = self;
        exchange.poll_background(cx)
    }

    pub(super) fn is_sent(&self) -> bool {
        let Self::H1(exchange) = self;
        exchange.is_sent()
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let Self::H1(exchange) = self;
        exchange.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let Self::H1(exchange) = self;
        exchange.size_hint()
    }

    pub(super) fn timer(&self) -> &Timer {
        let Self::H1(exchange) = self;
        exchange.timer()
    }

    /// Ends the exchange. Returns the transport if it can serve another one.
    pub(super) fn finish(&mut self) -> Result<Transport, CloseReason> {
        let Self::H1(exchange) = self;
        exchange.finish().map(Transport::H1)
    }

    pub(super) fn take_upgraded(&mut self) -> Option<(Stream, Bytes)> {
        let Self::H1(exchange) = self;
        exchange.take_upgraded()
    }
}
