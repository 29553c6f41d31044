//! `/api/upstreams`: the upstreams, and the health of their endpoints.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::Operators;
use crate::control::history::History;
use crate::snapshot::{NamedUpstream, Owner};

/// The upstreams of the active configuration.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct UpstreamsReport {
    upstreams: Vec<UpstreamReport>,
}

/// An upstream with pools of its own. An upstream that several routes give a `pool` of their own is listed for each.
#[derive(Debug, Serialize, JsonSchema)]
struct UpstreamReport {
    /// Its name in `/api/pools`.
    name: String,
    /// The owner of the pools: an `upstream`, a `route`, a `split` route, or the `mirror`s to an upstream.
    owner: &'static str,
    routes: Vec<String>,
    /// The URLs as they are written, with their weights.
    targets: Vec<TargetReport>,
    /// The state of its breaker, if it has one: `closed`, `open`, or `half_open` while one request decides.
    breaker: Option<&'static str>,
    /// The addresses that it has at the moment; none before a name is resolved.
    endpoints: Vec<EndpointReport>,
}

/// A URL of an upstream.
#[derive(Debug, Serialize, JsonSchema)]
struct TargetReport {
    url: String,
    weight: u32,
}

/// An address of an upstream.
#[derive(Debug, Serialize, JsonSchema)]
struct EndpointReport {
    url: String,
    address: String,
    /// `healthy`, `unhealthy` while probes fail, `ejected`, or `starting` while it comes back.
    health: &'static str,
    /// The reason why it is not healthy; of a healthy one, the last failure of a probe.
    reason: Option<String>,
    /// The end of its server's certificate, as of the last full handshake of TLS, in seconds of Unix time.
    certificate_expires: Option<u64>,
    ejections: u64,
    probes_succeeded: u64,
    probes_failed: u64,
    /// Requests under way or waiting.
    requests: u64,
    /// The limit on requests at once, at present if it is `auto`.
    max_concurrent: Option<u64>,
    /// Its responses by class of the status: `2xx`. Retries, second attempts and mirrored requests have theirs, too.
    responses: BTreeMap<&'static str, u64>,
    /// Attempts without a response: `connect`, `timeout` or `reset`.
    failures: BTreeMap<&'static str, u64>,
    /// The median of the time from the end of a request to the head of its response, over the last minutes; null if there was none.
    p50_seconds: Option<f64>,
    /// The time that 99 of 100 responses did not exceed.
    p99_seconds: Option<f64>,
}

impl Operators {
    pub(super) fn upstreams_report(&self) -> UpstreamsReport {
        let (snapshot, samples) = (&self.status.generation().snapshot, self.status.samples());
        UpstreamsReport {
            upstreams: snapshot.upstreams.iter().map(|named| UpstreamReport::of(named, samples)).collect(),
        }
    }
}

impl UpstreamReport {
    fn of(named: &NamedUpstream, samples: &History) -> Self {
        let current = named.targets.upstream().current();
        let owner = match named.owner {
            Owner::Upstream(_) => "upstream",
            Owner::Route(_) => "route",
            Owner::Split { .. } => "split",
            Owner::Mirror(_) => "mirror",
        };
        let target = |target: &crate::upstream::Target| TargetReport {
            url: target.url().to_owned(),
            weight: target.weight(),
        };
        let endpoints = current.iter().map(|endpoint| {
            let report = endpoint.report();
            let recent = samples.pool(&report);
            let reason = match report.ejected_for {
                Some(left) => {
                    Some(format!("ejected after failures in a row, for {} s more", left.as_secs() + 1))
                }
                None => report.last_probe_failure,
            };
            EndpointReport {
                url: report.endpoint,
                address: report.address,
                health: report.health,
                reason,
                certificate_expires: report.certificate_expires,
                ejections: report.ejections,
                probes_succeeded: report.probes_succeeded,
                probes_failed: report.probes_failed,
                requests: report.requests,
                max_concurrent: report.max_concurrent,
                responses: report.attempts.responses_by_class().collect(),
                failures: report.attempts.failures.into_iter().collect(),
                p50_seconds: recent.response_quantile(0.5),
                p99_seconds: recent.response_quantile(0.99),
            }
        });
        Self {
            name: named.name.clone(),
            owner,
            routes: named.routes.clone(),
            targets: named.targets.iter().map(target).collect(),
            breaker: current.breaker(),
            endpoints: endpoints.collect(),
        }
    }
}
