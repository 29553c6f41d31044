//! One exchange on a stream of an HTTP/2 connection.

use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use super::connection::{H2Connection, poll_read_since};
use crate::http::body::{Body, KeptBody, PollFrame};
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::forward::filter_trailers;
use crate::http::h2::{OutgoingRequest, Part, ResponseHead, StreamKey};
use crate::http::message::may_have_body;
use crate::net::clock;
use crate::net::timer::{Stall, Timer, deadline};
use crate::upstream::close_reason::CloseReason;
use crate::upstream::transport::options::{AddressedRequest, ExchangeOptions};
use crate::upstream::transport::request_body::{CONTINUE_TIMEOUT, INTERIM_RESPONSES, Taken, Writing};
use crate::upstream::transport::result::{ExchangeFailure, ReceivedHead};

/// A request and its response on one stream.
pub(crate) struct H2Exchange {
    connection: Rc<H2Connection>,
    /// Present from the opening of the stream until the exchange has ended.
    key: Option<StreamKey>,
    /// Set while the connection is asked for a sign of life, before the stream is opened.
    pinging: Option<Box<Pinging>>,
    options: ExchangeOptions,
    is_head: bool,
    body: Body,
    taken: Taken,
    writing: Writing,
    reading: Reading,
    /// The engine's count of what it has sent, at the last look.
    sent: u64,
    /// The connection's count of reads at the last progress.
    reads: u64,
    stall: Stall,
}

/// The state of receiving the response.
#[derive(Debug, Clone, Copy)]
enum Reading {
    /// Not one head has arrived.
    Nothing,
    /// The final head is awaited, after this number of interim ones.
    Head { interim: u32 },
    /// The body is read, of which this much is left if its length is known.
    Body { left: Option<u64> },
}

/// A request that waits for a connection to prove that it is alive.
struct Pinging {
    head: OwnedHead,
    /// The connection's count of reads when it was pinged.
    reads: u64,
    until: Option<Instant>,
}

/// The head of a request, kept until it can be sent.
struct OwnedHead {
    method: Method,
    target: String,
    scheme: &'static str,
    headers: Fields,
    length: Option<u64>,
}

/// The check of a connection on which nothing has arrived for long.
#[derive(Debug, Clone, Copy)]
pub(in crate::upstream) struct PingCheck {
    /// `pool.ping_interval`.
    pub(in crate::upstream) after: Duration,
    /// The time to wait for the answer.
    pub(in crate::upstream) timeout: Option<Duration>,
}

