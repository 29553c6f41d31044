//! The body of a message, in either direction and of any origin.

mod kept;
pub(crate) mod request;

use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
pub(crate) use kept::{Keeping, KeptBodies, KeptBody};

pub(crate) use crate::http::body::request::PollFrame;
use crate::http::body::request::RequestBody;
use crate::http::error::Error;

/// A body that is read frame by frame. Its producer has applied its limits.
#[derive(Default)]
pub(crate) enum Body {
    #[default]
    Empty,
    Full(Bytes),
    /// A body that an HTTP/1 client sends.
    Request(RequestBody),
    /// A body of any other source: an upstream's response, an HTTP/2 stream, a filter's output.
    Boxed(Box<dyn Streaming>),
}

/// A body that is read from a source.
pub(crate) trait Streaming {
    /// Reads the next frame.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> PollFrame;

    /// Returns true if no frame follows. A body that cannot know returns false.
    fn is_end_stream(&self) -> bool {
        false
    }

    /// Returns the bounds of the data that follows.
    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }

    /// Does the work that must continue while no frames are read, such as sending the rest of a request or checking a
    /// deadline. Resolves to the error that ends the body.
    fn poll_background(&mut self, _: &mut Context<'_>) -> Poll<Error> {
        Poll::Pending
    }

    /// Returns true if a filter holds back a part of the body, so that more data follows than the source still has.
    fn is_held_back(&self) -> bool {
        false
    }
}

impl Body {
    /// Boxes a body of any other type.
    pub(crate) fn boxed(body: impl Streaming + 'static) -> Self {
        Body::Boxed(Box::new(body))
    }

    pub(crate) fn poll_background(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        match self {
            Body::Boxed(body) => body.poll_background(cx),
            Body::Empty | Body::Full(_) | Body::Request(_) => Poll::Pending,
        }
    }

    pub(crate) fn is_held_back(&self) -> bool {
        match self {
            Body::Boxed(body) => body.is_held_back(),
            Body::Empty | Body::Full(_) | Body::Request(_) => false,
        }
    }

    /// Creates a body in memory, or [`Body::Empty`] if there are no bytes.
    pub(crate) fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() { Body::Empty } else { Body::Full(bytes) }
    }

    /// Returns a body of which the first frame has been read.
    pub(crate) fn begun(first: Frame<Bytes>, rest: Body) -> Self {
        Body::boxed(Begun { first: Some(first), rest })
    }

    /// Returns a copy of a body that is in memory, or `None` if the body streams.
    pub(crate) fn replay(&self) -> Option<Body> {
        match self {
            Body::Empty => Some(Body::Empty),
            Body::Full(bytes) => Some(Body::Full(bytes.clone())),
            Body::Request(_) | Body::Boxed(_) => None,
        }
    }

    /// Returns the next frame.
    pub(crate) async fn frame(&mut self) -> Option<Result<Frame<Bytes>, Error>> {
        std::future::poll_fn(|cx| self.poll_frame(cx)).await
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> PollFrame {
        match self {
            Body::Empty => Poll::Ready(None),
            full @ Body::Full(_) => {
                let Body::Full(bytes) = std::mem::take(full) else { return Poll::Ready(None) };
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Body::Request(body) => body.poll_frame(cx),
            Body::Boxed(body) => body.poll_frame(cx),
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        match self {
            Body::Empty => true,
            Body::Full(_) => false,
            Body::Request(body) => body.is_end_stream(),
            Body::Boxed(body) => body.is_end_stream(),
        }
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self {
            Body::Empty => SizeHint::with_exact(0),
            Body::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::Request(body) => body.size_hint(),
            Body::Boxed(body) => body.size_hint(),
        }
    }
}

/// Returns the bounds of a body that has `first` bytes, and then a rest with the bounds `rest`.
pub(crate) fn bounds_with(first: u64, rest: &SizeHint) -> SizeHint {
    let mut bounds = SizeHint::new();
    bounds.set_lower(rest.lower().saturating_add(first));
    if let Some(upper) = rest.upper() {
        bounds.set_upper(upper.saturating_add(first));
    }
    bounds
}

/// A body of unknown length that must not grow beyond a limit.
pub(crate) struct Limited {
    body: Body,
    left: u64,
}

impl Limited {
    /// Passes `limit` bytes of data, and fails with [`Error::BodyTooLarge`] after that.
    pub(crate) fn new(body: Body, limit: u64) -> Self {
        Self { body, left: limit }
    }
}

impl Streaming for Limited {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> PollFrame {
        let frame = std::task::ready!(self.body.poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            match self.left.checked_sub(length) {
                Some(left) => self.left = left,
                None => return Poll::Ready(Some(Err(Error::BodyTooLarge))),
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self {
            Body::Empty => "Empty",
            Body::Full(_) => "Full",
            Body::Request(_) => "Request",
            Body::Boxed(_) => "Boxed",
        };
        f.debug_struct("Body").field("kind", &kind).field("size", &self.size_hint()).finish()
    }
}
/// A body of which the first frame has been read.
struct Begun {
    first: Option<Frame<Bytes>>,
    rest: Body,
}

impl Streaming for Begun {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> PollFrame {
        match self.first.take() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None => self.rest.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let data = self.first.as_ref().and_then(Frame::data_ref);
        bounds_with(data.map_or(0, Bytes::len) as u64, &self.rest.size_hint())
    }

    fn poll_background(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        self.rest.poll_background(cx)
    }

    fn is_held_back(&self) -> bool {
        self.rest.is_held_back()
    }
}
