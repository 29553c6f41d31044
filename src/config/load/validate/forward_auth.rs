//! Checks of `forward`: the server that it names, the fields that it passes on, and the key of its answers.

use std::collections::HashSet;

use super::Findings;
use super::route::check_upstream;
use crate::config::load::code::Code;
use crate::config::values::segment::Segment;
use crate::config::{ForwardAuth, HashKey, HeaderName};
use crate::path;

/// Reports settings of a way by another server, which stands at `base`.
pub(super) fn validate(forward: &ForwardAuth, base: &[Segment], findings: &mut Findings<'_>) {
    let upstreams: HashSet<&str> = findings.source.keys(&path!["upstreams"]).collect();
    // The segments of the key are apart, so that the advice is that for an upstream which must have a name.
    let (parent, key) = base.split_at(base.len().saturating_sub(1));
    check_upstream(&forward.to, &upstreams, parent, &[key, &path!["to"]].concat(), findings);
    for (list, names) in [
        ("request_headers", &forward.request_headers),
        ("response_headers", &forward.response_headers),
        ("client_headers", &forward.client_headers),
    ] {
        for (index, name) in names.iter().enumerate() {
            if let Some(help) = advise(name) {
                let shown = findings.shown(base, &path![list, index], name);
                findings.add(
                    Code::ReservedName,
                    base,
                    &path![list, index],
                    format!("the header `{shown}` cannot be passed on"),
                    help,
                );
            }
        }
    }
    if let Some(key) = forward.cache.as_ref().and_then(|cache| cache.key.as_ref()) {
        validate_key(forward, key, base, findings);
    }
}

/// Returns the advice for a field that the gateway writes itself.
fn advise(name: &HeaderName) -> Option<&'static str> {
    match name.as_http().as_str() {
        "host" => Some("the server finds the host of the request in `X-Forwarded-Host`"),
        "expect" => Some("it belongs to the body, which stays here"),
        _ => name.advise_reserved(),
    }
}

/// Reports fields that the server sees and that are not part of the key: two callers could share an answer.
fn validate_key(forward: &ForwardAuth, key: &[HashKey], base: &[Segment], findings: &mut Findings<'_>) {
    for (index, name) in forward.request_headers.iter().enumerate() {
        let is_cookie = *name.as_http() == http::header::COOKIE;
        let has = |part: &HashKey| match part {
            HashKey::Header(part) => part == name,
            HashKey::Cookie(_) => is_cookie,
            _ => false,
        };
        if !key.iter().any(has) {
            let shown = findings.shown(base, &path!["request_headers", index], name);
            let message = format!(
                "the key lacks `{shown}`, which the server decides by: callers could share an answer"
            );
            let part = if is_cookie { "cookie:NAME" } else { "header:NAME" };
            let help = format!("add `{part}` for it, or take it out of `request_headers`");
            findings.add(Code::Contradiction, base, &path!["cache", "key"], message, help);
        }
    }
}
