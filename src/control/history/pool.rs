//! The history of a pool: a row for each sample, and marks of its counters for the sums of the last minutes.

use std::collections::VecDeque;
use std::time::Duration;

use super::quantile::quantile;
use super::ring::Ring;
use crate::observe::metrics::{AWAITED_DIAL_CLASSES, DurationCounts, PoolReport};

/// The samples from one mark to the next: a minute.
const MARK_EVERY: u64 = 12;

/// The marks that are kept, so that sums cover between four and five minutes.
const MARKS_MAX: usize = 5;

/// The numbers of a pool at one sample. Counts are those since the sample before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PoolRow {
    pub(super) idle: u32,
    pub(super) active: u32,
    pub(super) connecting: u16,
    pub(super) pending: u32,
    pub(super) opened: u32,
    pub(super) reused: u32,
    pub(super) closed: u32,
    pub(super) acquired: u32,
    /// The time during which `max_connections` or `max_concurrent` was reached, in milliseconds.
    pub(super) limited_millis: u16,
    /// The most requests at once.
    pub(super) peak: u32,
    /// The 99th percentile of the time until a request had a connection, in microseconds.
    pub(super) acquire_p99_micros: u32,
}

impl PoolRow {
    /// Adds the numbers of another pool. The percentile is that of the slower one.
    pub(super) fn add(&mut self, other: Self) {
        let sums = [
            (&mut self.idle, other.idle),
            (&mut self.active, other.active),
            (&mut self.pending, other.pending),
            (&mut self.opened, other.opened),
            (&mut self.reused, other.reused),
            (&mut self.closed, other.closed),
            (&mut self.acquired, other.acquired),
            (&mut self.peak, other.peak),
        ];
        sums.into_iter().for_each(|(sum, number)| *sum = sum.saturating_add(number));
        self.connecting = self.connecting.saturating_add(other.connecting);
        self.limited_millis = self.limited_millis.max(other.limited_millis);
        self.acquire_p99_micros = self.acquire_p99_micros.max(other.acquire_p99_micros);
    }
}

