//! Checks of policies: settings that contradict each other.

use std::collections::HashSet;

use super::filter::check_names;
use super::{Findings, forward_auth};
use crate::config::load::code::Code;
use crate::config::load::salvage::Kept;
use crate::config::values::segment::Segment;
use crate::config::{
    AuthUse, ClaimsToHeaders, Config, Cors, Jwt, KeySource, Listener, Oidc, OrOff, OriginPattern, RateLimit,
    RateLimits, Route, Scheme,
};
use crate::path;

pub(super) fn validate(config: &Config, kept: &Kept, findings: &mut Findings<'_>) {
    if let Some(OrOff::On(cors)) = &config.defaults.cors {
        validate_cors(cors, &path!["defaults", "cors"], findings);
    }
    if let Some(OrOff::On(limits)) = &config.defaults.rate_limit {
        validate_queues(limits, &path!["defaults", "rate_limit"], findings);
    }
    let names: Vec<String> = findings.source.keys(&path!["auth"]).map(str::to_owned).collect();
    check_names(names.iter().map(String::as_str), "auth", "name of a way", findings);
    let ways: HashSet<&str> = names.iter().map(String::as_str).collect();
    validate_auth(config.defaults.auth.as_ref(), &path!["defaults"], &ways, findings);
    for (name, way) in &config.auth {
        let path = path!["auth", name, "jwt"];
        if let Some(jwt) = &way.jwt {
            validate_jwt(jwt, &path, findings);
        }
        if let Some(forward) = &way.forward {
            forward_auth::validate(forward, &path!["auth", name, "forward"], findings);
        }
        if let Some(oidc) = &way.oidc {
            validate_oidc(oidc, &path!["auth", name, "oidc"], findings);
        }
    }
    for (&index, route) in kept.routes.iter().zip(&config.routes) {
        if let Some(OrOff::On(cors)) = &route.cors {
            validate_cors(cors, &path!["routes", index, "cors"], findings);
        }
        if let Some(OrOff::On(limits)) = &route.rate_limit {
            validate_queues(limits, &path!["routes", index, "rate_limit"], findings);
        }
        let (auth, require) = (route.auth.as_ref(), route.require.as_ref());
        validate_auth(auth, &path!["routes", index], &ways, findings);
        if !kept.listeners_broken && !kept.defaults_broken {
            validate_certificates(config, route, index, findings);
        }
        let has_auth = auth.or(config.defaults.auth.as_ref()).is_some_and(|auth| auth.as_on().is_some());
        if !has_auth && !kept.defaults_broken && require.is_some_and(|require| require.as_on().is_some()) {
            let message = "`require` has no effect on a route without `auth`";
            findings.add(
                Code::NoEffect,
                &path!["routes", index],
                &path!["require"],
                message,
                "write the ways to know a caller under `auth`",
            );
        }
    }
}

/// Reports settings of tokens that have no effect.
fn validate_jwt(jwt: &Jwt, base: &[Segment], findings: &mut Findings<'_>) {
    let is_https = matches!(&jwt.jwks, KeySource::Url(url) if url.scheme == Scheme::Https);
    if jwt.jwks_ca.is_some() && !is_https {
        let message = "`jwks_ca` has no effect without an `https` URL in `jwks`";
        findings.add(
            Code::NoEffect,
            base,
            &path!["jwks_ca"],
            message,
            "take it out, or fetch the keys by `https`",
        );
    }
    validate_claims(&jwt.claims_to_headers, base, findings);
}

/// Reports settings of OpenID Connect that have no effect or would break a login.
fn validate_oidc(oidc: &Oidc, base: &[Segment], findings: &mut Findings<'_>) {
    if oidc.ca.is_some() && oidc.issuer.url().scheme != Scheme::Https {
        let message = "`ca` has no effect without an `https` URL in `issuer`";
        findings.add(
            Code::NoEffect,
            base,
            &path!["ca"],
            message,
            "take it out, or write the issuer with `https`",
        );
    }
    for name in oidc.parameters.keys().filter(|name| Oidc::OWN_PARAMETERS.contains(&name.as_str())) {
        let message = format!("the parameter `{name}` cannot be set");
        let help = "the gateway sets it, from other keys or for each login";
        findings.add(Code::ReservedName, base, &path!["parameters", name.as_str()], message, help);
    }
    if oidc.redirect_path.normal() == oidc.logout_path.normal() {
        let message = "`logout_path` appears twice: it is `redirect_path`, too";
        findings.add(Code::DuplicateName, base, &path!["logout_path"], message, "write another path");
    }
    if oidc.post_logout_redirect.as_ref().is_some_and(|to| to.fixed().is_none()) {
        let message = "the path has no parameter that `post_logout_redirect` could have";
        findings.add(
            Code::UnknownName,
            base,
            &path!["post_logout_redirect"],
            message,
            "write it without braces",
        );
    }
    validate_claims(&oidc.claims_to_headers, base, findings);
}

