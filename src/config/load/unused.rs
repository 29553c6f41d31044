//! Parts of a configuration that it declares and does not use.

use std::collections::HashSet;

use super::source::Segment;
use crate::config::{
    AuthUse, Config, FilterSettings, FilterUse, OrOff, RateLimits, Route, Upstream, UpstreamChoice,
};
use crate::path;

impl Config {
    /// Returns the filters that no route uses, each with the place of its module. These are the unused ones under
    /// `filters`, and those written in `defaults.filters` if every route has a list of its own.
    pub(crate) fn unused_filters(&self) -> Vec<(FilterSettings, Vec<Segment>)> {
        let lists = self.routes.iter().map(|route| self.filters_written(route));
        let used: HashSet<&str> = lists.flatten().filter_map(FilterUse::named).collect();
        let named = self.filters.iter().filter(|(name, _)| !used.contains(name.as_str()));
        let named = named.map(|(name, filter)| {
            (filter.settings(name, &filter.config), path!["filters", name, "wasm"].to_vec())
        });
        let is_inherited = self.routes.iter().any(|route| route.filters.is_none());
        let of_defaults = self.defaults.filters.iter().flatten().enumerate().filter(|_| !is_inherited);
        let inline = of_defaults.filter_map(|(position, one)| match one {
            FilterUse::Inline(filter) => {
                let place = path!["defaults", "filters", position, "wasm"].to_vec();
                Some((filter.settings(&filter.stem(), &filter.config), place))
            }
            FilterUse::Named(_) | FilterUse::Use { .. } => None,
        });
        named.chain(inline).collect()
    }

    /// Returns the upstreams that neither a route nor a way of authentication names.
    pub(crate) fn unrouted_upstreams(&self) -> impl Iterator<Item = (&String, &Upstream)> {
        let choices = self.routes.iter().filter_map(|route| route.upstream.as_ref());
        let mirrors = self.routes.iter().filter_map(|route| self.mirror_of(route));
        let mirrors = mirrors.map(|mirror| mirror.to.as_str());
        let asked = self.auth.values().filter_map(|way| Some(way.forward.as_ref()?.to.as_str()));
        let used: HashSet<&str> =
            choices.flat_map(UpstreamChoice::names).chain(mirrors).chain(asked).collect();
        self.upstreams.iter().filter(move |(name, _)| !used.contains(name.as_str()))
    }

    /// Returns the names of the ways of authentication that no route uses.
    pub(super) fn unused_ways(&self) -> impl Iterator<Item = &str> {
        let used = self.routes.iter().filter_map(|route| self.auth_of(route));
        let used: HashSet<&str> = used.flat_map(AuthUse::names).map(String::as_str).collect();
        self.auth.keys().map(String::as_str).filter(move |name| !used.contains(name))
    }

    /// Returns the names of the stores that no rate limit of a route uses.
    pub(super) fn unused_stores(&self) -> impl Iterator<Item = &str> {
        let limits = self.routes.iter().filter_map(|route| {
            route.rate_limit.as_ref().or(self.defaults.rate_limit.as_ref()).and_then(OrOff::as_on)
        });
        let used = limits.flat_map(RateLimits::as_slice).filter_map(|limit| limit.store.as_deref());
        let used: HashSet<&str> = used.collect();
        self.stores.keys().map(String::as_str).filter(move |name| !used.contains(name))
    }

    /// Returns the positions of the listeners that no route applies to.
    pub(super) fn unused_listeners(&self) -> impl Iterator<Item = usize> {
        let used: Option<HashSet<&str>> = self
            .routes
            .iter()
            .map(|route| route.listeners.as_ref())
            .collect::<Option<Vec<_>>>()
            .map(|lists| lists.into_iter().flatten().map(String::as_str).collect());
        let is_unused = move |name: &str| used.as_ref().is_some_and(|used| !used.contains(name));
        let listeners = self.listeners.iter().enumerate();
        listeners.filter(move |(_, listener)| is_unused(&listener.name())).map(|(index, _)| index)
    }

    fn auth_of<'a>(&'a self, route: &'a Route) -> Option<&'a AuthUse> {
        route.auth.as_ref().or(self.defaults.auth.as_ref()).and_then(OrOff::as_on)
    }

    pub(super) fn uses_way(&self, route: &Route, name: &str) -> bool {
        self.auth_of(route).is_some_and(|auth| auth.names().iter().any(|used| used == name))
    }

    pub(super) fn has_filters(&self) -> bool {
        self.routes.iter().any(|route| !self.filters_written(route).is_empty())
    }
}
