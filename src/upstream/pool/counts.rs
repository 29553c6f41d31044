//! The numbers of a pool: one set for each worker, summed up for a report.

use std::array;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use crate::observe::metrics::{
    AWAITED_DIAL_CLASSES, AttemptCounts, AttemptTotals, Counter, DurationCounter, DurationCounts, PoolReport,
    ReasonCounts, Sharded, sum_reasons,
};

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
    pub(super) tls_awaited: Counter,
    pub(super) wait_micros: Counter,
    /// The times of requests that waited for a connection: in a queue, for a dial, or for both.
    pub(super) waits: DurationCounter,
    /// The dials that requests waited for, by the number of busy connections: see [`PoolReport::awaited_dials`].
    pub(super) awaited_dials: [Counter; AWAITED_DIAL_CLASSES],
    pub(super) refused: ReasonCounts,
    pub(super) closed: ReasonCounts,
    pub(super) attempts: AttemptCounts,
}

impl Counts {
    /// Counts a dial that a request waits for. `busy` connections are in use or being opened, with it.
    pub(super) fn add_awaited_dial(&self, busy: usize) {
        let class = busy.max(1).next_power_of_two().ilog2() as usize;
        if let Some(count) = self.awaited_dials.get(class).or(self.awaited_dials.last()) {
            count.add(1);
        }
    }
}

/// Returns the part of a report that is counted.
pub(super) fn sum(all: &Sharded<Counts>) -> PoolReport {
    let sum = |part: fn(&Counts) -> &Counter| all.sum(|counts| part(counts).value());
    let mut waits = DurationCounts::default();
    all.iter().for_each(|counts| counts.waits.add_to(&mut waits));
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
        tls_handshakes_awaited: sum(|counts| &counts.tls_awaited),
        waits,
        waited: Duration::from_nanos(all.sum(|counts| counts.waits.nanos())),
        awaited_dials: array::from_fn(|class| {
            all.sum(|counts| counts.awaited_dials.get(class).map_or(0, Counter::value))
        }),
        refused: sum_reasons(all.iter().map(|counts| &counts.refused)),
        closed: sum_reasons(all.iter().map(|counts| &counts.closed)),
        attempts: AttemptTotals::of(all.iter().map(|counts| &counts.attempts)),
        ..PoolReport::default()
    }
}
