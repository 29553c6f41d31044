//! `timeouts` and `retry`: time limits of an upstream, and the reaction to its failures.

use std::time;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::byte_size::ByteSize;
use crate::config::values::duration::Duration;
use crate::config::values::or_off::OrOff;

layer! {
    /// Time limits of the upstream. Keys that are left out come from the upstream, then from `defaults`.
    Timeouts {
        /// From the beginning of a connection attempt until the connection can be used: TCP and TLS together. Then the
        /// attempt has failed, and the next endpoint is tried (`retry.on`). The first such failure of a request starts a
        /// round of the same length. A try at another endpoint that begins in the round costs none of `retry.attempts`, and
        /// may end after it; every later try costs one. `off` leaves a silent endpoint to the kernel, which gives up after
        /// about two minutes, and lets the round last until each endpoint has been tried.
        connect: OrOff<Duration>,
        /// From the last byte of the request until the end of the response's header; then 504.
        response_header: OrOff<Duration>,
        /// Between two reads, or two writes, of a body; then the exchange is cut off. It also ends a WebSocket, or another
        /// tunnel, without traffic in either direction for this long, even if both peers are still there. Where peers send
        /// no pings of their own, raise it or switch it off, and leave vanished peers to `tcp_keepalive`.
        idle: OrOff<Duration>,
        /// From the end of the request's header until the last byte of the response, retries included; then 504, or a cut
        /// if the response has begun. It does not apply to upgrades and event streams.
        request: OrOff<Duration>,
        /// From the beginning of one attempt until the end of its response's header; then the next attempt, or 504.
        per_try: OrOff<Duration>,
    }
}

/// Complete timeouts: every key of [`Timeouts`] has a value; `None` for `off`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RouteTimeouts {
    pub(crate) connect: Option<time::Duration>,
    pub(crate) response_header: Option<time::Duration>,
    pub(crate) idle: Option<time::Duration>,
    pub(crate) request: Option<time::Duration>,
    pub(crate) per_try: Option<time::Duration>,
}

impl Timeouts {
    /// Returns the built-in value of every key.
    pub(crate) fn built_in() -> Self {
        Self {
            connect: Some(OrOff::On(Duration::from_secs(3))),
            response_header: Some(OrOff::On(Duration::from_secs(15))),
            idle: Some(OrOff::On(Duration::from_secs(60))),
            request: Some(OrOff::Off),
            per_try: Some(OrOff::Off),
        }
    }

    /// Merges the layers over the built-in values, the layer of highest precedence first.
    pub(crate) fn resolve<'a>(layers: impl IntoIterator<Item = &'a Timeouts>) -> RouteTimeouts {
        let timeouts = layers.into_iter().fold(Self::default(), Self::or).or(&Self::built_in());
        RouteTimeouts {
            connect: timeouts.connect.unwrap_or_default().duration(),
            response_header: timeouts.response_header.unwrap_or_default().duration(),
            idle: timeouts.idle.unwrap_or_default().duration(),
            request: timeouts.request.unwrap_or_default().duration(),
            per_try: timeouts.per_try.unwrap_or_default().duration(),
        }
    }
}

impl Default for RouteTimeouts {
    fn default() -> Self {
        Timeouts::resolve([])
    }
}

layer! {
    /// The failures to retry, and how often. Keys that are left out come from `defaults`.
    Retry {
        /// The number of retries; 0 for none. After a connection could not be opened, other endpoints that have not been
        /// tried do not count, within the time that `timeouts.connect` sets. After them, each attempt goes to the endpoint
        /// that failed longest ago.
        attempts: u8,
        /// The failures to retry.
        on: Vec<RetryOn>,
        /// The wait before a retry after a connection could not be opened, doubled for each further one. Endpoints that
        /// cost no attempt are tried at once.
        backoff: OrOff<Duration>,
        /// Request bodies up to this size are kept until a response begins, so that an idempotent request can be sent again
        /// if its kept connection turns out to be closed. `off` keeps none: then only requests without a body are sent
        /// again.
        keep_body: OrOff<ByteSize>,
    }
}

/// Limits for the retries of all routes together. The `retry` of each route specifies its failures and attempts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RetryTotals {
    /// Bytes of all request bodies that are kept at once, in the whole process. Beyond it, further bodies are not kept,
    /// and the metric `gateway_retry_unkept_bodies_total` counts them.
    pub(crate) keep_body_total: ByteSize,
}

impl Default for RetryTotals {
    fn default() -> Self {
        Self { keep_body_total: ByteSize::from_bytes(64 << 20) }
    }
}

/// A failure that can be retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RetryOn {
    /// No connection could be opened: it was refused, the address is unreachable, the TLS handshake failed, or
    /// `timeouts.connect` or `per_try` expired meanwhile. Nothing of the request was sent, so a request of any method
    /// goes to each other endpoint in turn, once, whatever `attempts` is; then `attempts` permit further tries. While
    /// an endpoint has no open connection, its `pool.max_pending` and `pool.acquire_timeout` are such failures too, as
    /// long as another endpoint is left. A pool that is full of open connections is not.
    Connect,
    /// A kept connection turned out to be closed before the first byte of the response. The retry takes a new
    /// connection, and only a request that is safe to send twice is sent again (RFC 9110 §9.2.2).
    Stale,
}

/// Complete retries: every key of [`Retry`] has a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RetrySettings {
    /// Retries after a stale connection, and after the round over the endpoints that could not be connected to.
    pub(crate) attempts: u32,
    /// True if a connection that could not be opened is retried.
    pub(crate) on_connect: bool,
    /// True if a request is retried whose kept connection turned out to be closed.
    pub(crate) on_stale: bool,
    /// The wait before the first retry; `None` for no wait.
    pub(crate) backoff: Option<time::Duration>,
    /// Bytes of a request's body that are kept for another try; `None` to keep none.
    pub(crate) keep_body: Option<usize>,
}

impl Retry {
    /// Returns the built-in value of every key.
    pub(crate) fn built_in() -> Self {
        Self {
            attempts: Some(1),
            on: Some(vec![RetryOn::Connect, RetryOn::Stale]),
            backoff: Some(OrOff::On(Duration::from_millis(25))),
            keep_body: Some(OrOff::On(ByteSize::from_bytes(16 << 10))),
        }
    }

    /// Merges the layers over the built-in values, the layer of highest precedence first.
    pub(crate) fn resolve<'a>(layers: impl IntoIterator<Item = &'a Retry>) -> RetrySettings {
        let retry = layers.into_iter().fold(Self::default(), Self::or).or(&Self::built_in());
        let on = retry.on.unwrap_or_default();
        RetrySettings {
            attempts: retry.attempts.unwrap_or_default().into(),
            on_connect: on.contains(&RetryOn::Connect),
            on_stale: on.contains(&RetryOn::Stale),
            backoff: retry.backoff.unwrap_or_default().duration(),
            keep_body: retry.keep_body.and_then(OrOff::on).map(ByteSize::length),
        }
    }
}

impl Default for RetrySettings {
    fn default() -> Self {
        Retry::resolve([])
    }
}
