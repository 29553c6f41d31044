//! Slots and places: a slot counts a connection, a place is a request's in the queue. Dropping one passes it to the
//! next.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::Pool;
use super::shared::StreamLease;
use crate::observe::metrics::this_worker;
use crate::upstream::close_reason::CloseReason;
use crate::upstream::pool::connection::Connection;
use crate::upstream::pool::queue::{Queue, Waiter};

/// A connection's share of the count, from before it is opened until after it is closed.
#[derive(Debug)]
pub(crate) struct Slot {
    pool: Arc<Pool>,
    /// The reason to report; `None` while the connection is still being opened.
    closes: Option<CloseReason>,
    leaves: bool,
}

impl Slot {
    pub(super) fn new(pool: Arc<Pool>) -> Self {
        Self { pool, closes: None, leaves: false }
    }

    pub(in crate::upstream) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Notes that the connection is open, and lets others be opened.
    pub(in crate::upstream) fn opened(&mut self) {
        self.mark_opened();
        self.pool.grant_dials();
    }

    /// Notes that the connection is open.
    pub(super) fn mark_opened(&mut self) {
        self.closes = Some(CloseReason::Cancelled);
        let mut queue = self.pool.lock();
        queue.connecting = queue.connecting.saturating_sub(1);
        drop(queue);
        self.pool.count(|counts| counts.opened.add(1));
        tracing::debug!(endpoint = self.pool.endpoint.as_str(), "upstream connection opened");
    }

    /// Marks the connection as closed next. It no longer counts from now on, though its slot is not free yet.
    pub(super) fn leave(&mut self, queue: &mut Queue<Grant>) {
        if !std::mem::replace(&mut self.leaves, true) {
            queue.leaving += 1;
        }
    }

    /// Frees the slot and counts `reason`.
    pub(in crate::upstream) fn close(mut self, reason: CloseReason) {
        self.closes = Some(reason);
    }

    /// Counts a connection that could not be opened.
    pub(in crate::upstream) fn failed(self) {
        self.pool.count(|counts| counts.connect_failed.add(1));
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        {
            let mut queue = self.pool.lock();
            queue.open = queue.open.saturating_sub(1);
            if self.leaves {
                queue.leaving = queue.leaving.saturating_sub(1);
            }
            if self.closes.is_none() {
                queue.connecting = queue.connecting.saturating_sub(1);
            }
            self.pool.publish(&queue);
        }
        if let Some(reason) = self.closes {
            self.pool.count(|counts| counts.closed.add(reason.as_str()));
            let endpoint = self.pool.endpoint.as_str();
            tracing::debug!(endpoint, reason = reason.as_str(), "upstream connection closed");
        }
        self.pool.grant_dials();
    }
}

/// The grant that ends a request's wait.
pub(crate) enum Grant {
    /// An exclusive connection that became free.
    Connection(Box<Connection>),
    /// A place on a shared connection.
    Stream(StreamLease),
    /// A permit to open a connection.
    Dial(Slot),
}

/// A place in the queue. A grant that arrives just as the request leaves passes to the next one.
pub(super) struct Place {
    pub(super) pool: Arc<Pool>,
    pub(super) number: u64,
    pub(super) granted: oneshot::Receiver<Grant>,
}

impl Place {
    /// Re-enqueues the request at its old place because it cannot use the granted connection. It now waits for a permit
    /// to dial. The caller must close that connection next.
    pub(super) fn wait_to_dial(&mut self, granted: &mut Connection) {
        let mut queue = self.pool.lock();
        granted.state.slot.leave(&mut queue);
        let (grant, granted) = oneshot::channel();
        queue.put_back_to_dial(Waiter { number: self.number, worker: this_worker(), grant });
        self.granted = granted;
    }

    /// Re-enqueues the request at its old place because it cannot share a connection. It now waits for a permit to dial. As its
    /// dial is promised, one connection may be too many, which is then closed to make room.
    pub(super) fn wait_for_room(&mut self) {
        let (grant, granted) = oneshot::channel();
        {
            let mut queue = self.pool.lock();
            queue.put_back_to_dial(Waiter { number: self.number, worker: this_worker(), grant });
            self.pool.publish(&queue);
        }
        self.granted = granted;
        self.pool.limits_changed();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.granted.close();
        match self.granted.try_recv() {
            Ok(Grant::Connection(connection)) => self.pool.release(*connection),
            Ok(Grant::Stream(lease)) => drop(lease),
            Ok(Grant::Dial(slot)) => drop(slot),
            Err(_nothing_granted) => {
                let mut queue = self.pool.lock();
                queue.remove(self.number);
                self.pool.publish(&queue);
            }
        }
    }
}
