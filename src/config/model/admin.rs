//! `admin`: the listener for operators.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::network::Address;

/// A listener for operators: `/live`, `/ready`, `/metrics`, `/pools`, `/routes`, `/config`, and `/reload`, which reads the
/// configuration again. It has no login: keep it on a loopback or private address.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Admin {
    /// IP address and port to listen on: `127.0.0.1:9901`. Port 0 takes any free port.
    pub(crate) address: Address,
}
