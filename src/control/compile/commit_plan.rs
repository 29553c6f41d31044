//! From one snapshot to the next: what is left to do once the new one serves.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{ConfigErrors, PoolSettings, Segment, Source};
use crate::control::diff::{Change, Section};
use crate::control::upstreams::names::{resolve_new, watch_names};
use crate::filter::proxy_wasm::CallableUpstreams;
use crate::snapshot::{NamedUpstream, Snapshot};
use crate::upstream::{Endpoint, Target, Targets};

/// The time for which the lookup of new names may delay a reload.
const LOOKUPS_LIMIT: Duration = Duration::from_secs(10);

/// The steps that a snapshot's build has put off, because nothing that runs may change before it is known to be good.
#[derive(Default)]
pub(crate) struct CommitPlan {
    transitions: Vec<UpstreamTransition>,
    /// By the address in memory of the targets before: the place of those that come after.
    successors: HashMap<usize, usize>,
    /// The upstreams that plugins may call.
    callable_upstreams: CallableUpstreams,
}

/// An upstream of the new snapshot.
struct UpstreamTransition {
    owner: String,
    /// The path to it in the file.
    place: Vec<Segment>,
    targets: Arc<Targets>,
    limits: PoolSettings,
    /// In whose place it comes, which may be itself.
    before: Option<Arc<Targets>>,
}

/// A pool that is no longer configured, and ends with the requests that use it.
pub(crate) struct DrainingPool {
    /// Whose it was.
    pub(crate) owner: String,
    pub(crate) endpoint: Arc<Endpoint>,
}

impl CommitPlan {
    /// Notes an upstream of the new snapshot, which is at `place` in the file and replaces `before`.
    pub(crate) fn add(
        &mut self,
        named: &NamedUpstream,
        place: &[Segment],
        limits: &PoolSettings,
        before: Option<&Arc<Targets>>,
    ) {
        if let Some(before) = before {
            self.successors.insert(address(before), self.transitions.len());
        }
        self.transitions.push(UpstreamTransition {
            owner: named.name.clone(),
            place: place.to_vec(),
            targets: named.targets.clone(),
            limits: limits.clone(),
            before: before.cloned(),
        });
    }

    /// Notes which upstreams plugins may call.
    pub(crate) fn call(&mut self, callable_upstreams: CallableUpstreams) {
        self.callable_upstreams = callable_upstreams;
    }

    /// Looks up the names that are new, so that no request has to wait for them. Bounded in time. `source` is the file of the
    /// new snapshot.
    ///
    /// # Errors
    /// None of an upstream's names can be looked up, and it comes in the place of one that serves. A new one that cannot be
    /// looked up does no harm: that is tried again later.
    pub(crate) async fn resolve(&self, source: &Source) -> Result<(), ConfigErrors> {
        let mut lookups = tokio::task::JoinSet::new();
        for transition in self.fresh() {
            let targets = transition.targets.clone();
            lookups.spawn(async move { resolve_new(&targets).await });
        }
        let all = async { while lookups.join_next().await.is_some() {} };
        // Those that take longer count as unknown.
        drop(tokio::time::timeout(LOOKUPS_LIMIT, all).await);
        let is_there = |targets: &Targets| targets.upstream().current().iter().next().is_some();
        let dark = self.fresh().filter(|transition| {
            transition.before.as_ref().is_some_and(|before| is_there(before))
                && !is_there(&transition.targets)
        });
        let errors = dark.map(|transition| {
            let urls = source.urls(&transition.place).join("`, `");
            let message = format!("`{urls}` cannot be resolved, and the endpoints before serve");
            let error = source.error(&transition.place, message);
            error.help("they continue to serve; the reload is tried again every 5 s")
        });
        ConfigErrors::check(errors.collect())
    }

    /// Lets the filters of the new snapshot, `now`, call its upstreams before it serves.
    pub(crate) fn introduce(&self, now: &Snapshot) {
        now.services.add_callees(&self.callable_upstreams);
    }

    /// Gives the pools their limits, watches the names that are new, and retires what `before` had and nobody has taken
    /// over. To be called once the new snapshot, `now`, serves.
    pub(crate) fn complete(mut self, before: Option<&Snapshot>, now: &Snapshot) -> Vec<DrainingPool> {
        now.services.set_callees(std::mem::take(&mut self.callable_upstreams));
        for plugin in before.iter().flat_map(|before| &before.plugins) {
            if !now.plugins.iter().any(|still| Arc::ptr_eq(still, plugin)) {
                plugin.retire();
            }
        }
        for transition in &self.transitions {
            transition.targets.apply(&transition.limits);
        }
        let upstreams = before.map_or(&[][..], |before| &before.upstreams);
        let leaving = upstreams.iter().flat_map(|named| self.leave(named)).collect();
        for transition in self.fresh() {
            watch_names(&transition.targets);
        }
        leaving
    }

    fn leave(&self, named: &NamedUpstream) -> Vec<DrainingPool> {
        let heir = self.heir(named).map(|transition| &transition.targets);
        let retired = named.targets.leave_to(heir.as_slice());
        let leaving =
            retired.into_iter().map(|endpoint| DrainingPool { owner: named.name.clone(), endpoint });
        leaving.collect()
    }

    /// Returns the upstreams that this snapshot has built and not taken over.
    fn fresh(&self) -> impl Iterator<Item = &UpstreamTransition> {
        self.transitions.iter().filter(|transition| !transition.is_as_before())
    }

    fn heir(&self, named: &NamedUpstream) -> Option<&UpstreamTransition> {
        self.transitions.get(*self.successors.get(&address(&named.targets))?)
    }

    /// Returns the changes of the pools of `before`, by owner and endpoint URL.
    pub(crate) fn pool_changes(&self, before: &Snapshot) -> Section {
        let mut section = Section::default();
        for transition in &self.transitions {
            transition.targets.iter().for_each(|target| transition.note(target, &mut section));
        }
        for named in &before.upstreams {
            let heir = self.heir(named);
            let gone =
                named.targets.iter().filter(|target| heir.is_none_or(|heir| !target.is_of(&heir.targets)));
            section.drained.extend(gone.map(|target| pool_name(&named.name, target)));
        }
        section
    }
}

impl UpstreamTransition {
    fn is_as_before(&self) -> bool {
        self.before.as_ref().is_some_and(|before| Arc::ptr_eq(before, &self.targets))
    }

    /// Notes what becomes of one pool: that of all the addresses which a URL stands for.
    fn note(&self, target: &Target, section: &mut Section) {
        let name = pool_name(&self.owner, target);
        let Some((before, was)) =
            self.before.as_ref().and_then(|before| Some((before, before.same(target)?)))
        else {
            return section.added.push(name);
        };
        let mut keys = before.settings().differences(&self.limits);
        if was.weight() != target.weight() {
            keys.push(format!("weight {} → {}", was.weight(), target.weight()));
        }
        if keys.is_empty() {
            section.kept += 1;
        } else {
            section.changed.push(Change { name, keys });
        }
    }
}

fn pool_name(owner: &str, target: &Target) -> String {
    format!("{owner} to {}", target.url())
}

/// Returns a number that tells apart two targets which exist at the same time.
fn address(targets: &Arc<Targets>) -> usize {
    Arc::as_ptr(targets).addr()
}
