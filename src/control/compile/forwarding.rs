//! The compilation of routes that forward: to one upstream, or to several by weight.

use std::sync::Arc;

use super::previous::owners_of;
use super::snapshot::Builder;
use crate::config::{self, RouteSettings, Segment, Upstream, UpstreamChoice, UpstreamProtocol};
use crate::http::body::Keeping;
use crate::path;
use crate::policy::Rewrite;
use crate::snapshot::forwarding::{Split, UpstreamRoute};
use crate::snapshot::sticky::Sticky;
use crate::snapshot::{Action, Owner};
use crate::upstream::Targets;

/// An upstream of a route, as it is written.
struct Destination<'a> {
    /// The name under `upstreams`, or nothing for an upstream that the route defines.
    name: &'a str,
    /// The path to it in the file.
    place: Vec<Segment>,
    upstream: &'a Upstream,
    owner: Owner,
    /// The settings of the route towards it.
    settings: RouteSettings,
}

impl<'a> Builder<'a> {
    /// Builds the action of a route with an upstream. Returns `None` if there are errors, which are noted.
    pub(super) fn forwarding(
        &mut self,
        base: &[Segment],
        route_name: &str,
        route: &'a config::Route,
    ) -> Option<Action> {
        let destinations = self.destinations(base, route);
        let routes = destinations.iter().map(|to| self.upstream_route(route_name, route, to));
        let routes: Vec<Option<UpstreamRoute>> = routes.collect();
        let routes: Option<Vec<UpstreamRoute>> = routes.into_iter().collect();
        let mut routes = routes?;
        match &route.upstream {
            Some(UpstreamChoice::Split(shares)) => {
                let weights = shares.iter().map(|share| share.weight);
                Some(Action::Split(Box::new(Split::new(routes.into_iter().zip(weights).collect())?)))
            }
            _ => Some(Action::Upstream(Box::new(routes.pop()?))),
        }
    }

    /// Returns the upstreams of a route, in the order of the file.
    fn destinations(&self, base: &[Segment], route: &'a config::Route) -> Vec<Destination<'a>> {
        let config = self.config();
        let (is_inline, names) = match &route.upstream {
            Some(UpstreamChoice::Inline(_)) | None => (true, vec![""]),
            Some(choice) => (false, choice.names().collect()),
        };
        let all = names.into_iter().zip(config.upstreams_of(route)).zip(owners_of(route));
        let all = all.map(|((name, upstream), owner)| Destination {
            name,
            place: match is_inline {
                true => [base, &path!["upstream"]].concat(),
                false => path!["upstreams", name].to_vec(),
            },
            upstream,
            owner,
            settings: config.settings_towards(Some(upstream), route),
        });
        all.collect()
    }

    fn upstream_route(
        &mut self,
        route_name: &str,
        route: &config::Route,
        to: &Destination<'_>,
    ) -> Option<UpstreamRoute> {
        let targets = self.targets(route_name, to)?;
        let Destination { name, upstream, settings, .. } = to;
        let sticky = upstream.sticky.as_ref();
        Some(UpstreamRoute {
            upstream: targets.upstream().clone(),
            rewrite: route.rewrite.as_ref().and_then(config::Rewrite::form).map(Rewrite::new),
            host: settings.host.clone(),
            rewrite_location: settings.rewrite_location,
            rewrite_cookies: settings.rewrite_cookies,
            timeouts: settings.timeouts.clone(),
            retry: settings.retry.clone(),
            hedge: settings.hedge,
            keeping: self.keeping(settings, upstream.protocol),
            upgrade: settings.upgrade.clone(),
            keep_alive: settings.pool.keep_alive,
            hash_on: upstream.hash_on.clone(),
            sticky: sticky.map(|sticky| Box::new(Sticky::new(sticky, name))),
            header_case: upstream.header_case,
            removal: self.config().shutdown.drain_removed_routes.then(|| self.removals.of(route_name)),
        })
    }

    /// Returns the settings for keeping request bodies, if a second try can need them. A server that speaks HTTP/2 may refuse a
    /// request that it has not processed, and the try after that is free.
    fn keeping(&self, settings: &RouteSettings, protocol: UpstreamProtocol) -> Option<Keeping> {
        let retry = &settings.retry;
        let is_needed = (retry.on_stale && retry.attempts > 0)
            || retry.repeats()
            || settings.hedge.is_some()
            || protocol != UpstreamProtocol::H1;
        let body_bytes_max = retry.keep_body.filter(|_| is_needed)?;
        Some(Keeping { bodies: self.kept_bodies.clone(), body_bytes_max })
    }

    /// Returns the endpoints of an upstream: the route's own, or those shared by all routes that name it and set no pool.
    fn targets(&mut self, route_name: &str, to: &Destination<'_>) -> Option<Arc<Targets>> {
        if let Owner::Upstream(_) = to.owner
            && let Some(known) = self.known(&to.owner)
        {
            known.routes.push(route_name.to_owned());
            return Some(known.targets.clone());
        }
        let (owner, pool, connect) = (to.owner.clone(), &to.settings.pool, to.settings.timeouts.connect);
        self.build_targets(&to.place, owner, to.upstream, pool, connect, vec![route_name.to_owned()])
    }
}
