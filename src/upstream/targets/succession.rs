//! The transition from the targets before a reload to those after it: which endpoints survive, and which ones drain.

use std::sync::{Arc, Weak};

use super::{Target, Targets};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::endpoints::Upstream;

impl Targets {
    /// Hands over to `current`, which has all the targets of the active configuration. If these targets are not among
    /// them, they are frozen: requests that began under the old configuration continue with the present endpoints, and
    /// only the successors act on DNS. Endpoints without a successor are retired.
    ///
    /// Call this in one go with what makes `current` active, and before [`Targets::watch_with`] for `current`.
    /// Resolving names in between would add endpoints that `current` does not know.
    ///
    /// Returns what drains from here on, for reports: all endpoints that were retired, now or before, and still have
    /// connections or waiting requests.
    pub(crate) fn leave_to(&self, current: &[&Arc<Targets>]) -> Vec<Arc<Endpoint>> {
        if current.iter().any(|targets| std::ptr::eq(Arc::as_ptr(targets), self)) {
            return Vec::new();
        }
        let (endpoints, mut draining, mut waited_for) = {
            let mut state = self.lock();
            state.superseded = true;
            state.watching.abort_all();
            state.checking.abort_all();
            let draining = std::mem::take(&mut state.draining);
            (state.endpoints.clone(), draining, std::mem::take(&mut state.waited_for))
        };
        let is_successor = |targets: &Targets| targets.targets.iter().any(|target| target.is_of(self));
        let successors: Vec<_> = current.iter().filter(|targets| is_successor(targets)).collect();
        successors.iter().for_each(|successor| successor.take_over(self));
        if endpoints.is_empty() {
            waited_for.push(Arc::downgrade(&self.upstream));
        }
        if let Some(successor) = successors.first() {
            successor.adopt_waiting_upstreams(waited_for);
        }
        for (_, endpoint) in endpoints {
            if !successors.iter().any(|successor| successor.lock().holds(&endpoint)) {
                endpoint.pool().retire();
                draining.push(endpoint);
            }
        }
        draining.retain(|endpoint| !endpoint.pool().is_drained());
        draining
    }

    /// Gives the present endpoints, or the first ones to come, to earlier upstreams that had none and may have waiting
    /// requests.
    fn adopt_waiting_upstreams(&self, waited_for: Vec<Weak<Upstream>>) {
        let mut state = self.lock();
        state.waited_for.extend(waited_for);
        self.update_waiting_upstreams(&mut state);
    }

    /// Returns the endpoints that `before` has for the targets that are the same here.
    pub(super) fn inherited(&self, before: &Targets) -> Vec<(usize, Arc<Endpoint>)> {
        let own = |target: &Target| target.position_in(&self.targets);
        let own: Vec<Option<usize>> = before.targets.iter().map(own).collect();
        let endpoints = before.lock().endpoints.clone();
        let inherited = endpoints.into_iter().filter_map(|(index, endpoint)| {
            let own = own.get(index).copied().flatten()?;
            Some((own, endpoint))
        });
        inherited.collect()
    }

    /// Replaces the endpoints built here for unchanged targets by those that `before` has by now.
    fn take_over(&self, before: &Targets) {
        let inherited = self.inherited(before);
        let mut state = self.lock();
        let is_inherited = |index: usize| inherited.iter().any(|(known, _)| *known == index);
        let own = state.endpoints.iter().filter(|(index, _)| !is_inherited(*index)).cloned();
        let together: Vec<_> = own.chain(inherited.iter().cloned()).collect();
        let is_known = together.iter().all(|(_, endpoint)| state.holds(endpoint));
        // Nothing has changed since these targets were built.
        if is_known && together.len() == state.endpoints.len() {
            return;
        }
        self.replace(&mut state, together);
    }
}
