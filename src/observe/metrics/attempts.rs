//! Counters per endpoint: the attempts at it, by their outcome and the time until the response.

use std::fmt;
use std::time::Duration;

use super::buckets::{DurationCounter, DurationCounts};
use super::sharded::{Counter, ReasonCounts, add_each, add_reasons, sum_reasons};
use super::{Page, Scrape, reasons, with};

/// The classes by which the responses of endpoints are counted.
pub(crate) const RESPONSE_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The counters of one worker. Counting takes a few plain stores, and no allocation except for the first failure of a kind.
#[derive(Debug, Default)]
pub(crate) struct AttemptCounts {
    responses: [Counter; RESPONSE_CLASSES.len()],
    durations: DurationCounter,
    failures: ReasonCounts,
}

impl AttemptCounts {
    /// Counts an attempt with a response that began after this time.
    pub(crate) fn responded(&self, status: u16, took: Duration) {
        // Any status above 599 is a server error (RFC 9110 §15).
        let class = usize::from(status / 100).saturating_sub(1);
        if let Some(count) = self.responses.get(class).or(self.responses.last()) {
            count.add(1);
        }
        self.durations.add(took);
    }

    /// Counts an attempt without a response, by the kind of failure.
    pub(crate) fn failed(&self, reason: &'static str) {
        self.failures.add(reason);
    }
}

/// The attempts at an endpoint so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AttemptTotals {
    /// Responses, in the order of [`RESPONSE_CLASSES`].
    pub(crate) responses: [u64; RESPONSE_CLASSES.len()],
    /// Responses, by the time until they began.
    pub(crate) durations: DurationCounts,
    /// The sum of these times.
    pub(crate) duration: Duration,
    /// Attempts without a response, by the kind of failure.
    pub(crate) failures: Vec<(&'static str, u64)>,
}

impl AttemptTotals {
    /// Returns the sums over all workers.
    pub(crate) fn of<'a>(workers: impl IntoIterator<Item = &'a AttemptCounts>) -> Self {
        let (mut totals, mut nanos, mut failures) = (Self::default(), 0, Vec::new());
        for counts in workers {
            add_each(&mut totals.responses, counts.responses.iter().map(Counter::value));
            counts.durations.add_to(&mut totals.durations);
            nanos += counts.durations.nanos();
            failures.push(&counts.failures);
        }
        Self { duration: Duration::from_nanos(nanos), failures: sum_reasons(failures), ..totals }
    }

    /// Returns the responses by the names of their classes, those that there were.
    pub(crate) fn responses_by_class(&self) -> impl Iterator<Item = (&'static str, u64)> {
        RESPONSE_CLASSES.into_iter().zip(self.responses).filter(|(_, count)| *count > 0)
    }

    pub(super) fn add(&mut self, other: Self) {
        add_each(&mut self.responses, other.responses);
        add_each(&mut self.durations, other.durations);
        self.duration += other.duration;
        add_reasons(&mut self.failures, other.failures);
    }
}

impl Scrape {
    pub(super) fn encode_attempts(&self, page: &mut Page<'_>) -> fmt::Result {
        page.counter(
            "gateway_endpoint_responses",
            "Responses of an endpoint, by class of the status code; retries, second attempts and mirrored requests have theirs, too",
            self.pools.iter().flat_map(|pool| {
                let classes = pool.attempts.responses_by_class();
                classes.map(|(class, count)| (with(pool.labels(), "code", class), count))
            }),
        )?;
        page.counter(
            "gateway_endpoint_failures",
            "Attempts at an endpoint that got no response, by reason: connect, timeout or reset",
            self.pools.iter().flat_map(|pool| reasons(pool.labels(), &pool.attempts.failures)),
        )?;
        // A histogram has twenty lines, so an endpoint without any use has none.
        let used = |counts: &DurationCounts| counts.iter().any(|count| *count > 0);
        let responded = self.pools.iter().filter(|pool| used(&pool.attempts.durations));
        page.durations(
            "gateway_endpoint_duration_seconds",
            "From the end of a request to an endpoint to the header of its response",
            responded.map(|pool| (pool.labels(), &pool.attempts.durations, pool.attempts.duration)),
        )?;
        let waited = self.pools.iter().filter(|pool| used(&pool.waits));
        page.durations(
            "gateway_pool_wait_seconds",
            "Time until a request that found no idle connection had one, or gave up",
            waited.map(|pool| (pool.labels(), &pool.waits, pool.waited)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_counted_by_class_and_time_and_failures_by_kind() {
        let (one, other) = (AttemptCounts::default(), AttemptCounts::default());
        for status in [101, 200, 204, 304, 404, 500, 599, 600, 999] {
            one.responded(status, Duration::from_millis(3));
        }
        other.responded(200, Duration::from_secs(40));
        other.failed("reset");
        other.failed("connect");
        other.failed("reset");
        let totals = AttemptTotals::of([&one, &other]);
        assert_eq!(totals.responses, [1, 3, 1, 1, 4]);
        assert_eq!(totals.failures, [("connect", 1), ("reset", 2)]);
        assert_eq!((totals.durations[5], totals.durations[17]), (9, 1));
        assert_eq!(totals.duration, Duration::from_millis(40_027));
        let mut twice = totals.clone();
        twice.add(totals);
        assert_eq!((twice.responses, twice.durations[17]), ([2, 6, 2, 2, 8], 2));
        assert_eq!(
            (twice.duration.as_millis(), twice.failures),
            (80_054, vec![("connect", 2), ("reset", 4)])
        );
    }
}
