//! One exchange on an upstream connection: a request out, a response in, both at once.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use crate::config::HeaderCase;
use crate::http::body::{Body, KeptBody};
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::h1::decoder::Decoder;
use crate::http::h1::framing::Framing;
use crate::http::h1::head::{HeadLimits, Input, ResponseHead};
use crate::http::h1::output::{COPY_BELOW, OutgoingHead, Output};
use crate::net::stream::Stream;
use crate::net::timer::{Stall, Timer, deadline};

/// What an upstream may say: more than most servers send, and a bound on what one response can cost.
const RESPONSE_LIMITS: HeadLimits =
    HeadLimits { headers: 256, header_bytes: 128 * 1024, target_bytes: 0, case: HeaderCase::Lower };

/// Interim responses before the final one.
const INTERIM_RESPONSES: u32 = 64;

/// How long a body waits for `100 Continue` before it goes out unasked (RFC 9110 §10.1.1).
const CONTINUE_TIMEOUT: Duration = Duration::from_secs(1);

/// What a request may take, and how it is sent.
#[derive(Clone)]
pub(crate) struct ExchangeOptions {
    /// The time, as long as nothing was waited for.
    pub(crate) now: Option<Instant>,
    /// The timer of the task that polls the exchange.
    pub(crate) timer: Timer,
    /// From the last byte of the request to the head of the response.
    pub(crate) response_header: Option<Duration>,
    /// Between two reads or writes of a body.
    pub(crate) idle: Option<Duration>,
    /// The client waits for `100 Continue` before it sends its body.
    pub(crate) expect_continue: bool,
    /// The request asks for a protocol upgrade, so that a 101 is in order.
    pub(crate) upgrade: bool,
}

/// Why an exchange brought no response, and what that means for a second try.
#[derive(Debug)]
pub(crate) struct ExchangeFailure {
    pub(crate) error: Error,
    /// Not one byte of a response arrived, and the connection, not a timeout, is at fault.
    pub(crate) unanswered: bool,
    /// Nothing of the request was written.
    pub(crate) unsent: bool,
    /// The error at which reading ended, for the log: a server with TLS 1.3 refuses a client certificate here.
    pub(crate) broken: Option<io::Error>,
    /// The request's body, if it is whole: nothing was taken from it, or what was taken is kept.
    pub(crate) body: Option<Body>,
}

/// Why a connection cannot serve another request after an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// The exchange ended before its messages did.
    Unfinished,
    /// The upstream sent more than its response.
    UnexpectedBytes,
    /// The upstream said that it closes.
    NotPersistent,
}

/// A request and its response on one connection.
pub(crate) struct Exchange {
    stream: Stream,
    input: Input,
    output: Output,
    options: ExchangeOptions,
    method: Method,
    case: HeaderCase,
    body: Body,
    upload: Framing,
    upload_done: bool,
    upload_failed: bool,
    body_touched: bool,
    /// What was taken from the body, until a response begins.
    kept: Option<Box<KeptBody>>,
    written: u64,
    answered: bool,
    interim_responses: u32,
    continue_deadline: Option<Instant>,
    head_deadline: Option<Instant>,
    stall: Stall,
    decoder: Decoder,
    persists: bool,
    broken: Option<io::Error>,
}

impl Exchange {
    /// Prepares to send `head` and `body` on `stream`, which has no bytes pending in either direction. What is taken from the
    /// body goes into `kept`.
    pub(crate) fn new(
        stream: Stream,
        head: &OutgoingHead<'_>,
        body: Body,
        kept: Option<Box<KeptBody>>,
        options: ExchangeOptions,
    ) -> Self {
        let upload = match body.size_hint().exact() {
            Some(0) => Framing::None,
            Some(length) => Framing::Length(length),
            None => Framing::Chunked,
        };
        let mut output = Output::default();
        output.push_request(head, upload);
        let expects = options.expect_continue && upload != Framing::None;
        Self {
            continue_deadline: expects.then(|| deadline(Some(CONTINUE_TIMEOUT))).flatten(),
            stall: Stall::new(options.idle),
            method: head.method.clone(),
            case: head.case,
            stream,
            input: Input::default(),
            output,
            options,
            body,
            upload,
            upload_done: false,
            upload_failed: false,
            body_touched: false,
            kept,
            written: 0,
            answered: false,
            interim_responses: 0,
            head_deadline: None,
            decoder: Decoder::Done,
            persists: false,
            broken: None,
        }
    }

