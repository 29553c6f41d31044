//! The running form of a configuration: immutable, and shared by all workers.

pub(crate) mod auth_server;
pub(crate) mod forwarding;
pub(crate) mod listener;
pub(crate) mod mirror;
pub(crate) mod route_deadline;
pub(crate) mod stage;
pub(crate) mod sticky;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::config::EncodedSlash;
use crate::filter::proxy_wasm::{Plugin, Services};
use crate::http::body::KeptBodies;
use crate::http::forward::TrustedProxies;
use crate::observe::access_log::AccessLog;
use crate::observe::metrics::{
    IssuerReport, ListenerStats, PoolReport, RouteStats, StoreReport, unix_seconds,
};
use crate::observe::rate_limited_warning::RateLimitedWarnings;
use crate::observe::traces::Traces;
use crate::policy::auth::Way;
use crate::policy::{Redirect, Respond, Stores};
use crate::router::Router;
use crate::snapshot::forwarding::{Split, UpstreamRoute};
use crate::snapshot::listener::{ListenerId, ListenerSettings};
use crate::snapshot::mirror::Mirror;
use crate::snapshot::route_deadline::Removals;
use crate::snapshot::stage::Stages;
use crate::upstream::{Targets, Upstream};

/// Everything that the data plane needs to serve requests.
pub(crate) struct Snapshot {
    /// The settings of the listeners, in the order of the file.
    pub(crate) listeners: Vec<Arc<ListenerSettings>>,
    pub(crate) router: Router<Arc<Route>>,
    /// The proxies whose `X-Forwarded-*` fields are trusted.
    pub(crate) trusted_proxies: TrustedProxies,
    /// The counters and logs that a request uses until its end.
    pub(crate) telemetry: Telemetry,
    /// Every upstream with the routes that use it.
    pub(crate) upstreams: Vec<NamedUpstream>,
    /// The ways of authentication, by their names.
    pub(crate) ways: BTreeMap<String, Arc<Way>>,
    /// The stores of rate limits, by their names.
    pub(crate) stores: Stores,
    /// Upstreams that keep idle connections open ahead of demand.
    pub(crate) warm: Vec<KeptWarm>,
    /// Deadlines for streams of removed routes.
    pub(crate) removals: Removals,
    /// Every plugin that a route uses.
    pub(crate) plugins: Vec<Arc<Plugin>>,
    /// State that plugins share. Successive snapshots use the same instance.
    pub(crate) services: Arc<Services>,
    /// Memory for request bodies that may be sent again. Successive snapshots share its accounting.
    pub(crate) kept_bodies: KeptBodies,
}

/// An upstream whose pools have a `min_idle`.
pub(crate) struct KeptWarm {
    pub(crate) upstream: Arc<Upstream>,
    /// The time limit for opening a connection; `None` if the route sets no limit.
    pub(crate) connect: Option<Duration>,
}

/// The counters and the log of a request. A long stream holds this and its own route; the rest of an old snapshot is
/// freed.
#[derive(Clone)]
pub(crate) struct Telemetry {
    /// The access log, unless it is off.
    pub(crate) access_log: Option<AccessLog>,
    /// The traces, unless they are off.
    pub(crate) traces: Option<Traces>,
    /// Counters of requests that match no route.
    pub(crate) unrouted: Arc<RouteStats>,
    /// The rate limit of warnings about those requests.
    pub(crate) warned: Arc<RateLimitedWarnings>,
}

/// An upstream and the routes that use it.
pub(crate) struct NamedUpstream {
    /// The name under `upstreams`, or the name of the route that defines the upstream inline.
    pub(crate) name: String,
    pub(crate) owner: Owner,
    pub(crate) routes: Vec<String>,
    pub(crate) targets: Arc<Targets>,
}

/// The owner of a set of pools. A reload finds existing pools by their owner.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Owner {
    /// An upstream, shared by the routes that name it and set no `pool`.
    Upstream(String),
    /// A route with pools of its own.
    Route(String),
    /// A route with pools of its own, for one of the upstreams that it is split between.
    Split { route: String, upstream: String },
    /// The mirrors of all routes to this upstream.
    Mirror(String),
}

pub(crate) struct Route {
    pub(crate) name: Arc<str>,
    pub(crate) stats: Arc<RouteStats>,
    pub(crate) warned: Arc<RateLimitedWarnings>,
    /// The condition on the path, for traces: `/users/{id}`, or a prefix with `/*` behind it.
    pub(crate) path_pattern: Option<Arc<str>>,
    pub(crate) action: Action,
    /// The copies of the requests that are forwarded.
    pub(crate) mirror: Option<Arc<Mirror>>,
    /// The behaviours around the action.
    pub(crate) stages: Stages,
    /// The limit of a request body in bytes. `None` uses the listener's limit, `Some(None)` is no limit.
    pub(crate) body_bytes_max: Option<Option<u64>>,
    /// The treatment of `%2F` in the path.
    pub(crate) encoded_slash: EncodedSlash,
}

