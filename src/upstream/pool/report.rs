//! The numbers of a pool at the moment, for a report.

use std::sync::atomic::Ordering::Relaxed;

use super::{Pool, counts};
use crate::observe::metrics::PoolReport;

impl Pool {
    /// Returns the current numbers, without the names that only the owner of the pool knows.
    pub(crate) fn report(&self) -> PoolReport {
        let (open, connecting, pending, idle_shared, streams, at_limit) = {
            let queue = self.lock();
            let streams: usize = queue.shared.iter().map(|leases| leases.count()).sum();
            let at_limit = queue.at_limit.total();
            (queue.open, queue.connecting, queue.waiting(), queue.idle_shared(), streams, at_limit)
        };
        let idle = self.idle() + idle_shared;
        PoolReport {
            number: self.number,
            idle: idle as u64,
            active: open.saturating_sub(connecting).saturating_sub(idle) as u64,
            connecting: connecting as u64,
            pending: (pending + self.concurrency.waiting()) as u64,
            streams: streams as u64,
            requests: self.load() as u64,
            peak_requests: self.peak.load(Relaxed).max(self.load()) as u64,
            requests_per_connection: self.requests_per_connection() as u64,
            max_connections_reached: at_limit,
            max_concurrent_reached: self.concurrency.at_limit(),
            max_concurrent: self.max_concurrent().map(|limit| limit as u64),
            learned_idle_timeout: self.habit.limit(),
            learned_from: self.habit.closes(),
            draining: self.is_retired(),
            max_connections: self.settings().max_connections as u64,
            ..counts::sum(&self.counts)
        }
    }
}
