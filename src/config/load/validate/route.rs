//! Checks of routes: known names, rewrites that fit the match, headers that may be changed.

use std::collections::{HashMap, HashSet};

use super::{Findings, first_with, placeholders, split, validate_pool};
use crate::config::load::code::Code;
use crate::config::load::salvage::Kept;
use crate::config::values::segment::Segment;
use crate::config::{
    Config, EncodedSlash, Headers, Match, OrOff, PathMatch, Piece, Respond, Retry, RewriteForm, Route,
    RoutePath, Timeouts, UpstreamChoice,
};
use crate::path;

/// The name in logs and metrics for requests that match no route.
const NO_ROUTE: &str = "-";

pub(super) fn validate(config: &Config, kept: &Kept, findings: &mut Findings<'_>) {
    let mut names: HashMap<&str, usize> = HashMap::new();
    // The names come from the file, so that an upstream with other errors is not reported as unknown too.
    let upstreams: HashSet<&str> = findings.source.keys(&path!["upstreams"]).collect();
    let listeners: HashSet<String> = config.listeners.iter().map(|listener| listener.name()).collect();
    // The names that an error may show, because they have no variable.
    let plain = kept.listeners.iter().zip(&config.listeners).filter_map(|(index, listener)| {
        let name = listener.name.as_ref()?;
        (findings.shown(&path!["listeners", *index, "name"], &[], name) == *name).then_some(name.as_str())
    });
    let plain: Vec<&str> = plain.collect();
    if let Some(OrOff::On(mirror)) = &config.defaults.mirror {
        check_upstream(&mirror.to, &upstreams, &path!["defaults"], &path!["mirror", "to"], findings);
    }
    for (&index, route) in kept.routes.iter().zip(&config.routes) {
        let base = path!["routes", index];
        if route.name.as_deref() == Some(NO_ROUTE) {
            let message = format!("the route name `{NO_ROUTE}` stands for requests without a route");
            findings.add(Code::ReservedName, &base, &path!["name"], message, "write another name");
        }
        if let Some(name) = &route.name
            && let Some(first) = first_with(&mut names, name.as_str(), index)
        {
            let line = findings.line(&path!["routes", first], &path!["name"]);
            let name = findings.shown(&base, &path!["name"], &name);
            let message = format!("the route name `{name}` appears twice");
            findings.add(
                Code::DuplicateName,
                &base,
                &path!["name"],
                message,
                format!("the route in line {line} has it"),
            );
        }
        if !kept.listeners_broken {
            validate_listeners(route, &listeners, &plain, &base, findings);
        }
        match &route.upstream {
            Some(UpstreamChoice::Named(name)) => {
                check_upstream(name, &upstreams, &base, &path!["upstream"], findings);
            }
            Some(UpstreamChoice::Split(split)) => {
                for (index, one) in split.iter().enumerate() {
                    check_upstream(&one.to, &upstreams, &base, &path!["upstream", index, "to"], findings);
                }
                split::validate(config, split, &base, findings);
            }
            Some(UpstreamChoice::Inline(_)) | None => {}
        }
        if let Some(OrOff::On(mirror)) = &route.mirror {
            check_upstream(&mirror.to, &upstreams, &base, &path!["mirror", "to"], findings);
        }
        validate_match(&route.matches, &base, findings);
        validate_rewrite(route, &base, findings);
        placeholders::validate(config, route, kept.defaults_broken, &base, findings);
        if !kept.defaults_broken && config.encoded_slash_of(route) == EncodedSlash::Reject {
            validate_encoded_slashes(route, &base, findings);
        }
        validate_respond(route, &base, findings);
        validate_effect(route, &base, findings);
        validate_headers(&route.headers, &[&base[..], &path!["headers"]].concat(), findings);
        if let Some(pool) = &route.pool {
            validate_pool(pool, &[&base[..], &path!["pool"]].concat(), findings);
        }
    }
}

fn validate_listeners(
    route: &Route,
    known: &HashSet<String>,
    plain: &[&str],
    base: &[Segment],
    findings: &mut Findings<'_>,
) {
    for (index, name) in route.listeners.iter().flatten().enumerate() {
        if !known.contains(name) {
            let keys = path!["listeners", index];
            let shown = findings.shown(base, &keys, &name);
            let help = findings.advise_name(name, &shown, plain.iter().copied(), "listeners");
            findings.add(Code::UnknownName, base, &keys, format!("unknown listener `{shown}`"), help);
        }
    }
}

