//! `max_concurrent: auto`: the limit on requests at once follows the endpoint's response times.
//!
//! The times of a window are compared with the best ones of the last minute. While they are about as good, the limit grows; as they
//! become longer, requests queue up in the endpoint, and the limit shrinks until they do not: they wait in the gateway, where they go
//! to another endpoint, or end in time. Like Envoy's gradient controller, which took it from Netflix's concurrency-limits.

use crate::net::clock;
use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The limit before anything is known, and its bounds.
const FIRST: f64 = 10.0;
const LEAST: f64 = 3.0;
const MOST: f64 = 10_000.0;

/// A window has so many responses, and lasts so long, at least.
const WINDOW_RESPONSES: u64 = 20;
const WINDOW: Duration = Duration::from_millis(100);

/// The best response time is that of the last minute.
const BEST_OF: Duration = Duration::from_secs(60);

/// After so much time the limit is halved for one window: if the endpoint is busy all the time, that shows how fast it can be.
const PROBE_EVERY: Duration = Duration::from_secs(30);

/// The first time comes sooner: the endpoint may have been slow from the beginning.
const PROBE_FIRST: Duration = Duration::from_secs(1);

/// Response times up to this part above the best ones are as good.
const TOLERANCE: f64 = 1.25;

/// The state of an endpoint's limit. Unused, it costs one comparison a request.
#[derive(Debug, Default)]
pub(super) struct Adaptive {
    is_on: AtomicBool,
    /// The window's response times in microseconds, and their number.
    micros: AtomicU64,
    responses: AtomicU64,
    /// The most requests at once in the window.
    peak: AtomicUsize,
    /// The time at which the window may end, in milliseconds since the process began.
    ends_at: AtomicU64,
    course: Mutex<Course>,
}

#[derive(Debug)]
struct Course {
    limit: f64,
    /// The average response times of the last windows in microseconds, with their ends. Only those that are not beaten by a later one.
    best: VecDeque<(Duration, f64)>,
    next_probe: Duration,
    is_probing: bool,
}

impl Default for Course {
    fn default() -> Self {
        Self { limit: FIRST, best: VecDeque::new(), next_probe: Duration::ZERO, is_probing: false }
    }
}

impl Adaptive {
    /// Switches it on or off. Returns the present limit if it is on.
    pub(super) fn switch(&self, on: bool) -> Option<usize> {
        self.is_on.store(on, Relaxed);
        on.then(|| self.course.lock().unwrap_or_else(PoisonError::into_inner).limit())
    }

    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Relaxed)
    }

    /// Takes the response time of a request, as which so many were under way. Returns the new limit if a window ends with it. `now` is
    /// the time since the process began.
    pub(super) fn observe(&self, now: Duration, took: Duration, under_way: usize) -> Option<usize> {
        self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX >> 16), Relaxed);
        self.peak.fetch_max(under_way, Relaxed);
        let responses = self.responses.fetch_add(1, Relaxed) + 1;
        let ends_at = self.ends_at.load(Relaxed);
        if responses < WINDOW_RESPONSES || clock::millis(now) < ends_at {
            return None;
        }
        let next = clock::millis(now + WINDOW);
        // One of the workers that see the end.
        self.ends_at.compare_exchange(ends_at, next, Relaxed, Relaxed).ok()?;
        let (micros, responses) = (self.micros.swap(0, Relaxed), self.responses.swap(0, Relaxed));
        let peak = self.peak.swap(0, Relaxed);
        let average = micros as f64 / responses.max(1) as f64;
        Some(self.course.lock().unwrap_or_else(PoisonError::into_inner).end_window(now, average, peak))
    }
}

impl Course {
    fn limit(&self) -> usize {
        let limit = if self.is_probing { (self.limit / 2.0).max(LEAST) } else { self.limit };
        limit as usize
    }

    fn end_window(&mut self, now: Duration, average: f64, peak: usize) -> usize {
        let best = self.best(now, average);
        let was_probing = std::mem::replace(&mut self.is_probing, false);
        if self.next_probe.is_zero() {
            self.next_probe = now + PROBE_FIRST;
        } else if was_probing {
            self.next_probe = now + PROBE_EVERY.mul_f64(0.9 + 0.2 * fastrand::f64());
        }
        if !was_probing {
            let gradient = (best * TOLERANCE / average.max(1.0)).clamp(0.5, 2.0);
            let next = self.limit * gradient;
            // A limit that is not reached says nothing about more requests.
            if gradient < 1.0 || peak as f64 >= self.limit / 2.0 {
                self.limit = (next + next.sqrt()).clamp(LEAST, MOST);
            }
            self.is_probing = now >= self.next_probe;
        }
        self.limit()
    }

    /// Returns the best average of the last time, this window's included.
    fn best(&mut self, now: Duration, average: f64) -> f64 {
        while self.best.front().is_some_and(|(at, _)| now.saturating_sub(*at) > BEST_OF) {
            self.best.pop_front();
        }
        while self.best.back().is_some_and(|(_, worse)| *worse >= average) {
            self.best.pop_back();
        }
        self.best.push_back((now, average));
        self.best.front().map_or(average, |(_, best)| *best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An endpoint that serves so many requests at once, each in 10 ms; further ones wait in it.
    struct Served {
        adaptive: Adaptive,
        now: Duration,
        limit: usize,
    }

    impl Served {
        fn new() -> Self {
            let adaptive = Adaptive::default();
            let limit = adaptive.switch(true).unwrap();
            Self { adaptive, now: Duration::from_secs(1), limit }
        }

        /// Lets so many windows pass in which clients would have `wanted` requests under way. Returns the limits.
        fn windows(&mut self, count: usize, wanted: usize, capacity: usize) -> Vec<usize> {
            let window = |_| {
                let under_way = wanted.min(self.limit);
                let queued = under_way.max(capacity) as f64 / capacity as f64;
                let took = Duration::from_millis(10).mul_f64(queued);
                self.now += WINDOW;
                for _ in 0..WINDOW_RESPONSES {
                    if let Some(limit) = self.adaptive.observe(self.now, took, under_way) {
                        self.limit = limit;
                    }
                }
                self.limit
            };
            (0..count).map(window).collect()
        }
    }

    #[test]
    fn limit_grows_to_what_an_endpoint_bears_and_stays_there() {
        for capacity in [10, 50, 200] {
            let mut served = Served::new();
            served.windows(50, 10_000, capacity);
            let limits = served.windows(2_000, 10_000, capacity);
            let (least, most) = (limits.iter().min().unwrap(), limits.iter().max().unwrap());
            assert!(*most <= capacity * 2, "{capacity}: {most}, a response takes twice the time at most");
            assert!(*least >= capacity / 2, "{capacity}: {least}, half of it while it is probed");
        }
    }

    #[test]
    fn endpoint_that_degrades_gets_fewer_and_one_that_recovers_gets_more() {
        let mut served = Served::new();
        // A probe halves the limit for one window, and its time is random: the last window may be one.
        let mut settled = |capacity| {
            *served.windows(100, 10_000, capacity).last_chunk::<2>().unwrap().iter().max().unwrap()
        };
        settled(100);
        let degraded = settled(10);
        assert!(degraded <= 25, "{degraded}");
        let recovered = settled(100);
        assert!(recovered >= 80, "{recovered}");
    }

    #[test]
    fn limit_that_is_not_reached_stays() {
        let mut served = Served::new();
        let limits = served.windows(100, 3, 100);
        assert!(limits.iter().all(|limit| *limit <= FIRST as usize), "{limits:?}");
    }
}
