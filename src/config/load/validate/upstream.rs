//! Checks of upstreams: TLS settings need an `https` endpoint.

use super::{Findings, validate_pool};
use crate::config::load::salvage::Kept;
use crate::config::values::segment::Segment;
use crate::config::{Config, Scheme, Upstream, UpstreamChoice, UpstreamTls};
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
    if let Some(pool) = &upstream.pool {
        validate_pool(pool, &[base, &path!["pool"]].concat(), findings);
    }
}
