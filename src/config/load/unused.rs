//! Parts of a configuration that it declares and does not use, and logins that could not end.

use std::collections::HashSet;

use super::shortened::shown;
use super::source::Segment;
use crate::config::{
    Config, FilterSettings, FilterUse, Loaded, OrOff, PathMatch, Route, Upstream, UpstreamChoice,
};
use crate::path;

/// The number of unused entries that are named; the rest is counted.
const SHOWN_MAX: usize = 20;

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

    /// Returns the ways by OpenID Connect that routes use, none of which matches the path to which the provider sends browsers back.
    fn unreachable_callbacks(&self) -> impl Iterator<Item = (&str, &str)> {
        self.auth.iter().filter_map(|(name, way)| {
            let path = &way.oidc.as_ref()?.redirect_path;
            let mut routes = self.routes.iter().filter(|route| self.uses_way(route, name)).peekable();
            let is_used = routes.peek().is_some();
            let is_matched = routes.any(|route| match route.matches.path_match() {
                PathMatch::Any | PathMatch::Template(_) => true,
                PathMatch::Exact(exact) => exact.normal() == path.normal(),
                PathMatch::Prefix(prefix) => {
                    let rest = path.normal().strip_prefix(prefix.normal().trim_end_matches('/'));
                    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                }
            });
            (is_used && !is_matched).then_some((name.as_str(), path.as_str()))
        })
    }

    fn uses_way(&self, route: &Route, name: &str) -> bool {
        let auth = route.auth.as_ref().or(self.defaults.auth.as_ref()).and_then(OrOff::as_on);
        auth.is_some_and(|auth| auth.names().iter().any(|used| used == name))
    }

    fn has_filters(&self) -> bool {
        self.routes.iter().any(|route| !self.filters_written(route).is_empty())
    }
}

/// Returns a sentence for each declared and unused entry, up to a limit. If filters are used, no upstream counts as
/// unused, because a plugin may call any of them.
pub(crate) fn warnings(loaded: &Loaded) -> Vec<String> {
    let config = &loaded.config;
    let filters = config.unused_filters().into_iter().map(|(settings, _)| ("filter", settings.name));
    let has_filters = config.has_filters();
    let upstreams = config.unrouted_upstreams().filter(|_| !has_filters);
    let upstreams = upstreams.map(|(name, _)| ("upstream", name.clone()));
    let all: Vec<_> = filters.chain(upstreams).collect();
    let mut warnings: Vec<String> = all
        .iter()
        .take(SHOWN_MAX)
        .map(|(kind, name)| format!("the {kind} `{}` is declared and used by no route", shown(name)))
        .collect();
    if let Some(more) = all.len().checked_sub(SHOWN_MAX).filter(|more| *more > 0) {
        warnings.push(format!("{more} more filters and upstreams are declared and used by no route"));
    }
    warnings.extend(config.unreachable_callbacks().take(SHOWN_MAX).map(|(name, path)| {
        format!(
            "no route with the way `{name}` matches its `redirect_path`, `{}`, so no login there can end",
            shown(path)
        )
    }));
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    #[test]
    fn login_that_could_not_end_is_warned_of() {
        let of = |way: &str, route: &str| {
            let text = format!(
                "listeners: [{{ address: 127.0.0.1:8080 }}]\n\
                 auth: {{ staff: {{ oidc: {{ issuer: https://a, client_id: b, session: {{ secret: file:c }}{way} }} }} }}\n\
                 routes: [{{ match: {{ {route} }}, respond: {{}}, auth: [staff] }}, {{ respond: {{}} }}]\n"
            );
            warnings(&parse(&text, "gateway.yaml", "/etc/gateway".as_ref()).unwrap()).len()
        };
        let below = ", redirect_path: /app/callback";
        for (way, route, expected) in [
            ("", "prefix: /", 0),
            ("", "host: a", 0),
            ("", "prefix: /app", 1),
            ("", "prefix: /oauth2", 0),
            ("", "prefix: /oauth2/", 0),
            ("", "prefix: /oauth", 1),
            ("", "path: /oauth2/callback", 0),
            (below, "prefix: /app", 0),
            (below, "path: /app", 1),
        ] {
            assert_eq!(of(way, route), expected, "{way} {route}");
        }
    }
}
