//! The beginning of a filtered body, before its head goes out: so that what fails at once is still an error with a status
//! of its own, and what is complete at once still tells its length.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::http::body::{Body, Streaming};
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::net::timer::{Timer, deadline};

/// How long a head waits for the first of its body, where no filter holds that back: long enough for a body that comes
/// right behind its head, and short enough not to be felt.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long the beginning of a body is worth waiting for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PrefetchWait {
    /// Only if it is there.
    None,
    /// A moment, and as long as a filter holds it back.
    Short,
}

impl PrefetchWait {
    /// Whoever reads an event stream waits for its head.
    pub(super) fn of(response: &Fields) -> Self {
        let kind = response.get(header::CONTENT_TYPE).map(|value| value.as_bytes());
        let is_event_stream = kind
            .and_then(|kind| kind.get(..17))
            .is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"));
        if is_event_stream { PrefetchWait::None } else { PrefetchWait::Short }
    }
}

/// The body with its beginning, or all of it, in memory.
///
/// # Errors
/// Of the body, where that is what comes first.
pub(super) async fn begin(mut body: Body, patience: PrefetchWait, timer: &Timer) -> Result<Body, Error> {
    let mut limit = None;
    let first = std::future::poll_fn(|cx| match Pin::new(&mut body).poll_frame(cx) {
        Poll::Ready(first) => Poll::Ready(Some(first)),
        Poll::Pending if patience == PrefetchWait::None => Poll::Ready(None),
        Poll::Pending if body.is_held_back() => Poll::Pending,
        Poll::Pending => {
            limit = limit.or_else(|| deadline(Some(PATIENCE)));
            timer.poll_elapsed(cx, limit).map(|()| None)
        }
    })
    .await;
    let frame = match first {
        None => return Ok(body),
        Some(None) => return Ok(Body::Empty),
        Some(Some(frame)) => frame?,
    };
    if !body.is_end_stream() {
        return Ok(Body::boxed(PrefetchedBody { first: Some(frame), rest: body }));
    }
    match frame.into_data() {
        Ok(data) => Ok(Body::full(data)),
        Err(trailers) => Ok(Body::boxed(PrefetchedBody { first: Some(trailers), rest: body })),
    }
}

/// A body whose first frame was taken already.
struct PrefetchedBody {
    first: Option<Frame<Bytes>>,
    rest: Body,
}

impl Streaming for PrefetchedBody {
    fn poll_background(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Error> {
        self.rest.poll_background(cx)
    }
}

impl HttpBody for PrefetchedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.first.take() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None => Poll::Ready(ready!(Pin::new(&mut self.rest).poll_frame(cx))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.as_ref().and_then(Frame::data_ref).map_or(0, |data| data.len() as u64);
        match self.rest.size_hint().exact() {
            Some(rest) => SizeHint::with_exact(rest.saturating_add(first)),
            None => SizeHint::default(),
        }
    }
}
