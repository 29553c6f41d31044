//! What becomes of connections that the limits have no room for: when they come back, and when a limit changes.
//!
//! How many connections are closed because there are too many is decided under the queue's lock, and a connection
//! that was chosen counts as gone from then on: two workers never both close one where one was too many.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::time::Instant;

use super::Pool;
use crate::config::PoolSettings;
use crate::upstream::pool::connection::{CloseReason, Connection};
use crate::upstream::pool::idle;

/// The limits of all the pools of an upstream: in one place, so that they are the same for an address that DNS
/// adds later. Whoever changes them tells each pool by [`Pool::limits_changed`].
pub(in crate::upstream) type Limits = Arc<ArcSwap<PoolSettings>>;

impl Pool {
    /// The limits as of now. Load them once for what belongs together, and not across an await.
    pub(crate) fn settings(&self) -> Guard<Arc<PoolSettings>> {
        self.limits.load()
    }

    /// The limits have changed: requests that wait open what there is room for now, and each worker closes the idle
    /// connections that there is none for any more. Those in use are looked at when they come back.
    pub(in crate::upstream) fn limits_changed(self: &Arc<Self>) {
        self.grant_dials();
        for worker_channel in self.channels.iter() {
            worker_channel.limits_changed(self);
        }
    }

    /// Ends the pool: idle connections close, those in use when they come back. Requests that wait are served.
    pub(in crate::upstream) fn retire(self: &Arc<Self>) {
        self.retired.store(true, SeqCst);
        self.limits_changed();
    }

    /// Whether the pool is over: what it has ends in its own time.
    pub(in crate::upstream) fn is_retired(&self) -> bool {
        self.retired.load(SeqCst)
    }

    /// Whether the pool is over, and nothing of it left.
    pub(crate) fn is_drained(&self) -> bool {
        let queue = self.lock();
        self.is_retired() && queue.open == 0 && queue.waiting() == 0
    }

    /// Closes those of this worker's idle connections that the present limits have no room for.
    pub(super) fn close_unwanted_idle(self: &Arc<Self>) {
        let settings = self.settings();
        idle::apply_limits(self, &settings);
        self.close_excess(&settings);
    }

    /// Closes the longest idle of this worker's connections while the process has too many.
    pub(super) fn close_excess(&self, settings: &PoolSettings) {
        while let Some((connection, reason)) = self.surplus(settings) {
            connection.close(reason);
        }
    }

    /// An idle connection of this worker that is one too many.
    fn surplus(&self, settings: &PoolSettings) -> Option<(Connection, CloseReason)> {
        let mut queue = self.lock();
        let reason = if queue.taken() > settings.max_connections {
            CloseReason::MaxConnections
        } else if self.idle() > settings.max_idle {
            CloseReason::MaxIdle
        } else {
            return None;
        };
        let mut connection = idle::take_oldest(self)?;
        connection.slot.leave(&mut queue);
        self.publish(&queue);
        Some((connection, reason))
    }

    /// Why a connection is not to be kept for another request, however few there are.
    pub(in crate::upstream) fn no_longer_wanted(
        &self,
        connection: &Connection,
        settings: &PoolSettings,
        now: Instant,
    ) -> Option<CloseReason> {
        if !settings.keep_alive {
            return Some(CloseReason::KeepAliveOff);
        }
        if self.is_retired() {
            return Some(CloseReason::Drained);
        }
        if settings.max_requests.is_some_and(|limit| connection.served >= limit) {
            return Some(CloseReason::MaxRequests);
        }
        if connection.age.expires(settings.max_lifetime).is_some_and(|expires| expires <= now) {
            return Some(CloseReason::Lifetime);
        }
        connection.server_keeps.filter(Duration::is_zero).map(|_| CloseReason::IdleTimeout)
    }
}
