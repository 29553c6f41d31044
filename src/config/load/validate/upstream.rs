//! Checks of upstreams: TLS settings need an `https` endpoint.

use super::{Findings, validate_pool};
use crate::config::load::salvage::Kept;
use crate::config::values::segment::Segment;
use crate::config::{Balance, Config, Scheme, Upstream, UpstreamChoice, UpstreamTls};
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
        findings.add(base, &path!["tls"], message, "write `https://` in the URL, or take `tls` out");
    }
    match (upstream.balance, &upstream.hash_on) {
        (Balance::Hash, None) => {
            let help = "write the part of a request that chooses the endpoint, as in `hash_on: client_ip`";
            findings.add(base, &path!["balance"], "`balance: hash` has no effect without `hash_on`", help);
        }
        (Balance::Hash, Some(_)) | (_, None) => {}
        (_, Some(_)) => {
            let message = "`hash_on` has no effect without `balance: hash`";
            findings.add(base, &path!["hash_on"], message, "write `balance: hash`, or take `hash_on` out");
        }
    }
    if let Some(pool) = &upstream.pool {
        validate_pool(pool, &[base, &path!["pool"]].concat(), findings);
    }
}
