//! The numbers of a pool: one set for each worker, summed up for a report.

use std::sync::atomic::AtomicI64;
use std::time::Duration;

use crate::observe::metrics::{Counter, PoolReport, ReasonCounts, Sharded, sum_reasons};

/// The counters of one worker.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) idle: AtomicI64,
    pub(super) acquired: Counter,
    pub(super) reused: Counter,
    pub(super) borrowed: Counter,
    pub(super) opened: Counter,
    pub(super) connect_failed: Counter,
    pub(super) retried: Counter,
    pub(super) over_budget: Counter,
    pub(super) hedged: Counter,
    pub(super) hedges_won: Counter,
    pub(super) tls_handshakes: Counter,
    pub(super) tls_resumed: Counter,
    pub(super) wait_micros: Counter,
    pub(super) refused: ReasonCounts,
    pub(super) closed: ReasonCounts,
}

/// Returns the part of a report that is counted.
pub(super) fn sum(all: &Sharded<Counts>) -> PoolReport {
    let sum = |part: fn(&Counts) -> &Counter| all.sum(|counts| part(counts).value());
    PoolReport {
        opened: sum(|counts| &counts.opened),
        reused: sum(|counts| &counts.reused),
        borrowed: sum(|counts| &counts.borrowed),
        acquired: sum(|counts| &counts.acquired),
        acquire_wait: Duration::from_micros(sum(|counts| &counts.wait_micros)),
        connect_failed: sum(|counts| &counts.connect_failed),
        retried: sum(|counts| &counts.retried),
        over_budget: sum(|counts| &counts.over_budget),
        hedged: sum(|counts| &counts.hedged),
        hedges_won: sum(|counts| &counts.hedges_won),
        tls_handshakes: sum(|counts| &counts.tls_handshakes),
        tls_resumed: sum(|counts| &counts.tls_resumed),
        refused: sum_reasons(all.iter().map(|counts| &counts.refused)),
        closed: sum_reasons(all.iter().map(|counts| &counts.closed)),
        ..PoolReport::default()
    }
}
