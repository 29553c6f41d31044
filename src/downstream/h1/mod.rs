//! One client connection: requests in, responses out, one after the other.

mod closing;
pub(crate) mod shared;
mod transfer;

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, Version, header};
use shared::Inner;
use tokio::time::Instant;
use transfer::{Transfer, response_framing};

use crate::http::body::Body;
use crate::http::body::request::RequestBody;
use crate::http::error::Error;
use crate::http::forward;
use crate::http::h1::decoder::Decoder;
use crate::http::h1::framing::Framing;
use crate::http::h1::head::{Input, RequestHead};
use crate::http::h1::output::{Output, connection_option};
use crate::http::interim::Interim;
use crate::http::message::may_have_body;
use crate::http::message::{Request, Response, is_continue};
use crate::net::clock;
use crate::net::drain::DrainGuard;
use crate::net::stream::Stream;
use crate::net::timer::{Stall, Timer, deadline};
use crate::proxy::client::Client;
use crate::proxy::exchange_log::ExchangeLog;
use crate::proxy::reply::{Call, Reply, Tunnel};
use crate::proxy::serve;
use crate::snapshot::listener::ConnectionLimits;

/// The time for which a closing connection is still read, so that its last response is not lost to a reset.
const LINGER: Duration = Duration::from_secs(2);

/// Serves a client until it or the gateway ends the connection. Returns the reason for the end, as a label for the
/// metrics. `early` was already read from `stream`, and the first head has been awaited since `began`. `options` apply
/// until that head begins to arrive.
pub(crate) async fn serve(
    stream: Stream,
    early: Bytes,
    began: Instant,
    client: &Client,
    options: Arc<ConnectionLimits>,
    guard: &DrainGuard,
) -> &'static str {
    let timer = Timer::default();
    let mut input = Input::default();
    input.push(early);
    let inner = Inner {
        stream,
        input,
        output: Output::default(),
        decoder: Decoder::Done,
        continue_awaited: false,
        drops_unusual_fields: false,
        allows_half_close: false,
        has_ended: false,
        is_answered: false,
        request: 0,
        received: 0,
        body_error: None,
        stall: Stall::new(None), // each request has its own
        timer: timer.clone(),
    };
    let connection = ServerConnection {
        inner: Rc::new(RefCell::new(inner)),
        options,
        guard,
        timer,
        head_has_begun: false,
        request_began: Some(began),
        idle_since: None,
        ended: "client",
    };
    connection.run(client).await
}

struct ServerConnection<'a> {
    inner: Rc<RefCell<Inner>>,
    options: Arc<ConnectionLimits>,
    guard: &'a DrainGuard,
    timer: Timer,
    /// True if a part of the next head has arrived.
    head_has_begun: bool,
    /// The time at which the head that is being read began to arrive. The first one begins with the connection.
    request_began: Option<Instant>,
    /// The time at which the last request ended.
    idle_since: Option<Instant>,
    /// The reason for the end of the connection, if it has ended.
    ended: &'static str,
}

/// The state in which an exchange leaves its connection.
enum After {
    KeepAlive,
    /// The response has been sent, and was the last.
    Close,
    /// The same as `Close`, but the client may still be sending, so the connection is read for a while first.
    Linger,
    /// The response broke off. The close cuts it short, and the part that was sent still arrives.
    Cut,
    /// Nothing more can be sent.
    Abort,
    /// The connection now belongs to another protocol.
    Upgraded,
}

