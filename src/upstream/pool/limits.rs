//! Closing connections that exceed the limits: when they are released, and when a limit changes.
//!
//! The queue's lock decides how many connections are too many. A connection that was chosen counts as gone from then
//! on, so two workers never both close one when only one was too many.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use arc_swap::Guard;

use super::{Pool, Slot};
use crate::config::PoolSettings;
use crate::net::clock;
use crate::observe::metrics::this_worker;
use crate::upstream::close_reason::CloseReason;
use crate::upstream::pool::connection::Connection;
use crate::upstream::pool::leases::Leases;
use crate::upstream::pool::queue::Capacity;
use crate::upstream::pool::{idle, shared};

impl Pool {
    /// Returns the current limits. Load them once for a set of decisions, and never hold them across an await.
    pub(crate) fn settings(&self) -> Guard<Arc<PoolSettings>> {
        self.limits.load()
    }

    /// Applies changed limits. Waiting requests open as many connections as there is room for now, and each worker
    /// closes the idle connections that there is no more room for. Connections in use are checked when they are
    /// released.
    pub(in crate::upstream) fn limits_changed(self: &Arc<Self>) {
        self.concurrency.set(self.settings().max_concurrent);
        self.grant_dials();
        for worker_channel in self.channels.iter() {
            worker_channel.limits_changed(self);
        }
    }

    /// Retires the pool. Idle connections close, connections in use close when they are released, and waiting requests
    /// are still served.
    pub(in crate::upstream) fn retire(self: &Arc<Self>) {
        self.retired.store(true, SeqCst);
        self.limits_changed();
    }

    /// Returns true if the pool is retired. Its connections end in their own time.
    pub(in crate::upstream) fn is_retired(&self) -> bool {
        self.retired.load(SeqCst)
    }

    /// Returns true if the pool is retired and nothing of it is left.
    pub(crate) fn is_drained(&self) -> bool {
        let queue = self.lock();
        self.is_retired() && queue.open == 0 && queue.waiting() == 0
    }

    /// Returns a permit to open a spare connection if this worker has fewer than its share of `min_idle` and the limits
    /// allow it.
    pub(crate) fn acquire_spare(self: &Arc<Self>) -> Option<Slot> {
        let settings = self.settings();
        let workers = self.channels.len().max(1);
        let me = this_worker();
        let extra = usize::from(me < settings.min_idle % workers);
        let share = settings.min_idle / workers + extra;
        let idle_here = idle::count(self.number) + shared::count_idle(self.number);
        let enough = idle_here >= share || self.idle() + self.lock().idle_shared() >= settings.max_idle;
        if enough || !settings.keep_alive || self.is_retired() {
            return None;
        }
        let mut queue = self.lock();
        let reserved = queue.waiting() == 0 && queue.reserve(Capacity::of(&settings));
        self.publish(&mut queue);
        drop(queue);
        reserved.then(|| Slot::new(self.clone()))
    }

    /// Closes this worker's idle connections that the present limits have no room for.
    pub(super) fn close_unwanted_idle(self: &Arc<Self>) {
        let settings = self.settings();
        idle::apply_limits(self.number, &settings, |connection| self.no_longer_wanted(connection, &settings));
        self.close_excess(&settings);
        shared::apply_limits(self, &settings);
    }

    /// Marks a shared connection as closed next if it is one too many: because `max_connections` was lowered, or because it is
    /// idle, as more than `max_idle` are. It gives no further lease then. Returns the reason.
    pub(super) fn leave_if_surplus(
        &self,
        slot: &mut Slot,
        leases: &Leases,
        settings: &PoolSettings,
    ) -> Option<CloseReason> {
        if self.taken.load(SeqCst) <= settings.max_connections.min(settings.max_idle) {
            return None;
        }
        let mut queue = self.lock();
        // A dial that is promised makes an idle connection one too many, and none that is used.
        let is_over =
            if leases.is_idle() { queue.taken() } else { queue.staying() } > settings.max_connections;
        let reason = if is_over {
            leases.close();
            CloseReason::MaxConnections
        } else if self.idle() + queue.idle_shared() > settings.max_idle && leases.close_if_idle() {
            CloseReason::MaxIdle
        } else {
            return None;
        };
        slot.leave(&mut queue);
        self.publish(&mut queue);
        Some(reason)
    }

    /// Closes this worker's longest idle connections while the process has too many.
    pub(super) fn close_excess(&self, settings: &PoolSettings) {
        while let Some((connection, reason)) = self.surplus(settings) {
            connection.close(reason);
        }
    }

    /// Returns an idle connection of this worker that is one too many, with the reason.
    fn surplus(&self, settings: &PoolSettings) -> Option<(Connection, CloseReason)> {
        let mut queue = self.lock();
        let reason = if queue.taken() > settings.max_connections {
            CloseReason::MaxConnections
        } else if self.idle() + queue.idle_shared() > settings.max_idle {
            CloseReason::MaxIdle
        } else {
            return None;
        };
        let mut connection = idle::take_oldest(self.number)?;
        connection.state.slot.leave(&mut queue);
        self.publish(&mut queue);
        Some((connection, reason))
    }

    /// Returns the reason not to keep a connection for another request, if there is one, however few connections are
    /// open.
    pub(super) fn no_longer_wanted(
        &self,
        connection: &Connection,
        settings: &PoolSettings,
    ) -> Option<CloseReason> {
        if !settings.keep_alive {
            return Some(CloseReason::KeepAliveOff);
        }
        if self.is_retired() {
            return Some(CloseReason::Drained);
        }
        if settings.max_requests.is_some_and(|limit| connection.state.served >= limit) {
            return Some(CloseReason::MaxRequests);
        }
        if connection.state.age.expires(settings.max_lifetime).is_some_and(|expires| expires <= clock::now())
        {
            return Some(CloseReason::Lifetime);
        }
        connection.transport.idle_max().filter(Duration::is_zero).map(|_| CloseReason::IdleTimeout)
    }
}
