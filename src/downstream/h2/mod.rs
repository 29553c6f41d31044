//! An HTTP/2 connection (RFC 9113), by hyper: streams become requests like any other.

mod body;
mod io;
mod task;

use std::cell::{Cell, Ref, RefCell};
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use body::{StreamRequestBody, StreamResponseBody};
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use http_body::{Body as HttpBody, Frame};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use io::{Gathered, TimedWrites};
use task::{OnThisWorker, STREAM};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::http::body::Body;
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::forward;
use crate::http::message::{Request, Response};
use crate::net::clock;
use crate::net::drain::DrainGuard;
use crate::net::stream::Stream;
use crate::net::timer::{Stall, Timer, deadline};
use crate::proxy::client::Client;
use crate::proxy::exchange_log::ExchangeLog;
use crate::proxy::reply::{Call, Reply};
use crate::proxy::serve;
use crate::snapshot::listener::ConnectionLimits;

/// The number of streams that a client may have open at once.
const CONCURRENT_STREAMS: u32 = 128;

/// The time for which an ending connection may be silent before it is cut: a client that has gone never confirms the GOAWAY.
const GOODBYE: Duration = Duration::from_secs(2);

/// Serves a client until it or the gateway ends the connection. Returns the reason for the end. The first stream has
/// been awaited since `began`. Each stream refreshes `options`, but hyper keeps the limit on headers that it was given.
pub(crate) async fn serve(
    stream: Stream,
    began: Instant,
    client: Rc<Client>,
    options: Arc<ConnectionLimits>,
    guard: &DrainGuard,
) -> &'static str {
    let header_bytes = u32::try_from(options.limits.header_bytes).unwrap_or(u32::MAX);
    let streams = Rc::new(Streams::new(began, options));
    let io = TokioIo::new(TimedWrites {
        stream,
        stall: Stall::new(streams.options().response_write),
        timer: Timer::default(),
        streams: streams.clone(),
        gathered: Gathered::default(),
        goodbye: None,
    });
    let context = Rc::new(StreamService { client, streams: streams.clone() });
    // Boxed, because hyper and the stream's task move it several times before it is polled.
    let service = hyper::service::service_fn(move |request| Box::pin(context.clone().answer(request)));
    let connection = hyper::server::conn::http2::Builder::new(OnThisWorker)
        .timer(TokioTimer::new())
        .max_concurrent_streams(CONCURRENT_STREAMS)
        .max_header_list_size(header_bytes)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    let timer = Timer::default();
    let mut ending = None;
    let mut silent_until = None;
    std::future::poll_fn(|cx| {
        streams.wake_at_end(cx);
        if ending.is_none() {
            ending = streams.why_end(cx, guard, &timer);
            if ending.is_some() {
                connection.as_mut().graceful_shutdown();
            }
        }
        if let Poll::Ready(result) = connection.as_mut().poll(cx) {
            if result.is_err() {
                tracing::debug!(
                    "an HTTP/2 connection ended early: the client broke the protocol, or the network broke"
                );
            }
            return Poll::Ready(());
        }
        streams.flushed();
        if ending.is_none() || streams.open.get() > 0 {
            return Poll::Pending;
        }
        if streams.moved.take() || silent_until.is_none() {
            silent_until = deadline(Some(GOODBYE));
        }
        timer.poll_elapsed(cx, silent_until)
    })
    .await;
    ending.unwrap_or("client")
}

/// The service that the streams of a connection share.
struct StreamService {
    client: Rc<Client>,
    streams: Rc<Streams>,
}

/// The state that a connection shares with its streams.
struct Streams {
    /// The limits and timeouts as the latest stream found them.
    options: RefCell<Arc<ConnectionLimits>>,
    open: Cell<u32>,
    served: Cell<u64>,
    /// The time since which no stream is open.
    idle_since: Cell<Option<Instant>>,
    /// True if the connection wrote something since the last check, or at its end read something.
    moved: Cell<bool>,
    /// The connection's task, which is woken when the last stream ends and its idle time begins.
    connection: RefCell<Option<Waker>>,
    /// True if hyper wrote something since it last flushed.
    unflushed: Cell<bool>,
    /// The streams that wait until everything they have sent so far is written.
    flush_awaited: RefCell<Vec<oneshot::Sender<()>>>,
}

impl Streams {
    fn new(began: Instant, options: Arc<ConnectionLimits>) -> Self {
        Self {
            options: RefCell::new(options),
            open: Cell::new(0),
            served: Cell::new(0),
            idle_since: Cell::new(Some(began)),
            moved: Cell::new(false),
            connection: RefCell::new(None),
            unflushed: Cell::new(false),
            flush_awaited: RefCell::default(),
        }
    }

    /// Returns a receiver that resolves once everything that streams have sent so far is written, or the connection has
    /// ended. The connection's task notifies it.
    fn flush(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.flush_awaited.borrow_mut().push(sender);
        if let Some(connection) = &*self.connection.borrow() {
            connection.wake_by_ref();
        }
        receiver
    }

    /// Notifies the waiting streams that everything is written. It is called when hyper can do no more.
    fn flushed(&self) {
        if !self.unflushed.get() && !self.flush_awaited.borrow().is_empty() {
            for awaiting in self.flush_awaited.take() {
                let _stream_may_be_gone = awaiting.send(());
            }
        }
    }

