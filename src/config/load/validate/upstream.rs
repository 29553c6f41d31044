//! Checks of upstreams: TLS settings need an `https` endpoint, a hash its key, a cookie the consent of browsers.

use super::{Findings, validate_pool};
use crate::config::load::code::Code;
use crate::config::load::salvage::Kept;
use crate::config::model::active_health::ActiveHealth;
use crate::config::model::sticky::SameSite;
use crate::config::values::segment::Segment;
use crate::config::{
    Balance, Config, HostHeader, Scheme, Server, Sticky, Upstream, UpstreamChoice, UpstreamTls,
};
use crate::path;

/// Checks the upstreams, named and inline.
pub(super) fn validate(config: &Config, kept: &Kept, findings: &mut Findings<'_>) {
    for (name, upstream) in &config.upstreams {
        validate_upstream(upstream, &path!["upstreams", name], findings);
    }
    for (&index, route) in kept.routes.iter().zip(&config.routes) {
        if let Some(UpstreamChoice::Inline(upstream)) = &route.upstream {
            validate_upstream(upstream, &path!["routes", index, "upstream"], findings);
        }
    }
}

fn validate_upstream(upstream: &Upstream, base: &[Segment], findings: &mut Findings<'_>) {
    let has_tls = upstream.all_endpoints().any(|(url, _)| url.scheme == Scheme::Https);
    if !has_tls && upstream.tls != UpstreamTls::default() {
        let message = "`tls` has no effect, no endpoint is `https`";
        let help = match is_unix(upstream) {
            true => "a Unix socket is plain: take `tls` out",
            false => "write `https://` in the URL, or take `tls` out",
        };
        findings.add(Code::NoEffect, base, &path!["tls"], message, help);
    }
    match (upstream.balance, &upstream.hash_on) {
        (Balance::Hash, None) => {
            let help = "write the part of a request that chooses the endpoint, as in `hash_on: client_ip`";
            findings.add(
                Code::NoEffect,
                base,
                &path!["balance"],
                "`balance: hash` has no effect without `hash_on`",
                help,
            );
        }
        (Balance::Hash, Some(_)) | (_, None) => {}
        (_, Some(_)) => {
            let message = "`hash_on` has no effect without `balance: hash`";
            findings.add(
                Code::NoEffect,
                base,
                &path!["hash_on"],
                message,
                "write `balance: hash`, or take `hash_on` out",
            );
        }
    }
    if let Some(sticky) = &upstream.sticky {
        validate_sticky(sticky, upstream.balance, base, findings);
    }
    if let Some(active) = upstream.health.active.as_on() {
        let base = [base, &path!["health", "active"]].concat();
        validate_active(active, &base, findings);
        if active.port.is_some() && is_unix(upstream) {
            let help = "take `port` out: probes go to the endpoint's own socket";
            findings.add(
                Code::NoEffect,
                &base,
                &path!["port"],
                "`port` has no effect: a Unix socket has no port",
                help,
            );
        }
    }
    if let Some(pool) = &upstream.pool {
        validate_pool(pool, &[base, &path!["pool"]].concat(), findings);
    }
}

fn validate_sticky(sticky: &Sticky, balance: Balance, base: &[Segment], findings: &mut Findings<'_>) {
    if balance == Balance::Hash {
        let message = "`sticky` has no effect with `balance: hash`";
        let help = "take `sticky` out, or balance in another way, as in `balance: p2c`";
        findings.add(Code::NoEffect, base, &path!["sticky"], message, help);
    }
    if sticky.secure == Some(false) && (sticky.same_site == SameSite::None || sticky.cookie.asks_for_secure())
    {
        let message = "the cookie has no effect without `Secure`: browsers reject it";
        let help = match sticky.same_site {
            SameSite::None => "take `secure: false` out, or `same_site: none`",
            SameSite::Lax | SameSite::Strict => {
                "take `secure: false` out, or write a name without the prefix"
            }
        };
        findings.add(Code::NoEffect, base, &path!["sticky", "secure"], message, help);
    }
}

/// Returns true if all endpoints are Unix sockets.
fn is_unix(upstream: &Upstream) -> bool {
    upstream.all_endpoints().all(|(url, _)| matches!(url.server, Server::Unix(_)))
}

fn validate_active(active: &ActiveHealth, base: &[Segment], findings: &mut Findings<'_>) {
    if active.tcp == Some(false) {
        let help = "write `tcp: true`, or `active: off` for no probes";
        findings.add(Code::NoEffect, base, &path!["tcp"], "`tcp: false` has no effect", help);
    }
    if active.path.is_none() {
        for key in active.http_keys() {
            let message = format!("`{key}` has no effect without `path`");
            findings.add(
                Code::NoEffect,
                base,
                &path![key],
                message,
                format!("take `{key}` out, or probe a `path`"),
            );
        }
    }
    if active.host == Some(HostHeader::Preserve) {
        let help = "write a host, or take `host` out for the endpoint's own";
        findings.add(
            Code::NoEffect,
            base,
            &path!["host"],
            "`host: preserve` has no effect: a probe has no client",
            help,
        );
    }
    let is_head = active.method.as_ref().is_some_and(|method| method.as_http() == http::Method::HEAD);
    if is_head && active.body.is_some() {
        let help = "take `body` out, or write `method: GET`";
        findings.add(
            Code::NoEffect,
            base,
            &path!["body"],
            "`body` has no effect: a response to HEAD has no body",
            help,
        );
    }
}