/// Reports the name of an upstream at `keys` if there is none of that name.
pub(super) fn check_upstream(
    name: &str,
    known: &HashSet<&str>,
    base: &[Segment],
    keys: &[Segment],
    findings: &mut Findings<'_>,
) {
    if known.contains(name) {
        return;
    }
    let shown = findings.shown(base, keys, &name);
    let help = match advise_url(name) {
        // An upstream of a split, of a mirror or of `forward` must have a name.
        _ if keys.len() > 1 => findings.advise_name(name, &shown, known.iter().copied(), "upstreams"),
        Some(url) if name == shown => format!("write `upstream: {{ url: \"{url}\" }}`"),
        Some(_) => format!("write `upstream: {{ url: \"{shown}\" }}`"),
        None => findings.advise_name(name, &shown, known.iter().copied(), "upstreams"),
    };
    findings.add(Code::UnknownName, base, keys, format!("unknown upstream `{shown}`"), help);
}

/// Returns the URL that was probably meant by a name that looks like one, or like `host:port`.
fn advise_url(name: &str) -> Option<String> {
    if name.contains("://") || name.starts_with("unix:") {
        return Some(name.to_owned());
    }
    let (_, port) = name.rsplit_once(':')?;
    port.parse::<u16>().is_ok().then(|| format!("http://{name}"))
}

fn validate_match(matches: &Match, base: &[Segment], findings: &mut Findings<'_>) {
    if let Some(name) = matches.headers.keys().find(|name| name.as_http() == http::header::HOST) {
        let message = "`host` is not matched as a header";
        findings.add(
            Code::InvalidValue,
            base,
            &path!["match", "headers", name.to_string().as_str()],
            message,
            "write `host` beside `headers`",
        );
    }
    if matches.query.contains_key("") {
        let message = "a query parameter needs a name";
        findings.add(Code::InvalidValue, base, &path!["match", "query", ""], message, "take it out");
    }
    if let Some(template) = &matches.template {
        let place = path!["match", "template"];
        let mut seen = HashSet::new();
        if let Some(twice) = template.parameters().find(|name| !seen.insert(*name)) {
            let message = format!("the parameter `{{{twice}}}` appears twice");
            findings.add(Code::DuplicateName, base, &place, message, "give each its own name");
        }
        if seen.is_empty() {
            let message = format!("`{template}` has no parameter such as {{id}}");
            findings.add(
                Code::InvalidValue,
                base,
                &place,
                message,
                "write `path:` for a path that is matched whole",
            );
        }
    }
}

fn validate_rewrite(route: &Route, base: &[Segment], findings: &mut Findings<'_>) {
    match route.rewrite.as_ref().and_then(|rewrite| rewrite.form()) {
        Some(RewriteForm::Prefix { strip: Some(prefix), .. }) => {
            if !may_begin_with(&route.matches, prefix) {
                let message = format!("no path of the match begins with `{prefix}`");
                findings.add(
                    Code::Contradiction,
                    base,
                    &path!["rewrite", "strip_prefix"],
                    message,
                    "write the beginning of the match's path",
                );
            }
        }
        Some(RewriteForm::Path(_) | RewriteForm::Template(_) | RewriteForm::Prefix { strip: None, .. })
        | None => {}
    }
}

/// Reports the paths with `%2F` of a route that rejects requests with one.
fn validate_encoded_slashes(route: &Route, base: &[Segment], findings: &mut Findings<'_>) {
    let (matches, rewrite) = (&route.matches, route.rewrite.as_ref());
    let path =
        |path: Option<&RoutePath>| path.filter(|path| path.has_encoded_slash()).map(ToString::to_string);
    let template = matches.template.as_ref().filter(|path| path.has_encoded_slash());
    let rewritten =
        rewrite.and_then(|rewrite| rewrite.template.as_ref()).filter(|path| path.has_encoded_slash());
    for (section, key, path) in [
        ("match", "path", path(matches.path.as_ref())),
        ("match", "prefix", path(matches.prefix.as_ref())),
        ("match", "template", template.map(ToString::to_string)),
        ("rewrite", "path", path(rewrite.and_then(|rewrite| rewrite.path.as_ref()))),
        ("rewrite", "strip_prefix", path(rewrite.and_then(|rewrite| rewrite.strip_prefix.as_ref()))),
        ("rewrite", "add_prefix", path(rewrite.and_then(|rewrite| rewrite.add_prefix.as_ref()))),
        ("rewrite", "template", rewritten.map(ToString::to_string)),
    ] {
        let Some(path) = path else { continue };
        let message = format!(
            "no request can have the path `{path}`: the path has an encoded slash, which a route accepts only with \
             `paths: {{ encoded_slash: keep }}`"
        );
        findings.add(
            Code::Contradiction,
            base,
            &path![section, key],
            message,
            "take it out, or add that key",
        );
    }
}

