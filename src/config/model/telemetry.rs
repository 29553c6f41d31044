//! `telemetry`: reports about the work of the program.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::access_log::AccessLog;
use crate::config::Traces;
use crate::config::values::or_off::OrOff;

/// Reports about the work of the program.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Telemetry {
    /// A line for each request; on unless it is `off`.
    pub(crate) access_log: OrOff<AccessLog>,
    /// The spans of requests, for a receiver of OTLP. `off` for none.
    pub(crate) traces: OrOff<Traces>,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { access_log: OrOff::On(AccessLog::default()), traces: OrOff::Off }
    }
}
