//! `breaker`: an upstream that fails most requests gets none for a while.

use std::num::NonZeroU32;
use std::time;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::duration::Duration;

/// The circuit breaker of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Breaker {
    /// The share of failures at which the breaker opens: requests without a response, and responses with a status of 5xx, after all
    /// their retries.
    #[schemars(range(min = 1, max = 100))]
    pub(crate) failure_percent: u8,
    /// The time that is looked back on.
    pub(crate) within: Duration,
    /// With fewer requests in that time it does not open.
    pub(crate) min_requests: NonZeroU32,
    /// The time for which requests are refused. Then one of them is sent, and its response decides.
    pub(crate) open_for: Duration,
}

/// The settings of a breaker, with times of the clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BreakerSettings {
    /// From 1 to 100.
    pub(crate) failure_percent: u64,
    pub(crate) within: time::Duration,
    pub(crate) requests_min: u64,
    pub(crate) open_for: time::Duration,
    /// The URL of the upstream's first endpoint, for the log.
    pub(crate) endpoint: String,
}

impl Breaker {
    /// Returns the settings for an upstream with this first endpoint.
    pub(crate) fn settings(&self, endpoint: &str) -> BreakerSettings {
        BreakerSettings {
            failure_percent: self.failure_percent.into(),
            within: self.within.into(),
            requests_min: self.min_requests.get().into(),
            open_for: self.open_for.into(),
            endpoint: endpoint.to_owned(),
        }
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            failure_percent: 50,
            within: Duration::from_secs(10),
            min_requests: crate::config::model::count(20),
            open_for: Duration::from_secs(5),
        }
    }
}
