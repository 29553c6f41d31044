//! A pool as the rules see it, and their results.

use super::words::{last, time};
use crate::config::PoolSettings;
use crate::control::history::PoolWindow;
use crate::observe::metrics::PoolReport;

/// The share of the time from which on a limit holds requests back.
pub(super) const REACHED_MIN: f64 = 0.01;

/// The connections from which on it matters why they are closed or opened.
pub(super) const CONNECTIONS_MIN: u64 = 10;

/// The part of all connections that makes a reason the main one.
const MAIN: f64 = 0.5;

/// The harm that is done, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// Requests were refused.
    Refuses,
    /// Requests waited.
    Delays,
    /// The gateway or the server works more than it has to.
    Wastes,
}

/// A pool, as the rules see it.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) report: &'a PoolReport,
    pub(super) window: &'a PoolWindow,
    pub(super) settings: &'a PoolSettings,
}

/// The result of a rule.
pub(super) struct Found {
    pub(super) urgency: Urgency,
    pub(super) setting: Option<&'static str>,
    pub(super) value: Option<String>,
    pub(super) suffices: Option<String>,
    pub(super) text: String,
}

impl Subject<'_> {
    /// Returns the connections that would have served all requests at once.
    pub(super) fn connections_needed(self) -> u64 {
        self.window.peak_requests.div_ceil(self.report.requests_per_connection.max(1))
    }

    /// Returns the number of connections that were closed, or of requests that were refused, for a reason.
    pub(super) fn count(self, reason: &str) -> u64 {
        let counts = self.window.closed.iter().chain(&self.window.refused);
        counts.filter(|(name, _)| *name == reason).map(|(_, count)| count).sum()
    }

    /// Returns the number of connections that were closed for a reason, if it is the main one.
    pub(super) fn closed_mainly(self, reason: &str) -> Option<u64> {
        let closed = self.count(reason);
        let all: u64 = self.window.closed.iter().map(|(_, count)| count).sum();
        (closed >= CONNECTIONS_MIN && closed as f64 >= MAIN * all as f64).then_some(closed)
    }

    /// Returns the stretch of time that the numbers are about.
    pub(super) fn last(self) -> String {
        last(self.window.length)
    }

    /// Returns a clause about requests that limits refused, if there are any.
    pub(super) fn refusals(self) -> String {
        let refused: u64 = self.window.refused.iter().map(|(_, count)| count).sum();
        if refused == 0 { String::new() } else { format!(", and {} were refused", refused) }
    }

    /// Returns a clause about the waits of requests.
    pub(super) fn waits(self) -> String {
        let p99 = self.window.wait_quantile(0.99).unwrap_or_default();
        format!("{} requests waited, p99 {}", self.window.waited(), time(p99))
    }

    /// Returns true if requests waited long enough at `max_connections`, and fewer would have waited with more.
    pub(super) fn lacks_connections(self) -> bool {
        let refused = self.count("pool.max_pending") + self.count("pool.acquire_timeout");
        let share = self.window.share_of(self.window.max_connections_reached);
        let is_reached = share >= REACHED_MIN || refused > 0 && share > 0.0;
        is_reached && self.connections_needed() > self.settings.max_connections as u64
    }

    /// Returns true if requests waited for a connection or a place that a limit did not permit.
    pub(super) fn was_limited(self) -> bool {
        !self.window.max_connections_reached.is_zero() || !self.window.max_concurrent_reached.is_zero()
    }

    pub(super) fn urgency(self) -> Urgency {
        if self.window.refused.is_empty() { Urgency::Delays } else { Urgency::Refuses }
    }
}
