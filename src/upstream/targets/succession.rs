//! The transition from the targets before a reload to those after it: which endpoints survive, and which ones drain.

use std::sync::{Arc, Weak};

use super::{Member, Target, Targets};
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
        let (members, mut draining, mut waited_for) = {
            let mut state = self.lock();
            state.superseded = true;
            state.watching.abort_all();
            state.checking.abort_all();
            let draining = std::mem::take(&mut state.draining);
            (state.members.clone(), draining, std::mem::take(&mut state.waited_for))
        };
        let is_successor = |targets: &Targets| targets.targets.iter().any(|target| target.is_of(self));
        let successors: Vec<_> = current.iter().filter(|targets| is_successor(targets)).collect();
        successors.iter().for_each(|successor| successor.take_over(self));
        if members.is_empty() {
            waited_for.push(Arc::downgrade(&self.upstream));
        }
        if let Some(successor) = successors.first() {
            successor.adopt_waiting_upstreams(waited_for);
        }
        for Member { endpoint, .. } in members {
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
    pub(super) fn inherited(&self, before: &Targets) -> Vec<Member> {
        let own = |target: &Target| target.position_in(&self.targets);
        let own: Vec<Option<usize>> = before.targets.iter().map(own).collect();
        let members = before.lock().members.clone();
        let inherited = members.into_iter().filter_map(|member| {
            let target = own.get(member.target).copied().flatten()?;
            Some(Member { target, ..member })
        });
        inherited.collect()
    }

    /// Replaces the endpoints built here for unchanged targets by those that `before` has by now.
    fn take_over(&self, before: &Targets) {
        let inherited = self.inherited(before);
        let mut state = self.lock();
        let is_inherited = |index: usize| inherited.iter().any(|known| known.target == index);
        let own = state.members.iter().filter(|member| !is_inherited(member.target)).cloned();
        let together: Vec<_> = own.chain(inherited.iter().cloned()).collect();
        let is_known = together.iter().all(|member| state.holds_alike(member));
        // Nothing has changed since these targets were built.
        if is_known && together.len() == state.members.len() {
            return;
        }
        self.replace(&mut state, together);
    }
}
