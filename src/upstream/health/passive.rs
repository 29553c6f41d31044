//! Passive health: endpoints whose requests fail one after the other are ejected.

use std::time::Duration;

use super::now;
use super::standing::Times;
use crate::config::PassiveSettings;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::endpoints::EndpointSet;
use crate::upstream::outcome::AttemptOutcome;

impl EndpointSet {
    /// Takes the outcome of an attempt at one of the endpoints, which took so long once it had a connection. There is exactly one for each attempt, even for
    /// one that was dropped.
    pub(in crate::upstream) fn record(&self, endpoint: &Endpoint, outcome: AttemptOutcome, took: Duration) {
        tracing::trace!(endpoint = endpoint.url(), %outcome, "attempt ended");
        if outcome == AttemptOutcome::Nothing {
            return;
        }
        if self.balancer().weighs_latency() {
            endpoint.latency().observe(now(), took, outcome.is_failure());
        }
        let (Some(passive), standing) = (&self.health().passive, endpoint.standing()) else { return };
        if !fails(passive, outcome) {
            standing.succeed();
        } else if standing.fail() >= passive.failures {
            self.eject(endpoint, passive, outcome);
        }
    }

    fn eject(&self, endpoint: &Endpoint, passive: &PassiveSettings, last: AttemptOutcome) {
        let now = now();
        let ejected = self.iter().filter(|other| other.standing().is_ejected(now)).count();
        if ejected >= ejected_max(self.len(), passive.ejected_percent_max) {
            return;
        }
        let times = Times {
            first: passive.eject_for,
            max: passive.eject_max,
            slow_start: self.health().slow_start.unwrap_or_default(),
        };
        if let Some(ejected_for) = endpoint.standing().eject(now, &times) {
            tracing::warn!(
                endpoint = endpoint.url(),
                address = %endpoint.address(),
                "ejected for {ejected_for:?}: {} failures in a row, the last one: {last}",
                passive.failures
            );
        }
    }
}

/// Returns the number of endpoints that may be ejected at once: a share of them, but always one if there are others.
fn ejected_max(endpoints: usize, percent: usize) -> usize {
    if endpoints < 2 { 0 } else { (endpoints * percent / 100).clamp(1, endpoints - 1) }
}

fn fails(settings: &PassiveSettings, outcome: AttemptOutcome) -> bool {
    match outcome {
        AttemptOutcome::Response(status) => settings.counts_status(status),
        AttemptOutcome::ConnectFailed => settings.connect,
        AttemptOutcome::TimedOut => settings.timeout,
        AttemptOutcome::Broken => settings.reset,
        AttemptOutcome::Nothing => false,
    }
}

#[cfg(test)]
mod tests {
    use super::ejected_max;

    #[test]
    fn one_of_two_or_more_may_be_ejected_and_the_only_one_never() {
        let max = |percent: usize| [1, 2, 3, 10, 30].map(|endpoints| ejected_max(endpoints, percent));
        assert_eq!(max(0), [0, 1, 1, 1, 1]);
        assert_eq!(max(10), [0, 1, 1, 1, 3]);
        assert_eq!(max(100), [0, 1, 2, 9, 29]);
    }
}
