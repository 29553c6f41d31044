//! The commit plan: the steps that remain once a new snapshot serves.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::load::code::Code;
use crate::config::{ConfigErrors, Dns, PoolSettings, Segment, Source};
use crate::control::auth::{Client, Web, keep_keys, keep_provider};
use crate::control::diff::{Change, Section};
use crate::control::stores::{self, NewStore};
use crate::control::traces::{self, NewExporter};
use crate::control::upstreams::health::watch_health;
use crate::control::upstreams::names::{ActiveResolver, resolve_new, watch_names};
use crate::control::upstreams::resolver::Resolver;
use crate::filter::proxy_wasm::CallableUpstreams;
use crate::policy::auth::{Provider, RemoteKeys};
use crate::snapshot::{NamedUpstream, Snapshot};
use crate::upstream::{Endpoint, Target, Targets};

/// The time for which resolving new names may delay a reload.
const LOOKUPS_LIMIT: Duration = Duration::from_secs(10);

/// The steps that a snapshot's build has deferred, because nothing that runs may change before the snapshot is known to
/// be good.
pub(crate) struct CommitPlan {
    transitions: Vec<UpstreamTransition>,
    /// The positions in `transitions`, by the memory address of the targets that they replace.
    successors: HashMap<usize, usize>,
    /// The upstreams that plugins may call.
    callable_upstreams: CallableUpstreams,
    /// The keys that no running task fetches yet.
    fetched: Vec<FetchedKeys>,
    /// The stores that are not connected yet.
    stores: Vec<NewStore>,
    /// The providers that no running task serves yet.
    providers: Vec<ServedProvider>,
    /// The exporter of traces that does not run yet.
    exporter: Option<NewExporter>,
    resolver: Arc<Resolver>,
    active_resolver: ActiveResolver,
}

/// The keys of an issuer, and the client that fetches them.
struct FetchedKeys {
    /// The way's name.
    name: String,
    keys: Arc<RemoteKeys>,
    client: Client,
}

/// An OpenID provider, and the clients of its endpoints.
struct ServedProvider {
    /// The way's name.
    name: Arc<str>,
    provider: Arc<Provider>,
    web: Web,
}

/// An upstream of the new snapshot.
struct UpstreamTransition {
    owner: String,
    /// The path to it in the file.
    place: Vec<Segment>,
    targets: Arc<Targets>,
    limits: PoolSettings,
    /// The targets that it replaces, which may be its own.
    before: Option<Arc<Targets>>,
}

/// A pool that is no longer configured. It ends with the requests that use it.
pub(crate) struct DrainingPool {
    /// The name of its former owner.
    pub(crate) owner: String,
    pub(crate) endpoint: Arc<Endpoint>,
}

impl CommitPlan {
    /// Returns a plan without upstreams. `active_resolver` becomes the resolver for these settings.
    pub(crate) fn new(settings: &Dns, active_resolver: ActiveResolver) -> Self {
        Self {
            transitions: Vec::new(),
            successors: HashMap::new(),
            callable_upstreams: CallableUpstreams::default(),
            fetched: Vec::new(),
            stores: Vec::new(),
            providers: Vec::new(),
            exporter: None,
            resolver: active_resolver.with(settings),
            active_resolver,
        }
    }

    /// Adds an upstream of the new snapshot, which is at `place` in the file and replaces `before`.
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

    /// Sets the upstreams that plugins may call.
    pub(crate) fn call(&mut self, callable_upstreams: CallableUpstreams) {
        self.callable_upstreams = callable_upstreams;
    }

    /// Adds keys that are fetched once the new snapshot serves.
    pub(crate) fn fetch(&mut self, name: &str, keys: &Arc<RemoteKeys>, client: Client) {
        self.fetched.push(FetchedKeys { name: name.to_owned(), keys: keys.clone(), client });
    }

    /// Adds a store that [`CommitPlan::connect_stores`] connects.
    pub(crate) fn connect(&mut self, store: NewStore) {
        self.stores.push(store);
    }

    /// Connects the new stores, so that no request finds one that only begins. Takes a bounded time, and whether a store is there or not
    /// is no reason to refuse a configuration. A store that is not used after all disconnects.
    pub(crate) async fn connect_stores(&mut self) {
        stores::connect(std::mem::take(&mut self.stores)).await;
    }

    /// Adds a provider that is served once the new snapshot serves.
    pub(crate) fn serve(&mut self, name: &Arc<str>, provider: &Arc<Provider>, web: Web) {
        self.providers.push(ServedProvider { name: name.clone(), provider: provider.clone(), web });
    }

    /// Sets the exporter that starts once the new snapshot serves.
    pub(crate) fn export(&mut self, exporter: NewExporter) {
        self.exporter = Some(exporter);
    }

    /// Resolves new names, so that no request has to wait for them. Takes a bounded time. `source` is the file of the
    /// new snapshot.
    ///
    /// # Errors
    /// Returns an error for each upstream whose names cannot be resolved while it replaces one that serves. A new
    /// upstream that cannot be resolved does no harm: its names are tried again later.
    pub(crate) async fn resolve(&self, source: &Source) -> Result<(), ConfigErrors> {
        let mut lookups = tokio::task::JoinSet::new();
        for transition in self.fresh() {
            let targets = transition.targets.clone();
            let resolver = self.resolver.clone();
            lookups.spawn(async move { resolve_new(&targets, &resolver).await });
        }
        let all = async { while lookups.join_next().await.is_some() {} };
        // Lookups that take longer count as failed.
        drop(tokio::time::timeout(LOOKUPS_LIMIT, all).await);
        let is_there = |targets: &Targets| targets.upstream().current().iter().next().is_some();
        let dark = self.fresh().filter(|transition| {
            transition.before.as_ref().is_some_and(|before| is_there(before))
                && !is_there(&transition.targets)
        });
        let errors = dark.map(|transition| {
            let urls = source.urls(&transition.place).join("`, `");
            let message = format!("`{urls}` cannot be resolved; the previous endpoints continue to serve");
            let error = source.error(Code::NameUnresolved, &transition.place, message);
            error.help("the reload is tried again every 5 s")
        });
        ConfigErrors::check(errors.collect())
    }

    /// Permits the filters of the new snapshot, `now`, to call its upstreams before it serves.
    pub(crate) fn introduce(&self, now: &Snapshot) {
        now.services.add_callees(&self.callable_upstreams);
    }

    /// Applies the pools' limits, begins to resolve new names and to check endpoints at intervals, and retires everything of `before` that was
    /// not taken over. Call it once the new snapshot, `now`, serves.
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
        self.active_resolver.set(self.resolver.clone());
        for transition in self.fresh() {
            watch_names(&transition.targets, &self.active_resolver);
            watch_health(&transition.targets);
        }
        for FetchedKeys { name, keys, client } in std::mem::take(&mut self.fetched) {
            keep_keys(name, &keys, client);
        }
        for ServedProvider { name, provider, web } in std::mem::take(&mut self.providers) {
            keep_provider(name, &provider, web);
        }
        if let Some(exporter) = self.exporter.take() {
            traces::start(exporter);
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

    /// Returns the upstreams that were built for this snapshot and not taken over.
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

    /// Adds the change of one pool, that of all addresses of a URL, to the section.
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