impl OwnedHead {
    fn as_outgoing<'a>(&'a self, authority: &'a [u8]) -> OutgoingRequest<'a> {
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

impl H2Exchange {
    /// Sends the head of a request on a stream of `connection`. Data taken from the body goes into `kept`.
    pub(in crate::upstream::transport) fn new(
        connection: Rc<H2Connection>,
        AddressedRequest { request, target, scheme }: AddressedRequest<'_>,
        body: Body,
        kept: Option<Box<KeptBody>>,
        options: ExchangeOptions,
        check: Option<PingCheck>,
    ) -> Self {
        let length = body.size_hint().exact();
        let is_empty = length == Some(0);
        let writing = match () {
            () if is_empty => Writing::Sent(deadline(options.response_header)),
            () if options.expect_continue => Writing::AwaitingContinue(deadline(Some(CONTINUE_TIMEOUT))),
            () => Writing::Body,
        };
        let mut exchange = Self {
            key: None,
            pinging: None,
            is_head: request.method == Method::HEAD,
            body,
            taken: Taken::Nothing(kept),
            writing,
            reading: Reading::Nothing,
            sent: 0,
            reads: connection.reads(),
            stall: Stall::new(options.idle),
            options,
            connection,
        };
        // An empty body ends with the head, and says its length by that.
        let length = length.filter(|_| !is_empty);
        let silent = check.filter(|check| clock::since(exchange.connection.silent_since()) >= check.after);
        if let Some(check) = silent {
            let head = OwnedHead {
                method: request.method.clone(),
                target: target.to_owned(),
                scheme,
                headers: request.headers.clone(),
                length,
            };
            let (reads, until) = (exchange.reads, deadline(check.timeout));
            exchange.pinging = Some(Box::new(Pinging { head, reads, until }));
            exchange.connection.ping();
            return exchange;
        }
        let head = OutgoingRequest {
            method: request.method,
            scheme,
            authority: authority(request.headers),
            path: target,
            protocol: None,
            headers: request.headers,
            length,
        };
        exchange.key = exchange.connection.open(&head, is_empty);
        exchange
    }

    /// Waits for the head of the final response. Interim responses go to `interim`.
    pub(in crate::upstream::transport) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        interim: &mut dyn FnMut(StatusCode, Fields),
    ) -> Poll<Result<ReceivedHead, Error>> {
        if self.pinging.is_some() {
            ready!(self.poll_ping(cx));
        }
        let Some(key) = self.key else { return Poll::Ready(Err(Error::UpstreamClosed)) };
        loop {
            if let Poll::Ready(result) = self.poll_upload(cx) {
                result?;
            }
            if let Some(head) = self.connection.head(key) {
                self.taken.free();
                match self.accept_head(*head, interim)? {
                    Some(head) => return Poll::Ready(Ok(head)),
                    None => continue, // a 100 releases the body
                }
            }
            if self.connection.engine.borrow().is_reset(key) {
                return Poll::Ready(Err(self.reset_error(key)));
            }
            self.connection.register_stream(key, cx);
            ready!(self.poll_late_head(cx))?;
        }
    }

    /// Waits for a sign of life of the connection, then opens the stream. A connection that gives none is closed.
    fn poll_ping(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(pinging) = &self.pinging else { return Poll::Ready(()) };
        if poll_read_since(&self.connection, pinging.reads, cx).is_pending() {
            ready!(self.options.timer.poll_elapsed(cx, pinging.until));
            self.connection.close(CloseReason::Ping);
            // The stream stays unopened, so the request may go elsewhere.
            self.pinging = None;
        }
        let Some(pinging) = self.pinging.take() else { return Poll::Ready(()) };
        let head = pinging.head.as_outgoing(authority(&pinging.head.headers));
        self.key = self.connection.open(&head, self.writing.is_over());
        if let Writing::Sent(_) = self.writing {
            self.writing = Writing::Sent(deadline(self.options.response_header));
        }
        Poll::Ready(())
    }

    /// Handles interim responses. Returns the head if it is the final one.
    fn accept_head(
        &mut self,
        head: ResponseHead,
        interim: &mut dyn FnMut(StatusCode, Fields),
    ) -> Result<Option<ReceivedHead>, Error> {
        let ResponseHead { status, mut headers, length } = head;
        if status.is_informational() {
            let count = match self.reading {
                Reading::Head { interim } => interim + 1,
                _ => 1,
            };
            if count > INTERIM_RESPONSES {
                return Err(Error::ResponseMalformed("too many interim responses"));
            }
            self.reading = Reading::Head { interim: count };
            if status == StatusCode::CONTINUE {
                self.end_continue_wait();
            } else {
                interim(status, headers);
            }
            return Ok(None);
        }
        if self.options.expect_continue && matches!(self.taken, Taken::Nothing(_)) {
            // The upstream responded without the body, so do not request it from the client after its final response.
            self.abandon_upload();
        }
        // This is the length for a GET (RFC 9110 §8.6), and the only case of a length without a body.
        if let Some(length) = length
            && (self.is_head || status == StatusCode::NOT_MODIFIED)
        {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        let left = if self.is_head || !may_have_body(status) { Some(0) } else { length };
        self.reading = Reading::Body { left };
        Ok(Some(ReceivedHead { status, version: Version::HTTP_2, headers }))
    }

    /// Returns the error of a stream that was reset, or went with its connection.
    fn reset_error(&self, key: StreamKey) -> Error {
        match self.connection.lost() {
            _ if self.connection.is_unprocessed(key) => Error::UpstreamRefused,
            Some(lost) => lost,
            None if self.connection.engine.borrow().is_malformed(key) => {
                Error::ResponseMalformed("not a message of HTTP/2")
            }
            None => Error::UpstreamReset,
        }
    }

    /// Checks the deadlines while no response has arrived. Returns `Ok` when the wait for `100 Continue` is over.
    fn poll_late_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let timer = &self.options.timer;
        match self.writing {
            Writing::AwaitingContinue(until) => {
                ready!(timer.poll_elapsed(cx, until));
                self.end_continue_wait();
                Poll::Ready(Ok(()))
            }
            Writing::Sent(until) | Writing::Abandoned(until) => {
                timer.poll_elapsed(cx, until).map(|()| Err(Error::ResponseHeaderTimeout))
            }
            Writing::Body | Writing::Rest => Poll::Pending,
        }
    }

    /// Releases a body that waits for `100 Continue`.
    fn end_continue_wait(&mut self) {
        if let Writing::AwaitingContinue(_) = self.writing {
            self.writing = Writing::Body;
        }
    }

    /// Hands the request's body to the engine, each frame when the ones before it are sent. It is ready when the whole request
    /// is sent, or can no longer be sent.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let Some(key) = self.key else { return Poll::Ready(Ok(())) };
        while !self.is_sent() {
            if let Writing::AwaitingContinue(_) = self.writing {
                return Poll::Pending;
            }
            let (has_sent_all, takes_data) = {
                let engine = self.connection.engine.borrow();
                (engine.has_sent_all(key), engine.takes_data(key))
            };
            match self.writing {
                Writing::Rest if has_sent_all => {
                    self.writing = Writing::Sent(deadline(self.options.response_header));
                }
                // The server wants no more of it, or the stream is gone.
                Writing::Body if has_sent_all => self.abandon_upload(),
                _ if self.connection.engine.borrow().is_reset(key) => self.abandon_upload(),
                Writing::Body if takes_data => {
                    let Some(frame) = ready!(self.body.poll_frame(cx)) else {
                        self.send(key, Bytes::new(), true);
                        continue;
                    };
                    self.send_frame(key, frame?);
                }
                _ => {
                    self.connection.register_stream(key, cx);
                    return self.poll_unsent(key, cx);
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn send_frame(&mut self, key: StreamKey, frame: Frame<Bytes>) {
        self.taken.push(&frame);
        match frame.into_data() {
            Ok(data) => {
                let is_last = self.body.is_end_stream();
                if is_last || !data.is_empty() {
                    self.send(key, data, is_last);
                }
            }
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                self.connection.engine.borrow_mut().trailers(key, Fields::from(trailers));
                self.writing = Writing::Rest;
                self.connection.wake();
            }
        }
    }

    fn send(&mut self, key: StreamKey, data: Bytes, is_last: bool) {
        {
            let mut engine = self.connection.engine.borrow_mut();
            engine.data(key, data, is_last);
            // What fits into the output is sent as far as this task is concerned: it need not be woken for it.
            engine.schedule();
        }
        if is_last {
            self.writing = Writing::Rest;
        }
        self.stall.progress();
        self.connection.wake();
    }

    /// Waits while the engine has something to send. Nothing for `timeouts.idle` is an error.
    fn poll_unsent(&mut self, key: StreamKey, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let sent = self.connection.engine.borrow().sent_bytes(key);
        if std::mem::replace(&mut self.sent, sent) != sent {
            self.progress();
        }
        ready!(self.stall.poll_waiting(cx, &self.options.timer));
        self.suspect();
        Poll::Ready(Err(Error::IdleTimeout))
    }

    fn progress(&mut self) {
        self.stall.progress();
        self.reads = self.connection.reads();
    }

    /// Takes no further request to a connection on which nothing has arrived since this exchange made progress: its server may have
    /// vanished.
    fn suspect(&self) {
        if self.connection.reads() == self.reads {
            self.connection.close(CloseReason::Timeout);
        }
    }

    /// Gives up sending the rest of the request. A response may still come.
    fn abandon_upload(&mut self) {
        if !self.is_sent() {
            self.writing = Writing::Abandoned(deadline(self.options.response_header));
        }
    }

    /// Continues to send the rest of the request while the response is not being polled.
    pub(in crate::upstream::transport) fn poll_background(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        match self.poll_upload(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(error),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }

    /// Ends the exchange without a response. Returns what a retry needs to know.
    pub(in crate::upstream::transport) fn fail(&mut self, error: Error) -> ExchangeFailure {
        let is_timeout = matches!(
            error,
            Error::ResponseHeaderTimeout
                | Error::PerTryTimeout
                | Error::RequestTimeout
                | Error::GrpcTimeout
                | Error::IdleTimeout
        );
        if is_timeout {
            self.suspect();
        }
        let rest = std::mem::take(&mut self.body);
        let is_unopened = self.key.is_none();
        self.end();
        ExchangeFailure {
            error,
            unanswered: matches!(self.reading, Reading::Nothing) && error == Error::UpstreamClosed,
            unsent: is_unopened,
            unprocessed: error == Error::UpstreamRefused || (is_unopened && error == Error::UpstreamClosed),
            broken: self.connection.take_broken(),
            body: self.taken.whole(rest),
        }
    }

    /// Returns the response's body if all of it arrived with its head, as small responses usually do.
    pub(in crate::upstream::transport) fn complete_body(&mut self) -> Option<Bytes> {
        let key = self.key?;
        let whole = self.connection.engine.borrow_mut().take_whole(key)?;
        self.connection.wake_to_write(); // the windows
        self.reading = Reading::Body { left: Some(0) };
        Some(whole)
    }

    /// Polls the next frame of the response's body, and meanwhile sends the rest of the request.
    pub(in crate::upstream::transport) fn poll_frame(&mut self, cx: &mut Context<'_>) -> PollFrame {
        if let Poll::Ready(Err(error)) = self.poll_upload(cx) {
            return Poll::Ready(Some(Err(error)));
        }
        let Some(key) = self.key else { return Poll::Ready(None) };
        let part = self.connection.engine.borrow_mut().take(key);
        match part {
            Some(Part::Data(data)) => {
                self.connection.wake_to_write(); // the windows
                self.progress();
                if let Reading::Body { left: Some(left) } = &mut self.reading {
                    *left = left.saturating_sub(data.len() as u64);
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Part::Trailers(trailers)) => {
                let mut trailers = HeaderMap::from(trailers);
                filter_trailers(&mut trailers);
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Some(Part::End) => Poll::Ready(None),
            Some(Part::Reset(_)) => Poll::Ready(Some(Err(Error::ResponseTruncated))),
            None => {
                self.connection.register_stream(key, cx);
                ready!(self.stall.poll_waiting(cx, &self.options.timer));
                self.suspect();
                Poll::Ready(Some(Err(Error::IdleTimeout)))
            }
        }
    }

    /// Returns true if the request has been sent, or what is left of it never will be.
    pub(in crate::upstream::transport) fn is_sent(&self) -> bool {
        self.writing.is_over()
    }

    /// Returns true if the response's body has been read to its end.
    pub(in crate::upstream::transport) fn is_end_stream(&self) -> bool {
        self.key.is_none_or(|key| {
            let engine = self.connection.engine.borrow();
            engine.is_taken(key) && !engine.is_reset(key)
        })
    }

    /// Returns the bounds of the response's body that follows.
    pub(in crate::upstream::transport) fn size_hint(&self) -> SizeHint {
        match self.reading {
            Reading::Body { left: Some(left) } => SizeHint::with_exact(left),
            Reading::Body { left: None } if self.is_end_stream() => SizeHint::with_exact(0),
            _ => SizeHint::default(),
        }
    }

    /// Returns the timer of the task that polls it.
    pub(in crate::upstream::transport) fn timer(&self) -> &Timer {
        &self.options.timer
    }

    /// Ends the exchange. Its stream is reset if it has not ended.
    pub(in crate::upstream::transport) fn end(&mut self) {
        if let Some(key) = self.key.take() {
            self.connection.release(key);
        }
    }
}

impl Drop for H2Exchange {
    fn drop(&mut self) {
        self.end();
    }
}

/// Returns the value of `:authority`. Each request to an upstream has a Host.
fn authority(headers: &Fields) -> &[u8] {
    headers.get(header::HOST).map_or(b"", HeaderValue::as_bytes)
}
