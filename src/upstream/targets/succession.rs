//! From the targets before a reload to those after it: who keeps which endpoints, and what ends.

use std::sync::{Arc, Weak};

use super::{Target, Targets};
use crate::upstream::endpoint::{Endpoint, Upstream};

impl Targets {
    /// Hands over to `current`, which has all the targets of the configuration that is in force now. If these are
    /// not among them, they are frozen: requests that began under the old configuration go on with the endpoints
    /// there are, and what DNS says is acted upon by those that took over. Endpoints that nobody took are retired.
    ///
    /// Call it in one go with what makes `current` be in force, and before [`Targets::watch_with`] for `current`:
    /// looking names up in between would add what `current` does not know of.
    ///
    /// The answer is what drains from here on, for reports: all endpoints that were retired, now or before, and
    /// still have connections or requests that wait.
    pub(crate) fn leave_to(&self, current: &[&Arc<Targets>]) -> Vec<Arc<Endpoint>> {
        if current.iter().any(|targets| std::ptr::eq(Arc::as_ptr(targets), self)) {
            return Vec::new();
        }
        let (endpoints, mut draining, mut waited_for) = {
            let mut state = self.lock();
            state.superseded = true;
            state.watching.abort_all();
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
            successor.tell_too(waited_for);
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

    /// Tells those who wait for the first endpoint of an upstream from before of those that there are here, now or later.
    fn tell_too(&self, waited_for: Vec<Weak<Upstream>>) {
        let mut state = self.lock();
        state.waited_for.extend(waited_for);
        self.tell_who_waits(&mut state);
    }

    /// The endpoints that `before` has of those targets that are the same here.
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

    /// Takes what `before` knows by now of those targets that are the same, in place of what was known here.
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
