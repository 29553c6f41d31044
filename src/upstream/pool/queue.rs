//! The counts and the waiting requests of a pool: the part that all workers share, behind one lock.
//!
//! The lock is taken when a connection is opened or closed and when a request has to wait, but never when an idle
//! connection is reused.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::leases::Leases;
use super::stretch::Stretch;
use crate::config::PoolSettings;

/// A request in the queue, which a grant of type `G` ends the wait of.
pub(crate) struct Waiter<G> {
    pub(crate) number: u64,
    /// The worker that it runs on. A connection from another worker must move to that one's reactor.
    pub(crate) worker: usize,
    pub(crate) grant: oneshot::Sender<G>,
}

/// The counts of connections of one endpoint, and its waiting requests.
pub(crate) struct Queue<G> {
    /// The number of connections, including those being opened.
    pub(crate) open: usize,
    /// The number of connections being opened.
    pub(crate) connecting: usize,
    /// The number of connections that are about to be closed.
    pub(crate) leaving: usize,
    waiters: VecDeque<Waiter<G>>,
    /// The number of waiters that wait only for a permit to open a connection. They are all at the front. A connection
    /// was closed for each of them, so there is a slot for each unless the limit is lowered.
    to_dial: usize,
    next_number: u64,
    /// The leases of each shared connection, of all workers.
    pub(super) shared: Vec<Arc<Leases>>,
    /// The time during which requests waited and as many connections were open as may be.
    pub(super) at_limit: Stretch,
}

/// The limits on connections, and on those being opened at once.
#[derive(Clone, Copy)]
pub(crate) struct Capacity {
    pub(crate) connections: usize,
    pub(crate) connecting: usize,
}

impl Capacity {
    pub(crate) fn of(settings: &PoolSettings) -> Self {
        Self { connections: settings.max_connections, connecting: settings.max_connecting }
    }
}

impl<G> Default for Queue<G> {
    fn default() -> Self {
        let (open, connecting, leaving) = (0, 0, 0);
        let (waiters, shared) = (VecDeque::new(), Vec::new());
        let at_limit = Stretch::default();
        Self { open, connecting, leaving, waiters, to_dial: 0, next_number: 0, shared, at_limit }
    }
}

impl<G> Queue<G> {
    /// Counts a connection as being opened, if the limits have room for it.
    pub(crate) fn reserve(&mut self, capacity: Capacity) -> bool {
        let room = self.open < capacity.connections && self.connecting < capacity.connecting;
        if room {
            self.open += 1;
            self.connecting += 1;
        }
        room
    }

    /// Enqueues a request. Returns its number and the receiver of its grant.
    pub(crate) fn push(&mut self, worker: usize) -> (u64, oneshot::Receiver<G>) {
        let (grant, granted) = oneshot::channel();
        let number = self.next_number;
        self.next_number += 1;
        self.waiters.push_back(Waiter { number, worker, grant });
        (number, granted)
    }

    /// Takes out the request that has waited longest.
    pub(crate) fn pop(&mut self) -> Option<Waiter<G>> {
        self.to_dial = self.to_dial.saturating_sub(1);
        self.waiters.pop_front()
    }

    /// Takes out the request that has waited longest of those that a kept connection serves.
    pub(crate) fn pop_for_connection(&mut self) -> Option<Waiter<G>> {
        self.waiters.remove(self.to_dial)
    }

    /// Returns the worker of the request that has waited longest of those that a kept connection serves.
    pub(super) fn next_worker(&self) -> Option<usize> {
        self.waiters.get(self.to_dial).map(|waiter| waiter.worker)
    }

    /// Takes a lease of a shared connection, of one of `worker` if possible. `requests_max` is `pool.max_requests`.
    pub(super) fn take_lease(&self, worker: usize, requests_max: u64) -> Option<Arc<Leases>> {
        let (near, far): (Vec<_>, Vec<_>) = self.shared.iter().partition(|leases| leases.worker == worker);
        near.into_iter().chain(far).find(|leases| leases.take(requests_max)).cloned()
    }

