//! From one snapshot to the next: what is left to do once the new one serves.

use std::collections::HashMap;
use std::sync::Arc;

use super::{NamedUpstream, Snapshot};
use crate::config::PoolSettings;
use crate::upstream::{Endpoint, Targets, watch_names};

/// The steps that a snapshot's build has put off, because nothing that runs may change before it is known to be good.
#[derive(Default)]
pub(crate) struct Handover {
    /// Every upstream with the limits that its pools are to have.
    limits: Vec<(Arc<Targets>, PoolSettings)>,
    /// Those that were built anew: their names have yet to be watched.
    fresh: Vec<Arc<Targets>>,
    /// Who takes the place of which; perhaps the same.
    heirs: HashMap<*const Targets, Arc<Targets>>,
}

/// A pool that is no longer configured, and ends with the requests that use it.
pub(crate) struct Leaving {
    /// Whose it was.
    pub(crate) owner: String,
    pub(crate) endpoint: Arc<Endpoint>,
}

impl Handover {
    /// Notes an upstream of the new snapshot, built in the place of `before`.
    pub(super) fn add(
        &mut self,
        targets: &Arc<Targets>,
        limits: &PoolSettings,
        before: Option<&Arc<Targets>>,
    ) {
        self.limits.push((targets.clone(), limits.clone()));
        if before.is_none_or(|before| !Arc::ptr_eq(before, targets)) {
            self.fresh.push(targets.clone());
        }
        if let Some(before) = before {
            self.heirs.insert(Arc::as_ptr(before), targets.clone());
        }
    }

    /// Looks up the names that are new, so that no request has to wait for them. Bounded in time; a name that cannot
    /// be looked up is tried again later.
    pub(crate) async fn resolve(&self) {
        let mut lookups = tokio::task::JoinSet::new();
        for targets in &self.fresh {
            let targets = targets.clone();
            lookups.spawn(async move { targets.resolve_new().await });
        }
        while lookups.join_next().await.is_some() {}
    }

    /// Gives the pools their limits, watches the names that are new, and retires what `before` had and nobody has taken
    /// over. To be called once the new snapshot serves.
    pub(crate) fn complete(self, before: Option<&Snapshot>) -> Vec<Leaving> {
        for (targets, limits) in &self.limits {
            targets.apply(limits);
        }
        let upstreams = before.map_or(&[][..], |before| &before.upstreams);
        let leaving = upstreams.iter().flat_map(|named| self.leave(named)).collect();
        self.fresh.iter().for_each(watch_names);
        leaving
    }

    fn leave(&self, named: &NamedUpstream) -> Vec<Leaving> {
        let heir = self.heirs.get(&Arc::as_ptr(&named.targets));
        let retired = named.targets.leave_to(heir.as_slice());
        let leaving = retired.into_iter().map(|endpoint| Leaving { owner: named.name.clone(), endpoint });
        leaving.collect()
    }
}
