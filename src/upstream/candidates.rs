//! The endpoints of a request in the order of trying.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use super::balance::View;
use super::endpoint::Endpoint;
use super::endpoints::EndpointSet;
use super::request::Affinity;

/// The endpoints of a request, each once: the one that a cookie holds it at, the healthy ones as the balancer chooses, then the
/// others. Those of the lowest priority come first.
pub(super) struct Candidates<'s> {
    endpoints: &'s EndpointSet,
    affinity: Affinity,
    first: Cell<Option<usize>>,
    /// The endpoints that it tried after the first one, nearly always none.
    others: RefCell<Vec<usize>>,
}

impl<'s> Candidates<'s> {
    pub(super) fn new(endpoints: &'s EndpointSet, affinity: Affinity) -> Self {
        Self { endpoints, affinity, first: Cell::new(None), others: RefCell::default() }
    }

    /// Returns the position of the balancer's choice among the endpoints of the first wanted tier that has one. Health matters if there
    /// is a time.
    fn choose(
        &self,
        is_wanted: impl Fn(&[Arc<Endpoint>]) -> bool,
        checked_at: Option<Duration>,
        is_lenient: bool,
    ) -> Option<usize> {
        let Self { endpoints, affinity, ref first, ref others } = *self;
        let (first, others) = (first.get(), &*others.borrow());
        endpoints.tiers().filter(|(tier, ..)| is_wanted(tier)).find_map(|(tier, offset, balancer)| {
            let view = View { endpoints: tier, offset, first, others, checked_at, is_lenient };
            let affinity = match affinity {
                Affinity::Endpoint(held) => {
                    held.checked_sub(offset).map_or(Affinity::None, Affinity::Endpoint)
                }
                other => other,
            };
            balancer.choose(&view, affinity).map(|index| offset + index)
        })
    }

    /// Returns the position of another endpoint for a request that is under way at this one, if one of the same tier is healthy: those
    /// of later tiers stand by. It is not noted as tried.
    pub(super) fn beside(&self, endpoint: &Endpoint) -> Option<usize> {
        let has_it = |tier: &[Arc<Endpoint>]| tier.iter().any(|other| std::ptr::eq(&**other, endpoint));
        self.choose(has_it, self.endpoints.health_matters_at(), false)
    }

    /// Returns true if the request has tried the endpoint at this position.
    pub(super) fn is_tried(&self, index: usize) -> bool {
        self.first.get() == Some(index) || self.others.borrow().contains(&index)
    }

    /// Returns true if the request has not tried all endpoints that get requests.
    pub(super) fn has_healthy(&self) -> bool {
        let Some(now) = self.endpoints.health_matters_at() else { return true };
        let serves = |(index, endpoint): (usize, &Arc<Endpoint>)| {
            !self.is_tried(index) && endpoint.standing().share(now) > 0.0
        };
        self.endpoints.iter().enumerate().any(serves)
    }

    /// Notes that the request has tried these endpoints.
    pub(super) fn note_tried(&self, indices: &[usize]) {
        self.others.borrow_mut().extend_from_slice(indices);
    }

    /// Returns the next endpoint to try. Attempts that are under way look at the candidates, too.
    pub(super) fn next(&self) -> Option<&'s Arc<Endpoint>> {
        if let Some(only) = self.endpoints.only() {
            return self.first.replace(Some(0)).is_none().then_some(only);
        }
        let (checked_at, any) = (self.endpoints.health_matters_at(), |_: &[Arc<Endpoint>]| true);
        let mut chosen = self.choose(any, checked_at, false);
        if chosen.is_none() && checked_at.is_some() {
            // Endpoints that are coming back do more than their shares before a request goes to an unhealthy one.
            chosen = self.choose(any, checked_at, true);
        }
        if chosen.is_none() && checked_at.is_some() {
            // None of the healthy ones is left: better an unhealthy one than none.
            chosen = self.choose(any, None, false);
        }
        let (endpoints, chosen) = (self.endpoints, chosen?);
        match self.first.get() {
            None => self.first.set(Some(chosen)),
            Some(_) => self.others.borrow_mut().push(chosen),
        }
        endpoints.get(chosen)
    }
}

impl<'s> Iterator for &Candidates<'s> {
    type Item = &'s Arc<Endpoint>;

    fn next(&mut self) -> Option<&'s Arc<Endpoint>> {
        Candidates::next(self)
    }
}
