//! The last minute of a route: its counters at each sample.

use std::collections::VecDeque;
use std::time::Duration;

use super::quantile::quantile;
use crate::observe::metrics::{DurationCounts, RouteCounts};

/// The marks that are kept: those of a minute.
const MARKS_MAX: usize = 12;

/// The counters of a route at one time, modulo 2^32.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    at: Duration,
    requests: u32,
    errors: u32,
    durations: DurationCounts<u32>,
}

/// Returns a count modulo 2^32.
fn low(count: u64) -> u32 {
    (count & u64::from(u32::MAX)) as u32
}

impl Mark {
    fn of(counts: &RouteCounts, at: Duration) -> Self {
        let RouteCounts { requests, errors, durations } = counts;
        Self { at, requests: low(*requests), errors: low(*errors), durations: durations.map(low) }
    }
}

/// The requests of a route in a stretch of time.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct RouteWindow {
    /// The length of the stretch.
    pub(crate) length: Duration,
    pub(crate) counts: RouteCounts,
}

impl RouteWindow {
    fn between(from: &Mark, to: &Mark) -> Self {
        let difference = |from: u32, to: u32| u64::from(to.wrapping_sub(from));
        let mut durations = DurationCounts::default();
        let pairs = durations.iter_mut().zip(from.durations.iter().zip(&to.durations));
        pairs.for_each(|(count, (from, to))| *count = difference(*from, *to));
        let counts = RouteCounts {
            requests: difference(from.requests, to.requests),
            errors: difference(from.errors, to.errors),
            durations,
        };
        Self { length: to.at.saturating_sub(from.at), counts }
    }

    /// Returns the requests per second.
    pub(crate) fn rate(&self) -> f64 {
        let seconds = self.length.as_secs_f64();
        if seconds > 0.0 { self.counts.requests as f64 / seconds } else { 0.0 }
    }

    /// Returns the part of requests that failed.
    pub(crate) fn error_share(&self) -> Option<f64> {
        let RouteCounts { requests, errors, .. } = self.counts;
        (requests > 0).then(|| errors as f64 / requests as f64)
    }

    /// Returns the duration that a part `q` of requests did not exceed, in seconds.
    pub(crate) fn quantile(&self, q: f64) -> Option<f64> {
        quantile(&self.counts.durations, 0, q)
    }
}

/// The last minute of a route that was used.
#[derive(Debug)]
pub(super) struct RouteHistory {
    marks: VecDeque<Mark>,
    last: Mark,
    /// The time of the last sample with a request, in Unix time.
    pub(super) used: f64,
    /// The last sample that saw the route.
    pub(super) seen: u64,
}

impl RouteHistory {
    /// Begins the history of a route that was first used after the sample at `since`.
    pub(super) fn new(since: Duration) -> Self {
        let last = Mark { at: since, ..Mark::default() };
        Self { marks: VecDeque::from([last]), last, used: 0.0, seen: 0 }
    }

    /// Adds a sample. Returns the requests since the one before.
    pub(super) fn sample(&mut self, counts: &RouteCounts, at: Duration, sample: u64) -> RouteCounts {
        let mark = Mark::of(counts, at);
        let window = RouteWindow::between(&self.last, &mark);
        self.seen = sample;
        if self.marks.len() == MARKS_MAX {
            self.marks.pop_front();
        }
        self.marks.push_back(mark);
        self.last = mark;
        window.counts
    }

    /// Returns the requests of the last minute up to now.
    pub(super) fn window(&self, counts: &RouteCounts, at: Duration) -> RouteWindow {
        RouteWindow::between(self.marks.front().unwrap_or(&self.last), &Mark::of(counts, at))
    }

    /// Returns true if requests have failed in the last minute, of `errors` altogether: cheaper than a window.
    pub(super) fn has_new_errors(&self, errors: u64) -> bool {
        self.marks.front().unwrap_or(&self.last).errors != low(errors)
    }

    /// Returns the requests since the last sample.
    pub(super) fn since(&self, counts: &RouteCounts) -> RouteCounts {
        RouteWindow::between(&self.last, &Mark::of(counts, Duration::ZERO)).counts
    }

    /// Returns true if requests have ended since the last sample.
    pub(super) fn is_newer(&self, counts: &RouteCounts) -> bool {
        self.since(counts).requests > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::metrics::duration_bucket;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn window_of_a_route_is_its_last_minute() {
        let mut history = RouteHistory::new(Duration::ZERO);
        let mut counts = RouteCounts::default();
        for sample in 1..=100 {
            counts.requests += 50;
            counts.errors += if sample > 50 { 5 } else { 50 };
            counts.durations[duration_bucket(SECOND / 100)] += 50;
            history.sample(&counts, SECOND * 5 * sample as u32, sample);
        }
        assert!(!history.is_newer(&counts));
        counts.requests += 10;
        assert!(history.is_newer(&counts));
        let window = history.window(&counts, SECOND * 505);
        assert_eq!(window.length, SECOND * 60);
        assert_eq!((window.counts.requests, window.counts.errors), (560, 55));
        assert!((window.rate() - 560.0 / 60.0).abs() < 1e-9);
        assert!((0.005..=0.01).contains(&window.quantile(0.99).unwrap()));
    }
}
