//! The leases of a shared connection: how many exchanges use it at once, and how many more may.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU64, AtomicUsize};

/// The bit of [`Leases::state`] that says that no further lease is given.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// The leases of a shared connection, as all workers see them.
#[derive(Debug)]
pub(super) struct Leases {
    /// The worker that the connection belongs to.
    pub(super) worker: usize,
    /// The number of leases, and [`CLOSED`].
    state: AtomicUsize,
    /// The most leases at once.
    max: AtomicUsize,
    /// The number of leases that there ever were.
    granted: AtomicU64,
}

impl Leases {
    /// Returns the leases of a connection of `worker` that was just opened, whose first lease is taken. If it `is_last`, no further
    /// one is given.
    pub(super) fn first(worker: usize, max: usize, is_last: bool) -> Self {
        Self {
            worker,
            state: AtomicUsize::new(if is_last { 1 | CLOSED } else { 1 }),
            max: AtomicUsize::new(max),
            granted: AtomicU64::new(1),
        }
    }

    /// Counts one more lease, if there is room for it. `requests_max` limits all leases that there ever were.
    pub(super) fn take(&self, requests_max: u64) -> bool {
        let max = self.max.load(SeqCst);
        // A closed connection has more than any limit.
        let more = |leases: usize| (leases < max).then_some(leases + 1);
        if self.state.try_update(SeqCst, SeqCst, more).is_err() {
            return false;
        }
        let granted = self.granted.fetch_add(1, SeqCst) + 1;
        if granted >= requests_max {
            self.close();
        }
        if granted > requests_max {
            self.give_back();
        }
        granted <= requests_max
    }

    /// Gives a lease back. Returns true if it was the last one.
    pub(super) fn give_back(&self) -> bool {
        self.state.fetch_sub(1, SeqCst) & !CLOSED == 1
    }

    /// Counts a lease as never given: no request was sent on it.
    pub(super) fn forget(&self) {
        self.granted.fetch_sub(1, SeqCst);
    }

    /// Sets the most leases at once. Returns true if there may be more than before.
    pub(super) fn set_max(&self, max: usize) -> bool {
        self.max.swap(max, SeqCst) < max
    }

    /// Returns the number of leases that there ever were.
    pub(super) fn granted(&self) -> u64 {
        self.granted.load(SeqCst)
    }

    /// Gives no further lease.
    pub(super) fn close(&self) {
        self.state.fetch_or(CLOSED, SeqCst);
    }

    /// Gives no further lease, unless there is one.
    pub(super) fn close_if_idle(&self) -> bool {
        self.state.compare_exchange(0, CLOSED, SeqCst, SeqCst).is_ok()
    }

    /// Returns the number of leases.
    pub(super) fn count(&self) -> usize {
        self.state.load(SeqCst) & !CLOSED
    }

    /// Returns true if there is no lease and one may be taken.
    pub(super) fn is_idle(&self) -> bool {
        self.state.load(SeqCst) == 0
    }
}
