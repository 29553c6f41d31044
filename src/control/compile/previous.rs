//! The parts of a snapshot that the next one takes over.

use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::{HashMap, HashSet};

use crate::config::{Config, Upstream, UpstreamChoice};
use crate::observe::metrics::RouteStats;
use crate::observe::rate_limited_warning::RateLimitedWarnings;
use crate::snapshot::{Owner, Route, Snapshot};
use crate::upstream::Targets;

/// The active snapshot, indexed for the build of the next one.
#[derive(Default)]
pub(crate) struct Previous<'a> {
    snapshot: Option<&'a Snapshot>,
    routes: HashMap<&'a str, &'a Arc<Route>>,
    targets: HashMap<&'a Owner, &'a Arc<Targets>>,
    /// Targets of removed owners by their URLs. A new owner with the same URLs takes them over. Several are kept in the
    /// order of the file, so that routes which are renamed together keep their own.
    by_urls: HashMap<Vec<String>, VecDeque<&'a Arc<Targets>>>,
}

impl<'a> Previous<'a> {
    /// Indexes what a snapshot for `config` can take over.
    pub(crate) fn new(snapshot: &'a Snapshot, config: &Config) -> Self {
        let mirrors = config.routes.iter().filter_map(|route| mirror_owner_of(config, route));
        let asked = config.auth.values().filter_map(|way| way.forward.as_ref());
        let asked = asked.map(|forward| Owner::Upstream(forward.to.clone()));
        let owners: HashSet<Owner> =
            config.routes.iter().flat_map(owners_of).chain(mirrors).chain(asked).collect();
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

    /// Returns the counters of the route of this name, and its rate limit of warnings.
    pub(crate) fn route(&self, name: &str) -> Option<(Arc<RouteStats>, Arc<RateLimitedWarnings>)> {
        self.routes.get(name).map(|route| (route.stats.clone(), route.warned.clone()))
    }

    /// Returns the same for requests that match no route.
    pub(crate) fn unrouted(&self) -> Option<(Arc<RouteStats>, Arc<RateLimitedWarnings>)> {
        self.snapshot.map(|snapshot| (snapshot.telemetry.unrouted.clone(), snapshot.telemetry.warned.clone()))
    }

    /// Returns the targets that those of `owner` replace. Each is returned once.
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

/// Returns the owners of the pools that a route uses: one, or that of each upstream that it is split between.
pub(crate) fn owners_of(route: &crate::config::Route) -> Vec<Owner> {
    let Some(choice) = &route.upstream else { return Vec::new() };
    let owner = |upstream: &str| match (choice, &route.pool) {
        (UpstreamChoice::Split(_), Some(_)) => {
            Owner::Split { route: route.name(), upstream: upstream.to_owned() }
        }
        (_, None) => Owner::Upstream(upstream.to_owned()),
        (_, Some(_)) => Owner::Route(route.name()),
    };
    match choice {
        UpstreamChoice::Inline(_) => vec![Owner::Route(route.name())],
        UpstreamChoice::Named(_) | UpstreamChoice::Split(_) => choice.names().map(owner).collect(),
    }
}

/// Returns the owner of the pools that a route's mirror uses.
pub(crate) fn mirror_owner_of(config: &Config, route: &crate::config::Route) -> Option<Owner> {
    config.mirror_of(route).map(|mirror| Owner::Mirror(mirror.to.clone()))
}