    /// Returns the present options. The borrow must end within the poll.
    fn options(&self) -> Ref<'_, Arc<ConnectionLimits>> {
        self.options.borrow()
    }

    fn wake_at_end(&self, cx: &Context<'_>) {
        match &mut *self.connection.borrow_mut() {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }

    /// Returns the reason for which the connection takes no further streams, if there is one.
    fn why_end(&self, cx: &mut Context<'_>, guard: &DrainGuard, timer: &Timer) -> Option<&'static str> {
        let (served, options) = (self.served.get(), self.options());
        let first_awaited = self.idle_since.get().filter(|_| served == 0);
        if guard.poll_draining_idle(cx, timer, first_awaited).is_ready() {
            return Some("drain");
        }
        if options.requests.is_some_and(|limit| served >= limit) {
            return Some("limits.requests_per_connection");
        }
        let (limit, reason) = match served {
            0 => (options.request_header, "timeouts.request_header"),
            _ => (options.keep_alive, "timeouts.keep_alive"),
        };
        let idle_until = self.idle_since.get().zip(limit).and_then(|(since, limit)| since.checked_add(limit));
        timer.poll_elapsed(cx, idle_until).is_ready().then_some(reason)
    }
}

/// An open stream, which counts until this is dropped.
struct OpenStream(Rc<Streams>);

impl OpenStream {
    fn new(streams: Rc<Streams>) -> Self {
        streams.open.set(streams.open.get() + 1);
        streams.served.set(streams.served.get() + 1);
        streams.idle_since.set(None);
        Self(streams)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        if self.0.open.get() == 0 {
            self.0.idle_since.set(Some(clock::now()));
            if let Some(connection) = &*self.0.connection.borrow() {
                connection.wake_by_ref();
            }
        }
    }
}

impl StreamService {
    async fn answer(
        self: Rc<Self>,
        request: http::Request<Incoming>,
    ) -> Result<http::Response<StreamResponseBody>, Error> {
        let stream = OpenStream::new(self.streams.clone());
        self.client.refresh(&mut self.streams.options.borrow_mut());
        let (request_body, response_write, drops_unusual_fields) = {
            let options = self.streams.options();
            (options.request_body, options.response_write, options.drops_unusual_fields)
        };
        let task = STREAM.try_with(Rc::clone).unwrap_or_default();
        task.response_write.set(response_write);
        let timer = task.timer.clone();
        let received = Rc::new(Cell::new(0));
        let is_head = request.method() == Method::HEAD;
        let (parts, body) = request.into_parts();
        let body = if body.is_end_stream() {
            Body::Empty
        } else {
            let stall = Stall::new(request_body);
            let (timer, received) = (timer.clone(), received.clone());
            Body::boxed(StreamRequestBody { body, stall, timer, received, drops_unusual_fields })
        };
        let mut request = Request {
            method: parts.method,
            target: parts.uri,
            version: parts.version,
            headers: as_http1_has_them(parts.headers.into()),
            body,
        };
        if drops_unusual_fields {
            request.headers.retain(|name, _| !forward::is_unusual(name));
        }
        let reply = match self.check(&request) {
            Ok(()) => serve::serve(&self.client, request, Call { timer, interim: None }).await,
            Err(error) => {
                let start = self.client.begin();
                serve::refuse(error, ExchangeLog::begin(&self.client, &start, &request))
            }
        };
        let Reply { mut response, mut log, unsent, .. } = reply;
        if let Some(error) = unsent {
            // The stream is reset. The dropped log records the reason.
            return Err(error);
        }
        let mut first = first_frame(&mut response.body).await;
        if let Some(Err(error)) = first {
            let Some(replacement) = log.replace(error) else {
                log.end(received.get(), 0, Some(error));
                return Err(error);
            };
            (response, first) = (replacement, None);
        }
        let Response { status, mut headers, mut body } = response;
        if is_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            if let Some(length) = body.size_hint().exact().filter(|length| is_head && *length > 0)
                && !headers.contains_key(header::CONTENT_LENGTH)
            {
                headers.append(header::CONTENT_LENGTH, length.into());
            }
            (body, first) = (Body::Empty, None);
        }
        let first = first.and_then(Result::ok);
        let body = StreamResponseBody::new(body, first, log, received, task, stream);
        Ok(Response { status, headers, body }.into())
    }

    /// Checks the listener's limits that hyper does not know.
    fn check(&self, request: &Request) -> Result<(), Error> {
        let options = self.streams.options();
        let limits = &options.limits;
        if request.headers.len() > limits.headers {
            return Err(Error::TooManyHeaders);
        }
        let target = request.target.path_and_query().map_or(0, |target| target.as_str().len());
        if target > limits.target_bytes { Err(Error::TargetTooLong) } else { Ok(()) }
    }
}

/// Takes the first frame of a streamed body, if it is there. If the body breaks with it, a response can still give the reason.
async fn first_frame(body: &mut Body) -> Option<Result<Frame<Bytes>, Error>> {
    let Body::Boxed(body) = body else { return None };
    std::future::poll_fn(|cx| {
        Poll::Ready(match body.poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => None,
        })
    })
    .await
}

/// Converts fields into the form that HTTP/1 has. The body knows its length, and Content-Length is written from that.
/// Cookies, which may come in several fields, become one (RFC 9113 §8.2.3).
fn as_http1_has_them(mut headers: Fields) -> Fields {
    headers.remove(header::CONTENT_LENGTH);
    let crumbs: Vec<&[u8]> = headers.get_all(header::COOKIE).map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, cookie);
    }
    headers
}
