//! Prefetches the beginning of a filtered body before its head is sent. An immediate failure can then still be an error
//! with its own status, and a body that is already complete still has a known length.

use std::task::Poll;
use std::time::Duration;

use http::header;

use crate::http::body::Body;
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::net::timer::{Timer, deadline};

/// The longest time that a head waits for the beginning of its body, if no filter holds that back. It is long enough
/// for a body that directly follows its head, and too short to be noticed.
const PATIENCE: Duration = Duration::from_millis(100);

/// The time to wait for the beginning of a body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PrefetchWait {
    /// Takes only what is already available.
    None,
    /// Waits for a moment, or for as long as a filter holds the body back.
    Short,
}

impl PrefetchWait {
    /// Does not wait for event streams: their readers need the head at once.
    pub(super) fn of(response: &Fields) -> Self {
        let kind = response.get(header::CONTENT_TYPE).map(|value| value.as_bytes());
        let is_event_stream = kind
            .and_then(|kind| kind.get(..17))
            .is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"));
        if is_event_stream { PrefetchWait::None } else { PrefetchWait::Short }
    }
}

/// Reads the beginning of a body, or all of it, into memory.
pub(super) async fn begin(mut body: Body, patience: PrefetchWait, timer: &Timer) -> Result<Body, Error> {
    let mut limit = None;
    let first = std::future::poll_fn(|cx| match body.poll_frame(cx) {
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
        return Ok(Body::begun(frame, body));
    }
    match frame.into_data() {
        Ok(data) => Ok(Body::full(data)),
        Err(trailers) => Ok(Body::begun(trailers, body)),
    }
}
