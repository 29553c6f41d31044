//! The response times of an upstream in the last seconds, for percentiles (`hedge`).

use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use crate::net::clock;
use crate::observe::metrics::Sharded;

/// Times are counted for so long, and looked at for as long again.
const PERIOD: Duration = Duration::from_secs(10);

/// With fewer responses than this, a percentile would say too little.
const COUNT_MIN: u64 = 100;

/// Buckets for each doubling of the time: a percentile is at most an eighth too large.
const STEPS: u32 = 8;

/// The bits of a time in microseconds that are told apart: up to 67 seconds.
const BITS: u32 = 26;

const BUCKETS: usize = ((BITS + 1 - STEPS.ilog2()) * STEPS) as usize;

/// The times as each worker has seen them. They take memory only where percentiles are asked for.
pub(super) struct ResponseTimes(Sharded<OnceLock<Box<Times>>>);

/// The times of one worker, which alone writes them.
struct Times {
    present: Buckets,
    earlier: Buckets,
    /// The time at which the present period began, in nanoseconds since the process did.
    began: AtomicU64,
}

type Buckets = [AtomicU32; BUCKETS];

impl ResponseTimes {
    pub(super) fn new(workers: usize) -> Self {
        Self(Sharded::new(workers))
    }

    /// Counts a response that took this long.
    pub(super) fn observe(&self, now: Duration, took: Duration) {
        let Some(times) = self.0.mine() else { return };
        let times = times.get_or_init(|| Box::new(Times::new(now)));
        times.turn(now);
        if let Some(bucket) = times.present.get(bucket_of(took)) {
            bucket.store(bucket.load(Relaxed).saturating_add(1), Relaxed);
        }
    }

    /// Returns the time in which so many percent of the responses of this worker began, or `None` if there were too few.
    pub(super) fn percentile(&self, now: Duration, percent: u8) -> Option<Duration> {
        let times = self.0.mine()?.get()?;
        times.turn(now);
        let counts = || times.present.iter().zip(&times.earlier);
        let count = |(present, earlier): (&AtomicU32, &AtomicU32)| {
            u64::from(present.load(Relaxed)) + u64::from(earlier.load(Relaxed))
        };
        let all: u64 = counts().map(count).sum();
        if all < COUNT_MIN {
            return None;
        }
        let (wanted, mut below) = ((all * u64::from(percent)).div_ceil(100), 0);
        let bucket = counts().map(count).position(|bucket| {
            below += bucket;
            below >= wanted
        });
        bucket.map(end_of)
    }
}

impl Times {
    fn new(now: Duration) -> Self {
        let empty = || [const { AtomicU32::new(0) }; BUCKETS];
        Self { present: empty(), earlier: empty(), began: AtomicU64::new(clock::nanos(now)) }
    }

    /// Begins another period when the present one is over. Times of one that is longer ago are forgotten.
    fn turn(&self, now: Duration) {
        let age = now.saturating_sub(Duration::from_nanos(self.began.load(Relaxed)));
        if age < PERIOD {
            return;
        }
        for (present, earlier) in self.present.iter().zip(&self.earlier) {
            let count = present.swap(0, Relaxed);
            earlier.store(if age < 2 * PERIOD { count } else { 0 }, Relaxed);
        }
        self.began.store(clock::nanos(now), Relaxed);
    }
}

/// Returns the bucket of a time: one for each microsecond up to [`STEPS`], then as many for each doubling.
fn bucket_of(took: Duration) -> usize {
    let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX).min((1 << BITS) - 1);
    let shift = (micros.max(1).ilog2() + 1).saturating_sub(STEPS.ilog2() + 1);
    (shift * STEPS + (micros >> shift)) as usize
}

/// Returns the time at which a bucket ends.
fn end_of(bucket: usize) -> Duration {
    let (bucket, steps) = (bucket as u64 + 1, u64::from(STEPS));
    let shift = (bucket / steps).saturating_sub(1);
    Duration::from_micros((bucket - shift * steps) << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn every_time_is_in_a_bucket_that_ends_at_most_an_eighth_later() {
        for micros in (0..2000).chain((2000..67_000_000).step_by(997)) {
            let took = Duration::from_micros(micros);
            let bucket = bucket_of(took);
            assert!(bucket < BUCKETS, "{micros}");
            let ends = end_of(bucket);
            assert!(ends > took && ends <= took + took / 8 + Duration::from_micros(1), "{took:?}, {ends:?}");
            assert!(bucket == 0 || end_of(bucket - 1) <= took, "{took:?}");
        }
        assert_eq!(bucket_of(at(100_000)), BUCKETS - 1);
    }

    #[test]
    fn percentile_is_of_the_last_ten_to_twenty_seconds() {
        let times = ResponseTimes::new(1);
        assert_eq!(times.percentile(at(0), 95), None);
        for took in 1..=99 {
            times.observe(at(1), Duration::from_millis(took));
        }
        assert_eq!(times.percentile(at(1), 95), None, "one response is missing");
        times.observe(at(1), Duration::from_millis(100));
        let (half, most) = (times.percentile(at(1), 50), times.percentile(at(15), 95));
        assert!((50..=57).contains(&half.unwrap().as_millis()), "{half:?}");
        assert!((95..=107).contains(&most.unwrap().as_millis()), "{most:?}");
        for _ in 0..100 {
            times.observe(at(16), Duration::from_millis(1));
        }
        assert!(times.percentile(at(16), 50).unwrap() < Duration::from_millis(2));
        assert!(
            times.percentile(at(26), 99).unwrap() < Duration::from_millis(2),
            "the slow ones are forgotten"
        );
        assert_eq!(times.percentile(at(60), 50), None, "all are");
    }
}
