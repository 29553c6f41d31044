//! One exchange on an upstream connection: sending a request and receiving a response, both at once.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body::SizeHint;

use crate::config::HeaderCase;
use crate::http::body::{Body, KeptBody, PollFrame};
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::h1::decoder::Decoder;
use crate::http::h1::framing::Framing;
use crate::http::h1::head::{Input, ResponseHead};
use crate::http::h1::output::{COPY_BELOW, OutgoingHead, Output};
use crate::http::message::HeadLimits;
use crate::net::stream::Stream;
use crate::net::timer::{Stall, Timer, deadline};
use crate::upstream::close_reason::CloseReason;
use crate::upstream::transport::h1::connection::H1Connection;
use crate::upstream::transport::options::ExchangeOptions;
use crate::upstream::transport::request_body::{CONTINUE_TIMEOUT, INTERIM_RESPONSES, Taken, Writing};
use crate::upstream::transport::result::ExchangeFailure;

/// The limits on a response's head. They permit more than most servers send, and bound what one response can cost.
const RESPONSE_LIMITS: HeadLimits = HeadLimits { headers: 256, header_bytes: 128 * 1024, target_bytes: 0 };

/// The state of receiving the response.
enum Reading {
    /// No byte of a response has arrived.
    Nothing,
    /// The final head is awaited, after this number of interim ones.
    Head { interim: u32 },
    /// The body is read. The connection may serve another exchange afterwards if it `persists`.
    Body { decoder: Decoder, persists: bool },
}

/// A request and its response on one connection.
pub(crate) struct H1Exchange {
    /// Present until the exchange has ended.
    connection: Option<Box<H1Connection>>,
    input: Input,
    output: Output,
    options: ExchangeOptions,
    method: Method,
    case: HeaderCase,
    body: Body,
    upload: Framing,
    taken: Taken,
    writing: Writing,
    reading: Reading,
    /// The number of bytes that the stream has accepted.
    written: u64,
    stall: Stall,
    broken: Option<io::Error>,
}

impl H1Exchange {
    /// Prepares to send `head` and `body` on `connection`, which must have no bytes pending in either direction. Data taken
    /// from the body goes into `kept`.
    pub(crate) fn new(
        connection: Box<H1Connection>,
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
        let writing = match options.expect_continue && upload != Framing::None {
            true => Writing::AwaitingContinue(deadline(Some(CONTINUE_TIMEOUT))),
            false => Writing::Body,
        };
        Self {
            stall: Stall::new(options.idle),
            method: head.method.clone(),
            case: head.case,
            connection: Some(connection),
            input: Input::default(),
            output,
            options,
            body,
            upload,
            taken: Taken::Nothing(kept),
            writing,
            reading: Reading::Nothing,
            written: 0,
            broken: None,
        }
    }

