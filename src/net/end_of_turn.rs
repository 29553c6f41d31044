//! Turns of a worker's event loop: everything that has arrived is read first, and small messages are sent together at the end.
//!
//! Sending wakes the peer that waits for the message, which costs more than writing the message. A peer on the same
//! machine that is woken for one message has handled it, and is asleep again, before the next one comes. If messages
//! arrive together, it handles one after the other.

use std::cell::Cell;
use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Poll};

thread_local! {
    /// True if something was sent since this worker last slept.
    static HAS_SENT: Cell<bool> = const { Cell::new(false) };
}

/// Notes that the worker has nothing to do and sleeps until something arrives.
pub(crate) fn sleeps() {
    HAS_SENT.set(false);
}

/// Waits for the end of the worker's turn before a small message is sent. The first message after a sleep need not
/// wait, because it may well be the only one.
pub(crate) async fn end() {
    if HAS_SENT.replace(true) {
        // This yields to all ready tasks, and to those whose events the reactor has yet to see.
        tokio::task::yield_now().await;
    }
}

/// Polls for what [`end`] awaits: pending at most once, and the task is woken at the end of the turn. A socket keeps
/// `awaited` until its next write.
pub(crate) fn poll_end(awaited: &mut bool, cx: &mut Context<'_>) -> Poll<()> {
    if std::mem::replace(awaited, true) { Poll::Ready(()) } else { pin!(end()).poll(cx) }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use tokio::runtime::{Builder, LocalOptions};
    use tokio::task::spawn_local;

    use super::*;

    #[test]
    fn the_first_sends_at_once_and_others_when_all_have_read() {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.on_thread_park(sleeps).build_local(LocalOptions::default()).unwrap();
        let steps = Rc::new(RefCell::new(Vec::new()));
        let serve = || {
            let steps = steps.clone();
            async move {
                steps.borrow_mut().push("reads");
                end().await;
                steps.borrow_mut().push("sends");
            }
        };
        runtime.block_on(async {
            sleeps();
            for serving in [(); 3].map(|()| spawn_local(serve())) {
                serving.await.unwrap();
            }
        });
        assert_eq!(*steps.borrow(), ["reads", "sends", "reads", "reads", "sends", "sends"]);
    }
}
