//! The body of a request that is read from its connection as it is polled.

use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::http::error::Error;

/// The next frame of a body; `None` at its end.
pub(crate) type PollFrame = Poll<Option<Result<Frame<Bytes>, Error>>>;

/// A client connection that request bodies are read from. `request` is the number of a request on the connection. The
/// bodies of all earlier requests have ended.
pub(crate) trait RequestSource {
    /// Reads the next frame.
    fn poll_frame(&self, request: u64, cx: &mut Context<'_>) -> PollFrame;

    /// Returns true if the body has no further frame.
    fn is_end_stream(&self, request: u64) -> bool;

    /// Returns the bounds of what is left of the body.
    fn size_hint(&self) -> SizeHint;
}

/// The body of one request on a client connection.
pub(crate) struct RequestBody {
    connection: Rc<dyn RequestSource>,
    request: u64,
}

impl RequestBody {
    /// Creates the body of the request with the number `request`.
    pub(crate) fn new(connection: Rc<dyn RequestSource>, request: u64) -> Self {
        Self { connection, request }
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> PollFrame {
        self.connection.poll_frame(self.request, cx)
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.connection.is_end_stream(self.request)
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.connection.size_hint()
    }
}
