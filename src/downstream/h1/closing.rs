//! The end of a client connection.

use std::future::Future as _;
use std::pin::pin;
use std::task::Poll;

use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::{LINGER, ServerConnection};
use crate::net::timer::deadline;

impl ServerConnection<'_> {
    /// Returns true if the client has sent more than was read.
    pub(super) fn has_unread(&self) -> bool {
        let inner = &mut *self.inner.borrow_mut();
        !inner.input.is_empty() || inner.stream.has_arrived()
    }

    /// Closes cleanly: the client sees the end of the stream after everything that was sent.
    pub(super) async fn close(&self, linger: bool) {
        // Closing a socket ends its stream; only TLS has its own message for that.
        if !linger && self.inner.borrow().stream.is_plain() {
            return;
        }
        let limit = deadline(Some(LINGER));
        let shutdown = std::future::poll_fn(|cx| {
            let mut inner = self.inner.borrow_mut();
            pin!(inner.stream.shutdown()).poll(cx)
        });
        let closed = self.timer.within(limit, shutdown).await;
        if linger && matches!(closed, Ok(Ok(()))) {
            self.discard(limit).await;
        }
    }

    /// Ends the stream at the point where the response broke off, on TLS without close_notify. A reset would discard
    /// bytes that the client has not read yet.
    pub(super) async fn cut(&self) {
        let is_ended = self.inner.borrow_mut().stream.end_abruptly().is_ok();
        if is_ended {
            self.discard(deadline(Some(LINGER))).await;
        }
    }

    /// Reads until the client closes. A socket that closes with unread bytes is reset.
    async fn discard(&self, limit: Option<Instant>) {
        let discard = std::future::poll_fn(|cx| {
            loop {
                match self.inner.borrow_mut().stream.poll_read_chunk(cx) {
                    Poll::Ready(Ok(chunk)) if !chunk.is_empty() => {}
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        });
        let _over_in_any_case = self.timer.within(limit, discard).await;
    }
}
