//! The endpoints of a request in the order of trying.

use std::sync::Arc;

use super::balance::View;
use super::endpoint::Endpoint;
use super::endpoints::EndpointSet;
use super::request::Affinity;

/// The endpoints of a request, each once: the one that a cookie holds it at, the healthy ones as the balancer chooses, then the
/// others.
pub(super) struct Candidates<'s> {
    endpoints: &'s EndpointSet,
    affinity: Affinity,
    first: Option<usize>,
    /// Those after the first one, nearly always none.
    others: Vec<usize>,
}

impl<'s> Candidates<'s> {
    pub(super) fn new(endpoints: &'s EndpointSet, affinity: Affinity) -> Self {
        Self { endpoints, affinity, first: None, others: Vec::new() }
    }
}

impl<'s> Iterator for Candidates<'s> {
    type Item = &'s Arc<Endpoint>;

    fn next(&mut self) -> Option<&'s Arc<Endpoint>> {
        let Self { endpoints, affinity, first, ref others } = *self;
        let checked_at = endpoints.health_matters_at();
        let mut view = View { endpoints: endpoints.all(), first, others, checked_at, is_lenient: false };
        let mut chosen = endpoints.balancer().choose(&view, affinity);
        if chosen.is_none() && view.checked_at.is_some() {
            // Those that are coming back do more than their shares before a request goes to an unhealthy one.
            view.is_lenient = true;
            chosen = endpoints.balancer().choose(&view, affinity);
        }
        if chosen.is_none() && view.checked_at.take().is_some() {
            // None of the healthy ones is left: better an unhealthy one than none.
            chosen = endpoints.balancer().choose(&view, affinity);
        }
        let chosen = chosen?;
        match self.first {
            None => self.first = Some(chosen),
            Some(_) => self.others.push(chosen),
        }
        endpoints.get(chosen)
    }
}
