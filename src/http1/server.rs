//! One client connection: requests in, responses out, one after the other.

use std::cell::RefCell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Version, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::decoder::Decoder;
use super::framing::{Framing, may_have_body};
use super::head::{HeadLimits, Input, RequestHead};
use super::output::{Output, connection_option};
use crate::body::Body;
use crate::error::Error;
use crate::shutdown::Seat;
use crate::stream::Stream;
use crate::timer::{Stall, Timer, deadline};

/// What is read of a request body that nobody wanted, so that its connection can go on.
const DRAIN_BYTES: u64 = 64 * 1024;

/// How long a closing connection is still read, so that its last response is not lost to a reset.
const LINGER: Duration = Duration::from_secs(2);

/// Limits and timeouts of the downstream side; `None` is off.
#[derive(Debug, Clone)]
pub(crate) struct ServerOptions {
    pub(crate) limits: HeadLimits,
    pub(crate) request_header: Option<Duration>,
    pub(crate) request_body: Option<Duration>,
    pub(crate) response_write: Option<Duration>,
    pub(crate) keep_alive: Option<Duration>,
    pub(crate) requests: Option<u64>,
}

/// Answers requests.
pub(crate) trait Service {
    /// What is kept of an exchange until its last byte is sent.
    type Record: Record;

    /// Answers one request.
    fn call(&self, request: http::Request<Body>, call: Call) -> impl Future<Output = Reply<Self::Record>>;

    /// Answers a request whose head could not be read.
    fn refuse(&self, error: Error) -> Reply<Self::Record>;
}

/// Is told how an exchange ended. Dropped without a word, the client went away before its answer was there.
pub(crate) trait Record {
    /// The exchange is over: bytes of body received and sent, and what cut it short.
    fn end(self, received: u64, sent: u64, error: Option<Error>);
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
    pub(crate) response: http::Response<Body>,
    pub(crate) record: R,
    /// Close the connection after it.
    pub(crate) close: bool,
    /// What becomes of the connection after a 101.
    pub(crate) tunnel: Option<Tunnel>,
}

/// Takes over an upgraded client connection and the bytes that came on it already; ends with the bytes carried
/// from and to the client, and what went wrong.
pub(crate) type Tunnel =
    Box<dyn FnOnce(Stream, Bytes) -> Pin<Box<dyn Future<Output = (u64, u64, Option<Error>)>>>>;

/// Sends interim responses (RFC 9110 §15.2) to the client of one request.
#[derive(Clone)]
pub(crate) struct Interim(Rc<RefCell<Inner>>);

impl Interim {
    /// Queues an interim response; it goes out with the next write.
    pub(crate) fn send(&self, status: StatusCode, headers: &HeaderMap) {
        self.0.borrow_mut().output.push_informational(status, headers);
    }
}

/// The connection as its request's body and its loop share it. Borrowed within a poll, never across one.
struct Inner {
    stream: Stream,
    input: Input,
    output: Output,
    decoder: Decoder,
    /// The client waits for `100 Continue` before it sends the body.
    continue_awaited: bool,
    /// Which request the connection is at: a body that outlives its request reads nothing of the next one.
    request: u64,
    received: u64,
    body_error: Option<Error>,
    stall: Stall,
    timer: Timer,
}

/// The body of a request, read from its connection as it is polled.
pub(crate) struct RequestBody {
    inner: Rc<RefCell<Inner>>,
    request: u64,
}

impl RequestBody {
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let inner = &mut *self.inner.borrow_mut();
        if inner.request != self.request {
            return Poll::Ready(None);
        }
        inner.poll_body(cx)
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        let inner = self.inner.borrow();
        inner.request != self.request || (inner.decoder.is_done() && inner.body_error.is_none())
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.inner.borrow().decoder.size_hint()
    }
}

