//! `shutdown`: how the program stops.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{Duration, OrOff};

/// How the program stops after SIGTERM or SIGINT.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Shutdown {
    /// How long requests in flight may take to end; then they are cut off. `off` waits for the last of them.
    pub drain: OrOff<Duration>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { drain: OrOff::On(Duration::from_secs(30)) }
    }
}
