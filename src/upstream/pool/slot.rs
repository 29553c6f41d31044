//! Slots: each counts a connection. Dropping one passes it to the next request.

use std::sync::Arc;

use super::Pool;
use super::place::Grant;
use crate::upstream::close_reason::CloseReason;
use crate::upstream::pool::queue::Queue;

/// A connection's share of the count, from before it is opened until after it is closed.
#[derive(Debug)]
pub(crate) struct Slot {
    pool: Arc<Pool>,
    /// The reason to report; `None` while the connection is still being opened.
    closes: Option<CloseReason>,
    leaves: bool,
    /// True if a request waits for the connection.
    is_awaited: bool,
}

impl Slot {
    /// Returns the slot of a connection that no request waits for.
    pub(super) fn new(pool: Arc<Pool>) -> Self {
        Self { pool, closes: None, leaves: false, is_awaited: false }
    }

    /// Returns the slot of a connection that a request waits for.
    pub(super) fn awaited(pool: Arc<Pool>) -> Self {
        Self { pool, closes: None, leaves: false, is_awaited: true }
    }

    /// Counts a TLS handshake of the connection.
    pub(in crate::upstream) fn count_handshake(&self, resumed: bool) {
        self.pool.count_handshake(resumed, self.is_awaited);
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
            self.pool.publish(&mut queue);
        }
        if let Some(reason) = self.closes {
            self.pool.count(|counts| counts.closed.add(reason.as_str()));
            let endpoint = self.pool.endpoint.as_str();
            tracing::debug!(endpoint, reason = reason.as_str(), "upstream connection closed");
        }
        self.pool.grant_dials();
    }
}
