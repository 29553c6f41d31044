//! As running: what the configuration has become, immutable, one for all workers.

pub(crate) mod listener;
pub(crate) mod route_deadline;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use ipnet::IpNet;

use crate::config::{HeaderCase, RetrySettings, RouteTimeouts};
use crate::filter::Chain;
use crate::filter::proxy_wasm::{Plugin, Services};
use crate::http::body::{Keeping, KeptBodies};
use crate::http::path::EncodedSlash;
use crate::observe::access_log::AccessLog;
use crate::observe::metrics::{ListenerStats, PoolReport, RouteStats};
use crate::observe::rate_limited_warning::OccasionalByReason;
use crate::policy::{HeaderEdits, Redirect, Respond, Rewrite};
use crate::router::{Parameters, Router};
use crate::snapshot::listener::{ListenerId, ListenerSettings};
use crate::snapshot::route_deadline::{Removal, Removals};
use crate::upstream::{Targets, Upstream};

/// Everything that a request may need to know.
pub(crate) struct Snapshot {
    /// The settings of the listeners, in the order of the file.
    pub(crate) listeners: Vec<Arc<ListenerSettings>>,
    /// Which request belongs to which route.
    pub(crate) router: Router<Arc<Route>>,
    /// Whose `X-Forwarded-*` is believed.
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// What a request needs until its end.
    pub(crate) telemetry: Telemetry,
    /// Every upstream with the routes that use it.
    pub(crate) upstreams: Vec<NamedUpstream>,
    /// Upstreams with connections that are opened before anybody asks for them.
    pub(crate) warm: Vec<KeptWarm>,
    /// What ends the streams of routes when they are removed.
    pub(crate) removals: Removals,
    /// Every plugin that a route uses.
    pub(crate) plugins: Vec<Arc<Plugin>>,
    /// What plugins share, from one snapshot to the next.
    pub(crate) services: Arc<Services>,
    /// Room for the bodies of requests that may go again, from one snapshot to the next.
    pub(crate) kept_bodies: KeptBodies,
}

/// An upstream whose pools have a `min_idle`.
pub(crate) struct KeptWarm {
    pub(crate) upstream: Arc<Upstream>,
    /// How long opening a connection may take.
    pub(crate) connect: Option<Duration>,
}

/// Where a request is counted and written down. A long stream holds this and its own route, and lets the rest of
/// an old snapshot go.
#[derive(Clone)]
pub(crate) struct Telemetry {
    /// Where finished requests are written down, if anywhere.
    pub(crate) access_log: Option<AccessLog>,
    /// Counts of the requests that no route took.
    pub(crate) unrouted: Arc<RouteStats>,
    /// Warnings about them.
    pub(crate) warned: Arc<OccasionalByReason>,
}

/// An upstream and who uses it.
pub(crate) struct NamedUpstream {
    /// The name under `upstreams`, or the route's where it is the route's own.
    pub(crate) name: String,
    pub(crate) owner: Owner,
    pub(crate) routes: Vec<String>,
    pub(crate) targets: Arc<Targets>,
}

/// Whose pools they are: by this they are found again after a reload.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Owner {
    /// An upstream, shared by the routes that name it and set no `pool`.
    Upstream(String),
    /// A route.
    Route(String),
}

/// A route.
pub(crate) struct Route {
    pub(crate) name: Arc<str>,
    pub(crate) stats: Arc<RouteStats>,
    pub(crate) warned: Arc<OccasionalByReason>,
    pub(crate) action: Action,
    pub(crate) request_headers: HeaderEdits,
    pub(crate) response_headers: HeaderEdits,
    pub(crate) filters: Option<Chain>,
    /// Bytes of a request's body; `None` where the listener's limit holds, `Some(None)` for no limit.
    pub(crate) body_bytes_max: Option<Option<u64>>,
    /// The choice about `%2F` in the path.
    pub(crate) encoded_slash: EncodedSlash,
}

/// What answers the requests of a route.
pub(crate) enum Action {
    Upstream(Box<UpstreamRoute>),
    Respond(Respond),
    Redirect(Redirect),
}