impl Inner {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(error) = self.body_error {
            return Poll::Ready(Some(Err(error)));
        }
        if self.continue_awaited {
            self.continue_awaited = false;
            self.output.push_informational(StatusCode::CONTINUE, &HeaderMap::new());
        }
        if let Poll::Ready(Err(_gone)) = self.poll_flush(cx) {
            return self.fail_body(Error::ClientClosed);
        }
        loop {
            match self.decoder.decode(self.input.bytes()) {
                Ok(Some(frame)) => {
                    self.received += frame.data_ref().map_or(0, |data| data.len() as u64);
                    return Poll::Ready(Some(Ok(frame)));
                }
                Ok(None) if self.decoder.is_done() => return Poll::Ready(None),
                Ok(None) => {}
                Err(error) => return self.fail_body(Error::RequestFraming(error)),
            }
            match self.stream.poll_read_chunk(cx) {
                Poll::Ready(Ok(chunk)) if !chunk.is_empty() => {
                    self.stall.progress();
                    self.input.push(chunk);
                }
                Poll::Ready(_end_or_error) => return self.fail_body(Error::ClientClosed),
                Poll::Pending => {
                    if self.stall.poll_waiting(cx, &self.timer).is_ready() {
                        return self.fail_body(Error::RequestBodyTimeout);
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn fail_body(&mut self, error: Error) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.body_error = Some(error);
        Poll::Ready(Some(Err(error)))
    }

    /// Writes what waits to be written, interim responses included.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.output.poll_write(&mut self.stream, cx, &mut 0)
    }

    /// Ready when the client has gone. Reads ahead, at most one chunk, to find out.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.decoder.is_done() || !self.input.is_empty() {
            return Poll::Pending; // whoever reads the body finds out; a client that pipelines is there
        }
        match self.stream.poll_read_chunk(cx) {
            Poll::Ready(Ok(chunk)) if !chunk.is_empty() => {
                self.input.push(chunk);
                Poll::Pending
            }
            Poll::Ready(_end_or_error) => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Whether what is left of the request's body is worth reading to keep the connection.
    fn is_drainable(&self) -> bool {
        match self.decoder {
            Decoder::Done => true,
            Decoder::Length(left) => left <= DRAIN_BYTES && !self.continue_awaited,
            Decoder::Chunked(_) | Decoder::UntilClose => false,
        }
    }
}

/// Serves a client until it or the gateway ends the connection. `early` was read from `stream` already. Answers
/// why it ended, as a label for the metrics.
pub(crate) async fn serve<S: Service>(
    stream: Stream,
    early: Bytes,
    service: &S,
    options: &ServerOptions,
    seat: &Seat,
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
        request: 0,
        received: 0,
        body_error: None,
        stall: Stall::new(options.request_body),
        timer: timer.clone(),
    };
    let request_began = Some(Instant::now());
    let connection = Connection {
        inner: Rc::new(RefCell::new(inner)),
        options,
        seat,
        timer,
        request_began,
        idle_until: None,
        ended: "client",
    };
    connection.run(service).await
}

struct Connection<'a> {
    inner: Rc<RefCell<Inner>>,
    options: &'a ServerOptions,
    seat: &'a Seat,
    timer: Timer,
    /// When the head that is being read began to come; the first one begins with the connection.
    request_began: Option<Instant>,
    /// When a connection between two requests is closed.
    idle_until: Option<Instant>,
    /// Why it ended, if it has.
    ended: &'static str,
}

/// How an exchange leaves its connection.
enum After {
    KeepAlive,
    /// The response is out, and was the last.
    Close,
    /// As `Close`, but the client may still be sending: it is read for a while first.
    Linger,
    /// Nothing more can be said on it.
    Abort,
    /// The connection is another protocol's now.
    Upgraded,
}

