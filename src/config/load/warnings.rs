//! The warnings that the file alone shows: parts without a use, logins that could not end, servers that are not verified, and an
//! admin listener that is open.

use std::net::SocketAddr;

use super::code::Code;
use super::error::ConfigWarning;
use super::shortened::shown;
use super::source::Segment;
use crate::config::{Config, Loaded, PathMatch, Upstream, UpstreamChoice};
use crate::path;

/// Returns a warning for each of these parts. If filters are used, no upstream counts as unused, because a plugin may call
/// any of them.
pub(crate) fn warnings(loaded: &Loaded) -> Vec<ConfigWarning> {
    let mut warnings = Warnings { loaded, found: Vec::new() };
    warnings.unused();
    warnings.callbacks();
    warnings.unverified();
    warnings.admin();
    warnings.found
}

struct Warnings<'a> {
    loaded: &'a Loaded,
    found: Vec<ConfigWarning>,
}

impl Warnings<'_> {
    fn add(&mut self, code: Code, path: &[Segment], message: String, help: &str) {
        self.found.push(self.loaded.source.warning(code, path, message, help));
    }

    fn unused(&mut self) {
        let config = &self.loaded.config;
        let message =
            |kind: &str, name: &str| format!("the {kind} `{}` is declared and used by no route", shown(name));
        for (settings, module) in config.unused_filters() {
            let place = module.split_last().map_or(&[][..], |(_, filter)| filter);
            let message = message("filter", &settings.name);
            self.add(Code::UnusedFilter, place, message, "name it in `filters` of a route, or take it out");
        }
        if !config.has_filters() {
            for (name, _) in config.unrouted_upstreams() {
                let help = "name it in `upstream` of a route, or take it out";
                self.add(Code::UnusedUpstream, &path!["upstreams", name], message("upstream", name), help);
            }
        }
        for name in config.unused_ways() {
            let help = "name it in `auth` of a route, or take it out";
            self.add(Code::UnusedAuth, &path!["auth", name], message("way", name), help);
        }
        for name in config.unused_stores() {
            let help = "name it in `rate_limit.store` of a route, or take it out";
            self.add(Code::UnusedStore, &path!["stores", name], message("store", name), help);
        }
        for index in config.unused_listeners() {
            let name = self.loaded.listener_name(index);
            let message =
                format!("the listener `{}` has no route, so all of its requests get 404", shown(&name));
            let help = "name it in `listeners` of a route, or take it out";
            self.add(Code::UnusedListener, &path!["listeners", index], message, help);
        }
    }

    fn callbacks(&mut self) {
        let config = &self.loaded.config;
        for (name, path) in unreachable_callbacks(config) {
            let place = path!["auth", name, "oidc", "redirect_path"];
            let message = format!(
                "no route with the way `{name}` matches its `redirect_path`, `{}`, so no login there can end",
                self.loaded.source.shown(&place, path)
            );
            let help = "write a path below that of a route with this way";
            self.add(Code::UnreachableCallback, &place, message, help);
        }
    }

    fn unverified(&mut self) {
        let config = &self.loaded.config;
        for (name, upstream) in &config.upstreams {
            self.verification(upstream, &path!["upstreams", name], &format!("upstream `{}`", shown(name)));
        }
        for (index, route) in config.routes.iter().enumerate() {
            if let Some(UpstreamChoice::Inline(upstream)) = &route.upstream {
                let name = self.loaded.route_name(index);
                let noun = format!("the upstream of route `{}`", shown(&name));
                self.verification(upstream, &path!["routes", index, "upstream"], &noun);
            }
        }
    }

    /// Adds a warning for an admin listener that others than this machine reach without a token.
    fn admin(&mut self) {
        let Some(admin) = self.loaded.config.admin.as_on() else { return };
        let address = SocketAddr::from(admin.address);
        if admin.token.is_some() || address.ip().to_canonical().is_loopback() {
            return;
        }
        let place = path!["admin", "address"];
        let message = format!(
            "everyone who reaches `admin.address` {} can read the configuration, and requests that change anything are refused",
            self.loaded.source.shown(&place, &address.to_string())
        );
        self.add(Code::OpenAdmin, &place, message, "add `token: file:PATH`, or listen on 127.0.0.1");
    }

    fn verification(&mut self, upstream: &Upstream, base: &[Segment], noun: &str) {
        if upstream.tls.verify {
            return;
        }
        let message = format!(
            "the certificate of {noun} is not verified, so anyone on the way to it can read and change its traffic"
        );
        let help = "name its authority, or the certificate itself, in `tls.ca`, and take `verify: false` out";
        self.add(Code::UnverifiedUpstream, &[base, &path!["tls", "verify"]].concat(), message, help);
    }
}

/// Returns the ways by OpenID Connect that routes use, none of which matches the path to which the provider sends browsers
/// back.
fn unreachable_callbacks(config: &Config) -> impl Iterator<Item = (&str, &str)> {
    config.auth.iter().filter_map(|(name, way)| {
        let path = &way.oidc.as_ref()?.redirect_path;
        let mut routes = config.routes.iter().filter(|route| config.uses_way(route, name)).peekable();
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
