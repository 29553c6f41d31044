//! `shutdown`: how the program stops.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::units::{Duration, OrOff};

/// How the program stops after SIGTERM, SIGINT or SIGQUIT.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Shutdown {
    /// How long the gateway goes on accepting and serving while `/ready` already says 503, so that load balancers stop sending
    /// requests before it drains. A second signal ends the delay.
    pub(crate) delay: OrOff<Duration>,
    /// How long requests in flight may take to end; then they are cut off. `off` waits for the last of them.
    pub(crate) drain: OrOff<Duration>,
    /// Whether `drain` is a limit, too, for response streams and upgraded connections whose route a reload has
    /// removed: they have that time from then on, or from their beginning if that comes later. A route that is there
    /// again in time, by its name, lifts the limit. It holds for those that began while this was on. Otherwise
    /// they are let finish.
    pub(crate) drain_removed_routes: bool,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { delay: OrOff::Off, drain: OrOff::On(Duration::from_secs(30)), drain_removed_routes: false }
    }
}
