//! The delay of a route's own answer.

use std::pin::Pin;
use std::task::Poll;

use http_body::Body as _;
use tokio::time::Instant;

use crate::http::body::Body;
use crate::http::error::Error;
use crate::net::timer::Timer;

/// Waits until a time, and reads and discards the body of the request meanwhile, as an upstream does: whatever is left unread hides
/// that its client has gone.
///
/// # Errors
/// The body breaks, or the client leaves in the middle of it.
pub(crate) async fn pass(until: Option<Instant>, body: Body, timer: &Timer) -> Result<(), Error> {
    let mut body = Some(body);
    std::future::poll_fn(|cx| {
        if timer.poll_elapsed(cx, until).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let Some(unread) = &mut body else { return Poll::Pending };
        match Pin::new(unread).poll_frame(cx) {
            Poll::Ready(Some(Ok(_discarded))) => {
                // A frame a turn: a body that never ends must not keep others of this worker from theirs.
                cx.waker().wake_by_ref();
            }
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
            Poll::Ready(None) => {
                body = None;
                // The client's leaving is noticed by the task once there is no body left, so poll again.
                cx.waker().wake_by_ref();
            }
            Poll::Pending => {}
        }
        Poll::Pending
    })
    .await
}
