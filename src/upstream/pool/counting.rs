//! The counting of events at a pool, by the worker on which they happen.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use super::Pool;
use super::counts::Counts;
use crate::upstream::outcome::AttemptOutcome;

impl Pool {
    pub(super) fn count(&self, count: impl FnOnce(&Counts)) {
        if let Some(counts) = self.counts.mine() {
            count(counts);
        }
    }

    pub(super) fn count_reused(&self) {
        self.count(|counts| {
            counts.acquired.add(1);
            counts.reused.add(1);
        });
    }

    pub(super) fn count_idle(&self, change: i64) {
        self.count(|counts| {
            counts.idle.fetch_add(change, SeqCst);
        });
    }

    /// Counts the time of a request in a queue. The wait of one that dials next has not ended.
    pub(super) fn count_queued(&self, waited: Duration, is_over: bool) {
        let micros = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        self.count(|counts| counts.wait_micros.add(micros));
        if is_over {
            self.count_wait(waited);
        }
    }

    /// Counts a request that waited this long before it had a connection, or none.
    pub(in crate::upstream) fn count_wait(&self, waited: Duration) {
        self.count(|counts| counts.waits.add(waited));
    }

    /// Counts an attempt at the endpoint by its outcome. `took` is the time until the response.
    pub(in crate::upstream) fn count_attempt(&self, outcome: AttemptOutcome, took: Duration) {
        self.count(|counts| match (outcome, outcome.failure()) {
            (AttemptOutcome::Response(status), _) => counts.attempts.responded(status.as_u16(), took),
            (_, Some(kind)) => counts.attempts.failed(kind),
            (_, None) => {}
        });
    }

    /// Counts a retry that the upstream's budget did not permit.
    pub(crate) fn count_over_budget(&self) {
        self.count(|counts| counts.over_budget.add(1));
    }

    /// Counts a second attempt at this endpoint, beside a slow one at another.
    pub(crate) fn count_hedge(&self) {
        self.count(|counts| counts.hedged.add(1));
    }

    /// Counts a second attempt that responded first.
    pub(crate) fn count_hedge_won(&self) {
        self.count(|counts| counts.hedges_won.add(1));
    }

    /// Counts a retry after an attempt at this endpoint.
    pub(crate) fn count_retry(&self) {
        self.count(|counts| counts.retried.add(1));
    }

    pub(super) fn count_handshake(&self, resumed: bool, awaited: bool) {
        self.count(|counts| {
            counts.tls_handshakes.add(1);
            counts.tls_resumed.add(u64::from(resumed));
            counts.tls_awaited.add(u64::from(awaited));
        });
    }
}
