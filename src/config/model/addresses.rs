//! `allow` and `deny` of a route: the addresses of its clients.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::network::PeerNetwork;

/// Networks, addresses, or `unix` for the clients of listeners on Unix sockets.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Networks(#[schemars(length(min = 1))] pub(crate) Vec<PeerNetwork>);