/// How a route uses its upstream.
pub(crate) struct UpstreamRoute {
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) rewrite: Option<Rewrite>,
    pub(crate) host: HostSent,
    /// True if a `Location` that names the upstream is rewritten for the client.
    pub(crate) rewrite_location: bool,
    /// True if domains and paths of cookies are.
    pub(crate) rewrite_cookies: bool,
    pub(crate) timeouts: RouteTimeouts,
    pub(crate) retry: RetrySettings,
    /// How request bodies are kept, if requests go again on another connection.
    pub(crate) keeping: Option<Keeping>,
    /// Protocols that a client may upgrade to.
    pub(crate) upgrade: Vec<String>,
    pub(crate) keep_alive: bool,
    /// The letter case of field names, of requests and of their responses.
    pub(crate) header_case: HeaderCase,
    /// Where streams are not let finish when a reload has removed the route: what ends them.
    pub(crate) removal: Option<Removal>,
}

/// The Host that the upstream gets.
pub(crate) enum HostSent {
    Upstream,
    Preserve,
    Literal(HeaderValue),
}

impl UpstreamRoute {
    /// Path and query as they go upstream.
    pub(crate) fn target(&self, path: &str, query: Option<&str>, parameters: &Parameters<'_, '_>) -> String {
        let rewritten = self.rewrite.as_ref().map(|rewrite| rewrite.apply(path, parameters));
        let path = rewritten.as_deref().unwrap_or(path);
        let Some(query) = query else { return path.to_owned() };
        let mut target = String::with_capacity(path.len() + 1 + query.len());
        target.push_str(path);
        target.push('?');
        target.push_str(query);
        target
    }
}

impl Snapshot {
    /// The settings of the listener that had `last` before, or of the one that has its name now: one that was moved to
    /// another address is a new one, and its routes are those of the old one. `None` where it was removed.
    pub(crate) fn listener_settings(&self, last: &ListenerSettings) -> Option<&Arc<ListenerSettings>> {
        self.entrance_of(last.id)
            .or_else(|| self.listeners.iter().find(|listener_settings| listener_settings.name == last.name))
    }

    /// The settings of this very listener; `None` where it was removed.
    pub(crate) fn entrance_of(&self, id: ListenerId) -> Option<&Arc<ListenerSettings>> {
        // There are few listeners, and a connection asks once a snapshot.
        self.listeners.iter().find(|listener_settings| listener_settings.id == id)
    }

    /// The name of every listener, and its counts.
    pub(crate) fn listener_stats(&self) -> Vec<(Arc<str>, Arc<ListenerStats>)> {
        self.listeners
            .iter()
            .map(|listener_settings| (listener_settings.name.clone(), listener_settings.stats.clone()))
            .collect()
    }

    /// Limits the streams of routes that are not among these to this time, where there is one, and of no others.
    pub(crate) fn limit_removed_routes(&self, time: Option<Duration>) {
        let names: HashSet<&str> = self.router.routes().map(|(_, route)| &*route.name).collect();
        self.removals.apply(time, |name| names.contains(name));
    }

    /// The pool of every endpoint.
    pub(crate) fn pools(&self) -> Vec<PoolReport> {
        let reports = self.upstreams.iter().flat_map(|named| {
            let endpoints = named.targets.upstream().current();
            let reports: Vec<PoolReport> = endpoints
                .iter()
                .map(|endpoint| PoolReport {
                    pool: named.name.clone(),
                    routes: named.routes.clone(),
                    ..endpoint.report()
                })
                .collect();
            reports
        });
        reports.collect()
    }

    /// The pools of addresses that are gone from DNS, as long as they have connections.
    pub(crate) fn draining_pools(&self) -> Vec<PoolReport> {
        let reports = self.upstreams.iter().flat_map(|named| {
            let draining = named.targets.draining().into_iter();
            draining.map(|endpoint| PoolReport { pool: named.name.clone(), ..endpoint.report() })
        });
        reports.collect()
    }

    /// The counts of every route, and of the requests that had none.
    pub(crate) fn route_stats(&self) -> Vec<Arc<RouteStats>> {
        let routes = self.router.routes().map(|(_, route)| route.stats.clone());
        routes.chain([self.telemetry.unrouted.clone()]).collect()
    }
}