/// The way in which a route produces its response.
pub(crate) enum Action {
    Upstream(Box<UpstreamRoute>),
    Split(Box<Split>),
    Respond(Respond),
    Redirect(Redirect),
}

impl Snapshot {
    /// Returns the current settings of the listener that had the settings `last`, else of the listener that now has its
    /// name. A listener that moved to another address is a new one, and serves the routes of the old one. Returns
    /// `None` if the listener was removed.
    pub(crate) fn listener_settings(&self, last: &ListenerSettings) -> Option<&Arc<ListenerSettings>> {
        self.listener_settings_of(last.id)
            .or_else(|| self.listeners.iter().find(|listener_settings| listener_settings.name == last.name))
    }

    /// Returns the settings of the listener with this id, or `None` if it was removed.
    pub(crate) fn listener_settings_of(&self, id: ListenerId) -> Option<&Arc<ListenerSettings>> {
        // There are few listeners, and a connection looks its settings up once per snapshot.
        self.listeners.iter().find(|listener_settings| listener_settings.id == id)
    }

    /// Returns the name and the counters of every listener.
    pub(crate) fn listener_stats(&self) -> Vec<(Arc<str>, Arc<ListenerStats>)> {
        self.listeners
            .iter()
            .map(|listener_settings| (listener_settings.name.clone(), listener_settings.stats.clone()))
            .collect()
    }

    /// Returns the certificates of listeners: the listener's name, the file, and the end in Unix time.
    pub(crate) fn listener_certificates(&self) -> Vec<(Arc<str>, String, u64)> {
        let listeners = self.listeners.iter().flat_map(|listener| {
            let certificates = listener.tls.iter().flat_map(|tls| tls.certificates.iter());
            certificates.map(|(file, certificate)| {
                (listener.name.clone(), file.display().to_string(), unix_seconds(certificate.not_after))
            })
        });
        listeners.collect()
    }

    /// Gives the streams of removed routes `time` to end, and lifts the limit of all other routes. `None` lifts every
    /// limit.
    pub(crate) fn limit_removed_routes(&self, time: Option<Duration>) {
        let names: HashSet<&str> = self.router.routes().map(|(_, route)| &*route.name).collect();
        self.removals.apply(time, |name| names.contains(name));
    }

    /// Returns a report of every endpoint's pool.
    pub(crate) fn pools(&self) -> Vec<PoolReport> {
        let reports = self.upstreams.iter().flat_map(|named| {
            let endpoints = named.targets.upstream().current();
            let reports: Vec<PoolReport> = endpoints
                .iter()
                .map(|endpoint| PoolReport {
                    pool: named.name.clone(),
                    routes: named.routes.clone(),
                    breaker: endpoints.breaker(),
                    ..endpoint.report()
                })
                .collect();
            reports
        });
        reports.collect()
    }

    /// Returns reports of pools whose address has left DNS and that still have connections.
    pub(crate) fn draining_pools(&self) -> Vec<PoolReport> {
        let reports = self.upstreams.iter().flat_map(|named| {
            let draining = named.targets.draining().into_iter();
            draining.map(|endpoint| PoolReport { pool: named.name.clone(), ..endpoint.report() })
        });
        reports.collect()
    }

    /// Returns reports of the keys that are fetched from issuers.
    pub(crate) fn issuers(&self) -> Vec<IssuerReport> {
        let remote = self.ways.iter().filter_map(|(name, way)| Some((name, way.remote_keys()?)));
        let reports = remote.map(|(name, keys)| {
            let (fetched, failed) = keys.fetches();
            let count = keys.current().as_ref().map_or(0, |keys| keys.len() as u64);
            IssuerReport { auth: name.clone(), keys: count, fetched, failed }
        });
        reports.collect()
    }

    /// Returns reports of the stores of rate limits.
    pub(crate) fn stores(&self) -> Vec<StoreReport> {
        self.stores.values().map(|store| store.report()).collect()
    }

    /// Returns the counters of every route, and those of requests that match no route.
    pub(crate) fn route_stats(&self) -> Vec<Arc<RouteStats>> {
        let routes = self.router.routes().map(|(_, route)| route.stats.clone());
        routes.chain([self.telemetry.unrouted.clone()]).collect()
    }
}
