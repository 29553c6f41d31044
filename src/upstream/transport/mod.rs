//! Connections to endpoints: dialling, and the protocols spoken on them.

pub(crate) mod dial;
pub(super) mod h1;
pub(super) mod h2;
pub(super) mod options;
pub(super) mod remote;
mod request_body;
pub(super) mod result;

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body::SizeHint;

use self::h1::client::H1Exchange;
use self::h1::connection::H1Connection;
pub(crate) use self::h2::H2Connection;
use self::h2::{H2Exchange, PingCheck};
use self::options::{AddressedRequest, ExchangeOptions};
use self::remote::{RemoteExchange, RemoteStream};
use self::result::{ExchangeFailure, ReceivedHead};
use crate::http::body::{Body, KeptBody, PollFrame};
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::net::stream::Stream;
use crate::net::timer::Timer;
use crate::upstream::close_reason::CloseReason;
use crate::upstream::request::SendOptions;

/// The time to wait for the answer to a ping if `timeouts.connect` is off.
const PING_LIMIT: Duration = Duration::from_secs(10);

/// The connection that an exchange starts on.
#[derive(Debug)]
pub(crate) enum Transport {
    /// A connection that serves a single exchange at a time.
    Exclusive(Exclusive),
    /// A connection that other exchanges use, too.
    Shared(Rc<H2Connection>),
    /// A shared connection of another worker.
    Remote(RemoteStream),
}

/// A connection that serves one exchange at a time, in the protocol that it speaks. It can move between workers.
#[derive(Debug)]
pub(crate) enum Exclusive {
    /// In a box, because it is moved in and out of the pool by each request.
    H1(Box<H1Connection>),
}

/// A request and its response on a transport.
#[allow(
    clippy::large_enum_variant,
    reason = "it is built in the box in which it serves as the response's body"
)]
pub(crate) enum TransportExchange {
    H1(H1Exchange),
    // In boxes of their own, so that they do not make that one larger.
    H2(Box<H2Exchange>),
    Remote(Box<RemoteExchange>),
}

impl Transport {
    /// Starts an exchange: prepares to send `request` and `body`. Data taken from the body goes into `kept`.
    pub(super) fn start(
        self,
        request: AddressedRequest<'_>,
        options: &SendOptions<'_>,
        body: Body,
        kept: Option<Box<KeptBody>>,
        ping_interval: Option<Duration>,
    ) -> TransportExchange {
        match self {
            Transport::Exclusive(Exclusive::H1(connection)) => {
                TransportExchange::H1(h1::start(connection, request, options, body, kept))
            }
            Transport::Shared(connection) => {
                let check = ping_interval.map(|after| PingCheck {
                    after,
                    timeout: options.timeouts.connect.unwrap_or(PING_LIMIT),
                });
                let options = ExchangeOptions::new(request.request, options);
                let exchange = H2Exchange::new(connection, request, body, kept, options, check);
                TransportExchange::H2(Box::new(exchange))
            }
            Transport::Remote(stream) => {
                TransportExchange::Remote(Box::new(stream.start(request, options, body, kept)))
            }
        }
    }
}

impl Exclusive {
    /// Returns the transport of a new connection.
    pub(crate) fn new(stream: Stream) -> Self {
        Self::H1(Box::new(H1Connection::new(stream)))
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

/// Does the same with an exchange of any kind.
macro_rules! each {
    ($self:ident, $exchange:ident => $done:expr) => {
        match $self {
            TransportExchange::H1($exchange) => $done,
            TransportExchange::H2($exchange) => $done,
            TransportExchange::Remote($exchange) => $done,
        }
    };
}

/// See the methods of [`H1Exchange`].
impl TransportExchange {
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        interim: &mut dyn FnMut(StatusCode, Fields),
    ) -> Poll<Result<ReceivedHead, Error>> {
        match self {
            Self::H1(exchange) => exchange.poll_head(cx, interim).map_ok(|head| ReceivedHead {
                status: head.status,
                version: head.version,
                headers: head.headers,
            }),
            Self::H2(exchange) => exchange.poll_head(cx, interim),
            Self::Remote(exchange) => exchange.poll_head(cx, interim),
        }
    }

    pub(super) fn fail(&mut self, error: Error) -> ExchangeFailure {
        each!(self, exchange => exchange.fail(error))
    }

    pub(super) fn free_request(&mut self) {
        each!(self, exchange => exchange.free_request());
    }

    pub(super) fn take_request(&mut self) -> Option<Body> {
        each!(self, exchange => exchange.take_request())
    }

    pub(super) fn complete_body(&mut self) -> Option<Bytes> {
        each!(self, exchange => exchange.complete_body())
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> PollFrame {
        each!(self, exchange => exchange.poll_frame(cx))
    }

    pub(super) fn poll_background(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        each!(self, exchange => exchange.poll_background(cx))
    }

    pub(super) fn is_sent(&self) -> bool {
        each!(self, exchange => exchange.is_sent())
    }

    pub(super) fn is_end_stream(&self) -> bool {
        each!(self, exchange => exchange.is_end_stream())
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        each!(self, exchange => exchange.size_hint())
    }

    pub(super) fn timer(&self) -> &Timer {
        each!(self, exchange => exchange.timer())
    }

    /// Ends the exchange. Returns the connection if the exchange had it for itself and it can serve another one.
    ///
    /// # Errors
    /// Returns the reason for which an exclusive connection had to be closed.
    pub(super) fn finish(&mut self) -> Result<Option<Exclusive>, CloseReason> {
        match self {
            Self::H1(exchange) => exchange.finish().map(|connection| Some(Exclusive::H1(connection))),
            Self::H2(exchange) => {
                exchange.end();
                Ok(None)
            }
            Self::Remote(exchange) => {
                exchange.end();
                Ok(None)
            }
        }
    }

    pub(super) fn take_upgraded(&mut self) -> Option<(Stream, Bytes)> {
        match self {
            Self::H1(exchange) => exchange.take_upgraded(),
            Self::H2(_) | Self::Remote(_) => None,
        }
    }
}
