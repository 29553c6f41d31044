//! A response on its way to a client.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Method, Version, header};
use http_body::Body as HttpBody;

use super::shared::Inner;
use crate::body::Body;
use crate::error::Error;
use crate::http1::framing::{Framing, may_have_body};
use crate::message::Response;
use crate::timer::{Stall, Timer};

/// A response's body on its way to the client.
pub(super) struct Transfer {
    body: Body,
    framing: Framing,
    done: bool,
    /// Bytes of body, without framing.
    pub(super) sent: u64,
    /// Bytes on the wire, head and framing included.
    written: u64,
    stall: Stall,
}

impl Transfer {
    /// The head is in the connection's output already. `write_limit` is for one step of writing.
    pub(super) fn new(body: Body, framing: Framing, write_limit: Option<Duration>) -> Self {
        Self { body, framing, done: false, sent: 0, written: 0, stall: Stall::new(write_limit) }
    }

    /// Moves frames from the body to the stream: one large or a few small ones at a time, and no further one
    /// before those are written.
    pub(super) fn poll(
        &mut self,
        inner: &RefCell<Inner>,
        timer: &Timer,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        loop {
            let body_waits = self.gather(inner, cx)?;
            ready!(inner.borrow_mut().output.poll_turn(cx));
            let before = self.written;
            let written = {
                let inner = &mut *inner.borrow_mut();
                inner.output.poll_write(&mut inner.stream, cx, &mut self.written)
            };
            if self.written > before {
                self.stall.progress();
            }
            match written {
                Poll::Ready(Err(_gone)) => return Poll::Ready(Err(Error::ClientClosed)),
                Poll::Ready(Ok(())) if self.done => return Poll::Ready(Ok(())),
                // An upstream that is silent for long, as event streams are, must not be kept for nobody.
                Poll::Ready(Ok(())) if body_waits => {
                    return inner.borrow_mut().poll_gone(cx).map(|()| Err(Error::ClientClosed));
                }
                Poll::Ready(Ok(())) => {}
                Poll::Pending => {
                    // A client may read only once it has sent all: what it sends must move meanwhile.
                    if let Poll::Ready(error) = self.body.poll_aside(cx) {
                        return Poll::Ready(Err(error));
                    }
                    let late = self.stall.poll_waiting(cx, timer);
                    return late.map(|()| Err(Error::ResponseWriteTimeout));
                }
            }
        }
    }

    /// Takes frames as long as they fit; whether the body has to be waited for.
    fn gather(&mut self, inner: &RefCell<Inner>, cx: &mut Context<'_>) -> Result<bool, Error> {
        while !self.done && inner.borrow().output.takes_more() {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => return Ok(true),
                Poll::Ready(None) => {
                    inner.borrow_mut().output.push_end(self.framing);
                    self.done = true;
                }
                Poll::Ready(Some(frame)) => {
                    let frame = frame?;
                    self.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
                    self.done = frame.is_trailers() || self.body.is_end_stream();
                    inner.borrow_mut().output.push_frame(self.framing, frame, self.done);
                }
            }
        }
        Ok(false)
    }
}

/// How the length of a response is told to this client.
pub(super) fn response_framing(method: &Method, version: Version, response: &Response<Body>) -> Framing {
    if !may_have_body(response.status) || response.headers.contains_key(header::CONTENT_LENGTH) {
        return Framing::None;
    }
    match response.body.size_hint().exact() {
        // What a GET would have been answered with is not known.
        Some(0) if method == Method::HEAD => Framing::None,
        Some(length) => Framing::Length(length),
        None if method == Method::HEAD => Framing::None,
        None if version >= Version::HTTP_11 => Framing::Chunked,
        None => Framing::UntilClose,
    }
}
