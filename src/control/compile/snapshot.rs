//! The compilation of a configuration to a [`Snapshot`], or to all of its errors.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::policies::{Ways, policies};
use super::previous::Previous;
use crate::config::load::files::Files;
use crate::config::{self, Config, ConfigError, ConfigErrors, Loaded, PathMatch, PoolSettings, Segment};
use crate::control::compile::commit_plan::CommitPlan;
use crate::control::upstreams::names::ActiveResolver;
use crate::filter::proxy_wasm::{CallableUpstream, CallableUpstreams, Plugins, Services};
use crate::filter::{Chain, Filter};
use crate::http::body::KeptBodies;
use crate::http::forward::TrustedProxies;
use crate::observe::metrics::RouteStats;
use crate::observe::rate_limited_warning::RateLimitedWarnings;
use crate::observe::traces::Traces;
use crate::path;
use crate::policy::auth::Way;
use crate::policy::{GrpcWeb, Headers, Redirect, Respond, Store, Stores};
use crate::router::{RouteMatch, Router};
use crate::snapshot::listener::ListenerSettings;
use crate::snapshot::route_deadline::Removals;
use crate::snapshot::stage::{Stage, Stages};
use crate::snapshot::{Action, KeptWarm, NamedUpstream, Owner, Route, Snapshot, Telemetry};
use crate::upstream::{Targets, WorkerChannels};

/// The minimum interval between two warnings that a route refuses requests.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// The inputs of a snapshot's build besides the configuration.
pub(crate) struct Environment<'a> {
    /// The resolver of the process.
    pub(crate) resolver: ActiveResolver,
    /// A mailbox for each worker.
    pub(crate) channels: &'a WorkerChannels,
    /// The active snapshot. The new one takes over what did not change.
    pub(crate) previous: Option<&'a Snapshot>,
    /// The files that the configuration names.
    pub(crate) files: &'a Files,
    pub(crate) listeners: Vec<Arc<ListenerSettings>>,
}

impl Snapshot {
    /// Checks and compiles a configuration. Nothing that runs is touched: the effects of a change are in the commit
    /// plan.
    ///
    /// # Errors
    /// Returns all errors that the file alone did not show, each at its place.
    pub(crate) fn build(
        loaded: &Loaded,
        environment: &Environment<'_>,
    ) -> Result<(Snapshot, CommitPlan), ConfigErrors> {
        let config = &loaded.config;
        let previous = environment.previous.map(|snapshot| Previous::new(snapshot, config));
        let services = environment.previous.map(|previous| previous.services.clone());
        let services = services.unwrap_or_else(|| Services::new(environment.channels.len()));
        let running = environment.previous.map_or(&[][..], |previous| &previous.plugins);
        let bytes_max = config.retry.keep_body_total.bytes();
        let kept_bodies = match environment.previous {
            Some(previous) => previous.kept_bodies.with_limit(bytes_max),
            None => KeptBodies::new(bytes_max),
        };
        let mut builder = Builder {
            kept_bodies,
            plugins: Plugins::new(&services, environment.files, running, &config.wasm),
            loaded,
            environment,
            previous: previous.unwrap_or_default(),
            positions: HashMap::new(),
            upstreams: vec![],
            warm: vec![],
            commit_plan: CommitPlan::new(&config.dns, environment.resolver.clone()),
            removals: environment.previous.map(|previous| previous.removals.living()).unwrap_or_default(),
            ways: Ways::new(),
            stores: Stores::new(),
            errors: vec![],
        };
        builder.ways = builder.ways();
        builder.stores = builder.stores();
        let traces = builder.traces();
        let routes: Vec<_> = config
            .routes
            .iter()
            .enumerate()
            .filter_map(|(index, route)| {
                let built = builder.route(index, route)?;
                let number = |name: &str| {
                    let listener = environment.listeners.iter().find(|listener| *listener.name == *name);
                    listener.map(|listener| listener.id.number())
                };
                Some((route_match(route, number), Arc::new(built)))
            })
            .collect();
        let callable_upstreams = builder.callable_upstreams();
        builder.check_unused();
        let unrouted = builder.previous.unrouted();
        let (unrouted, warned) = unrouted.unwrap_or_else(|| builder.new_stats("-"));
        ConfigErrors::check(builder.errors)?;
        let snapshot = Snapshot {
            listeners: environment.listeners.clone(),
            router: Router::build(routes),
            trusted_proxies: TrustedProxies::new(&config.trusted_proxies),
            telemetry: Telemetry { access_log: None, traces, unrouted, warned },
            upstreams: builder.upstreams,
            ways: builder.ways,
            stores: builder.stores,
            warm: builder.warm,
            removals: builder.removals,
            plugins: builder.plugins.into_made(),
            services: services.clone(),
            kept_bodies: builder.kept_bodies,
        };
        builder.commit_plan.call(callable_upstreams);
        Ok((snapshot, builder.commit_plan))
    }
}

