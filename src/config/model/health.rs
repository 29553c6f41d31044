//! `health`: which endpoints get no requests for a while, and how they come back.

use std::num::NonZeroU32;
use std::time;

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::active_health::{ActiveHealth, ActiveSettings};
use crate::config::values::duration::Duration;
use crate::config::values::or_off::OrOff;

/// The health of endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Health {
    /// Ejects an endpoint whose requests fail one after the other: it gets none for a while. `off` never ejects.
    pub(crate) passive: OrOff<PassiveHealth>,
    /// Probes each endpoint: one whose probes fail gets no requests.
    pub(crate) active: OrOff<ActiveHealth>,
    /// With a smaller share of healthy endpoints, all get requests: too few would not withstand them. 0 for never.
    #[schemars(range(max = 100))]
    pub(crate) panic_percent: u8,
    /// An endpoint that has recovered gets its share of requests little by little, over this time, from a tenth on.
    pub(crate) slow_start: OrOff<Duration>,
}

/// The failures that eject an endpoint, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PassiveHealth {
    /// The number of consecutive failures after which an endpoint is ejected, however much time is between them.
    pub(crate) failures: NonZeroU32,
    /// The failures that count: these words, and statuses of responses.
    pub(crate) on: Vec<FailureOn>,
    /// The time of the first ejection. The next one is twice as long, then three times, and so on. Each such time without an
    /// ejection takes one off.
    pub(crate) eject_for: Duration,
    /// The longest ejection.
    pub(crate) max_eject: Duration,
    /// The share of endpoints that may be ejected at once, including those that probes have found down. One of two or more may always be, and the only one never.
    #[schemars(range(max = 100))]
    pub(crate) max_ejected_percent: u8,
    /// Also ejects an endpoint of which fewer requests succeed than of the others.
    pub(crate) success_rate: OrOff<SuccessRate>,
}

/// Ejects endpoints whose success rate is far below the mean. A success is any response with a status below 500.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SuccessRate {
    /// The time of which requests are counted, and after which endpoints are compared.
    pub(crate) interval: Duration,
    /// The requests that an endpoint must have had in this time to be compared.
    pub(crate) min_requests: NonZeroU32,
    /// The endpoints with so many requests without which none is ejected.
    pub(crate) min_endpoints: NonZeroU32,
    /// The permitted distance from the mean, in percent of the standard deviation.
    pub(crate) deviations_percent: NonZeroU32,
}

/// A failure that says something about an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum FailureOn {
    /// A kind of failure.
    Kind(FailureWord),
    /// The status of a response.
    Status(#[schemars(range(min = 100, max = 599))] u16),
}

/// A kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FailureWord {
    /// No connection could be opened.
    Connect,
    /// The connection broke before the response began, or what came was no response.
    Reset,
    /// The response did not begin in time.
    Timeout,
}

/// Complete health settings. Times are of the clock; `None` for `off`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HealthSettings {
    pub(crate) passive: Option<PassiveSettings>,
    pub(crate) active: Option<ActiveSettings>,
    /// From 0 to 100.
    pub(crate) panic_percent: usize,
    pub(crate) slow_start: Option<time::Duration>,
}

/// The settings of passive health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PassiveSettings {
    /// Consecutive failures, at least 1.
    pub(crate) failures: u32,
    pub(crate) connect: bool,
    pub(crate) reset: bool,
    pub(crate) timeout: bool,
    pub(crate) statuses: Vec<u16>,
    pub(crate) eject_for: time::Duration,
    pub(crate) eject_max: time::Duration,
    /// From 0 to 100.
    pub(crate) ejected_percent_max: usize,
    pub(crate) success_rate: Option<SuccessRateSettings>,
}

/// The settings of ejections by success rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SuccessRateSettings {
    pub(crate) interval: time::Duration,
    /// At least 1.
    pub(crate) requests_min: u64,
    /// At least 1.
    pub(crate) endpoints_min: usize,
    /// In percent of the standard deviation.
    pub(crate) deviations_percent: u32,
}

impl Health {
    /// Returns the settings.
    pub(crate) fn settings(&self) -> HealthSettings {
        HealthSettings {
            passive: self.passive.as_on().map(PassiveHealth::settings),
            active: self.active.as_on().map(ActiveHealth::settings),
            panic_percent: self.panic_percent.into(),
            slow_start: self.slow_start.duration(),
        }
    }
}

impl PassiveHealth {
    fn settings(&self) -> PassiveSettings {
        let counts = |word| self.on.contains(&FailureOn::Kind(word));
        let status = |on: &FailureOn| match on {
            FailureOn::Status(status) => Some(*status),
            FailureOn::Kind(_) => None,
        };
        let eject_for = self.eject_for.into();
        PassiveSettings {
            failures: self.failures.get(),
            connect: counts(FailureWord::Connect),
            reset: counts(FailureWord::Reset),
            timeout: counts(FailureWord::Timeout),
            statuses: self.on.iter().filter_map(status).collect(),
            eject_for,
            eject_max: time::Duration::from(self.max_eject).max(eject_for),
            ejected_percent_max: self.max_ejected_percent.into(),
            success_rate: self.success_rate.as_on().map(SuccessRate::settings),
        }
    }
}

impl SuccessRate {
    fn settings(&self) -> SuccessRateSettings {
        SuccessRateSettings {
            interval: self.interval.into(),
            requests_min: self.min_requests.get().into(),
            endpoints_min: usize::try_from(self.min_endpoints.get()).unwrap_or(usize::MAX),
            deviations_percent: self.deviations_percent.get(),
        }
    }
}

impl PassiveSettings {
    /// Returns true if a response with this status counts as a failure.
    pub(crate) fn counts_status(&self, status: StatusCode) -> bool {
        // Quicker than `contains` for a few of them.
        self.statuses.iter().any(|named| *named == status.as_u16())
    }
}

impl Default for Health {
    fn default() -> Self {
        Self {
            passive: OrOff::On(PassiveHealth::default()),
            active: OrOff::Off,
            panic_percent: 50,
            slow_start: OrOff::On(Duration::from_secs(10)),
        }
    }
}

impl Default for PassiveHealth {
    fn default() -> Self {
        let words = [FailureWord::Connect, FailureWord::Reset, FailureWord::Timeout].map(FailureOn::Kind);
        let statuses = [502, 503, 504].map(FailureOn::Status);
        Self {
            failures: crate::config::model::count(5),
            on: words.into_iter().chain(statuses).collect(),
            eject_for: Duration::from_secs(30),
            max_eject: Duration::from_secs(300),
            max_ejected_percent: 10,
            success_rate: OrOff::Off,
        }
    }
}

impl Default for SuccessRate {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            min_requests: crate::config::model::count(100),
            min_endpoints: crate::config::model::count(5),
            deviations_percent: crate::config::model::count(190),
        }
    }
}

impl Default for HealthSettings {
    fn default() -> Self {
        Health::default().settings()
    }
}
