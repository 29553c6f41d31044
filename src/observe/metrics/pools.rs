//! The metrics of pools.

use std::fmt;

use super::{Page, PoolReport, Scrape, reasons, with};

/// The name, the help text and the value of a pool's metric.
type PoolMetric = (&'static str, &'static str, fn(&PoolReport) -> u64);

const POOL_GAUGES: [PoolMetric; 6] = [
    ("gateway_pool_breaker_open", "1 if the upstream's breaker refuses requests", |pool| {
        u64::from(pool.breaker.is_some_and(|state| state != "closed"))
    }),
    (
        "gateway_pool_healthy",
        "1 for an endpoint that gets requests, 0 for one that is ejected or unhealthy",
        |pool| u64::from(!matches!(pool.health, "ejected" | "unhealthy")),
    ),
    ("gateway_pool_requests", "Requests at the endpoint, under way or waiting", |pool| pool.requests),
    ("gateway_pool_pending", "Requests waiting for a connection", |pool| pool.pending),
    ("gateway_pool_streams", "Requests on HTTP/2 connections", |pool| pool.streams),
    ("gateway_pool_max_connections", "The limit on connections", |pool| pool.max_connections),
];

const POOL_COUNTERS: [PoolMetric; 14] = [
    ("gateway_pool_ejections", "Ejections, after failures in a row", |pool| pool.ejections),
    ("gateway_pool_opened", "Connections made", |pool| pool.opened),
    ("gateway_pool_reused", "Requests that got a connection used before", |pool| pool.reused),
    ("gateway_pool_acquired", "Requests that got a connection", |pool| pool.acquired),
    ("gateway_pool_dials_awaited", "Connections that a request waited for", PoolReport::dials_awaited),
    ("gateway_pool_tls_handshakes_awaited", "TLS handshakes that a request waited for", |pool| {
        pool.tls_handshakes_awaited
    }),
    ("gateway_pool_connect_failures", "Attempts to connect that failed", |pool| pool.connect_failed),
    ("gateway_pool_retries", "Requests tried again after the endpoint had failed them", |pool| pool.retried),
    ("gateway_pool_retries_over_budget", "Requests not tried again: the budget was spent", |pool| {
        pool.over_budget
    }),
    ("gateway_pool_borrowed", "Reused connections that came from another worker", |pool| pool.borrowed),
    ("gateway_pool_hedges", "Second attempts beside slow ones at other endpoints", |pool| pool.hedged),
    ("gateway_pool_hedges_won", "Second attempts that responded first", |pool| pool.hedges_won),
    ("gateway_pool_tls_handshakes", "TLS handshakes completed", |pool| pool.tls_handshakes),
    ("gateway_pool_tls_resumptions", "TLS handshakes that resumed a session", |pool| pool.tls_resumed),
];

impl Scrape {
    pub(super) fn encode_pools(&self, page: &mut Page<'_>) -> fmt::Result {
        page.gauge(
            "gateway_pool_connections",
            "Connections to an endpoint, by state",
            self.pools.iter().flat_map(|pool| {
                [("idle", pool.idle), ("active", pool.active), ("connecting", pool.connecting)]
                    .map(|(state, count)| (with(pool.labels(), "state", state), count))
            }),
        )?;
        page.gauge(
            "gateway_pool_certificate_expiry_seconds",
            "The end of the server's certificate, as of the last full handshake of TLS, in Unix time",
            self.pools.iter().filter_map(|pool| Some((pool.labels(), pool.certificate_expires?))),
        )?;
        for (name, help, value) in POOL_GAUGES {
            page.gauge(name, help, self.pools.iter().map(|pool| (pool.labels(), value(pool))))?;
        }
        page.counter(
            "gateway_pool_probes",
            "Probes of an endpoint, by result",
            self.pools.iter().flat_map(|pool| {
                [("success", pool.probes_succeeded), ("failure", pool.probes_failed)]
                    .map(|(result, count)| (with(pool.labels(), "result", result), count))
            }),
        )?;
        for (name, help, value) in POOL_COUNTERS {
            page.counter(name, help, self.pools.iter().map(|pool| (pool.labels(), value(pool))))?;
        }
        page.counter(
            "gateway_pool_acquire_wait_seconds",
            "Time that requests waited for a connection",
            self.pools.iter().map(|pool| (pool.labels(), pool.acquire_wait.as_secs_f64())),
        )?;
        page.counter(
            "gateway_pool_max_connections_reached_seconds",
            "Time during which requests waited because max_connections was reached",
            self.pools.iter().map(|pool| (pool.labels(), pool.max_connections_reached.as_secs_f64())),
        )?;
        page.counter(
            "gateway_pool_max_concurrent_reached_seconds",
            "Time during which requests waited because max_concurrent was reached",
            self.pools.iter().map(|pool| (pool.labels(), pool.max_concurrent_reached.as_secs_f64())),
        )?;
        page.counter(
            "gateway_pool_refused",
            "Requests that got no connection, by the limit that refused them",
            self.pools.iter().flat_map(|pool| reasons(pool.labels(), &pool.refused)),
        )?;
        page.counter(
            "gateway_pool_closed",
            "Connections closed, by reason",
            self.pools.iter().flat_map(|pool| reasons(pool.labels(), &pool.closed)),
        )
    }
}
