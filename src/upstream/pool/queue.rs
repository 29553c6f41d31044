//! What a pool counts and who waits for it: the part that all workers share, behind one lock.
//!
//! The lock is taken when a connection is opened or closed and when a request has to wait; never when an idle
//! connection is used again.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use super::connection::Connection;
use crate::config::PoolSettings;
use crate::upstream::pool::Slot;

/// What a waiting request is given.
pub(crate) enum Grant {
    /// A connection that became free.
    Connection(Box<Connection>),
    /// Leave to open one.
    Dial(Slot),
}

/// A request in the queue.
pub(crate) struct Waiter {
    pub(crate) number: u64,
    /// Where it runs: a connection has to move to another worker's reactor.
    pub(crate) worker: usize,
    pub(crate) grant: oneshot::Sender<Grant>,
}

/// Connections and waiting requests of one endpoint.
#[derive(Default)]
pub(crate) struct Queue {
    /// Connections, those being opened included.
    pub(crate) open: usize,
    /// Connections being opened.
    pub(crate) connecting: usize,
    /// Connections that are open for just as long as it takes to close them.
    pub(crate) leaving: usize,
    waiters: VecDeque<Waiter>,
    /// How many of them, all in front, wait for leave to open a connection and for nothing else. Each of them has
    /// had a connection closed, so that there are places for all of them unless the limit is lowered.
    to_dial: usize,
    next_number: u64,
}

/// The most connections there may be, and be opened at once.
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

impl Queue {
    /// Counts a connection to be opened, if the limits have room for it.
    pub(crate) fn reserve(&mut self, capacity: Capacity) -> bool {
        let room = self.open < capacity.connections && self.connecting < capacity.connecting;
        if room {
            self.open += 1;
            self.connecting += 1;
        }
        room
    }

    /// Puts a request at the end; its number, and where it will be told.
    pub(crate) fn push(&mut self, worker: usize) -> (u64, oneshot::Receiver<Grant>) {
        let (grant, granted) = oneshot::channel();
        let number = self.next_number;
        self.next_number += 1;
        self.waiters.push_back(Waiter { number, worker, grant });
        (number, granted)
    }

    /// The request that has waited longest.
    pub(crate) fn pop(&mut self) -> Option<Waiter> {
        self.to_dial = self.to_dial.saturating_sub(1);
        self.waiters.pop_front()
    }

    /// The request that has waited longest of those that a kept connection serves.
    pub(crate) fn pop_for_connection(&mut self) -> Option<Waiter> {
        self.waiters.remove(self.to_dial)
    }

    /// Puts a request back that was popped for a connection which does not serve it. Close that connection next:
    /// the request gets its place, as soon as there are few enough being opened.
    pub(crate) fn put_back_to_dial(&mut self, waiter: Waiter) {
        let index = self.waiters.partition_point(|other| other.number < waiter.number);
        self.waiters.insert(index, waiter);
        self.to_dial += 1;
    }

    /// Takes a request out that no longer waits.
    pub(crate) fn remove(&mut self, number: u64) {
        // Numbers ascend from front to back.
        if let Ok(index) = self.waiters.binary_search_by_key(&number, |waiter| waiter.number) {
            self.waiters.remove(index);
            if index < self.to_dial {
                self.to_dial -= 1;
            }
        }
    }

    /// Places that are not free to whoever comes next: of connections that stay, and of requests that wait for
    /// leave to open one and nothing else.
    pub(crate) fn taken(&self) -> usize {
        self.open.saturating_sub(self.leaving).saturating_add(self.to_dial)
    }

    /// Returns true if no connection is open: those that count are still being opened.
    pub(crate) fn is_unconnected(&self) -> bool {
        self.open <= self.connecting
    }

    /// How many requests wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiters.len()
    }

    /// How many of them a kept connection would serve.
    pub(crate) fn waiting_for_connection(&self) -> usize {
        self.waiters.len().saturating_sub(self.to_dial)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may panic")]

    use super::*;

    const CAPACITY: Capacity = Capacity { connections: 3, connecting: 2 };

    #[test]
    fn both_limits_bound_the_reservations() {
        let mut queue = Queue::default();
        assert!(queue.reserve(CAPACITY) && queue.reserve(CAPACITY));
        assert!(!queue.reserve(CAPACITY), "two are being opened");
        queue.connecting = 0;
        assert!(queue.reserve(CAPACITY));
        queue.connecting = 0;
        assert!(!queue.reserve(CAPACITY), "three are open");
    }

    #[test]
    fn the_queue_is_first_come_first_served_and_can_be_left() {
        let mut queue = Queue::default();
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
        let mut queue = Queue::default();
        let _granted: Vec<_> = (0..5).map(|worker| queue.push(worker)).collect();
        let [first, second, third] = [(); 3].map(|()| queue.pop_for_connection().unwrap());
        assert_eq!([first.number, second.number, third.number], [0, 1, 2]);
        // However late the answer.
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
