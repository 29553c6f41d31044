//! `request_id` of a route.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The identifier of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RequestId {
    /// Each request has an `X-Request-Id`, which the upstream, the client, filters and the access log get: that of a trusted proxy, or a new
    /// UUID of version 7.
    On,
    /// The field is forwarded as it came.
    #[default]
    Off,
}