/// Reports claims in fields that the gateway writes itself.
fn validate_claims(claims: &ClaimsToHeaders, base: &[Segment], findings: &mut Findings<'_>) {
    for (claim, name) in claims {
        if let Some(help) = name.advise_reserved() {
            let message = format!("the header `{name}` cannot get a claim");
            findings.add(
                Code::ReservedName,
                base,
                &path!["claims_to_headers", claim.as_str()],
                message,
                help,
            );
        }
    }
}

/// Reports names of ways that there are not, and those that appear twice.
fn validate_auth(
    auth: Option<&OrOff<AuthUse>>,
    base: &[Segment],
    ways: &HashSet<&str>,
    findings: &mut Findings<'_>,
) {
    let Some(OrOff::On(auth)) = auth else { return };
    let keys = |index: usize| match auth {
        AuthUse::Any(_) => path!["auth", index].to_vec(),
        AuthUse::All(_) => path!["auth", "all", index].to_vec(),
    };
    let mut seen = HashSet::new();
    for (index, name) in auth.names().iter().enumerate() {
        let shown = findings.shown(base, &keys(index), &name);
        if !ways.contains(name.as_str()) {
            let help = findings.advise_name(name, &shown, ways.iter().copied(), "auth");
            findings.add(Code::UnknownName, base, &keys(index), format!("unknown way `{shown}`"), help);
        } else if !seen.insert(name) {
            findings.add(
                Code::DuplicateName,
                base,
                &keys(index),
                format!("the way `{shown}` appears twice"),
                "take one out",
            );
        }
    }
}

/// Reports ways of `mtls` on a route none of whose listeners requests certificates. It would refuse each request.
fn validate_certificates(config: &Config, route: &Route, index: usize, findings: &mut Findings<'_>) {
    let Some(auth) = route.auth.as_ref().or(config.defaults.auth.as_ref()).and_then(OrOff::as_on) else {
        return;
    };
    let is_mtls = |name: &String| config.auth.get(name).is_some_and(|way| way.mtls.is_some());
    let Some(at) = auth.names().iter().position(is_mtls) else { return };
    let serves =
        |listener: &&Listener| route.listeners.as_ref().is_none_or(|names| names.contains(&listener.name()));
    let requests = |listener: &Listener| listener.tls.as_ref().is_some_and(|tls| tls.client_auth.is_some());
    if config.listeners.iter().filter(serves).any(requests) {
        return;
    }
    let keys = match (&route.auth, auth) {
        (None, _) => path![].to_vec(),
        (Some(_), AuthUse::Any(_)) => path!["auth", at].to_vec(),
        (Some(_), AuthUse::All(_)) => path!["auth", "all", at].to_vec(),
    };
    let base = path!["routes", index];
    let name = auth.names().get(at).map(String::as_str).unwrap_or_default();
    let shown = findings.shown(&base, &keys, &name);
    let message = format!("the way `{shown}` is `mtls`, and no listener of the route requests certificates");
    let help = "write `client_auth: { ca: FILE }` below the `tls` of a listener, with `required: false` if others use it, too";
    findings.add(Code::Contradiction, &base, &keys, message, help);
}

/// Reports credentials for any origin, since each page on the web could act in the name of its visitors, and `*` in `expose` beside them,
/// which is no wildcard then (Fetch, "CORS-exposed header-name list").
fn validate_cors(cors: &Cors, base: &[Segment], findings: &mut Findings<'_>) {
    if !cors.credentials {
        return;
    }
    if let Some(any) = cors.origins.iter().position(|origin| *origin == OriginPattern::Any) {
        let message = "the origin `*` excludes `credentials`: any page could act in its visitor's name";
        let help = "list the origins that may, or take `credentials` out";
        findings.add(Code::Contradiction, base, &path!["origins", any], message, help);
    }
    if let Some(all) = cors.expose.iter().position(|name| name.as_http() == "*") {
        let message = "`*` has no effect beside `credentials`";
        findings.add(
            Code::NoEffect,
            base,
            &path!["expose", all],
            message,
            "list the fields that pages may read",
        );
    }
}

/// Reports limits that make requests wait for too long.
fn validate_queues(limits: &RateLimits, base: &[Segment], findings: &mut Findings<'_>) {
    for (index, limit) in limits.as_slice().iter().enumerate() {
        if limit.queue.is_none_or(|queue| queue <= RateLimit::QUEUE_MAX) {
            continue;
        }
        let place = match limits {
            RateLimits::One(_) => path!["queue"].to_vec(),
            RateLimits::Several(_) => path![index, "queue"].to_vec(),
        };
        let message = format!("`queue` must be at most {}", RateLimit::QUEUE_MAX);
        findings.add(
            Code::InvalidValue,
            base,
            &place,
            message,
            "each waiting request holds a connection or a stream",
        );
    }
}