/// The counters of a pool at one time, modulo 2^32: only their differences count.
#[derive(Debug, Clone, Default)]
struct Mark {
    at: Duration,
    opened: u32,
    reused: u32,
    acquired: u32,
    connect_failed: u32,
    ejections: u32,
    tls_handshakes: u32,
    tls_awaited: u32,
    max_connections_millis: u32,
    max_concurrent_millis: u32,
    waits: DurationCounts<u32>,
    responses: DurationCounts<u32>,
    awaited_dials: [u32; AWAITED_DIAL_CLASSES],
    closed: Box<[(&'static str, u32)]>,
    refused: Box<[(&'static str, u32)]>,
}

impl Mark {
    fn of(report: &PoolReport, at: Duration) -> Self {
        let reasons = |counts: &[(&'static str, u64)]| {
            counts.iter().map(|(reason, count)| (*reason, low(*count))).collect()
        };
        Self {
            at,
            opened: low(report.opened),
            reused: low(report.reused),
            acquired: low(report.acquired),
            connect_failed: low(report.connect_failed),
            ejections: low(report.ejections),
            tls_handshakes: low(report.tls_handshakes),
            tls_awaited: low(report.tls_handshakes_awaited),
            max_connections_millis: low_millis(report.max_connections_reached),
            max_concurrent_millis: low_millis(report.max_concurrent_reached),
            waits: report.waits.map(low),
            responses: report.attempts.durations.map(low),
            awaited_dials: report.awaited_dials.map(low),
            closed: reasons(&report.closed),
            refused: reasons(&report.refused),
        }
    }
}

/// Returns the difference of two counts modulo 2^32.
fn difference(from: u32, to: u32) -> u64 {
    to.wrapping_sub(from).into()
}

fn differences<const N: usize>(from: &[u32; N], to: &[u32; N]) -> [u64; N] {
    let mut differences = [0; N];
    let pairs = differences.iter_mut().zip(from.iter().zip(to));
    pairs.for_each(|(count, (from, to))| *count = difference(*from, *to));
    differences
}

/// The work of a pool in a stretch of time.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct PoolWindow {
    /// The length of the stretch.
    pub(crate) length: Duration,
    pub(crate) opened: u64,
    pub(crate) reused: u64,
    pub(crate) acquired: u64,
    pub(crate) connect_failed: u64,
    pub(crate) ejections: u64,
    pub(crate) tls_handshakes: u64,
    pub(crate) tls_handshakes_awaited: u64,
    pub(crate) max_connections_reached: Duration,
    pub(crate) max_concurrent_reached: Duration,
    pub(crate) waits: DurationCounts,
    /// Responses, by the time until they began.
    pub(crate) responses: DurationCounts,
    pub(crate) awaited_dials: [u64; AWAITED_DIAL_CLASSES],
    pub(crate) closed: Vec<(&'static str, u64)>,
    pub(crate) refused: Vec<(&'static str, u64)>,
    /// The most requests at once.
    pub(crate) peak_requests: u64,
}

impl PoolWindow {
    fn between(from: &Mark, to: &Mark, peak_requests: u64) -> Self {
        let time = |from, to| Duration::from_millis(difference(from, to));
        let reasons = |from: &[(&'static str, u32)], to: &[(&'static str, u32)]| {
            let before =
                |reason| from.iter().find(|(name, _)| *name == reason).map_or(0, |(_, count)| *count);
            let counts = to.iter().map(|(reason, count)| (*reason, difference(before(*reason), *count)));
            counts.filter(|(_, count)| *count > 0).collect()
        };
        Self {
            length: to.at.saturating_sub(from.at),
            opened: difference(from.opened, to.opened),
            reused: difference(from.reused, to.reused),
            acquired: difference(from.acquired, to.acquired),
            connect_failed: difference(from.connect_failed, to.connect_failed),
            ejections: difference(from.ejections, to.ejections),
            tls_handshakes: difference(from.tls_handshakes, to.tls_handshakes),
            tls_handshakes_awaited: difference(from.tls_awaited, to.tls_awaited),
            max_connections_reached: time(from.max_connections_millis, to.max_connections_millis),
            max_concurrent_reached: time(from.max_concurrent_millis, to.max_concurrent_millis),
            waits: differences(&from.waits, &to.waits),
            responses: differences(&from.responses, &to.responses),
            awaited_dials: differences(&from.awaited_dials, &to.awaited_dials),
            closed: reasons(&from.closed, &to.closed),
            refused: reasons(&from.refused, &to.refused),
            peak_requests,
        }
    }

    /// Returns the number of requests that waited.
    pub(crate) fn waited(&self) -> u64 {
        self.waits.iter().sum()
    }

    /// Returns the time until a part `q` of all requests had a connection, in seconds.
    pub(crate) fn acquire_quantile(&self, q: f64) -> Option<f64> {
        let refused: u64 = self.refused.iter().map(|(_, count)| count).sum();
        quantile(&self.waits, (self.acquired + refused).saturating_sub(self.waited()), q)
    }

    /// Returns the time that a part `q` of those requests waited that did wait, in seconds.
    pub(crate) fn wait_quantile(&self, q: f64) -> Option<f64> {
        quantile(&self.waits, 0, q)
    }

    /// Returns the time after which a part `q` of the endpoint's responses had begun, in seconds.
    pub(crate) fn response_quantile(&self, q: f64) -> Option<f64> {
        quantile(&self.responses, 0, q)
    }

    /// Returns the part of requests that found a kept connection.
    pub(crate) fn reuse_share(&self) -> Option<f64> {
        (self.acquired > 0).then(|| self.reused as f64 / self.acquired as f64)
    }

    /// Returns the share of a time in the stretch.
    pub(crate) fn share_of(&self, time: Duration) -> f64 {
        if self.length.is_zero() { 0.0 } else { (time.as_secs_f64() / self.length.as_secs_f64()).min(1.0) }
    }
}

/// The history of a pool that was used.
#[derive(Debug)]
pub(super) struct PoolHistory {
    rows: Ring<PoolRow>,
    marks: VecDeque<Mark>,
    last: Mark,
    /// The last sample that saw the pool.
    pub(super) seen: u64,
}

impl PoolHistory {
    /// Begins the history of a pool that was first used after the sample at `since`.
    pub(super) fn new(since: Duration, sample: u64) -> Self {
        let first = Mark { at: since, ..Mark::default() };
        let mut marks = VecDeque::with_capacity(MARKS_MAX);
        marks.push_back(first.clone());
        Self { rows: Ring::default(), marks, last: first, seen: sample }
    }

    /// Returns true if a pool has ever been used.
    pub(super) fn is_used(report: &PoolReport) -> bool {
        report.acquired + report.opened + report.connect_failed + report.pending > 0
            || !report.refused.is_empty()
    }

    /// Adds a sample. Returns its row.
    pub(super) fn sample(&mut self, report: &PoolReport, at: Duration, sample: u64) -> PoolRow {
        let mark = Mark::of(report, at);
        let window = PoolWindow::between(&self.last, &mark, report.peak_requests);
        let row = PoolRow {
            idle: bounded(report.idle),
            active: bounded(report.active),
            connecting: u16::try_from(report.connecting).unwrap_or(u16::MAX),
            pending: bounded(report.pending),
            opened: bounded(window.opened),
            reused: bounded(window.reused),
            closed: bounded(window.closed.iter().map(|(_, count)| count).sum()),
            acquired: bounded(window.acquired),
            limited_millis: bounded_millis(
                window.max_connections_reached.max(window.max_concurrent_reached).min(window.length),
            ),
            peak: bounded(report.peak_requests),
            acquire_p99_micros: window
                .acquire_quantile(0.99)
                .map_or(0, |seconds| bounded((seconds * 1e6) as u64)),
        };
        self.rows.push(row);
        self.seen = sample;
        if sample.is_multiple_of(MARK_EVERY) {
            if self.marks.len() == MARKS_MAX {
                self.marks.pop_front();
            }
            self.marks.push_back(mark.clone());
        }
        self.last = mark;
        row
    }

    /// Returns the sums of the last minutes up to now.
    pub(super) fn window(&self, report: &PoolReport, at: Duration) -> PoolWindow {
        let from = self.marks.front().unwrap_or(&self.last);
        let samples = (MARKS_MAX as u64 * MARK_EVERY) as usize;
        let peak = self.rows.iter().rev().take(samples).map(|row| u64::from(row.peak)).max();
        PoolWindow::between(from, &Mark::of(report, at), peak.unwrap_or(0).max(report.peak_requests))
    }

    pub(super) fn rows(&self) -> &Ring<PoolRow> {
        &self.rows
    }
}

/// Returns the lower half of a counter.
const fn low(count: u64) -> u32 {
    (count & u32::MAX as u64) as u32
}

fn low_millis(time: Duration) -> u32 {
    low(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

fn bounded(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn bounded_millis(time: Duration) -> u16 {
    u16::try_from(time.as_millis()).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::metrics::duration_bucket;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn thousand_used_pools_take_less_than_10_mb() {
        let reasons = 4 * size_of::<(&str, u32)>();
        let mark = size_of::<Mark>() + 2 * reasons;
        let bytes = size_of::<PoolHistory>() + Ring::<PoolRow>::BYTES + MARKS_MAX * mark;
        assert!(bytes * 1000 < 10_000_000, "{bytes} each");
    }

    #[test]
    fn window_has_the_counts_since_the_oldest_mark_and_up_to_now() {
        let mut history = PoolHistory::new(Duration::ZERO, 0);
        let mut report = PoolReport::default();
        for sample in 1..=120 {
            report.acquired += 10;
            report.reused += 9;
            report.closed = vec![("max_idle", sample)];
            report.waits[duration_bucket(SECOND / 10)] += 1;
            // Only in the first minute it was slow.
            let took = if sample < 12 { SECOND } else { SECOND / 5 };
            report.attempts.durations[duration_bucket(took)] += 10;
            report.max_connections_reached += SECOND;
            report.peak_requests = if sample == 1 || sample == 115 { 40 + sample } else { 3 };
            let row = history.sample(&report, SECOND * 5 * sample as u32, sample);
            assert_eq!((row.acquired, row.reused, row.closed, row.limited_millis), (10, 9, 1, 1000));
        }
        report.acquired += 7;
        let window = history.window(&report, SECOND * 602);
        // Marks were set at samples 72, 84, 96, 108 and 120.
        assert_eq!(window.length, SECOND * (602 - 360));
        assert_eq!((window.acquired, window.reused, window.waited()), (48 * 10 + 7, 48 * 9, 48));
        assert_eq!(window.closed, [("max_idle", 48)]);
        assert_eq!(window.max_connections_reached, SECOND * 48);
        assert_eq!(window.peak_requests, 155, "not that of ten minutes ago");
        let p99 = window.acquire_quantile(0.99).unwrap();
        assert!((0.05..=0.1).contains(&p99), "{p99}");
        assert_eq!(window.acquire_quantile(0.5), Some(0.0));
        assert_eq!(window.responses.iter().sum::<u64>(), 480);
        let p99 = window.response_quantile(0.99).unwrap();
        assert!((0.1..=0.25).contains(&p99), "{p99}");
    }

    #[test]
    fn counters_that_wrap_have_the_right_differences() {
        let mut history = PoolHistory::new(Duration::ZERO, 0);
        let near = u64::from(u32::MAX) - 1;
        history.sample(&PoolReport { acquired: near, ..PoolReport::default() }, SECOND, 12);
        let row = history.sample(&PoolReport { acquired: near + 5, ..PoolReport::default() }, SECOND * 2, 13);
        assert_eq!(row.acquired, 5);
    }
}