/// Returns true if a matching path can begin with a prefix, at a segment border. Both are compared in the form of
/// requests' paths: `/%7Euser` is `/~user`.
fn may_begin_with(matches: &Match, prefix: &RoutePath) -> bool {
    let is_below = |path: &str, prefix: &str| {
        let rest = path.strip_prefix(prefix.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let prefix = prefix.normal();
    match matches.path_match() {
        PathMatch::Any => true,
        PathMatch::Exact(path) => is_below(path.normal(), prefix),
        PathMatch::Prefix(path) => is_below(path.normal(), prefix) || is_below(prefix, path.normal()),
        PathMatch::Template(template) => {
            // The first parameter may be anything that the client sends, so the comparison ends there.
            let literals = template.pieces().iter().map_while(|piece| match piece {
                Piece::Literal(text) => Some(format!("/{text}")),
                Piece::Parameter(_) => None,
            });
            let literal = literals.chain(["/".to_owned()]).collect::<String>();
            is_below(&literal, prefix) || prefix.starts_with(&literal)
        }
    }
}

fn validate_respond(route: &Route, base: &[Segment], findings: &mut Findings<'_>) {
    let Some(respond) = &route.respond else { return };
    let status = respond.status.as_u16();
    if matches!(status, 204 | 205 | 304) && !respond.body.is_empty() {
        let status = findings.shown(base, &path!["respond", "status"], &status);
        let message = format!("a response with status {status} has no body");
        findings.add(Code::Contradiction, base, &path!["respond", "body"], message, "take the body out");
    }
    if respond.delay.is_some_and(|delay| delay > Respond::DELAY_MAX) {
        let message = format!("`delay` must be at most {}", Respond::DELAY_MAX);
        let help = "it simulates a slow upstream, and each delayed request holds a connection or a stream";
        findings.add(Code::InvalidValue, base, &path!["respond", "delay"], message, help);
    }
    for name in respond.headers.keys() {
        if let Some(help) = name.advise_reserved() {
            let message = format!("the header `{name}` cannot be set");
            findings.add(
                Code::ReservedName,
                base,
                &path!["respond", "headers", name.to_string().as_str()],
                message,
                help,
            );
        }
    }
}

/// Reports settings of the upstream side on a route without an upstream.
fn validate_effect(route: &Route, base: &[Segment], findings: &mut Findings<'_>) {
    if route.upstream.is_some() {
        return;
    }
    let settings = [
        ("rewrite", route.rewrite.is_some()),
        ("host", route.host.is_some()),
        ("rewrite_location", route.rewrite_location.is_some()),
        ("rewrite_cookies", route.rewrite_cookies.is_some()),
        ("grpc_web", route.grpc_web.is_some()),
        ("pool", route.pool.is_some()),
        ("timeouts", route.timeouts != Timeouts::default()),
        ("retry", route.retry != Retry::default()),
        ("hedge", route.hedge.is_some()),
        ("mirror", route.mirror.is_some()),
        ("upgrade", route.upgrade.is_some()),
    ];
    for (key, _) in settings.into_iter().filter(|(_, is_set)| *is_set) {
        let message = format!("`{key}` has no effect on a route without `upstream`");
        findings.add(Code::NoEffect, base, &path![key], message, "take it out");
    }
}

/// Checks the changes to headers of a route or of `defaults`.
pub(super) fn validate_headers(headers: &Headers, base: &[Segment], findings: &mut Findings<'_>) {
    for (side, edits) in [("request", &headers.request), ("response", &headers.response)] {
        let set = edits.set.keys().map(|name| (path![side, "set", name.to_string().as_str()].to_vec(), name));
        let add = edits.add.keys().map(|name| (path![side, "add", name.to_string().as_str()].to_vec(), name));
        let remove = edits
            .remove
            .iter()
            .enumerate()
            .map(|(index, name)| (path![side, "remove", index].to_vec(), name));
        for (path, name) in set.chain(add).chain(remove) {
            if let Some(help) = name.advise_reserved() {
                findings.add(
                    Code::ReservedName,
                    base,
                    &path,
                    format!("the header `{name}` cannot be changed"),
                    help,
                );
            }
        }
    }
}
