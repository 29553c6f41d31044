//! `rate_limit` and `concurrent` of a route: how often and how many at once.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::duration::Duration;
use crate::config::values::limit_by::LimitBy;
use crate::config::values::rate::Rate;

/// The limits on the rate of requests: one, or a list of up to eight, which must all admit a request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum RateLimits {
    One(RateLimit),
    Several(#[schemars(length(min = 1, max = 8))] Vec<RateLimit>),
}

impl RateLimits {
    pub(crate) fn as_slice(&self) -> &[RateLimit] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(several) => several,
        }
    }
}

/// A limit on the rate of requests, for each client or for all together.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RateLimit {
    /// The requests that are admitted in the long run: `100/s`, `20/m`, `1000/h` or `5/d`.
    pub(crate) rate: Rate,
    /// The requests that are admitted at once after a pause. Default: the number in `rate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) burst: Option<NonZeroU32>,
    /// The part of a request that the limit counts by: `client_ip`, the client's address, of IPv6 its first 64 bits; `identity`, of an
    /// authenticated client; `header:NAME`, the value of a field; or `route`, all requests together. A request without an identity, or
    /// without exactly one value of the field, counts by its address. Default: `client_ip`.
    #[serde(default)]
    pub(crate) by: LimitBy,
    /// The time that a request beyond the limit may wait for its turn, at most 60s; it is refused at once if it would wait longer.
    /// Default: none, so that it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = Duration::pattern_to_a_minute()))]
    pub(crate) queue: Option<Duration>,
    /// The name under `stores` of the store that gateways share this limit in. Default: none, so that each gateway counts alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) store: Option<String>,
    /// The fate of a request while the store does not respond. Default: `local`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) on_error: Option<StoreFallback>,
}

/// The fate of a request while the store of its limit does not respond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StoreFallback {
    /// The gateway counts alone, so that the limit holds for each gateway.
    #[default]
    Local,
    /// The limit does not apply.
    Open,
    /// The client gets 503.
    Closed,
}

impl RateLimit {
    /// The longest wait: every waiting request holds a connection or a stream.
    pub(crate) const QUEUE_MAX: Duration = Duration::from_secs(60);

    /// Returns the requests that are admitted at once.
    pub(crate) fn burst(&self) -> NonZeroU32 {
        self.burst.unwrap_or(self.rate.count)
    }
}

/// The limit on requests in progress: a number, by the client's address, or with another key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Concurrent {
    ByAddress(NonZeroU32),
    By(ConcurrentBy),
}

/// A limit on requests in progress.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConcurrentBy {
    /// The requests that may be in progress at once.
    pub(crate) limit: NonZeroU32,
    /// The part of a request that the limit counts by, as in `rate_limit`. Default: `client_ip`.
    #[serde(default)]
    pub(crate) by: LimitBy,
}

impl From<&Concurrent> for ConcurrentBy {
    fn from(written: &Concurrent) -> Self {
        match written {
            Concurrent::ByAddress(limit) => Self { limit: *limit, by: LimitBy::ClientIp },
            Concurrent::By(limit) => limit.clone(),
        }
    }
}
