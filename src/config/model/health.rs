//! `health`: which endpoints get no requests for a while, and how they come back.

use std::num::NonZeroU32;
use std::time;

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::duration::Duration;
use crate::config::values::or_off::OrOff;

/// The health of endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Health {
    /// Ejects an endpoint whose requests fail one after the other: it gets none for a while. `off` never ejects.
    pub(crate) passive: OrOff<PassiveHealth>,
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
    /// The share of endpoints that may be ejected at once. One of two or more may always be, and the only one never.
    #[schemars(range(max = 100))]
    pub(crate) max_ejected_percent: u8,
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
}

impl Health {
    /// Returns the settings.
    pub(crate) fn settings(&self) -> HealthSettings {
        HealthSettings {
            passive: self.passive.as_on().map(PassiveHealth::settings),
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
        }
    }
}

impl PassiveSettings {
    /// Returns true if a response with this status counts as a failure.
    pub(crate) fn counts_status(&self, status: StatusCode) -> bool {
        self.statuses.contains(&status.as_u16())
    }
}

impl Default for Health {
    fn default() -> Self {
        Self {
            passive: OrOff::On(PassiveHealth::default()),
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
        }
    }
}

impl Default for HealthSettings {
    fn default() -> Self {
        Health::default().settings()
    }
}
