//! `timeouts` and `retry`: how long an upstream may take, and what happens when it fails.

use std::time;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::units::{ByteSize, Duration, OrOff};

/// How long an upstream may take. Keys that are left out come from the upstream, then from `defaults`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Timeouts {
    /// From the beginning of a connection attempt until it can be used: TCP and TLS together. Then the attempt has failed, and
    /// the next endpoint is asked (`retry.on`). The first such failure of a request starts a round of the same length. A try at
    /// another endpoint that begins in the round costs none of `retry.attempts`, and may end after it; every later try costs one.
    /// `off` leaves a silent endpoint to the kernel, which gives up after about two minutes, and lets the round last until each
    /// endpoint has been asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connect: Option<OrOff<Duration>>,
    /// From the last byte of the request until the end of the response's header; then 504.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response_header: Option<OrOff<Duration>>,
    /// Between two reads, or two writes, of a body; then the exchange is cut off. It also ends a WebSocket, or another tunnel, on
    /// which nothing moves either way for this long, whoever is still there: where peers send no pings of their own, raise it or
    /// switch it off, and leave vanished peers to `tcp_keepalive`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) idle: Option<OrOff<Duration>>,
    /// From the end of the request's header until the last byte of the response, retries included; then 504,
    /// or a cut where the response has begun. Does not hold for upgrades and event streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request: Option<OrOff<Duration>>,
    /// From the beginning of one attempt until the end of its response's header; then the next attempt, or
    /// 504.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) per_try: Option<OrOff<Duration>>,
}

/// Complete timeouts: every key of [`Timeouts`] decided; `None` for `off`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RouteTimeouts {
    /// From the beginning of a connection attempt until it can be used.
    pub(crate) connect: Option<time::Duration>,
    /// From the last byte of the request until the end of the response's header.
    pub(crate) response_header: Option<time::Duration>,
    /// Between two reads, or two writes, of a body.
    pub(crate) idle: Option<time::Duration>,
    /// The whole exchange.
    pub(crate) request: Option<time::Duration>,
    /// One attempt, until the end of its response's header.
    pub(crate) per_try: Option<time::Duration>,
}

impl Timeouts {
    /// Every key with the value it has where nobody sets it.
    pub(crate) fn built_in() -> Self {
        Self {
            connect: Some(OrOff::On(Duration::from_secs(3))),
            response_header: Some(OrOff::On(Duration::from_secs(15))),
            idle: Some(OrOff::On(Duration::from_secs(60))),
            request: Some(OrOff::Off),
            per_try: Some(OrOff::Off),
        }
    }

    /// Merges the layers, the weightiest first, over the built-in values.
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

    /// This layer, with what it leaves out taken from the one below.
    fn or(self, lower: &Self) -> Self {
        Self {
            connect: self.connect.or(lower.connect),
            response_header: self.response_header.or(lower.response_header),
            idle: self.idle.or(lower.idle),
            request: self.request.or(lower.request),
            per_try: self.per_try.or(lower.per_try),
        }
    }
}

impl Default for RouteTimeouts {
    fn default() -> Self {
        Timeouts::resolve([])
    }
}

/// What is tried again. Keys that are left out come from `defaults`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Retry {
    /// Retries; 0 for none. Where a connection could not be opened, other endpoints that have not been asked do not count, within
    /// the time that `timeouts.connect` sets. After them each attempt asks the endpoint that failed longest ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) attempts: Option<u8>,
    /// The failures that are tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) on: Option<Vec<RetryOn>>,
    /// The wait before an attempt after a connection could not be opened, doubled for each further one. Endpoints that cost no
    /// attempt are asked at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) backoff: Option<OrOff<Duration>>,
    /// Request bodies up to this size are kept until a response begins, so that an idempotent request whose kept connection
    /// turns out to be closed can be sent again. `off` keeps none: only requests without a body go again then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keep_body: Option<OrOff<ByteSize>>,
}

/// What holds for the retries of all routes together. What each of them retries is in its own `retry`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RetryTotals {
    /// Bytes of all request bodies that are kept at once, in the whole process. Over it, further bodies are not kept, and the
    /// metric `gateway_retry_unkept_bodies_total` counts them.
    pub(crate) keep_body_total: ByteSize,
}

impl Default for RetryTotals {
    fn default() -> Self {
        Self { keep_body_total: ByteSize::from_bytes(64 << 20) }
    }
}

/// A failure that can be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RetryOn {
    /// No connection could be opened: it was refused, the address cannot be reached, the TLS handshake failed, or
    /// `timeouts.connect` or `per_try` passed meanwhile. Nothing of the request was sent, so a request of any method goes to each
    /// other endpoint in turn, once, whatever `attempts` is; then `attempts` buy further tries. While an endpoint has no open
    /// connection, its `pool.max_pending` and `pool.acquire_timeout` are such failures too, as long as another endpoint is left. A
    /// pool that is full of open connections is none.
    Connect,
    /// A kept connection turned out to be closed before a byte of the response came. The retry takes a new
    /// connection, and only a request that is safe to send twice is sent again (RFC 9110 §9.2.2).
    Stale,
}

/// Complete retries: every key of [`Retry`] decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RetrySettings {
    /// Retries at the endpoint that failed.
    pub(crate) attempts: u32,
    /// Whether a connection that could not be opened is tried again.
    pub(crate) on_connect: bool,
    /// Whether a kept connection that turned out closed is tried again.
    pub(crate) on_stale: bool,
    /// The wait before the first retry; `None` for no wait.
    pub(crate) backoff: Option<time::Duration>,
    /// Bytes of a request's body that is kept for another try; `None` to keep none.
    pub(crate) keep_body: Option<usize>,
}

impl Retry {
    /// Every key with the value it has where nobody sets it.
    pub(crate) fn built_in() -> Self {
        Self {
            attempts: Some(1),
            on: Some(vec![RetryOn::Connect, RetryOn::Stale]),
            backoff: Some(OrOff::On(Duration::from_millis(25))),
            keep_body: Some(OrOff::On(ByteSize::from_bytes(16 << 10))),
        }
    }

    /// Merges the layers, the weightiest first, over the built-in values.
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

    /// This layer, with what it leaves out taken from the one below.
    fn or(self, lower: &Self) -> Self {
        Self {
            attempts: self.attempts.or(lower.attempts),
            on: self.on.or_else(|| lower.on.clone()),
            backoff: self.backoff.or(lower.backoff),
            keep_body: self.keep_body.or(lower.keep_body),
        }
    }
}

impl Default for RetrySettings {
    fn default() -> Self {
        Retry::resolve([])
    }
}
