//! The endpoints of a request in the order of trying.

use std::sync::Arc;

use super::balance::View;
use super::endpoint::Endpoint;
use super::endpoints::EndpointSet;

/// The endpoints of a request, each once: the healthy ones as the balancer chooses, then the others.
pub(super) struct Candidates<'s> {
    endpoints: &'s EndpointSet,
    hash: Option<u64>,
    first: Option<usize>,
    /// Those after the first one, nearly always none.
    others: Vec<usize>,
}

impl<'s> Candidates<'s> {
    /// `hash` is that of the request's key, if it has one.
    pub(super) fn new(endpoints: &'s EndpointSet, hash: Option<u64>) -> Self {
        Self { endpoints, hash, first: None, others: Vec::new() }
    }
}

impl<'s> Iterator for Candidates<'s> {
    type Item = &'s Arc<Endpoint>;

    fn next(&mut self) -> Option<&'s Arc<Endpoint>> {
        let Self { endpoints, hash, first, ref others } = *self;
        let mut view =
            View { endpoints: endpoints.all(), first, others, checked_at: endpoints.health_matters_at() };
        let mut chosen = endpoints.balancer().choose(&view, hash);
        if chosen.is_none() && view.checked_at.take().is_some() {
            // None of the healthy ones is left: better an unhealthy one than none.
            chosen = endpoints.balancer().choose(&view, hash);
        }
        let chosen = chosen?;
        match self.first {
            None => self.first = Some(chosen),
            Some(_) => self.others.push(chosen),
        }
        endpoints.get(chosen)
    }
}
