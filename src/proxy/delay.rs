//! The delay of a route's own response.

use std::task::Poll;

use tokio::time::Instant;

use crate::http::body::Body;
use crate::http::error::Error;
use crate::net::timer::Timer;

/// Waits until a time. Meanwhile it reads and discards the body of the request, as an upstream would: unread bytes
/// would hide that the client has gone.
pub(crate) async fn pass(until: Option<Instant>, body: Body, timer: &Timer) -> Result<(), Error> {
    let mut body = Some(body);
    std::future::poll_fn(|cx| {
        if timer.poll_elapsed(cx, until).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let Some(unread) = &mut body else { return Poll::Pending };
        match unread.poll_frame(cx) {
            Poll::Ready(Some(Ok(_discarded))) => {
                // Take one frame per turn, so that an endless body does not keep the worker from its other tasks.
                cx.waker().wake_by_ref();
            }
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
            Poll::Ready(None) => {
                body = None;
                // The task notices a departed client only once no body is left, so poll again.
                cx.waker().wake_by_ref();
            }
            Poll::Pending => {}
        }
        Poll::Pending
    })
    .await
}
