//! What a new snapshot takes over from the one before it.

use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::{HashMap, HashSet};

use crate::config::{Config, Upstream, UpstreamChoice};
use crate::observe::metrics::RouteStats;
use crate::observe::rate_limited_warning::OccasionalByReason;
use crate::snapshot::{Owner, Route, Snapshot};
use crate::upstream::Targets;

/// The snapshot that serves, by what a new one looks for in it.
#[derive(Default)]
pub(crate) struct Previous<'a> {
    snapshot: Option<&'a Snapshot>,
    routes: HashMap<&'a str, &'a Arc<Route>>,
    targets: HashMap<&'a Owner, &'a Arc<Targets>>,
    /// Targets of owners that are gone, by their URLs: whoever has the same ones under another name takes them over. Of
    /// several, in the order of the file, so that routes which are renamed together keep their own.
    by_urls: HashMap<Vec<String>, VecDeque<&'a Arc<Targets>>>,
}

impl<'a> Previous<'a> {
    /// What there is to take over for `config`.
    pub(crate) fn new(snapshot: &'a Snapshot, config: &Config) -> Self {
        let owners: HashSet<Owner> = config.routes.iter().filter_map(owner_of).collect();
        let mut previous = Self {
            snapshot: Some(snapshot),
            routes: snapshot.router.routes().map(|(_, route)| (&*route.name, route)).collect(),
            ..Self::default()
        };
        for named in &snapshot.upstreams {
            if owners.contains(&named.owner) {
                previous.targets.insert(&named.owner, &named.targets);
            } else {
                previous.by_urls.entry(named.targets.urls()).or_default().push_back(&named.targets);
            }
        }
        previous
    }

    /// The counts of a route of this name, and what holds its warnings back.
    pub(crate) fn route(&self, name: &str) -> Option<(Arc<RouteStats>, Arc<OccasionalByReason>)> {
        self.routes.get(name).map(|route| (route.stats.clone(), route.warned.clone()))
    }

    /// The same of the requests that no route takes.
    pub(crate) fn unrouted(&self) -> Option<(Arc<RouteStats>, Arc<OccasionalByReason>)> {
        self.snapshot.map(|snapshot| (snapshot.telemetry.unrouted.clone(), snapshot.telemetry.warned.clone()))
    }

    /// The targets whose place those of `owner` take. Each is answered once.
    pub(crate) fn targets(&mut self, owner: &Owner, upstream: &Upstream) -> Option<&'a Arc<Targets>> {
        if let Some(targets) = self.targets.remove(owner) {
            return Some(targets);
        }
        if self.by_urls.is_empty() {
            return None;
        }
        let urls: Vec<String> = upstream.all_endpoints().map(|(url, _)| url.to_string()).collect();
        self.by_urls.get_mut(&urls)?.pop_front()
    }
}

/// Whose pools a route uses.
pub(crate) fn owner_of(route: &crate::config::Route) -> Option<Owner> {
    match (route.upstream.as_ref()?, &route.pool) {
        (UpstreamChoice::Named(name), None) => Some(Owner::Upstream(name.clone())),
        _ => Some(Owner::Route(route.name())),
    }
}
