//! `hedge`: a second attempt at another endpoint while the first one is slow.

use std::time;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::hedge_after::HedgeAfter;

/// The second attempt of a request that waits for its response. The first response is passed on, and the other attempt is cancelled. It is for
/// requests that `retry.methods` permits to be sent twice, and `retry.budget` limits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hedge {
    /// The time without a response after which another endpoint is tried: a duration, or a percentile of the upstream's response times,
    /// as the worker has seen them, from `p50` to `p99`. With `p95`, about one request in twenty is tried twice.
    pub(crate) after: HedgeAfter,
}

/// The settings of the second attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HedgeSettings {
    /// After this time.
    After(time::Duration),
    /// After the time in which so many percent of the responses begin.
    Percentile(u8),
}

impl From<Hedge> for HedgeSettings {
    fn from(hedge: Hedge) -> Self {
        match hedge.after {
            HedgeAfter::Time(time) => Self::After(time.into()),
            HedgeAfter::Percentile(percent) => Self::Percentile(percent),
        }
    }
}
