//! The report of a pool's connections to one endpoint: the row of `/pools` and of the pool metrics.

use std::collections::HashMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::attempts::AttemptTotals;
use super::buckets::DurationCounts;
use super::sharded::{add_each, add_reasons};

/// The number of classes of [`PoolReport::awaited_dials`].
pub(crate) const AWAITED_DIAL_CLASSES: usize = 12;

/// The state and the counters of a pool's connections to one endpoint at one moment.
///
/// Counters start when the pool is created. A pool that a reload leaves unchanged keeps counting. Reasons are the names
/// that `x-gateway-error` and the access log use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct PoolReport {
    /// The number of the pool, which no other one has had in this process.
    #[serde(skip)]
    pub(crate) number: u64,
    /// The owner of the pool: a route's name, or that of an upstream that several routes share.
    pub(crate) pool: String,
    /// The names of the routes that use it.
    pub(crate) routes: Vec<String>,
    /// The endpoint as the configuration names it: its URL's origin.
    pub(crate) endpoint: String,
    /// The socket address of its connections; empty before the name is resolved.
    pub(crate) address: String,
    /// True if the endpoint is gone from DNS or from the configuration. Requests that use it still end in their own
    /// time, and new ones go elsewhere.
    pub(crate) draining: bool,
    /// The endpoint's health: `healthy`, `unhealthy` while probes fail, `ejected`, or `starting` while it comes back.
    pub(crate) health: &'static str,
    /// The time until it gets requests again, if it is ejected. In JSON: seconds.
    #[serde(rename = "ejected_for_seconds", serialize_with = "seconds_or_null")]
    #[schemars(with = "Option<f64>")]
    pub(crate) ejected_for: Option<Duration>,
    pub(crate) ejections: u64,
    /// Probes of the endpoint that succeeded (`health.active`).
    pub(crate) probes_succeeded: u64,
    pub(crate) probes_failed: u64,
    /// The reason of the last probe that failed.
    pub(crate) last_probe_failure: Option<String>,
    /// The end of the server's certificate, as of the last full handshake of TLS, in seconds of Unix time.
    pub(crate) certificate_expires: Option<u64>,
    /// The state of the upstream's breaker, if it has one: `closed`, `open`, or `half_open` while one request decides.
    pub(crate) breaker: Option<&'static str>,
    /// Requests at the endpoint: under way, or waiting for a connection.
    pub(crate) requests: u64,
    /// The most requests at once in the last seconds, as far as any found no idle connection.
    pub(crate) peak_requests: u64,
    /// The requests that one connection carries at once: 1, or for HTTP/2 the streams that the last one takes.
    pub(crate) requests_per_connection: u64,
    /// The limit on requests at once, at present if it is `auto`.
    pub(crate) max_concurrent: Option<u64>,
    /// Connections open and unused.
    pub(crate) idle: u64,
    /// Connections that a request is using.
    pub(crate) active: u64,
    /// Connections being made: name resolved, TCP or TLS not yet done.
    pub(crate) connecting: u64,
    /// Requests waiting for a connection.
    pub(crate) pending: u64,
    /// Requests on HTTP/2 connections, each on a stream. Many share one active connection.
    pub(crate) streams: u64,
    /// The time after which idle connections are closed because the server was seen to close them a little later. In JSON: seconds.
    #[serde(rename = "learned_idle_timeout_seconds", serialize_with = "seconds_or_null")]
    #[schemars(with = "Option<f64>")]
    pub(crate) learned_idle_timeout: Option<Duration>,
    /// The closes by which that was learned.
    pub(crate) learned_from: u64,
    /// The limit on idle, active and connecting together.
    pub(crate) max_connections: u64,
    pub(crate) opened: u64,
    /// Requests that got a connection which had served another before.
    pub(crate) reused: u64,
    /// Requests that got a connection, new or reused.
    pub(crate) acquired: u64,
    /// Requests that found no idle connection, by the time until they had one or gave up. `wait_bounds_seconds` has the bounds.
    pub(crate) waits: DurationCounts,
    /// The total time of these waits.
    #[serde(skip)]
    pub(crate) waited: Duration,
    /// The total time that requests spent in queues: behind `max_connections`, `max_connecting` or `max_concurrent`. In JSON: seconds.
    #[serde(rename = "acquire_wait_seconds", serialize_with = "seconds")]
    #[schemars(with = "f64")]
    pub(crate) acquire_wait: Duration,
    /// The time during which requests waited because `max_connections` was reached. In JSON: seconds.
    #[serde(rename = "max_connections_reached_seconds", serialize_with = "seconds")]
    #[schemars(with = "f64")]
    pub(crate) max_connections_reached: Duration,
    /// The time during which requests waited because `max_concurrent` was reached. In JSON: seconds.
    #[serde(rename = "max_concurrent_reached_seconds", serialize_with = "seconds")]
    #[schemars(with = "f64")]
    pub(crate) max_concurrent_reached: Duration,
    /// Attempts to connect that a request waited for, by the connections that were in use or being opened, with it: 1, 2, up to 4, 8
    /// and so on to 1024, and more.
    pub(crate) awaited_dials: [u64; AWAITED_DIAL_CLASSES],
    pub(crate) connect_failed: u64,
    /// Requests that were retried after this endpoint had failed them (`retry.on`).
    pub(crate) retried: u64,
    /// Requests that were not retried, because the upstream's budget was spent (`retry.budget`).
    pub(crate) over_budget: u64,
    /// Reused connections that came from another worker, which did not need them.
    pub(crate) borrowed: u64,
    /// Second attempts at this endpoint, beside slow ones at others (`hedge`).
    pub(crate) hedged: u64,
    /// Second attempts that responded first.
    pub(crate) hedges_won: u64,
    /// TLS handshakes completed, resumed ones among them.
    pub(crate) tls_handshakes: u64,
    /// TLS handshakes that resumed an earlier session.
    pub(crate) tls_resumed: u64,
    /// TLS handshakes that a request waited for.
    pub(crate) tls_handshakes_awaited: u64,
    /// Requests that got no connection, by the limit that refused them.
    #[serde(serialize_with = "by_reason")]
    #[schemars(with = "std::collections::BTreeMap<String, u64>")]
    pub(crate) refused: Vec<(&'static str, u64)>,
    /// Connections closed, by reason.
    #[serde(serialize_with = "by_reason")]
    #[schemars(with = "std::collections::BTreeMap<String, u64>")]
    pub(crate) closed: Vec<(&'static str, u64)>,
    /// The attempts at the endpoint, by their outcome. `/api/upstreams` has them.
    #[serde(skip)]
    pub(crate) attempts: AttemptTotals,
}

impl PoolReport {
    /// Merges reports that have the same labels: an upstream may list an endpoint twice, for twice the connections.
    pub(super) fn merged(reports: Vec<Self>) -> Vec<Self> {
        let mut merged: Vec<Self> = Vec::with_capacity(reports.len());
        let mut positions = HashMap::with_capacity(reports.len());
        for report in reports {
            let labels = (report.pool.clone(), report.endpoint.clone(), report.address.clone());
            let position = *positions.entry(labels).or_insert(merged.len());
            match merged.get_mut(position) {
                Some(same) => same.add(report),
                None => merged.push(report),
            }
        }
        merged
    }

    /// Returns the labels of its metrics. The address tells apart those that one name resolves to.
    pub(super) fn labels(&self) -> [(&str, &str); 3] {
        [("pool", &self.pool), ("endpoint", &self.endpoint), ("address", &self.address)]
    }

    /// Returns the number of attempts to connect that a request waited for.
    pub(crate) fn dials_awaited(&self) -> u64 {
        self.awaited_dials.iter().sum()
    }

    fn add(&mut self, other: Self) {
        self.certificate_expires = self.certificate_expires.or(other.certificate_expires);
        let Self { peak_requests, requests_per_connection, waits, awaited_dials, .. } = other;
        let Self { max_connections_reached, max_concurrent_reached, tls_handshakes_awaited, .. } = other;
        self.peak_requests += peak_requests;
        self.requests_per_connection = self.requests_per_connection.max(requests_per_connection);
        add_each(&mut self.waits, waits);
        self.waited += other.waited;
        self.attempts.add(other.attempts);
        add_each(&mut self.awaited_dials, awaited_dials);
        self.max_connections_reached = self.max_connections_reached.max(max_connections_reached);
        self.max_concurrent_reached = self.max_concurrent_reached.max(max_concurrent_reached);
        self.tls_handshakes_awaited += tls_handshakes_awaited;
        let Self { requests, ejections, over_budget, .. } = other;
        let Self { probes_succeeded, probes_failed, last_probe_failure, .. } = other;
        self.requests += requests;
        self.ejections += ejections;
        self.probes_succeeded += probes_succeeded;
        self.probes_failed += probes_failed;
        self.last_probe_failure = last_probe_failure.or(self.last_probe_failure.take());
        self.over_budget += over_budget;
        let Self { borrowed, hedged, hedges_won, .. } = other;
        self.borrowed += borrowed;
        self.hedged += hedged;
        self.hedges_won += hedges_won;
        let Self { idle, active, connecting, pending, streams, max_connections, opened, .. } = other;
        let Self { reused, acquired, acquire_wait, connect_failed, retried, .. } = other;
        let Self { tls_handshakes, tls_resumed, refused, closed, .. } = other;
        self.idle += idle;
        self.active += active;
        self.connecting += connecting;
        self.pending += pending;
        self.streams += streams;
        self.max_connections = self.max_connections.saturating_add(max_connections);
        self.opened += opened;
        self.reused += reused;
        self.acquired += acquired;
        self.acquire_wait += acquire_wait;
        self.connect_failed += connect_failed;
        self.retried += retried;
        self.tls_handshakes += tls_handshakes;
        self.tls_resumed += tls_resumed;
        add_reasons(&mut self.refused, refused);
        add_reasons(&mut self.closed, closed);
    }
}

fn by_reason<S: Serializer>(counts: &[(&'static str, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(counts.iter().copied())
}

fn seconds_or_null<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => seconds(duration, serializer),
        None => serializer.serialize_none(),
    }
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_with_the_same_labels_are_one() {
        let report = |pool: &str, opened, closed| PoolReport {
            pool: pool.to_owned(),
            opened,
            closed: vec![(closed, opened)],
            ..PoolReport::default()
        };
        let merged = PoolReport::merged(vec![
            report("a", 1, "peer"),
            report("b", 2, "peer"),
            report("a", 4, "peer"),
            report("a", 8, "error"),
        ]);
        let rows: Vec<_> = merged.iter().map(|one| (&*one.pool, one.opened, one.closed.clone())).collect();
        assert_eq!(rows, [("a", 13, vec![("peer", 5), ("error", 8)]), ("b", 2, vec![("peer", 2)])]);
    }

    #[test]
    fn counts_by_reason_are_a_json_object() {
        let report = PoolReport {
            closed: vec![("idle_timeout", 3), ("peer", 1)],
            acquire_wait: Duration::from_millis(1500),
            ..PoolReport::default()
        };
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["closed"], serde_json::json!({"idle_timeout": 3, "peer": 1}));
        assert_eq!(json["refused"], serde_json::json!({}));
        assert_eq!(json["acquire_wait_seconds"], serde_json::json!(1.5));
    }
}
