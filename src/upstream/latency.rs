//! The time that an endpoint takes to begin its responses, as a worker has seen it.

use std::cell::Cell;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::Instant;

use crate::net::clock;
use crate::observe::metrics::Sharded;

/// The time in which an observation loses its weight: what happened that long ago counts e times less.
const DECAY: Duration = Duration::from_secs(3);

/// Differences below this do not matter, and are within the error of a worker's clock.
const FLOOR: Duration = Duration::from_millis(1);

/// A failure counts as a response that took this long, however fast it was. Otherwise a fast error would attract requests.
const FAILURE: Duration = Duration::from_secs(1);

/// The time of an attempt: from the end of the request, or else from the connection on, to the response.
pub(super) struct Stopwatch {
    began: Cell<Instant>,
    /// True as long as the client, or a filter, may still be bringing the request's body.
    awaits_upload: Cell<bool>,
}

impl Stopwatch {
    /// Returns one that runs from now on.
    pub(super) fn start() -> Self {
        Self { began: Cell::new(clock::now()), awaits_upload: Cell::new(false) }
    }

    /// Begins again: what has passed was not the endpoint's time.
    pub(super) fn restart(&self, awaits_upload: bool) {
        self.began.set(clock::now());
        self.awaits_upload.set(awaits_upload);
    }

    /// Returns true if it is to begin again when the request has been sent.
    pub(super) fn awaits_upload(&self) -> bool {
        self.awaits_upload.get()
    }

    /// Returns the time since it began.
    pub(super) fn elapsed(&self) -> Duration {
        clock::since(self.began.get())
    }
}

/// The average response time of each worker, weighted by age. A longer time counts in full at once ("peak EWMA"), so that requests
/// turn away from an endpoint with the first slow response; shorter ones draw the average down as time passes. Without responses it
/// falls, too: an endpoint that was slow is tried again.
pub(super) struct Latency(Sharded<Average>);

/// The average of one worker, which alone writes it.
#[derive(Default)]
struct Average {
    nanos: AtomicU64,
    /// The time of the last observation, in nanoseconds since the process began.
    at: AtomicU64,
}

impl Latency {
    pub(super) fn new(workers: usize) -> Self {
        Self(Sharded::new(workers))
    }

    /// Takes the response time of an exchange that ends now, or of a failure.
    pub(super) fn observe(&self, now: Duration, took: Duration, is_failure: bool) {
        let Some(average) = self.0.mine() else { return };
        let took = clock::nanos(if is_failure { took.max(FAILURE) } else { took });
        let before = average.decayed(now);
        // Time has taken from the old average what the observation adds.
        let kept = weight(average.age(now));
        let mixed = before + took as f64 * (1.0 - kept);
        average.nanos.store(if took as f64 > mixed { took } else { mixed as u64 }, Relaxed);
        average.at.store(clock::nanos(now), Relaxed);
    }

    /// Returns this worker's average in nanoseconds, at least [`FLOOR`].
    pub(super) fn expected(&self, now: Duration) -> f64 {
        let floor = FLOOR.as_nanos() as f64;
        let Some(average) = self.0.mine() else { return floor };
        if average.nanos.load(Relaxed) as f64 <= floor {
            return floor;
        }
        average.decayed(now).max(floor)
    }
}

impl Average {
    fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(Duration::from_nanos(self.at.load(Relaxed)))
    }

    fn decayed(&self, now: Duration) -> f64 {
        self.nanos.load(Relaxed) as f64 * weight(self.age(now))
    }
}

/// Returns the weight of an observation of this age.
fn weight(age: Duration) -> f64 {
    if age.is_zero() { 1.0 } else { (-age.as_secs_f64() / DECAY.as_secs_f64()).exp() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Returns the expected time in milliseconds.
    fn expected(latency: &Latency, at: u64) -> u64 {
        (latency.expected(millis(at)) / 1e6).round() as u64
    }

    #[test]
    fn longer_times_count_at_once_and_shorter_ones_with_time() {
        let latency = Latency::new(1);
        assert_eq!(expected(&latency, 0), 1, "the floor");
        latency.observe(millis(1000), millis(100), false);
        assert_eq!(expected(&latency, 1000), 100);
        latency.observe(millis(1000), millis(10), false);
        assert_eq!(expected(&latency, 1000), 100, "no time has passed");
        latency.observe(millis(4000), millis(10), false);
        assert_eq!(expected(&latency, 4000), 43, "100 / e, and 10 for the rest");
        latency.observe(millis(4000), millis(200), false);
        assert_eq!(expected(&latency, 4000), 200);
    }

    #[test]
    fn slow_endpoint_is_forgotten_without_responses() {
        let latency = Latency::new(1);
        latency.observe(millis(0), millis(100), false);
        assert_eq!(expected(&latency, 3000), 37);
        assert_eq!(expected(&latency, 60_000), 1);
    }

    #[test]
    fn failures_are_slow_however_fast_they_were() {
        let latency = Latency::new(1);
        latency.observe(millis(0), millis(2), true);
        assert_eq!(expected(&latency, 0), 1000);
        latency.observe(millis(0), millis(5000), true);
        assert_eq!(expected(&latency, 0), 5000);
    }
}