impl ServerConnection<'_> {
    async fn run(mut self, client: &Client) -> &'static str {
        loop {
            let head = std::future::poll_fn(|cx| self.poll_head(cx, client)).await;
            let after = match head {
                // Boxed, so that a connection between two requests does not hold the memory that a request takes.
                Ok(Some(head)) => Box::pin(self.exchange(head, client)).await,
                Ok(None) => After::Close,
                Err(error) => {
                    self.ended = error.reason();
                    Box::pin(self.refuse(serve::refuse_unreadable(client, error))).await
                }
            };
            let ended = self.ended;
            match after {
                After::KeepAlive => continue,
                // If it were closed with unread bytes, the connection would be reset and its last response lost.
                After::Close if !self.has_unread() => self.close(false).await,
                After::Close | After::Linger => Box::pin(self.close(true)).await,
                After::Cut => Box::pin(self.cut()).await,
                After::Abort => self.inner.borrow_mut().stream.abort_on_close(),
                After::Upgraded => {}
            }
            return ended;
        }
    }

    /// Reads the next request's head. Returns `None` if the connection ends before one begins.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        client: &Client,
    ) -> Poll<Result<Option<RequestHead>, Error>> {
        let inner = &mut *self.inner.borrow_mut();
        loop {
            if !inner.input.is_empty() {
                if !std::mem::replace(&mut self.head_has_begun, true) {
                    client.refresh(&mut self.options);
                }
                if let Some(head) = inner.input.request_head(&self.options.limits, self.options.case)? {
                    self.request_began = None;
                    self.head_has_begun = false;
                    return Poll::Ready(Ok(Some(head)));
                }
                // Most heads arrive whole, and need no look at the clock.
                self.request_began.get_or_insert_with(clock::now);
            }
            let idle = inner.input.is_empty();
            match inner.stream.poll_read_chunk(cx) {
                Poll::Ready(Ok(chunk)) if !chunk.is_empty() => inner.input.push(chunk),
                Poll::Ready(_end_or_error) => return Poll::Ready(Ok(None)),
                Poll::Pending => {
                    // This is checked only now, because a request that had arrived when draining began is in flight.
                    if idle
                        && self.guard.poll_draining_idle(cx, &self.timer, self.request_began).is_ready()
                        && !inner.stream.has_arrived()
                    {
                        self.ended = "drain";
                        return Poll::Ready(Ok(None));
                    }
                    let limit = match self.request_began {
                        Some(began) => self.options.request_header.and_then(|limit| began.checked_add(limit)),
                        None => {
                            let since = *self.idle_since.get_or_insert_with(clock::now);
                            self.options.keep_alive.and_then(|limit| since.checked_add(limit))
                        }
                    };
                    return match self.timer.poll_elapsed(cx, limit) {
                        Poll::Ready(()) if idle => {
                            self.ended = match self.request_began {
                                Some(_) => "timeouts.request_header",
                                None => "timeouts.keep_alive",
                            };
                            Poll::Ready(Ok(None))
                        }
                        Poll::Ready(()) => Poll::Ready(Err(Error::RequestHeaderTimeout)),
                        Poll::Pending => Poll::Pending,
                    };
                }
            }
        }
    }

    /// Serves one request. It returns a future instead of being async, because an async function keeps room for its arguments.
    fn exchange(&mut self, head: RequestHead, client: &Client) -> impl Future<Output = After> {
        let (is_head, version, persists) = (head.method == Method::HEAD, head.version, head.persists);
        let request = self.begin(head);
        let interim = (version >= Version::HTTP_11).then(|| Interim::new(self.inner.clone()));
        // Boxed once more, because a future that is pinned in place takes its room twice.
        let is_first = self.inner.borrow().request == 1;
        let call = Call { timer: self.timer.clone(), interim, is_first };
        let mut answering = Box::pin(serve::serve(client, request, call));
        async move {
            let reply = std::future::poll_fn(|cx| {
                if let Poll::Ready(reply) = answering.as_mut().poll(cx) {
                    return Poll::Ready(Some(reply));
                }
                let mut inner = self.inner.borrow_mut();
                if matches!(inner.poll_flush(cx), Poll::Ready(Err(_))) {
                    return Poll::Ready(None);
                }
                inner.poll_gone(cx).map(|()| None)
            })
            .await;
            drop(answering);
            let Some(mut reply) = reply else { return After::Abort };
            if let (StatusCode::SWITCHING_PROTOCOLS, Some(tunnel)) =
                (reply.response.status, reply.tunnel.take())
            {
                return Box::pin(self.upgrade(reply, tunnel)).await;
            }
            if let Some(unsent) = reply.unsent {
                let error = self.inner.borrow().body_error;
                self.ended = error.unwrap_or(unsent).reason();
                return After::Abort; // the dropped log records that no response was sent
            }
            let close = self.is_last(&reply, persists);
            self.respond(reply, is_head, version, close).await
        }
    }

    /// Returns true if the connection ends with this response, and notes the reason.
    fn is_last(&mut self, reply: &Reply, persists: bool) -> bool {
        let full = self.options.requests.is_some_and(|limit| self.inner.borrow().request >= limit);
        let drainable = self.inner.borrow().is_drainable();
        let draining = self.guard.is_draining();
        let close = !persists || reply.close || full || !drainable || draining;
        self.ended = match () {
            () if draining => "drain",
            () if full => "limits.requests_per_connection",
            () if close && persists => "error",
            () => "client",
        };
        close || self.inner.borrow().sends_no_more()
    }

    /// Prepares the connection for the request's body.
    fn begin(&mut self, head: RequestHead) -> Request {
        let mut inner = self.inner.borrow_mut();
        inner.request += 1;
        inner.received = 0;
        inner.body_error = None;
        inner.is_answered = false;
        inner.stall = Stall::new(self.options.request_body);
        inner.decoder = Decoder::new(head.framing);
        inner.continue_awaited = head.framing != Framing::None
            && head.version >= Version::HTTP_11
            && head.headers.get(header::EXPECT).is_some_and(|expect| is_continue(expect.as_bytes()));
        let body = match head.framing {
            Framing::None => Body::Empty,
            _ => Body::Request(RequestBody::new(self.inner.clone(), inner.request)),
        };
        let RequestHead { method, target, version, mut headers, .. } = head;
        inner.allows_half_close = self.options.allows_half_close;
        inner.drops_unusual_fields = self.options.drops_unusual_fields;
        if inner.drops_unusual_fields {
            headers.retain(|name, _| !forward::is_unusual(name));
        }
        Request { method, target, version, headers, protocol: None, body }
    }

    /// Responds to bytes that are not a request, and gives the connection up.
    async fn refuse(&mut self, reply: Reply) -> After {
        match self.respond(reply, false, Version::HTTP_11, true).await {
            After::Close | After::KeepAlive => After::Linger,
            after => after,
        }
    }

    /// Writes a response, head and body. It is not async for the same reason as [`ServerConnection::exchange`].
    fn respond(
        &mut self,
        reply: Reply,
        is_head: bool,
        version: Version,
        close: bool,
    ) -> impl Future<Output = After> {
        let (mut transfer, mut is_last) = self.push(reply.response, is_head, version, close);
        let mut log = reply.log;
        async move {
            let mut result = std::future::poll_fn(|cx| transfer.poll(&self.inner, &self.timer, cx)).await;
            if let Err(error) = result
                && let Some(response) = self.replacement(&transfer, error, &mut log)
            {
                (transfer, is_last) =
                    self.push(response, is_head, version, close || error.closes_connection());
                result = std::future::poll_fn(|cx| transfer.poll(&self.inner, &self.timer, cx)).await;
            }
            let (sent, is_cut_by_close) = (transfer.sent, transfer.is_cut_by_close());
            drop(transfer);
            let received = std::mem::take(&mut self.inner.borrow_mut().received);
            log.end(received, sent, result.err());
            if let Err(error) = result {
                self.ended = error.reason();
                let is_client_there = !matches!(error, Error::ClientClosed | Error::ResponseWriteTimeout);
                return if is_cut_by_close && is_client_there { After::Cut } else { After::Abort };
            }
            self.idle_since = Some(clock::now());
            let after = self.drain_request().await;
            self.inner.borrow_mut().output.release();
            match after {
                After::KeepAlive if is_last => After::Close,
                after => after,
            }
        }
    }

    /// Appends a response's head to the output. Returns the transfer of its body, and true if the connection ends with it.
    fn push(
        &self,
        response: Response<Body>,
        is_head: bool,
        version: Version,
        close: bool,
    ) -> (Transfer, bool) {
        let framing = response_framing(is_head, version, &response);
        let Response { status, headers, mut body } = response;
        let is_last = close || framing == Framing::UntilClose;
        if is_head || !may_have_body(status) {
            body = Body::Empty;
        }
        let inner = &mut *self.inner.borrow_mut();
        inner.is_answered = true;
        let ahead = inner.output.waiting();
        inner.output.push_response(status, &headers, framing, connection_option(version, is_last));
        (Transfer::new(body, framing, ahead, self.options.response_write), is_last)
    }

    /// Returns the response that replaces one that broke with `error`, if nothing of that one was written.
    fn replacement(&self, broken: &Transfer, error: Error, log: &mut ExchangeLog) -> Option<Response<Body>> {
        let is_retracted = broken.retract(&mut self.inner.borrow_mut().output);
        if is_retracted { log.replace(error) } else { None }
    }

    /// Reads the rest of the request's body within bounds, so that the next request can be found behind it.
    async fn drain_request(&mut self) -> After {
        if !self.inner.borrow().is_drainable() || self.inner.borrow().body_error.is_some() {
            return After::Linger;
        }
        let limit = deadline(Some(LINGER));
        while !self.inner.borrow().decoder.is_done() {
            let frame = std::future::poll_fn(|cx| self.inner.borrow_mut().poll_body(cx));
            if !matches!(self.timer.within(limit, frame).await, Ok(Some(Ok(_)))) {
                return After::Linger;
            }
        }
        After::KeepAlive
    }

    /// Hands the connection over after a 101.
    async fn upgrade(&mut self, reply: Reply, tunnel: Tunnel) -> After {
        {
            let mut inner = self.inner.borrow_mut();
            let headers = &reply.response.headers;
            inner.output.push_response(StatusCode::SWITCHING_PROTOCOLS, headers, Framing::None, None);
        }
        let written = {
            let flush = std::future::poll_fn(|cx| self.inner.borrow_mut().poll_flush(cx));
            self.timer.within(deadline(self.options.response_write), flush).await
        };
        if !matches!(written, Ok(Ok(()))) {
            reply.log.end(0, 0, Some(Error::ClientClosed));
            return After::Abort;
        }
        let (stream, early) = {
            let mut inner = self.inner.borrow_mut();
            (std::mem::replace(&mut inner.stream, Stream::closed()), std::mem::take(inner.input.bytes()))
        };
        let (received, sent, error) = tunnel(Box::new(stream), early).await;
        reply.log.end(received, sent, error);
        After::Upgraded
    }
}
