//! `respond` of a route: a fixed response.

use std::collections::BTreeMap;

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::duration::Duration;
use crate::config::values::header::{HeaderName, HeaderValues};
use crate::config::values::status;

/// A fixed response.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Respond {
    /// Status code, 200 to 599.
    #[serde(with = "status")]
    #[schemars(with = "u16", range(min = 200, max = 599))]
    pub(crate) status: StatusCode,
    /// Header fields, each with a value or a list of values, which makes one line per value. The length is set from the
    /// body.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = { "format": "header-name" }))]
    pub(crate) headers: BTreeMap<HeaderName, HeaderValues>,
    /// The body.
    pub(crate) body: String,
    /// The time from the end of the request's header until the response, at most 60s. It simulates a slow upstream.
    /// A request body that arrives meanwhile is read and discarded. A client that disconnects ends the wait. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = Duration::pattern_to_a_minute()))]
    pub(crate) delay: Option<Duration>,
}

impl Respond {
    /// The longest delay: every delayed request holds a connection or a stream.
    pub(crate) const DELAY_MAX: Duration = Duration::from_secs(60);
}

impl Default for Respond {
    fn default() -> Self {
        Self { status: StatusCode::OK, headers: BTreeMap::new(), body: String::new(), delay: None }
    }
}
