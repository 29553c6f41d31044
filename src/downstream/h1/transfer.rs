//! A response on its way to a client.

use std::cell::RefCell;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Version, header};

use super::shared::Inner;
use crate::http::body::Body;
use crate::http::error::Error;
use crate::http::h1::framing::Framing;
use crate::http::h1::output::Output;
use crate::http::message::Response;
use crate::http::message::may_have_body;
use crate::net::timer::{Stall, Timer};

/// A response's body on its way to the client.
pub(super) struct Transfer {
    body: Body,
    framing: Framing,
    done: bool,
    /// The body's error. The frames before it are written first.
    failed: Option<Error>,
    /// Bytes that waited in the output before the response's head.
    ahead: u64,
    /// Bytes of the body, without framing.
    pub(super) sent: u64,
    /// Bytes on the wire, head and framing included.
    written: u64,
    stall: Stall,
}

impl Transfer {
    /// Prepares to send `body` behind its head, which is already in the connection's output, behind `ahead` other
    /// bytes. `write_limit` applies to each step of writing.
    pub(super) fn new(body: Body, framing: Framing, ahead: u64, write_limit: Option<Duration>) -> Self {
        let stall = Stall::new(write_limit);
        Self { body, framing, done: false, failed: None, ahead, sent: 0, written: 0, stall }
    }

    /// Takes the response back out of the output. Returns false if a part of it has been written.
    pub(super) fn retract(&self, output: &mut Output) -> bool {
        let Some(keep) = self.ahead.checked_sub(self.written) else { return false };
        output.retract(keep);
        true
    }

    /// Returns true if closing the connection shows the client that the response is incomplete.
    pub(super) fn is_cut_by_close(&self) -> bool {
        self.written > self.ahead && self.framing != Framing::UntilClose
    }

    /// Moves frames from the body to the stream: one large or a few small ones at a time, and no further ones before
    /// those are written.
    pub(super) fn poll(
        &mut self,
        inner: &RefCell<Inner>,
        timer: &Timer,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        loop {
            let body_waits = self.gather(inner, cx);
            if let Some(error) = self.failed
                && self.written <= self.ahead
            {
                return Poll::Ready(Err(error));
            }
            let before = self.written;
            let written = {
                let inner = &mut *inner.borrow_mut();
                ready!(inner.output.poll_turn(&mut inner.stream, cx));
                inner.output.poll_write(&mut inner.stream, cx, &mut self.written)
            };
            if self.written > before {
                self.stall.progress();
            }
            match written {
                Poll::Ready(Err(_gone)) => return Poll::Ready(Err(Error::ClientClosed)),
                Poll::Ready(Ok(())) if self.done => return Poll::Ready(self.failed.map_or(Ok(()), Err)),
                // An upstream that is silent for long, as event streams are, must not be kept for a client that has gone.
                Poll::Ready(Ok(())) if body_waits => {
                    return inner.borrow_mut().poll_gone(cx).map(|()| Err(Error::ClientClosed));
                }
                Poll::Ready(Ok(())) => {}
                Poll::Pending => {
                    // A client may read only after it has sent everything, so its data must keep moving meanwhile.
                    if let Poll::Ready(error) = self.body.poll_background(cx) {
                        return Poll::Ready(Err(error));
                    }
                    let late = self.stall.poll_waiting(cx, timer);
                    return late.map(|()| Err(Error::ResponseWriteTimeout));
                }
            }
        }
    }

    /// Takes frames as long as they fit. Returns true if the next one has yet to arrive.
    fn gather(&mut self, inner: &RefCell<Inner>, cx: &mut Context<'_>) -> bool {
        while !self.done && inner.borrow().output.takes_more() {
            match self.body.poll_frame(cx) {
                Poll::Pending => return true,
                Poll::Ready(None) => {
                    inner.borrow_mut().output.push_end(self.framing);
                    self.done = true;
                }
                Poll::Ready(Some(Err(error))) => {
                    self.failed = Some(error);
                    self.done = true;
                }
                Poll::Ready(Some(Ok(frame))) => {
                    self.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
                    self.done = frame.is_trailers() || self.body.is_end_stream();
                    inner.borrow_mut().output.push_frame(self.framing, frame, self.done);
                }
            }
        }
        false
    }
}

/// Returns the framing by which this client finds the end of a response.
pub(super) fn response_framing(is_head: bool, version: Version, response: &Response<Body>) -> Framing {
    if !may_have_body(response.status) || response.headers.contains_key(header::CONTENT_LENGTH) {
        return Framing::None;
    }
    match response.body.size_hint().exact() {
        // The length of the response to a GET is not known.
        Some(0) if is_head => Framing::None,
        Some(length) => Framing::Length(length),
        None if is_head => Framing::None,
        None if version >= Version::HTTP_11 => Framing::Chunked,
        None => Framing::UntilClose,
    }
}