pub(crate) struct Builder<'a> {
    pub(crate) loaded: &'a Loaded,
    environment: &'a Environment<'a>,
    previous: Previous<'a>,
    /// The positions in `upstreams` of those that were built already.
    positions: HashMap<Owner, usize>,
    upstreams: Vec<NamedUpstream>,
    warm: Vec<KeptWarm>,
    commit_plan: CommitPlan,
    pub(super) removals: Removals,
    pub(super) kept_bodies: KeptBodies,
    plugins: Plugins<'a>,
    ways: Ways,
    stores: Stores,
    pub(crate) errors: Vec<ConfigError>,
}

impl<'a> Builder<'a> {
    pub(super) fn config(&self) -> &'a Config {
        &self.loaded.config
    }

    pub(super) fn files(&self) -> &'a Files {
        self.environment.files
    }

    pub(super) fn workers(&self) -> usize {
        self.environment.channels.len()
    }

    pub(super) fn resolver(&self) -> ActiveResolver {
        self.environment.resolver.clone()
    }

    pub(super) fn commit_plan_mut(&mut self) -> &mut CommitPlan {
        &mut self.commit_plan
    }

    /// Returns the way of this name in the active snapshot.
    pub(super) fn previous_way(&self, name: &str) -> Option<&'a Arc<Way>> {
        self.environment.previous?.ways.get(name)
    }

    /// Returns the store of this name in the active snapshot.
    pub(super) fn previous_store(&self, name: &str) -> Option<&'a Arc<Store>> {
        self.environment.previous?.stores.get(name)
    }

    /// Returns the traces of the active snapshot.
    pub(super) fn previous_traces(&self) -> Option<&'a Traces> {
        self.environment.previous?.telemetry.traces.as_ref()
    }

    fn route(&mut self, index: usize, route: &'a config::Route) -> Option<Route> {
        let base = path!["routes", index];
        let settings = self.config().settings_of(route);
        let name: Arc<str> = route.name().into();
        let action = if let Some(respond) = &route.respond {
            Some(Action::Respond(Respond::new(respond)))
        } else if let Some(redirect) = &route.redirect {
            Some(Action::Redirect(Redirect::new(redirect)))
        } else {
            self.forwarding(&base, &name, route)
        };
        let filters = self.filters(index, route);
        let grpc_web = settings.grpc_web && route.upstream.is_some();
        // In any order: the stages know theirs.
        let stages = [
            Chain::new(filters?).map(Stage::Filters),
            grpc_web.then_some(Stage::GrpcWeb(GrpcWeb)),
            Some(Stage::Headers(Headers::new(&settings.headers))),
        ];
        let policies = policies(&name, &settings, &self.ways, &self.stores);
        let (stats, warned) = self.previous.route(&name).unwrap_or_else(|| self.new_stats(&name));
        let mirror = self.mirror(route, settings.mirror, &stats);
        Some(Route {
            name,
            stats,
            warned,
            path_pattern: path_pattern(route),
            action: action?,
            mirror: mirror?,
            stages: Stages::new(stages.into_iter().flatten().chain(policies)),
            body_bytes_max: settings.body_bytes_max,
            encoded_slash: settings.encoded_slash,
        })
    }

    /// Builds the filters of a route, in its order.
    fn filters(&mut self, index: usize, route: &config::Route) -> Option<Vec<Arc<dyn Filter>>> {
        let mut filters: Vec<Arc<dyn Filter>> = Vec::new();
        let mut complete = true;
        let list = match &route.filters {
            Some(_) => path!["routes", index, "filters"].to_vec(),
            None => path!["defaults", "filters"].to_vec(),
        };
        for (settings, place) in self.config().filters_of(index, route) {
            match self.plugins.make(settings) {
                Ok(plugin) => filters.push(plugin),
                Err(error) => {
                    self.plugin_error(&place, &list, &error);
                    complete = false;
                }
            }
        }
        complete.then_some(filters)
    }

    /// Returns the upstreams that plugins may call: all that have a name, whether or not a route uses them.
    fn callable_upstreams(&mut self) -> CallableUpstreams {
        let config = self.config();
        if self.plugins.is_empty() {
            return CallableUpstreams::default();
        }
        let names = config.upstreams.keys();
        names.filter_map(|name| Some((name.clone(), self.called_upstream(name)?))).collect()
    }

    /// Returns an upstream for requests of the gateway's own, with its settings outside of any route. Returns `None` if there are errors,
    /// which are noted.
    pub(super) fn called_upstream(&mut self, name: &str) -> Option<CallableUpstream> {
        let config = self.config();
        let upstream = config.upstreams.get(name)?;
        let (pool, timeouts) = config.settings_of_upstream(upstream);
        let owner = Owner::Upstream(name.to_owned());
        let targets = match self.known(&owner) {
            Some(known) => known.targets.clone(),
            None => {
                let place = path!["upstreams", name];
                self.build_targets(&place, owner, upstream, &pool, timeouts.connect, vec![])?
            }
        };
        Some(CallableUpstream {
            upstream: targets.upstream().clone(),
            timeouts,
            keep_alive: pool.keep_alive,
            header_case: upstream.header_case,
            protocol: upstream.protocol,
        })
    }

    /// Checks declarations that are not used, because their files must be valid too.
    fn check_unused(&mut self) {
        let config = self.config();
        for (settings, place) in config.unused_filters() {
            if let Err(error) = self.plugins.examine(&settings) {
                self.plugin_error(&place, &place, &error);
            }
        }
        let (channels, files) = (self.environment.channels, self.environment.files);
        for (name, upstream) in config.unrouted_upstreams() {
            // If there are plugins, they may call it. Then it is built already, or its errors are known.
            if self.plugins.is_empty() {
                let (pool, _) = config.settings_of_upstream(upstream);
                let targets = Targets::build(upstream, &pool, channels, None, files);
                self.check_targets(&path!["upstreams", name], targets);
            }
        }
    }

    pub(super) fn known(&mut self, owner: &Owner) -> Option<&mut NamedUpstream> {
        self.upstreams.get_mut(*self.positions.get(owner)?)
    }

    /// Builds an upstream that has not been built yet. `connect` is the time limit for connections that are kept warm.
    pub(super) fn build_targets(
        &mut self,
        place: &[Segment],
        owner: Owner,
        upstream: &config::Upstream,
        pool: &PoolSettings,
        connect: Option<Duration>,
        routes: Vec<String>,
    ) -> Option<Arc<Targets>> {
        let before = self.previous.targets(&owner, upstream);
        let targets =
            Targets::build(upstream, pool, self.environment.channels, before, self.environment.files);
        let targets = self.check_targets(place, targets)?;
        if pool.keep_alive && pool.min_idle > 0 {
            self.warm.push(KeptWarm { upstream: targets.upstream().clone(), connect });
        }
        let named = NamedUpstream {
            name: self.display_name(&owner),
            routes,
            targets: targets.clone(),
            owner: owner.clone(),
        };
        self.commit_plan.add(&named, place, pool, before);
        self.upstreams.push(named);
        self.positions.insert(owner, self.upstreams.len() - 1);
        Some(targets)
    }

    /// Returns the name for logs and metrics. A route with a pool of its own may have the same name as a shared
    /// upstream.
    fn display_name(&self, owner: &Owner) -> String {
        match owner {
            Owner::Route(name) if self.config().upstreams.contains_key(name) => format!("{name} (route)"),
            Owner::Route(name) | Owner::Upstream(name) => name.clone(),
            Owner::Split { route, upstream } => format!("{route} ({upstream})"),
            Owner::Mirror(upstream) => format!("{upstream} (mirror)"),
        }
    }

    fn new_stats(&self, name: &str) -> (Arc<RouteStats>, Arc<RateLimitedWarnings>) {
        let stats = RouteStats::new(name, self.environment.channels.len());
        (Arc::new(stats), Arc::new(RateLimitedWarnings::every(WARN_EVERY)))
    }
}

/// Returns the condition on the path of a route's requests, if there is one.
fn path_pattern(route: &config::Route) -> Option<Arc<str>> {
    match route.matches.path_match() {
        PathMatch::Any => None,
        PathMatch::Exact(path) => Some(path.to_string().into()),
        PathMatch::Prefix(prefix) => Some(format!("{}/*", prefix.to_string().trim_end_matches('/')).into()),
        PathMatch::Template(template) => Some(template.to_string().into()),
    }
}

/// Returns the conditions of a route. `number` maps a listener's name to its number in the router.
pub(crate) fn route_match(route: &config::Route, number: impl Fn(&str) -> Option<usize>) -> RouteMatch<'_> {
    let listeners = route.listeners.iter().flatten().filter_map(|name| number(name)).collect();
    RouteMatch { listeners, matches: &route.matches }
}
