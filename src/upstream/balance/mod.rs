//! Load balancing. Each balancer has its own file and returns candidates in the order of trying.

mod round_robin;

pub(super) use round_robin::RoundRobin;

use super::endpoint::Endpoint;
use super::outcome::AttemptOutcome;
use super::request::UpstreamRequest;

/// The choice among the endpoints of an upstream.
pub(super) enum Balancer {
    RoundRobin(RoundRobin),
}

impl Balancer {
    /// Returns the indices of all endpoints in the order in which to try them for the request `key`, each once.
    pub(super) fn candidates<'s>(
        &'s self,
        _key: &UpstreamRequest<'_>,
    ) -> impl Iterator<Item = usize> + use<'s> {
        match self {
            Balancer::RoundRobin(balancer) => balancer.candidates(),
        }
    }

    /// Takes the outcome of an attempt. There is exactly one for each attempt, even for one that was dropped.
    pub(super) fn outcome(&self, endpoint: &Endpoint, outcome: AttemptOutcome) {
        tracing::trace!(endpoint = endpoint.url(), %outcome, "attempt ended");
        match self {
            Balancer::RoundRobin(_) => {} // it takes turns, whatever happens
        }
    }
}
