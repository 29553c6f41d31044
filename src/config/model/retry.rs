//! `retry`: the reaction to failures of an upstream.

use std::num::NonZeroU32;
use std::time;

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::byte_size::ByteSize;
use crate::config::values::duration::Duration;
use crate::config::values::method::Method;
use crate::config::values::or_off::OrOff;

layer! {
    /// The failures to retry, and how often. Keys that are left out come from `defaults`.
    Retry {
        /// The number of retries; 0 for none. After a connection could not be opened, other endpoints that have not been
        /// tried do not count, within the time that `timeouts.connect` sets. The replacement of a stale connection does not count either. A retry goes to an endpoint that has not been
        /// tried, if there is one, and else to the one that failed longest ago.
        attempts: u8,
        /// The failures to retry: these words, and statuses of responses.
        on: Vec<RetryOn>,
        /// The methods of requests that may be sent again although an endpoint may have received them. A request that
        /// none has received goes again whatever its method.
        methods: Vec<Method>,
        /// The longest wait before a retry, doubled for each further one, up to ten times as long. The wait is any time below it,
        /// so that requests that failed together do not come back together. Endpoints that cost no attempt are tried at once,
        /// and a stale connection is replaced at once.
        backoff: OrOff<Duration>,
        /// The share of requests that may be retries, so that they do not overload what has failed. It is for retries of `reset`,
        /// `timeout` and statuses.
        budget: OrOff<RetryBudget>,
        /// Request bodies up to this size are kept until a response begins, so that the request can be sent again. `off` keeps
        /// none: then only requests without a body are sent again.
        keep_body: OrOff<ByteSize>,
    }
}

/// The share of requests that may be retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RetryBudget {
    /// Retries in percent of the requests to the upstream, in the last ten seconds.
    #[schemars(range(max = 100))]
    pub(crate) percent: u8,
    /// Retries that are permitted in any case, a second.
    pub(crate) min: NonZeroU32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { percent: 20, min: crate::config::model::count(10) }
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
#[serde(untagged)]
pub(crate) enum RetryOn {
    /// A kind of failure.
    Kind(RetryWord),
    /// The status of a response.
    Status(#[schemars(range(min = 400, max = 599))] u16),
}

/// A kind of failure that can be retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RetryWord {
    /// No connection could be opened: it was refused, the address is unreachable, the TLS handshake failed, or
    /// `timeouts.connect` or `per_try` expired meanwhile. Nothing of the request was sent, so a request of any method
    /// goes to each other endpoint in turn, once, whatever `attempts` is; then `attempts` permit further tries. While
    /// an endpoint has no open connection, its `pool.max_pending` and `pool.acquire_timeout` are such failures too, as
    /// long as another endpoint is left. A pool that is full of open connections is not.
    Connect,
    /// A kept connection turned out to be closed before the first byte of the response. The retry takes a new
    /// connection.
    Stale,
    /// The endpoint has certainly not processed the request (RFC 9113 §8.7): HTTP/2's REFUSED_STREAM, or a GOAWAY that leaves it
    /// out. It goes again once, at no attempt's cost and whatever its method.
    RefusedStream,
    /// The connection broke before the response began, or what came was no response.
    Reset,
    /// The response did not begin within `timeouts.per_try` or `response_header`.
    Timeout,
    /// A response with status 502, 503 or 504.
    GatewayError,
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
    /// True if a request is retried that its endpoint has refused unprocessed.
    pub(crate) on_refused_stream: bool,
    /// True if a request is retried whose connection broke.
    pub(crate) on_reset: bool,
    /// True if a request is retried whose response was not there in time.
    pub(crate) on_timeout: bool,
    /// The statuses of responses that are not passed on if the request can be retried.
    pub(crate) statuses: Vec<u16>,
    /// The methods of requests that may be received twice.
    pub(crate) methods: Vec<http::Method>,
    /// The longest wait before the first retry; `None` for no wait.
    pub(crate) backoff: Option<time::Duration>,
    /// The share of retries; `None` for any.
    pub(crate) budget: Option<RetryBudget>,
    /// Bytes of a request's body that are kept for another try; `None` to keep none.
    pub(crate) keep_body: Option<usize>,
}

impl Retry {
    /// Returns the built-in value of every key.
    pub(crate) fn built_in() -> Self {
        // The idempotent ones (RFC 9110 §9.2.2).
        let methods = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"];
        let on = [RetryWord::Connect, RetryWord::Stale, RetryWord::RefusedStream];
        Self {
            attempts: Some(1),
            on: Some(on.map(RetryOn::Kind).into()),
            methods: Some(methods.iter().filter_map(|method| method.parse().ok()).collect()),
            backoff: Some(OrOff::On(Duration::from_millis(25))),
            budget: Some(OrOff::On(RetryBudget::default())),
            keep_body: Some(OrOff::On(ByteSize::from_bytes(16 << 10))),
        }
    }

    /// Merges the layers over the built-in values, the layer of highest precedence first.
    pub(crate) fn resolve<'a>(layers: impl IntoIterator<Item = &'a Retry>) -> RetrySettings {
        let retry = layers.into_iter().fold(Self::default(), Self::or).or(&Self::built_in());
        let on = retry.on.unwrap_or_default();
        let names = |word| on.contains(&RetryOn::Kind(word));
        let mut statuses: Vec<u16> = on.iter().filter_map(|on| on.status()).collect();
        if names(RetryWord::GatewayError) {
            statuses.extend([502, 503, 504]);
        }
        let methods = retry.methods.unwrap_or_default();
        RetrySettings {
            attempts: retry.attempts.unwrap_or_default().into(),
            on_connect: names(RetryWord::Connect),
            on_stale: names(RetryWord::Stale),
            on_refused_stream: names(RetryWord::RefusedStream),
            on_reset: names(RetryWord::Reset),
            on_timeout: names(RetryWord::Timeout),
            statuses,
            methods: methods.iter().map(|method| method.as_http().clone()).collect(),
            backoff: retry.backoff.unwrap_or_default().duration(),
            budget: retry.budget.unwrap_or_default().on(),
            keep_body: retry.keep_body.and_then(OrOff::on).map(ByteSize::length),
        }
    }
}

impl RetryOn {
    fn status(self) -> Option<u16> {
        match self {
            Self::Status(status) => Some(status),
            Self::Kind(_) => None,
        }
    }
}

impl RetrySettings {
    /// Returns true if requests are retried that an endpoint may have received.
    pub(crate) fn repeats(&self) -> bool {
        self.attempts > 0 && (self.on_reset || self.on_timeout || !self.statuses.is_empty())
    }

    /// Returns true if a request with this method may be received twice.
    pub(crate) fn may_repeat(&self, method: &http::Method) -> bool {
        self.methods.contains(method)
    }

    /// Returns true if a response with this status is retried.
    pub(crate) fn retries_status(&self, status: StatusCode) -> bool {
        // Quicker than `contains` for a few of them.
        self.statuses.iter().any(|named| *named == status.as_u16())
    }
}

impl Default for RetrySettings {
    fn default() -> Self {
        Retry::resolve([])
    }
}