impl Connection<'_> {
    async fn run<S: Service>(mut self, service: &S) -> &'static str {
        loop {
            let head = std::future::poll_fn(|cx| self.poll_head(cx)).await;
            let after = match head {
                // Boxed, so that a connection between two requests does not hold the room that a request takes.
                Ok(Some(head)) => Box::pin(self.exchange(head, service)).await,
                Ok(None) => After::Close,
                Err(error) => {
                    self.ended = error.reason();
                    Box::pin(self.refuse(service.refuse(error))).await
                }
            };
            let ended = self.ended;
            match after {
                After::KeepAlive => continue,
                After::Close => self.close(false).await,
                After::Linger => Box::pin(self.close(true)).await,
                After::Abort => self.inner.borrow_mut().stream.abort_on_close(),
                After::Upgraded => {}
            }
            return ended;
        }
    }

    /// The next request's head; `None` when the connection ends before one begins.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<RequestHead>, Error>> {
        let inner = &mut *self.inner.borrow_mut();
        loop {
            let had_bytes = !inner.input.is_empty();
            if had_bytes {
                let began = *self.request_began.get_or_insert_with(Instant::now);
                self.idle_until = None;
                if let Some(head) = inner.input.request_head(&self.options.limits)? {
                    self.request_began = None;
                    return Poll::Ready(Ok(Some(head)));
                }
                self.request_began = Some(began);
            }
            let idle = inner.input.is_empty();
            match inner.stream.poll_read_chunk(cx) {
                Poll::Ready(Ok(chunk)) if !chunk.is_empty() => inner.input.push(chunk),
                Poll::Ready(_end_or_error) => return Poll::Ready(Ok(None)),
                Poll::Pending => {
                    // Only now: a request that had arrived when draining began is one in flight.
                    if idle && self.seat.poll_draining(cx).is_ready() && !inner.stream.has_arrived() {
                        self.ended = "drain";
                        return Poll::Ready(Ok(None));
                    }
                    let limit = match self.request_began {
                        Some(began) => self.options.request_header.and_then(|limit| began.checked_add(limit)),
                        None => {
                            self.idle_until = self.idle_until.or_else(|| deadline(self.options.keep_alive));
                            self.idle_until
                        }
                    };
                    return match self.timer.poll_elapsed(cx, limit) {
                        Poll::Ready(()) if idle => {
                            self.ended = "timeouts.keep_alive";
                            Poll::Ready(Ok(None))
                        }
                        Poll::Ready(()) => Poll::Ready(Err(Error::RequestHeaderTimeout)),
                        Poll::Pending => Poll::Pending,
                    };
                }
            }
        }
    }

    /// Answers one request.
    async fn exchange<S: Service>(&mut self, head: RequestHead, service: &S) -> After {
        let (method, version, persists) = (head.method.clone(), head.version, head.persists);
        let request = self.begin(head);
        let interim = (version >= Version::HTTP_11).then(|| Interim(self.inner.clone()));
        let reply = {
            // Boxed once more, because a future that is pinned in place takes its room twice.
            let mut reply = Box::pin(service.call(request, Call { timer: self.timer.clone(), interim }));
            std::future::poll_fn(|cx| {
                if let Poll::Ready(reply) = reply.as_mut().poll(cx) {
                    return Poll::Ready(Some(reply));
                }
                let mut inner = self.inner.borrow_mut();
                if matches!(inner.poll_flush(cx), Poll::Ready(Err(_))) {
                    return Poll::Ready(None);
                }
                inner.poll_gone(cx).map(|()| None)
            })
            .await
        };
        let Some(mut reply) = reply else { return After::Abort };
        if let (StatusCode::SWITCHING_PROTOCOLS, Some(tunnel)) =
            (reply.response.status(), reply.tunnel.take())
        {
            return self.upgrade(reply, tunnel).await;
        }
        let full = self.options.requests.is_some_and(|limit| self.inner.borrow().request >= limit);
        let drainable = self.inner.borrow().is_drainable();
        let draining = self.seat.is_draining();
        let close = !persists || reply.close || full || !drainable || draining;
        self.ended = match () {
            () if draining => "drain",
            () if full => "limits.requests_per_connection",
            () if close && persists => "error",
            () => "client",
        };
        self.respond(reply, &method, version, close).await
    }

    /// Prepares the connection for the request's body.
    fn begin(&mut self, head: RequestHead) -> http::Request<Body> {
        let mut inner = self.inner.borrow_mut();
        inner.request += 1;
        inner.received = 0;
        inner.body_error = None;
        inner.stall.progress();
        inner.decoder = Decoder::new(head.framing);
        inner.continue_awaited = head.framing != Framing::None
            && head.version >= Version::HTTP_11
            && head.headers.get(header::EXPECT).is_some_and(|expect| is_continue(expect.as_bytes()));
        let body = match head.framing {
            Framing::None => Body::Empty,
            _ => Body::Request(RequestBody { inner: self.inner.clone(), request: inner.request }),
        };
        let mut request = http::Request::new(body);
        *request.method_mut() = head.method;
        *request.uri_mut() = head.target;
        *request.version_mut() = head.version;
        *request.headers_mut() = head.headers;
        request
    }

    /// Answers bytes that are no request, and gives the connection up.
    async fn refuse<R: Record>(&mut self, reply: Reply<R>) -> After {
        match self.respond(reply, &Method::GET, Version::HTTP_11, true).await {
            After::Close | After::KeepAlive => After::Linger,
            after => after,
        }
    }

    /// Writes a response, head and body.
    async fn respond<R: Record>(
        &mut self,
        reply: Reply<R>,
        method: &Method,
        version: Version,
        mut close: bool,
    ) -> After {
        let (parts, mut body) = reply.response.into_parts();
        let framing = response_framing(method, version, &parts, &body);
        close |= framing == Framing::UntilClose;
        {
            let mut inner = self.inner.borrow_mut();
            let option = connection_option(version, close);
            inner.output.push_response(parts.status, &parts.headers, framing, option);
        }
        if method == Method::HEAD || !may_have_body(parts.status) {
            body = Body::Empty;
        }
        let mut transfer = Transfer {
            inner: &self.inner,
            body,
            framing,
            done: false,
            sent: 0,
            written: 0,
            stall: Stall::new(self.options.response_write),
            timer: &self.timer,
        };
        let result = std::future::poll_fn(|cx| transfer.poll(cx)).await;
        let sent = transfer.sent;
        drop(transfer);
        let received = self.inner.borrow().received;
        reply.record.end(received, sent, result.err());
        if let Err(error) = result {
            self.ended = error.reason();
            return After::Abort;
        }
        let after = self.drain_request().await;
        self.inner.borrow_mut().output.release();
        match after {
            After::KeepAlive if close => After::Close,
            after => after,
        }
    }

    /// Reads what is left of the request's body within bounds, so that the next request can be told from it.
    async fn drain_request(&mut self) -> After {
        if !self.inner.borrow().is_drainable() || self.inner.borrow().body_error.is_some() {
            return After::Linger;
        }
        while !self.inner.borrow().decoder.is_done() {
            let frame = std::future::poll_fn(|cx| self.inner.borrow_mut().poll_body(cx)).await;
            if matches!(frame, Some(Err(_)) | None) {
                return After::Linger;
            }
        }
        After::KeepAlive
    }

    /// Hands the connection over after a 101.
    async fn upgrade<R: Record>(&mut self, reply: Reply<R>, tunnel: Tunnel) -> After {
        {
            let mut inner = self.inner.borrow_mut();
            let headers = reply.response.headers();
            inner.output.push_response(StatusCode::SWITCHING_PROTOCOLS, headers, Framing::None, None);
        }
        let written = {
            let flush = std::future::poll_fn(|cx| self.inner.borrow_mut().poll_flush(cx));
            self.timer.within(deadline(self.options.response_write), flush).await
        };
        if !matches!(written, Ok(Ok(()))) {
            reply.record.end(0, 0, Some(Error::ClientClosed));
            return After::Abort;
        }
        let (stream, early) = {
            let mut inner = self.inner.borrow_mut();
            (std::mem::replace(&mut inner.stream, Stream::closed()), std::mem::take(inner.input.bytes()))
        };
        let (received, sent, error) = tunnel(stream, early).await;
        reply.record.end(received, sent, error);
        After::Upgraded
    }

    /// Closes in good order: the client sees the end of the stream after all that was sent.
    async fn close(&self, linger: bool) {
        let limit = deadline(Some(LINGER));
        let shutdown = std::future::poll_fn(|cx| {
            let mut inner = self.inner.borrow_mut();
            pin!(inner.stream.shutdown()).poll(cx)
        });
        let closed = self.timer.within(limit, shutdown).await;
        if !linger || !matches!(closed, Ok(Ok(()))) {
            return;
        }
        let discard = std::future::poll_fn(|cx| {
            loop {
                match self.inner.borrow_mut().stream.poll_read_chunk(cx) {
                    Poll::Ready(Ok(chunk)) if !chunk.is_empty() => {}
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        });
        let _over_in_any_case = self.timer.within(limit, discard).await;
    }
}

/// A response's body on its way to the client.
struct Transfer<'a> {
    inner: &'a RefCell<Inner>,
    body: Body,
    framing: Framing,
    done: bool,
    /// Bytes of body, without framing.
    sent: u64,
    /// Bytes on the wire, head and framing included.
    written: u64,
    stall: Stall,
    timer: &'a Timer,
}