    /// Returns the number of shared connections that have no lease.
    pub(super) fn idle_shared(&self) -> usize {
        self.shared.iter().filter(|leases| leases.is_idle()).count()
    }

    /// Re-enqueues a request that was popped for a connection which cannot serve it. The caller must close that
    /// connection next. The request gets its slot as soon as few enough connections are being opened.
    pub(crate) fn put_back_to_dial(&mut self, waiter: Waiter<G>) {
        let index = self.waiters.partition_point(|other| other.number < waiter.number);
        self.waiters.insert(index, waiter);
        self.to_dial += 1;
    }

    /// Removes a request that no longer waits.
    pub(crate) fn remove(&mut self, number: u64) {
        // Numbers ascend from front to back.
        if let Ok(index) = self.waiters.binary_search_by_key(&number, |waiter| waiter.number) {
            self.waiters.remove(index);
            if index < self.to_dial {
                self.to_dial -= 1;
            }
        }
    }

    /// Returns the number of slots that are spoken for: connections that stay open, plus waiters already promised a
    /// dial.
    pub(crate) fn taken(&self) -> usize {
        self.staying().saturating_add(self.to_dial)
    }

    /// Returns the number of connections that stay open.
    pub(super) fn staying(&self) -> usize {
        self.open.saturating_sub(self.leaving)
    }

    /// Returns true if no connection is open and all that count are still being opened.
    pub(crate) fn is_unconnected(&self) -> bool {
        self.open <= self.connecting
    }

    /// Returns the number of waiting requests.
    pub(crate) fn waiting(&self) -> usize {
        self.waiters.len()
    }

    /// Returns the number of waiting requests that a kept connection would serve.
    pub(crate) fn waiting_for_connection(&self) -> usize {
        self.waiters.len().saturating_sub(self.to_dial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: Capacity = Capacity { connections: 3, connecting: 2 };

    #[test]
    fn both_limits_bound_the_reservations() {
        let mut queue = Queue::<()>::default();
        assert!(queue.reserve(CAPACITY) && queue.reserve(CAPACITY));
        assert!(!queue.reserve(CAPACITY), "two are being opened");
        queue.connecting = 0;
        assert!(queue.reserve(CAPACITY));
        queue.connecting = 0;
        assert!(!queue.reserve(CAPACITY), "three are open");
    }

    #[test]
    fn the_queue_is_first_come_first_served_and_can_be_left() {
        let mut queue = Queue::<()>::default();
        let numbers: Vec<u64> = (0..3).map(|worker| queue.push(worker).0).collect();
        assert_eq!(numbers, [0, 1, 2]);
        queue.remove(1);
        queue.remove(7);
        assert_eq!(queue.pop().map(|waiter| waiter.number), Some(0));
        assert_eq!(queue.pop().map(|waiter| waiter.number), Some(2));
        assert_eq!(queue.waiting(), 0);
    }

    #[test]
    fn a_waiter_put_back_to_dial_is_first_and_gets_no_connection() {
        let mut queue = Queue::<()>::default();
        let _granted: Vec<_> = (0..5).map(|worker| queue.push(worker)).collect();
        let [first, second, third] = [(); 3].map(|()| queue.pop_for_connection().unwrap());
        assert_eq!([first.number, second.number, third.number], [0, 1, 2]);
        // The order of putting them back does not matter.
        queue.put_back_to_dial(second);
        queue.put_back_to_dial(third);
        queue.put_back_to_dial(first);
        assert_eq!((queue.waiting(), queue.waiting_for_connection()), (5, 2));
        assert_eq!(queue.pop_for_connection().map(|waiter| waiter.number), Some(3));
        queue.remove(1);
        assert_eq!(queue.pop().map(|waiter| waiter.number), Some(0));
        assert_eq!((queue.waiting(), queue.waiting_for_connection()), (2, 1));
        assert_eq!(queue.pop_for_connection().map(|waiter| waiter.number), Some(4));
        assert_eq!(queue.pop_for_connection().map(|waiter| waiter.number), None);
        assert_eq!(queue.pop().map(|waiter| waiter.number), Some(2));
        assert_eq!(queue.waiting_for_connection(), 0);
    }
}