    /// Sends the request and waits for the head of its final response, or of a 101 that was asked for. Other
    /// interim responses go to `interim`.
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        interim: &mut dyn FnMut(StatusCode, Fields),
    ) -> Poll<Result<ResponseHead, Error>> {
        if self.is_small() {
            // Of the same turn, `now` still is the time.
            ready!(self.output.poll_turn(cx));
        }
        let polled = self.poll_head_now(cx, interim);
        if polled.is_pending() {
            self.options.now = None;
        }
        polled
    }

    /// Whether the whole request goes out in one small write.
    fn is_small(&self) -> bool {
        match self.upload {
            Framing::None => true,
            Framing::Length(length) => length < COPY_BELOW as u64,
            Framing::Chunked | Framing::UntilClose => false,
        }
    }

    fn poll_head_now(
        &mut self,
        cx: &mut Context<'_>,
        interim: &mut dyn FnMut(StatusCode, Fields),
    ) -> Poll<Result<ResponseHead, Error>> {
        loop {
            if let Poll::Ready(result) = self.poll_upload(cx) {
                result?;
            }
            if !self.input.is_empty()
                && let Some(head) = self.input.response_head(&self.method, &RESPONSE_LIMITS, self.case)?
            {
                match self.accept_head(head, interim)? {
                    Some(head) => return Poll::Ready(Ok(head)),
                    None => continue, // a 100 lets the body go
                }
            }
            match self.stream.poll_read_chunk(cx) {
                Poll::Ready(Ok(chunk)) if !chunk.is_empty() => {
                    self.answered = true;
                    self.kept = None;
                    self.input.push(chunk);
                }
                Poll::Ready(end) => {
                    self.broken = end.err();
                    return Poll::Ready(Err(Error::UpstreamClosed));
                }
                Poll::Pending => match self.poll_late_head(cx) {
                    Poll::Ready(Ok(())) => {} // the body need not wait any longer
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }

    /// Sorts interim responses from the final one.
    fn accept_head(
        &mut self,
        head: ResponseHead,
        interim: &mut dyn FnMut(StatusCode, Fields),
    ) -> Result<Option<ResponseHead>, Error> {
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            // Before the whole request is out, its rest would be taken for the new protocol.
            let wanted = self.options.upgrade && self.is_sent();
            return if wanted { Ok(Some(head)) } else { Err(Error::UnexpectedUpgrade) };
        }
        if head.status.is_informational() {
            self.interim_responses += 1;
            if self.interim_responses > INTERIM_RESPONSES {
                return Err(Error::ResponseMalformed("too many interim responses"));
            }
            if head.status == StatusCode::CONTINUE {
                // Polling the client's body sends it its own 100.
                self.continue_deadline = None;
            } else {
                interim(head.status, head.headers);
            }
            return Ok(None);
        }
        if self.options.expect_continue && !self.body_touched {
            // Answered without the body: the client is not asked for it behind its final response.
            self.continue_deadline = None;
            self.abandon_upload();
        }
        self.decoder = Decoder::new(head.framing);
        self.persists = head.persists && head.framing != Framing::UntilClose;
        Ok(Some(head))
    }

    /// Nothing came: is it too late? `Ok` when the wait for `100 Continue` is over.
    fn poll_late_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let timer = &self.options.timer;
        if self.continue_deadline.is_some() {
            if timer.poll_elapsed(cx, self.continue_deadline).is_ready() {
                self.continue_deadline = None;
                return Poll::Ready(Ok(()));
            }
        } else if self.upload_done && timer.poll_elapsed(cx, self.head_deadline).is_ready() {
            return Poll::Ready(Err(Error::ResponseHeaderTimeout));
        }
        Poll::Pending
    }

    /// Sends what can be sent. Ready when the whole request is out, or can't be any more: the upstream may have
    /// answered before it closed, so a failed write is no error yet.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.upload_done && self.output.is_empty() {
            return Poll::Ready(Ok(()));
        }
        loop {
            let body_waits = self.gather(cx)?;
            let before = self.written;
            match self.output.poll_write(&mut self.stream, cx, &mut self.written) {
                Poll::Ready(Ok(())) if self.written == before => {}
                Poll::Ready(Ok(())) => self.stall.progress(),
                Poll::Ready(Err(_broken)) => {
                    self.abandon_upload();
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending => {
                    if self.written > before {
                        self.stall.progress();
                    }
                    if self.stall.poll_waiting(cx, &self.options.timer).is_ready() {
                        return Poll::Ready(Err(Error::IdleTimeout));
                    }
                    return Poll::Pending;
                }
            }
            if self.upload_done {
                let now = self.options.now.unwrap_or_else(Instant::now);
                self.head_deadline = self.options.response_header.and_then(|limit| now.checked_add(limit));
                return Poll::Ready(Ok(()));
            }
            if body_waits {
                return Poll::Pending;
            }
        }
    }

    /// What was not sent will not be; a response may come all the same.
    fn abandon_upload(&mut self) {
        self.upload_failed |= !self.is_sent();
        self.upload_done = true;
        self.output = Output::default();
        self.head_deadline = self.head_deadline.or_else(|| deadline(self.options.response_header));
    }

    /// Goes on with what is left of the request while the response is not asked for.
    pub(crate) fn poll_background(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        match self.poll_upload(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(error),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }

    /// Takes frames from the request's body as long as they fit; whether it has to be waited for.
    fn gather(&mut self, cx: &mut Context<'_>) -> Result<bool, Error> {
        while !self.upload_done && self.output.takes_more() {
            if self.continue_deadline.is_some() {
                return Ok(true);
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => return Ok(true),
                Poll::Ready(None) => {
                    self.output.push_end(self.upload);
                    self.upload_done = true;
                }
                Poll::Ready(Some(frame)) => {
                    self.body_touched = true;
                    let frame = frame?;
                    // Trailers cannot be sent again: only data is kept.
                    if let Some(kept) = &mut self.kept
                        && !frame.data_ref().is_some_and(|data| kept.push(data))
                    {
                        self.kept = None;
                    }
                    self.upload_done = frame.is_trailers() || self.body.is_end_stream();
                    self.output.push_frame(self.upload, frame, self.upload_done);
                }
            }
        }
        Ok(false)
    }

    /// The failure of [`Exchange::poll_head`], with what a retry has to know. The connection is closed by now.
    pub(crate) fn fail(&mut self, error: Error) -> ExchangeFailure {
        self.stream = Stream::closed();
        let rest = std::mem::take(&mut self.body);
        ExchangeFailure {
            error,
            unanswered: !self.answered && error == Error::UpstreamClosed,
            unsent: self.written == 0,
            broken: self.broken.take(),
            body: match self.kept.take() {
                Some(kept) if self.body_touched => Some(kept.resume(rest)),
                _ => (!self.body_touched).then_some(rest),
            },
        }
    }

    /// The response's body, where all of it came along with its head: the usual small answer.
    pub(crate) fn complete_body(&mut self) -> Option<Bytes> {
        match self.decoder {
            Decoder::Done => Some(Bytes::new()),
            Decoder::Length(length) => {
                let length = usize::try_from(length).ok()?;
                let input = self.input.bytes();
                if input.len() < length {
                    return None;
                }
                self.decoder = Decoder::Done;
                Some(input.split_to(length))
            }
            Decoder::Chunked(_) | Decoder::UntilClose => None,
        }
    }

    /// The next frame of the response's body; what is left of the request goes out meanwhile.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Poll::Ready(Err(error)) = self.poll_upload(cx) {
            return Poll::Ready(Some(Err(error)));
        }
        loop {
            match self.decoder.decode(self.input.bytes()) {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) if self.decoder.is_done() => return Poll::Ready(None),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(Error::ResponseFraming(error)))),
            }
            match self.stream.poll_read_chunk(cx) {
                Poll::Ready(Ok(chunk)) if !chunk.is_empty() => {
                    self.stall.progress();
                    self.input.push(chunk);
                }
                Poll::Ready(Ok(_end)) if self.decoder.end_of_stream() => return Poll::Ready(None),
                Poll::Ready(_end_or_error) => return Poll::Ready(Some(Err(Error::ResponseTruncated))),
                Poll::Pending => {
                    return match self.stall.poll_waiting(cx, &self.options.timer) {
                        Poll::Ready(()) => Poll::Ready(Some(Err(Error::IdleTimeout))),
                        Poll::Pending => Poll::Pending,
                    };
                }
            }
        }
    }

    /// Whether the whole request is out.
    pub(crate) fn is_sent(&self) -> bool {
        self.upload_done && self.output.is_empty()
    }

    /// Whether the response's body has been read to its end.
    pub(crate) fn is_end_stream(&self) -> bool {
        self.decoder.is_done()
    }

    /// What is known of the response's body.
    pub(crate) fn size_hint(&self) -> SizeHint {
        self.decoder.size_hint()
    }

    /// The timer of the task that polls it.
    pub(crate) fn timer(&self) -> &Timer {
        &self.options.timer
    }

    /// Ends the exchange: the connection, if it can serve another one; else it is closed by now.
    pub(crate) fn finish(&mut self) -> Result<Stream, Unusable> {
        let stream = std::mem::replace(&mut self.stream, Stream::closed());
        let sent = self.upload_done && !self.upload_failed && self.output.is_empty();
        if !sent || !self.decoder.is_done() {
            return Err(Unusable::Unfinished);
        }
        if !self.input.is_empty() {
            return Err(Unusable::UnexpectedBytes);
        }
        if self.persists { Ok(stream) } else { Err(Unusable::NotPersistent) }
    }

    /// The raw stream after a 101, and what came on it already.
    pub(crate) fn take_upgraded(&mut self) -> (Stream, Bytes) {
        let early = std::mem::take(self.input.bytes());
        (std::mem::replace(&mut self.stream, Stream::closed()), early)
    }
}
