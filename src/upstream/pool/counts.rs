//! The numbers of a pool: one set for each worker, summed up for a report.

use std::sync::atomic::AtomicI64;
use std::time::Duration;

use super::Pool;
use crate::observe::metrics::{Counter, PoolReport, ReasonCounts, sum_reasons};

/// The counters of one worker.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) idle: AtomicI64,
    pub(super) acquired: Counter,
    pub(super) reused: Counter,
    pub(super) opened: Counter,
    pub(super) connect_failed: Counter,
    pub(super) retried: Counter,
    pub(super) tls_handshakes: Counter,
    pub(super) tls_resumed: Counter,
    pub(super) wait_micros: Counter,
    pub(super) refused: ReasonCounts,
    pub(super) closed: ReasonCounts,
}

impl Pool {
    /// Returns the current numbers, without the names that only the owner of the pool knows.
    pub(crate) fn report(&self) -> PoolReport {
        let (open, connecting, pending) = {
            let queue = self.lock();
            (queue.open, queue.connecting, queue.waiting())
        };
        let idle = self.idle();
        let sum = |part: fn(&Counts) -> &Counter| self.counts.sum(|counts| part(counts).value());
        PoolReport {
            idle: idle as u64,
            active: open.saturating_sub(connecting).saturating_sub(idle) as u64,
            connecting: connecting as u64,
            pending: pending as u64,
            draining: self.is_retired(),
            max_connections: self.settings().max_connections as u64,
            opened: sum(|counts| &counts.opened),
            reused: sum(|counts| &counts.reused),
            acquired: sum(|counts| &counts.acquired),
            acquire_wait: Duration::from_micros(sum(|counts| &counts.wait_micros)),
            connect_failed: sum(|counts| &counts.connect_failed),
            retried: sum(|counts| &counts.retried),
            tls_handshakes: sum(|counts| &counts.tls_handshakes),
            tls_resumed: sum(|counts| &counts.tls_resumed),
            refused: sum_reasons(self.counts.iter().map(|counts| &counts.refused)),
            closed: sum_reasons(self.counts.iter().map(|counts| &counts.closed)),
            ..PoolReport::default()
        }
    }
}
