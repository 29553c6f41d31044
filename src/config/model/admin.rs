//! `admin`: the listener for operators.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::host::HostPattern;
use crate::config::values::network::Address;
use crate::config::values::secret::Secrets;

/// A listener for operators: a page that shows the pools, the API below `/api`, `/metrics`, and the probes `/live` and `/ready`.
/// Without a `token`, everyone who reaches it can read, and on a loopback address also reload, drain and set the level of the log.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Admin {
    /// IP address and port to listen on: `127.0.0.1:9901`. Port 0 takes any free port.
    pub(crate) address: Address,
    /// The token that requests must have (`Authorization: Bearer …`), of at least 16 characters: `file:PATH`, or a variable, `${NAME}`.
    /// In a list each is valid, so that one can follow another. `/live` and `/ready` never need it. Default: none, and then an address
    /// off loopback serves no request that changes anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<Secrets>,
    /// The paths that need no token besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) open: Vec<OpenPath>,
    /// Names under which it is reached, or `*.example.com` for all below. Requests without a token must name one of these, an IP address,
    /// `localhost` or a name without a dot as their host: any other may be that of a web page whose name resolves to this address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) hosts: Vec<HostPattern>,
}

/// A path that needs no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OpenPath {
    /// `/metrics`, for a scraper.
    Metrics,
}
