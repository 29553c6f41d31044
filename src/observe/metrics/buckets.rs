//! The buckets of request durations.

use std::time::Duration;

use super::sharded::{Counter, add_each};

/// Upper bounds of the request duration histogram, in seconds. Slower requests fall into a last bucket without bound.
///
/// They reach from a tenth of a millisecond, in which a request over a kept connection on one machine is served, to the half minute after
/// which most clients have given up.
pub(crate) const DURATION_BOUNDS: [f64; 17] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0,
];

/// The number of buckets: one more than there are bounds, because the last one is unbounded.
pub(super) const BUCKETS: usize = DURATION_BOUNDS.len() + 1;

/// The same bounds in nanoseconds, so that the request path compares integers.
const DURATION_BOUNDS_NANOS: [u64; 17] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
];

/// A count for each bucket.
pub(crate) type DurationCounts<T = u64> = [T; BUCKETS];

/// The histogram of one worker's durations, and their sum.
#[derive(Debug, Default)]
pub(crate) struct DurationCounter {
    counts: DurationCounts<Counter>,
    nanos: Counter,
}

impl DurationCounter {
    /// Counts a duration.
    pub(crate) fn add(&self, duration: Duration) {
        let nanos = nanos(duration);
        if let Some(count) = self.counts.get(bucket_of(nanos)) {
            count.add(1);
        }
        self.nanos.add(nanos);
    }

    /// Adds the count of each bucket to a sum.
    pub(crate) fn add_to(&self, sums: &mut DurationCounts) {
        add_each(sums, self.counts.iter().map(Counter::value));
    }

    /// Returns the sum of all durations in nanoseconds.
    pub(crate) fn nanos(&self) -> u64 {
        self.nanos.value()
    }
}

/// Returns the position of the bucket that a duration falls into: the first whose bound it does not exceed.
pub(crate) fn duration_bucket(duration: Duration) -> usize {
    bucket_of(nanos(duration))
}

fn bucket_of(nanos: u64) -> usize {
    DURATION_BOUNDS_NANOS.partition_point(|&bound| bound < nanos)
}

/// Returns a duration in nanoseconds, the largest number for more than 584 years.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_in_nanoseconds_are_the_bounds_in_seconds() {
        for (seconds, nanos) in DURATION_BOUNDS.iter().zip(DURATION_BOUNDS_NANOS) {
            assert_eq!(Duration::from_secs_f64(*seconds).as_nanos(), u128::from(nanos));
        }
    }
}
