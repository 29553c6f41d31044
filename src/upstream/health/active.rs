//! Active health: an endpoint whose probes fail is down. The control plane probes; this draws the conclusions.

use std::time::Duration;

use tokio::time::Instant;

use super::probed::Verdict;
use crate::config::{ActiveSettings, HealthSettings};
use crate::net::clock;
use crate::upstream::endpoint::Endpoint;

impl Endpoint {
    /// Takes the result of a probe, which is the reason if it failed.
    pub(crate) fn record_probe(&self, settings: &HealthSettings, failure: Option<String>) {
        let Some(active) = &settings.active else { return };
        let slow_start = settings.slow_start.unwrap_or_default();
        let is_success = failure.is_none();
        self.probed().take(failure, active, |verdict, record| {
            if is_success && self.standing().end_ejection(clock::uptime()) {
                tracing::info!(
                    endpoint = self.url(),
                    address = %self.address(),
                    "a probe succeeded: the ejection is over"
                );
            }
            match verdict {
                Verdict::Open => {}
                Verdict::Down { is_first } => {
                    let reason = record.last_failure.as_deref().unwrap_or_default();
                    self.go_down(active, is_first, reason);
                }
                Verdict::Up { is_first } => self.come_up(if is_first { Duration::ZERO } else { slow_start }),
            }
        });
    }

    fn go_down(&self, active: &ActiveSettings, is_first: bool, reason: &str) {
        // An endpoint that starts unhealthy is down already, and its first failure is news all the same.
        if self.standing().go_down() || is_first {
            tracing::warn!(
                endpoint = self.url(),
                address = %self.address(),
                "unhealthy: {} probes failed in a row, the last one: {reason}",
                active.unhealthy_after
            );
        }
    }

    fn come_up(&self, slow_start: Duration) {
        if self.standing().come_up(clock::uptime(), slow_start) {
            tracing::info!(
                endpoint = self.url(),
                address = %self.address(),
                "healthy: probes succeed, and it gets requests"
            );
        }
    }

    /// Takes the results of probes from now on.
    pub(crate) fn begin_probes(&self) {
        self.probed().begin();
    }

    /// Forgets what probes have found, because there are no more of them. One that is still under way, on another thread, changes
    /// nothing: no later one would find the endpoint healthy again.
    pub(crate) fn end_probes(&self) {
        self.probed().end(|| {
            self.standing().come_up(clock::uptime(), Duration::ZERO);
        });
    }

    /// Returns the time of the next probe; `None` for at once. Endpoints that come together are spread over the first interval, and
    /// stay apart.
    pub(crate) fn next_probe(&self, interval: Duration) -> Option<Instant> {
        let (ended, is_first) = self.probed().last()?;
        let part = if is_first { fastrand::f64() } else { 5.0 / 6.0 + fastrand::f64() / 3.0 };
        ended.checked_add(interval.mul_f64(part))
    }
}
