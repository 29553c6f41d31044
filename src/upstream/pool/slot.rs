//! Places: a connection's in the count, and a request's in the queue. Dropping one gives it to the next.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::Pool;
use crate::observe::metrics::this_worker;
use crate::upstream::pool::connection::{CloseReason, Connection};
use crate::upstream::pool::queue::{Grant, Queue, Waiter};

/// A connection's place in the count, from before it is opened until after it is closed.
#[derive(Debug)]
pub(crate) struct Slot {
    pool: Arc<Pool>,
    /// While `None`, the connection is still being opened.
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

    /// The connection is open.
    pub(in crate::upstream) fn opened(&mut self) {
        self.closes = Some(CloseReason::Cancelled);
        let mut queue = self.pool.lock();
        queue.connecting = queue.connecting.saturating_sub(1);
        drop(queue);
        self.pool.count(|counts| counts.opened.add(1));
        tracing::debug!(endpoint = self.pool.endpoint.as_str(), "upstream connection opened");
        self.pool.grant_dials();
    }

    /// Its connection is closed next: nobody counts on it from now on, though the place is not free yet.
    pub(super) fn leave(&mut self, queue: &mut Queue) {
        if !std::mem::replace(&mut self.leaves, true) {
            queue.leaving += 1;
        }
    }

    /// Gives the place back, and tells why.
    pub(in crate::upstream) fn close(mut self, reason: CloseReason) {
        self.closes = Some(reason);
    }

    /// The connection could not be opened.
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

/// A place in the queue. What was granted to one who left in that moment goes to the next.
pub(super) struct Place {
    pub(super) pool: Arc<Pool>,
    pub(super) number: u64,
    pub(super) granted: oneshot::Receiver<Grant>,
}

impl Place {
    /// Takes the place again, after it was granted what does not do: only leave to open a connection in its place
    /// does now. Close it next.
    pub(super) fn wait_to_dial(&mut self, granted: &mut Connection) {
        let mut queue = self.pool.lock();
        granted.slot.leave(&mut queue);
        let (grant, granted) = oneshot::channel();
        queue.put_back_to_dial(Waiter { number: self.number, worker: this_worker(), grant });
        self.granted = granted;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.granted.close();
        match self.granted.try_recv() {
            Ok(Grant::Connection(connection)) => self.pool.release(*connection),
            Ok(Grant::Dial(slot)) => drop(slot),
            Err(_nothing_granted) => {
                let mut queue = self.pool.lock();
                queue.remove(self.number);
                self.pool.publish(&queue);
            }
        }
    }
}
