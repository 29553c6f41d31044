//! Draining: notifies connections that they must close after the current request, and cuts off those that do not.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::time::Instant;

use crate::net::timer::Timer;

/// The time that a newly connected client has during a drain: a few round trips. For the first bytes of its request it
/// counts from the beginning of that wait, and for a PROXY header and a handshake from the beginning of the drain.
pub(crate) const DRAIN_PATIENCE: Duration = Duration::from_secs(1);

thread_local! {
    static IS_CUT_OFF: Cell<bool> = const { Cell::new(false) };
}

/// Marks this worker as ending. It completes nothing that is unfinished now.
pub(crate) fn cut_off() {
    IS_CUT_OFF.set(true);
}

/// Returns true if values are dropped now because their worker ends.
pub(crate) fn is_cut_off() -> bool {
    IS_CUT_OFF.get()
}

/// A drain signal for the connections of one worker, and their count.
///
/// A connection registers once and is woken once; a check costs it one load. Clones share the signal.
#[derive(Clone, Default)]
pub(crate) struct DrainSignal(Rc<State>);

#[derive(Default)]
struct State {
    started: Cell<bool>,
    guards: RefCell<Guards>,
}

#[derive(Default)]
struct Guards {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
    taken: usize,
    /// The taken guards of tasks that accept; all others are connections.
    acceptors: usize,
    /// The task that is woken when the last connection has gone.
    waiting: Option<Waker>,
}

/// A connection's registration. The connection counts as open until this is dropped.
pub(crate) struct DrainGuard {
    drain: DrainSignal,
    index: usize,
    kind: Kind,
}

/// The kind of task that holds a guard.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Connection,
    Acceptor,
    /// A task that the drain does not wait for.
    Uncounted,
}

impl DrainSignal {
    /// Returns true if draining has begun.
    pub(crate) fn is_started(&self) -> bool {
        self.0.started.get()
    }

    /// Starts draining, and wakes every connection that waits for it.
    pub(crate) fn start(&self) {
        self.0.started.set(true);
        let wakers: Vec<Waker> = {
            let mut guards = self.0.guards.borrow_mut();
            guards.wakers.iter_mut().filter_map(Option::take).collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Registers a connection.
    pub(crate) fn guard(&self) -> DrainGuard {
        self.register(Kind::Connection)
    }

    /// Registers a task that accepts. The drain waits for it as for a connection.
    pub(crate) fn acceptor_guard(&self) -> DrainGuard {
        self.register(Kind::Acceptor)
    }

    /// Registers a task that is not a connection. It is notified of the drain but does not delay it.
    pub(crate) fn uncounted_guard(&self) -> DrainGuard {
        self.register(Kind::Uncounted)
    }

    fn register(&self, kind: Kind) -> DrainGuard {
        let mut guards = self.0.guards.borrow_mut();
        guards.taken += usize::from(kind != Kind::Uncounted);
        guards.acceptors += usize::from(kind == Kind::Acceptor);
        let index = guards.free.pop().unwrap_or_else(|| {
            guards.wakers.push(None);
            guards.wakers.len() - 1
        });
        DrainGuard { drain: self.clone(), index, kind }
    }

    /// Returns the number of open connections, with the tasks that accept.
    pub(crate) fn open(&self) -> usize {
        self.0.guards.borrow().taken
    }

    /// Returns the number of open connections, without the tasks that accept.
    pub(crate) fn connections(&self) -> usize {
        let guards = self.0.guards.borrow();
        guards.taken.saturating_sub(guards.acceptors)
    }

    /// Waits until no connection is open. One task at a time may wait.
    pub(crate) async fn empty(&self) {
        std::future::poll_fn(|cx| {
            let mut guards = self.0.guards.borrow_mut();
            if guards.taken == 0 {
                return Poll::Ready(());
            }
            guards.waiting = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl DrainGuard {
    /// Returns true if draining has begun.
    pub(crate) fn is_draining(&self) -> bool {
        self.drain.is_started()
    }

    pub(crate) fn poll_draining(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_draining() {
            return Poll::Ready(());
        }
        if let Some(guard) = self.drain.0.guards.borrow_mut().wakers.get_mut(self.index) {
            match guard {
                Some(waker) => waker.clone_from(cx.waker()),
                None => *guard = Some(cx.waker().clone()),
            }
        }
        Poll::Pending
    }

    /// Resolves like [`DrainGuard::poll_draining`], for a connection that waits for a request. If it has waited for its
    /// first request since `began`, the client has [`DRAIN_PATIENCE`] from then on. An immediate close would waste the
    /// connection that was just accepted.
    pub(crate) fn poll_draining_idle(
        &self,
        cx: &mut Context<'_>,
        timer: &Timer,
        began: Option<Instant>,
    ) -> Poll<()> {
        ready!(self.poll_draining(cx));
        let Some(until) = began.and_then(|began| began.checked_add(DRAIN_PATIENCE)) else {
            return Poll::Ready(());
        };
        timer.poll_elapsed(cx, Some(until))
    }
}

impl Drop for DrainGuard {
    fn drop(&mut self) {
        let mut guards = self.drain.0.guards.borrow_mut();
        if let Some(guard) = guards.wakers.get_mut(self.index) {
            *guard = None;
        }
        guards.free.push(self.index);
        guards.taken -= usize::from(self.kind != Kind::Uncounted);
        guards.acceptors -= usize::from(self.kind == Kind::Acceptor);
        if guards.taken == 0
            && let Some(waiting) = guards.waiting.take()
        {
            waiting.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_guard_is_notified_of_the_drain_and_the_last_one_ends_it() {
        let drain = DrainSignal::default();
        let (first, second) = (drain.guard(), drain.guard());
        assert!(!first.is_draining());
        drain.start();
        std::future::poll_fn(|cx| first.poll_draining(cx)).await;
        std::future::poll_fn(|cx| second.poll_draining(cx)).await;
        drop(first);
        assert_eq!(drain.open(), 1);
        drop(second);
        drain.empty().await;
        // A freed index is used again.
        assert_eq!(drain.guard().index, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn drain_waits_for_a_fresh_connection_and_not_for_an_idle_one() {
        let (drain, timer) = (DrainSignal::default(), Timer::default());
        let guard = drain.guard();
        drain.start();
        let start = Instant::now();
        std::future::poll_fn(|cx| guard.poll_draining_idle(cx, &timer, None)).await;
        std::future::poll_fn(|cx| guard.poll_draining_idle(cx, &timer, Some(start - DRAIN_PATIENCE))).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        std::future::poll_fn(|cx| guard.poll_draining_idle(cx, &timer, Some(start))).await;
        assert_eq!(start.elapsed(), DRAIN_PATIENCE);
    }
}
