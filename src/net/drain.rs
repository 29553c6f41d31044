//! Draining: the word that connections are to end when their present request has, and the end of those that did not.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::time::Instant;

use crate::net::timer::Timer;

/// What a client that has just come may still take when draining begins, for its handshake, and then for the first bytes of
/// its request: a few round trips.
pub(crate) const DRAIN_PATIENCE: Duration = Duration::from_secs(1);

thread_local! {
    static IS_CUT_OFF: Cell<bool> = const { Cell::new(false) };
}

/// Tells that this worker is at its end: what it has not done yet, it never will.
pub(crate) fn cut_off() {
    IS_CUT_OFF.set(true);
}

/// Whether what is dropped now is dropped because its worker ends.
pub(crate) fn is_cut_off() -> bool {
    IS_CUT_OFF.get()
}

/// A drain signal for the connections of one worker, and the count of them.
///
/// A connection registers once and is woken once; asking costs it a load. Clones share the signal.
#[derive(Clone, Default)]
pub(crate) struct Drain(Rc<State>);

#[derive(Default)]
struct State {
    started: Cell<bool>,
    seats: RefCell<Seats>,
}

#[derive(Default)]
struct Seats {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
    taken: usize,
    /// Those of them that accept; all others are connections.
    acceptors: usize,
    /// Woken when the last connection has gone.
    waiting: Option<Waker>,
}

/// A connection's place: it counts as open until this is dropped.
pub(crate) struct Seat {
    drain: Drain,
    index: usize,
    kind: Kind,
}

/// What a seat is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Connection,
    Acceptor,
    /// A task that the drain does not wait for.
    Uncounted,
}

impl Drain {
    /// Whether draining has begun.
    pub(crate) fn is_started(&self) -> bool {
        self.0.started.get()
    }

    /// Begins to drain, and wakes every connection that waits for it.
    pub(crate) fn start(&self) {
        self.0.started.set(true);
        let wakers: Vec<Waker> = {
            let mut seats = self.0.seats.borrow_mut();
            seats.wakers.iter_mut().filter_map(Option::take).collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Counts a connection.
    pub(crate) fn seat(&self) -> Seat {
        self.seat_of(Kind::Connection)
    }

    /// Returns a seat for a task that accepts: the drain waits for it as for a connection.
    pub(crate) fn seat_of_acceptor(&self) -> Seat {
        self.seat_of(Kind::Acceptor)
    }

    /// A place for a task that is no connection: it hears of the drain, and holds nothing up.
    pub(crate) fn seat_uncounted(&self) -> Seat {
        self.seat_of(Kind::Uncounted)
    }

    fn seat_of(&self, kind: Kind) -> Seat {
        let mut seats = self.0.seats.borrow_mut();
        seats.taken += usize::from(kind != Kind::Uncounted);
        seats.acceptors += usize::from(kind == Kind::Acceptor);
        let index = seats.free.pop().unwrap_or_else(|| {
            seats.wakers.push(None);
            seats.wakers.len() - 1
        });
        Seat { drain: self.clone(), index, kind }
    }

    /// How many connections are open.
    pub(crate) fn open(&self) -> usize {
        self.0.seats.borrow().taken
    }

    /// Returns the number of open connections, without the tasks that accept.
    pub(crate) fn connections(&self) -> usize {
        let seats = self.0.seats.borrow();
        seats.taken.saturating_sub(seats.acceptors)
    }

    /// Waits until no connection is open. One task at a time may wait.
    pub(crate) async fn empty(&self) {
        std::future::poll_fn(|cx| {
            let mut seats = self.0.seats.borrow_mut();
            if seats.taken == 0 {
                return Poll::Ready(());
            }
            seats.waiting = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Seat {
    /// Whether draining has begun.
    pub(crate) fn is_draining(&self) -> bool {
        self.drain.is_started()
    }

    /// Ready when draining has begun.
    pub(crate) fn poll_draining(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_draining() {
            return Poll::Ready(());
        }
        if let Some(seat) = self.drain.0.seats.borrow_mut().wakers.get_mut(self.index) {
            match seat {
                Some(waker) => waker.clone_from(cx.waker()),
                None => *seat = Some(cx.waker().clone()),
            }
        }
        Poll::Pending
    }

    /// As [`Seat::poll_draining`], for a connection that waits for a request. Where that is its first, awaited since
    /// `began`, the client has [`DRAIN_PATIENCE`] from then on: closed at once, it would have been let in for nothing.
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

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.drain.0.seats.borrow_mut();
        if let Some(seat) = seats.wakers.get_mut(self.index) {
            *seat = None;
        }
        seats.free.push(self.index);
        seats.taken -= usize::from(self.kind != Kind::Uncounted);
        seats.acceptors -= usize::from(self.kind == Kind::Acceptor);
        if seats.taken == 0
            && let Some(waiting) = seats.waiting.take()
        {
            waiting.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_seat_hears_of_the_drain_and_the_last_one_ends_it() {
        let drain = Drain::default();
        let (first, second) = (drain.seat(), drain.seat());
        assert!(!first.is_draining());
        drain.start();
        std::future::poll_fn(|cx| first.poll_draining(cx)).await;
        std::future::poll_fn(|cx| second.poll_draining(cx)).await;
        drop(first);
        assert_eq!(drain.open(), 1);
        drop(second);
        drain.empty().await;
        // A freed place is used again.
        assert_eq!(drain.seat().index, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_just_come_may_ask_and_who_is_idle_may_not() {
        let (drain, timer) = (Drain::default(), Timer::default());
        let seat = drain.seat();
        drain.start();
        let start = Instant::now();
        std::future::poll_fn(|cx| seat.poll_draining_idle(cx, &timer, None)).await;
        std::future::poll_fn(|cx| seat.poll_draining_idle(cx, &timer, Some(start - DRAIN_PATIENCE))).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        std::future::poll_fn(|cx| seat.poll_draining_idle(cx, &timer, Some(start))).await;
        assert_eq!(start.elapsed(), DRAIN_PATIENCE);
    }
}
