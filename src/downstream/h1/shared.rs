//! The state of a client connection that its request's body and its loop share.

use std::cell::RefCell;
use std::task::{Context, Poll};

use http::StatusCode;
use http_body::SizeHint;

use crate::http::body::PollFrame;
use crate::http::body::request::RequestSource;
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::forward;
use crate::http::h1::decoder::Decoder;
use crate::http::h1::head::Input;
use crate::http::h1::output::Output;
use crate::http::interim::InterimSink;
use crate::net::stream::Stream;
use crate::net::timer::{Stall, Timer};

/// The number of bytes that are read of an unwanted request body, so that its connection can continue.
const DRAIN_BYTES: u64 = 64 * 1024;

/// The connection as its request's body and its loop share it. It is borrowed within a poll, never across one.
pub(super) struct Inner {
    pub(super) stream: Stream,
    pub(super) input: Input,
    pub(super) output: Output,
    pub(super) decoder: Decoder,
    /// True if the client waits for `100 Continue` before it sends the body.
    pub(super) continue_awaited: bool,
    /// The setting of [`ConnectionLimits`](crate::snapshot::listener::ConnectionLimits), for trailers.
    pub(super) drops_unusual_fields: bool,
    /// The setting of [`ConnectionLimits`](crate::snapshot::listener::ConnectionLimits).
    pub(super) allows_half_close: bool,
    /// True if the client has ended its sending half. It may still read.
    pub(super) has_ended: bool,
    /// True if the head of the final response is on its way. No interim response may follow it.
    pub(super) is_answered: bool,
    /// The number of the present request. A body that outlives its request reads nothing of the next one.
    pub(super) request: u64,
    pub(super) received: u64,
    pub(super) body_error: Option<Error>,
    pub(super) stall: Stall,
    pub(super) timer: Timer,
}

impl InterimSink for RefCell<Inner> {
    fn send(&self, status: StatusCode, headers: &Fields) {
        self.borrow_mut().output.push_informational(status, headers);
    }
}

/// A body that outlives its request has ended, and reads nothing of the next one.
impl RequestSource for RefCell<Inner> {
    fn poll_frame(&self, request: u64, cx: &mut Context<'_>) -> PollFrame {
        let inner = &mut *self.borrow_mut();
        if inner.request != request {
            return Poll::Ready(None);
        }
        inner.poll_body(cx)
    }

    fn is_end_stream(&self, request: u64) -> bool {
        let inner = self.borrow();
        inner.request != request || (inner.decoder.is_done() && inner.body_error.is_none())
    }

    fn size_hint(&self) -> SizeHint {
        self.borrow().decoder.size_hint()
    }
}

impl Inner {
    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> PollFrame {
        if let Some(error) = self.body_error {
            return Poll::Ready(Some(Err(error)));
        }
        if self.continue_awaited && !self.is_answered {
            self.continue_awaited = false;
            self.output.push_informational(StatusCode::CONTINUE, &Fields::new());
        }
        if let Poll::Ready(Err(_gone)) = self.poll_flush(cx) {
            return self.fail_body(Error::ClientClosed);
        }
        loop {
            match self.decoder.decode(self.input.bytes()) {
                Ok(Some(mut frame)) => {
                    if self.drops_unusual_fields
                        && let Some(trailers) = frame.trailers_mut()
                    {
                        forward::drop_unusual_trailers(trailers);
                    }
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

    fn fail_body(&mut self, error: Error) -> PollFrame {
        self.body_error = Some(error);
        Poll::Ready(Some(Err(error)))
    }

    /// Writes the waiting output, interim responses included.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.output.poll_write(&mut self.stream, cx, &mut 0)
    }

    /// Resolves when the client has gone. It reads ahead, at most one chunk, to find out.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_ended || !self.decoder.is_done() || !self.input.is_empty() {
            // After a half-close, the next write finds out; during a body, its reader does; a client that pipelines is there.
            return Poll::Pending;
        }
        match self.stream.poll_read_chunk(cx) {
            Poll::Ready(Ok(chunk)) if !chunk.is_empty() => {
                self.input.push(chunk);
                Poll::Pending
            }
            Poll::Ready(Ok(_end)) if self.allows_half_close => {
                self.has_ended = true;
                Poll::Pending
            }
            Poll::Ready(_end_or_error) => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Returns true if the client is known to send no further request.
    pub(super) fn sends_no_more(&self) -> bool {
        self.has_ended && self.input.is_empty()
    }

    /// Returns true if the rest of the request's body is worth reading to keep the connection.
    pub(super) fn is_drainable(&self) -> bool {
        match self.decoder {
            Decoder::Done => true,
            Decoder::Length(left) => left <= DRAIN_BYTES && !self.continue_awaited,
            Decoder::Chunked(_) | Decoder::UntilClose => false,
        }
    }
}
