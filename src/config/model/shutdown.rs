//! `shutdown`: graceful shutdown.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::duration::Duration;
use crate::config::values::or_off::OrOff;

/// Graceful shutdown after SIGTERM, SIGINT or SIGQUIT.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Shutdown {
    /// The time for which the gateway continues to accept and serve while `/ready` already returns 503, so that load
    /// balancers stop sending requests before it drains. A second signal ends the delay.
    pub(crate) delay: OrOff<Duration>,
    /// The time that requests in flight have to end; then they are cut off. `off` waits for the last of them.
    pub(crate) drain: OrOff<Duration>,
    /// Applies `drain` to response streams and upgraded connections whose route a reload has removed: they have that
    /// time from the reload, or from their beginning if that comes later. A route of the same name that returns in time
    /// lifts the limit. It holds only for streams and connections that began while this was on. All others may finish.
    pub(crate) drain_removed_routes: bool,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { delay: OrOff::Off, drain: OrOff::On(Duration::from_secs(30)), drain_removed_routes: false }
    }
}