impl Transfer<'_> {
    /// Moves frames from the body to the stream: one large or a few small ones at a time, and no further one
    /// before those are written.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            let body_waits = self.gather(cx)?;
            let before = self.written;
            let inner = &mut *self.inner.borrow_mut();
            let written = inner.output.poll_write(&mut inner.stream, cx, &mut self.written);
            if self.written > before {
                self.stall.progress();
            }
            match written {
                Poll::Ready(Err(_gone)) => return Poll::Ready(Err(Error::ClientClosed)),
                Poll::Ready(Ok(())) if self.done => return Poll::Ready(Ok(())),
                // An upstream that is silent for long, as event streams are, must not be kept for nobody.
                Poll::Ready(Ok(())) if body_waits => {
                    return inner.poll_gone(cx).map(|()| Err(Error::ClientClosed));
                }
                Poll::Ready(Ok(())) => {}
                Poll::Pending => {
                    let late = self.stall.poll_waiting(cx, self.timer);
                    return late.map(|()| Err(Error::ResponseWriteTimeout));
                }
            }
        }
    }

    /// Takes frames as long as they fit; whether the body has to be waited for.
    fn gather(&mut self, cx: &mut Context<'_>) -> Result<bool, Error> {
        while !self.done && self.inner.borrow().output.takes_more() {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => return Ok(true),
                Poll::Ready(None) => {
                    self.inner.borrow_mut().output.push_end(self.framing);
                    self.done = true;
                }
                Poll::Ready(Some(frame)) => {
                    let frame = frame?;
                    self.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
                    self.done = frame.is_trailers() || self.body.is_end_stream();
                    self.inner.borrow_mut().output.push_frame(self.framing, frame, self.done);
                }
            }
        }
        Ok(false)
    }
}

/// How the length of a response is told to this client.
fn response_framing(
    method: &Method,
    version: Version,
    parts: &http::response::Parts,
    body: &Body,
) -> Framing {
    if !may_have_body(parts.status) || parts.headers.contains_key(header::CONTENT_LENGTH) {
        return Framing::None;
    }
    match body.size_hint().exact() {
        // What a GET would have been answered with is not known.
        Some(0) if method == Method::HEAD => Framing::None,
        Some(length) => Framing::Length(length),
        None if method == Method::HEAD => Framing::None,
        None if version >= Version::HTTP_11 => Framing::Chunked,
        None => Framing::UntilClose,
    }
}

/// Whether an Expect field says `100-continue` (RFC 9110 §10.1.1).
pub(crate) fn is_continue(value: &[u8]) -> bool {
    value.eq_ignore_ascii_case(b"100-continue")
}
