//! `mirror`: copies of a route's requests, for another upstream.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pool::PoolSettings;
use super::timeouts::RouteTimeouts;
use crate::config::values::byte_size::ByteSize;

/// Sends copies of a route's requests to another upstream. Their responses are dropped, and they are never in the way of the requests
/// themselves.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mirror {
    /// The name of one of `upstreams`. Copies have connections of their own, even if routes use the same upstream.
    pub(crate) to: String,
    /// The share of the requests that are copied, in percent.
    #[serde(default = "percent_built_in")]
    #[schemars(range(min = 1, max = 100))]
    pub(crate) percent: u8,
    /// The largest body of a request that is copied. A request with a longer one is not mirrored.
    #[serde(default = "max_body_built_in")]
    pub(crate) max_body: ByteSize,
}

const fn percent_built_in() -> u8 {
    100
}

const fn max_body_built_in() -> ByteSize {
    ByteSize::from_bytes(64 << 10)
}

/// The settings of a route's mirror, including those of the upstream that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MirrorSettings {
    /// The name of the upstream.
    pub(crate) to: String,
    /// From 1 to 100.
    pub(crate) percent: u8,
    /// The size of the largest body that is copied.
    pub(crate) body_bytes_max: usize,
    /// The limits of the mirror's connections.
    pub(crate) pool: PoolSettings,
    /// The time limits of the upstream.
    pub(crate) timeouts: RouteTimeouts,
}
