//! One timer per task, armed lazily.
//!
//! A connection has many deadlines, and nearly all of them pass unused: there is a new one each time that a header is
//! awaited, a body stalls or the connection turns idle. Arming a runtime timer for each would be the most expensive
//! part of a small request. So a task keeps a single timer, which only moves when a deadline *earlier* than the armed
//! one appears. If it fires for a deadline that has moved on, it is armed again for the real one.

use std::cell::RefCell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::net::clock;

/// A task's timer. Clones share it, and all must be polled from the same task.
#[derive(Clone, Default)]
pub(crate) struct Timer(Rc<RefCell<Option<Pin<Box<Sleep>>>>>);

/// The error that the deadline passed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Elapsed;

impl Timer {
    /// Resolves when `deadline` has passed; `None` means never.
    pub(crate) fn poll_elapsed(&self, cx: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        let Some(deadline) = deadline else { return Poll::Pending };
        let mut slot = self.0.borrow_mut();
        let sleep = slot.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if sleep.deadline() >= deadline {
                // The time of a busy worker may be behind the timer's.
                clock::advance();
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }

    /// Runs `future` until it ends or `deadline` passes, whichever is first.
    pub(crate) async fn within<F: Future>(
        &self,
        deadline: Option<Instant>,
        future: F,
    ) -> Result<F::Output, Elapsed> {
        let mut future = pin!(future);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            self.poll_elapsed(cx, deadline).map(|()| Err(Elapsed))
        })
        .await
    }
}

/// Returns the instant `after` from now; `None` means never.
pub(crate) fn deadline(after: Option<Duration>) -> Option<Instant> {
    // A duration beyond what the clock can hold is as good as never.
    after.and_then(|after| clock::now().checked_add(after))
}

/// Returns the earlier of two deadlines, or the shorter of two durations, where `None` means never.
pub(crate) fn earlier<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// A detector of stalls: an operation is polled repeatedly, but makes no progress for a time.
///
/// The clock is read only at the first pending poll since the last progress, so that a body which flows freely costs nothing.
pub(crate) struct Stall {
    limit: Option<Duration>,
    deadline: Option<Instant>,
}

impl Stall {
    /// Permits at most `limit` between two steps; `None` waits forever.
    pub(crate) fn new(limit: Option<Duration>) -> Self {
        Self { limit, deadline: None }
    }

    /// Records a step. The time starts again at the next wait.
    pub(crate) fn progress(&mut self) {
        self.deadline = None;
    }

    /// Records that nothing can be done now. Resolves when the limit has passed since the first such wait.
    pub(crate) fn poll_waiting(&mut self, cx: &mut Context<'_>, timer: &Timer) -> Poll<()> {
        if self.limit.is_none() {
            return Poll::Pending;
        }
        if self.deadline.is_none() {
            self.deadline = deadline(self.limit);
        }
        timer.poll_elapsed(cx, self.deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_later_deadline_does_not_end_early_when_an_earlier_one_was_armed() {
        let timer = Timer::default();
        let start = Instant::now();
        let soon = deadline(Some(Duration::from_secs(1)));
        let late = deadline(Some(Duration::from_secs(5)));
        // Arms the timer for the early deadline, then abandons it.
        std::future::poll_fn(|cx| {
            assert!(timer.poll_elapsed(cx, soon).is_pending());
            Poll::Ready(())
        })
        .await;
        assert_eq!(timer.within(late, std::future::pending::<()>()).await, Err(Elapsed));
        assert_eq!(start.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_deadline_moves_the_armed_timer() {
        let timer = Timer::default();
        let start = Instant::now();
        let late = deadline(Some(Duration::from_secs(50)));
        std::future::poll_fn(|cx| {
            assert!(timer.poll_elapsed(cx, late).is_pending());
            Poll::Ready(())
        })
        .await;
        let soon = deadline(Some(Duration::from_secs(2)));
        assert!(timer.within(soon, std::future::pending::<()>()).await.is_err());
        assert_eq!(start.elapsed().as_secs(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_counts_from_the_first_wait_after_progress() {
        let timer = Timer::default();
        let mut stall = Stall::new(Some(Duration::from_secs(3)));
        let start = Instant::now();
        tokio::time::advance(Duration::from_secs(10)).await;
        stall.progress();
        std::future::poll_fn(|cx| stall.poll_waiting(cx, &timer)).await;
        assert_eq!(start.elapsed().as_secs(), 13);
    }
}