    /// Sends the request and waits for the head of its final response, or of a requested 101. Other interim responses
    /// go to `interim`.
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        interim: &mut dyn FnMut(StatusCode, Fields),
    ) -> Poll<Result<ResponseHead, Error>> {
        if self.is_small()
            && let Some(connection) = &mut self.connection
        {
            ready!(self.output.poll_turn(&mut connection.stream, cx));
        }
        self.poll_head_now(cx, interim)
    }

    /// Returns true if the whole request goes out in one small write.
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
                    None => continue, // a 100 releases the body
                }
            }
            let Some(connection) = &mut self.connection else {
                return Poll::Ready(Err(Error::UpstreamClosed));
            };
            match connection.stream.poll_read_chunk(cx) {
                Poll::Ready(Ok(chunk)) if !chunk.is_empty() => {
                    if let Reading::Nothing = self.reading {
                        self.reading = Reading::Head { interim: 0 };
                    }
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

    /// Handles interim responses. Returns the head if it is the final one.
    fn accept_head(
        &mut self,
        head: ResponseHead,
        interim: &mut dyn FnMut(StatusCode, Fields),
    ) -> Result<Option<ResponseHead>, Error> {
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            // Before the whole request is sent, its rest would be taken for the new protocol.
            let wanted = self.options.upgrade && self.is_sent();
            return if wanted { Ok(Some(head)) } else { Err(Error::UnexpectedUpgrade) };
        }
        if head.status.is_informational() {
            if let Reading::Head { interim } = &mut self.reading {
                *interim += 1;
                if *interim > INTERIM_RESPONSES {
                    return Err(Error::ResponseMalformed("too many interim responses"));
                }
            }
            if head.status == StatusCode::CONTINUE {
                // Polling the client's body sends the client its own 100.
                self.end_continue_wait();
            } else {
                interim(head.status, head.headers);
            }
            return Ok(None);
        }
        if self.options.expect_continue && matches!(self.taken, Taken::Nothing(_)) {
            // The upstream responded without the body, so do not request it from the client after its final response.
            self.abandon_upload();
        }
        if let Some(connection) = &mut self.connection {
            connection.responded(&head, self.method == Method::HEAD);
        }
        let persists = head.persists && head.framing != Framing::UntilClose;
        self.reading = Reading::Body { decoder: Decoder::new(head.framing), persists };
        Ok(Some(head))
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
            Writing::Upgrading(_) | Writing::Body | Writing::Rest => Poll::Pending,
        }
    }

    /// Releases a body that waits for `100 Continue`.
    fn end_continue_wait(&mut self) {
        if let Writing::AwaitingContinue(_) = self.writing {
            self.writing = Writing::Body;
        }
    }

    /// Sends what can be sent. It is ready when the whole request is sent, or can no longer be sent. A failed write is
    /// not an error yet, because the upstream may have responded before it closed.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.is_sent() {
            return Poll::Ready(Ok(()));
        }
        loop {
            let body_waits = self.gather(cx)?;
            let before = self.written;
            let Some(connection) = &mut self.connection else { return Poll::Ready(Ok(())) };
            match self.output.poll_write(&mut connection.stream, cx, &mut self.written) {
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
            if let Writing::Rest = self.writing {
                self.writing = Writing::Sent(deadline(self.options.response_header));
                return Poll::Ready(Ok(()));
            }
            if body_waits {
                return Poll::Pending;
            }
        }
    }

    /// Gives up sending the rest of the request. A response may still come.
    fn abandon_upload(&mut self) {
        if !self.is_sent() {
            self.writing = Writing::Abandoned(deadline(self.options.response_header));
            self.output = Output::default();
        }
    }

    /// Continues to send the rest of the request while the response is not being polled.
    pub(crate) fn poll_background(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        match self.poll_upload(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(error),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }

    /// Takes frames from the request's body as long as they fit. Returns true if the body must be waited for.
    fn gather(&mut self, cx: &mut Context<'_>) -> Result<bool, Error> {
        while self.output.takes_more() {
            match self.writing {
                Writing::AwaitingContinue(_) | Writing::Upgrading(_) => return Ok(true),
                Writing::Body => {}
                Writing::Rest | Writing::Sent(_) | Writing::Abandoned(_) => return Ok(false),
            }
            match self.body.poll_frame(cx) {
                Poll::Pending => return Ok(true),
                Poll::Ready(None) => {
                    self.output.push_end(self.upload);
                    self.writing = Writing::Rest;
                }
                Poll::Ready(Some(frame)) => {
                    let frame = frame?;
                    self.taken.push(&frame);
                    let is_last = frame.is_trailers() || self.body.is_end_stream();
                    self.output.push_frame(self.upload, frame, is_last);
                    if is_last {
                        self.writing = Writing::Rest;
                    }
                }
            }
        }
        Ok(false)
    }

    /// Closes the connection and returns the failure of [`H1Exchange::poll_head`], with what a retry needs to know.
    pub(crate) fn fail(&mut self, error: Error) -> ExchangeFailure {
        self.connection = None;
        let rest = std::mem::take(&mut self.body);
        ExchangeFailure {
            error,
            unanswered: matches!(self.reading, Reading::Nothing) && error == Error::UpstreamClosed,
            unsent: self.written == 0,
            unprocessed: false,
            starved: matches!(self.writing, Writing::Body) && self.output.is_empty(),
            broken: self.broken.take(),
            body: self.taken.whole(rest),
        }
    }

    /// Gives up the kept part of the request: it is not sent again.
    pub(crate) fn free_request(&mut self) {
        self.taken.free();
    }

    /// Returns the request's body for another attempt, if all of it was sent and kept.
    pub(crate) fn take_request(&mut self) -> Option<Body> {
        let is_sent = matches!(self.writing, Writing::Sent(_));
        if is_sent { self.taken.whole(Body::Empty) } else { None }
    }

    /// Returns the response's body if all of it arrived with its head, as small responses usually do.
    pub(crate) fn complete_body(&mut self) -> Option<Bytes> {
        let Reading::Body { decoder, .. } = &mut self.reading else { return None };
        match *decoder {
            Decoder::Done => Some(Bytes::new()),
            Decoder::Length(length) => {
                let length = usize::try_from(length).ok()?;
                let input = self.input.bytes();
                if input.len() < length {
                    return None;
                }
                *decoder = Decoder::Done;
                Some(input.split_to(length))
            }
            Decoder::Chunked(_) | Decoder::UntilClose => None,
        }
    }

    /// Polls the next frame of the response's body, and meanwhile sends the rest of the request.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> PollFrame {
        if let Poll::Ready(Err(error)) = self.poll_upload(cx) {
            return Poll::Ready(Some(Err(error)));
        }
        let Reading::Body { decoder, .. } = &mut self.reading else { return Poll::Ready(None) };
        loop {
            match decoder.decode(self.input.bytes()) {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) if decoder.is_done() => return Poll::Ready(None),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(Error::ResponseFraming(error)))),
            }
            let Some(connection) = &mut self.connection else {
                return Poll::Ready(Some(Err(Error::ResponseTruncated)));
            };
            match connection.stream.poll_read_chunk(cx) {
                Poll::Ready(Ok(chunk)) if !chunk.is_empty() => {
                    self.stall.progress();
                    self.input.push(chunk);
                }
                Poll::Ready(Ok(_end)) if decoder.end_of_stream() => return Poll::Ready(None),
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

    /// Returns true if the request has been sent, or what is left of it never will be.
    pub(crate) fn is_sent(&self) -> bool {
        self.writing.is_over()
    }

    /// Returns true if the response's body has been read to its end.
    pub(crate) fn is_end_stream(&self) -> bool {
        matches!(&self.reading, Reading::Body { decoder, .. } if decoder.is_done())
    }

    /// Returns what is known about the size of the response's body.
    pub(crate) fn size_hint(&self) -> SizeHint {
        match &self.reading {
            Reading::Body { decoder, .. } => decoder.size_hint(),
            Reading::Nothing | Reading::Head { .. } => SizeHint::default(),
        }
    }

    /// Returns the timer of the task that polls it.
    pub(crate) fn timer(&self) -> &Timer {
        &self.options.timer
    }

    /// Ends the exchange. Returns the connection if it can serve another one; otherwise it is closed.
    pub(crate) fn finish(&mut self) -> Result<Box<H1Connection>, CloseReason> {
        let connection = self.connection.take().ok_or(CloseReason::Cancelled)?;
        let (Writing::Sent(_), Reading::Body { decoder: Decoder::Done, persists }) =
            (self.writing, &self.reading)
        else {
            return Err(CloseReason::Cancelled);
        };
        if !self.input.is_empty() {
            return Err(CloseReason::UnexpectedBytes);
        }
        // The upstream announced that it closes the connection.
        if *persists { Ok(connection) } else { Err(CloseReason::Peer) }
    }

    /// Returns the raw stream after a 101, and the bytes that have already arrived on it.
    pub(crate) fn take_upgraded(&mut self) -> Option<(Stream, Bytes)> {
        let connection = self.connection.take()?;
        Some((connection.stream, std::mem::take(self.input.bytes())))
    }
}
