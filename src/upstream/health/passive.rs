//! Passive health: endpoints whose requests fail one after the other, or more often than those of others, are ejected.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use super::standing::Times;
use super::success_rate::least_rate;
use crate::config::PassiveSettings;
use crate::net::clock;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::endpoints::EndpointSet;
use crate::upstream::outcome::AttemptOutcome;

impl EndpointSet {
    /// Takes the outcome of an attempt at one of the endpoints. There is exactly one for each attempt, even for one that was dropped.
    /// `took` is the time that the endpoint took to respond.
    pub(in crate::upstream) fn record(&self, endpoint: &Endpoint, outcome: AttemptOutcome, took: Duration) {
        tracing::trace!(endpoint = endpoint.url(), %outcome, "attempt ended");
        if outcome == AttemptOutcome::Nothing {
            return;
        }
        endpoint.pool().count_attempt(outcome, took);
        if self.weighs_latency() {
            endpoint.latency().observe(clock::uptime(), took, outcome.is_failure());
        }
        // A fast failure is no sign of a fast endpoint.
        let is_timed = !outcome.is_failure() || outcome == AttemptOutcome::TimedOut;
        if is_timed && endpoint.pool().adapts() {
            endpoint.pool().adapt(clock::uptime(), took);
        }
        let (Some(passive), standing) = (&self.health().passive, endpoint.standing()) else { return };
        if passive.success_rate.is_some() {
            endpoint.success_counts().count(!outcome.is_failure(), endpoint.pool().workers());
        }
        if !fails(passive, outcome) {
            standing.succeed();
        } else if standing.fail() >= passive.failures {
            let failures = passive.failures;
            self.eject(
                endpoint,
                passive,
                &format_args!("{failures} failures in a row, the last one: {outcome}"),
            );
        }
    }

    /// Takes the time that an attempt has lasted which another one overtook: its endpoint is at least as slow as that.
    pub(in crate::upstream) fn note_overtaken(&self, endpoint: &Endpoint, took: Duration) {
        let now = clock::uptime();
        if self.weighs_latency() && clock::nanos(took) as f64 > endpoint.latency().expected(now) {
            endpoint.latency().observe(now, took, false);
        }
        if endpoint.pool().adapts() {
            endpoint.pool().adapt(now, took);
        }
    }

    /// Ejects the endpoints that fail more often than the others, by the requests since the last call. The control plane calls it at
    /// intervals (`passive.success_rate`).
    pub(crate) fn eject_outliers(&self) {
        let Some(passive) = &self.health().passive else { return };
        let Some(settings) = &passive.success_rate else { return };
        let sums = self.iter().map(|endpoint| (endpoint, endpoint.success_counts().take()));
        let rates: Vec<_> = sums
            .filter(|(_, sums)| sums.requests >= settings.requests_min)
            .map(|(endpoint, sums)| (endpoint, sums.rate()))
            .collect();
        let all: Vec<f64> = rates.iter().map(|(_, rate)| *rate).collect();
        let Some(least) = least_rate(&all, settings) else { return };
        for (endpoint, rate) in rates.iter().filter(|(_, rate)| *rate < least) {
            let (rate, least) = (rate * 100.0, least * 100.0);
            let why = format_args!(
                "{rate:.1} % of its requests succeeded, {least:.1} % is the least among its neighbours"
            );
            self.eject(endpoint, passive, &why);
        }
    }

    fn eject(&self, endpoint: &Endpoint, passive: &PassiveSettings, why: &dyn Display) {
        let now = clock::uptime();
        // Endpoints that probes have found down count, too: the others must withstand the requests of all.
        let is_out =
            |other: &&Arc<Endpoint>| !std::ptr::eq(&***other, endpoint) && other.standing().share(now) == 0.0;
        if self.iter().filter(is_out).count() >= ejected_max(self.len(), passive.ejected_percent_max) {
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
                "ejected for {ejected_for:?}: {why}"
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
