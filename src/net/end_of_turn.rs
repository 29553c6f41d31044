//! Turns of a worker's event loop: what has arrived is read first, all of it, and what is small is sent at the end, together.
//!
//! To send wakes whoever waits for it. A peer on the same machine that is woken for one message is done with it, and asleep
//! again, before the next one comes; and to wake somebody costs more than to write the message. Of messages that come at once
//! it takes one after the other.

use std::cell::Cell;
use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Poll};

thread_local! {
    /// Whether something was sent since this worker last slept.
    static HAS_SENT: Cell<bool> = const { Cell::new(false) };
}

/// The worker has nothing to do, and sleeps until something arrives.
pub(crate) fn sleeps() {
    HAS_SENT.set(false);
}

/// Waits for the end of the worker's turn, before something small is sent. The first after a sleep need not wait: it may well be
/// the only one.
pub(crate) async fn end() {
    if HAS_SENT.replace(true) {
        // Behind all tasks that are ready, and behind those of which the reactor has yet to hear.
        tokio::task::yield_now().await;
    }
}

/// As [`end`], for what is polled: pending once at the most, and the task is woken at the end of the turn. Whether that was
/// `awaited` is remembered by the caller, with what it sends.
pub(crate) fn poll_end(awaited: &mut bool, cx: &mut Context<'_>) -> Poll<()> {
    if std::mem::replace(awaited, true) { Poll::Ready(()) } else { pin!(end()).poll(cx) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may panic")]

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
