//! `dns`: the resolution of upstreams' names.

use std::time;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::dns::{DnsServer, DomainName};
use crate::config::values::duration::Duration;

/// The resolution of upstreams' names. Keys that are absent are as the system has them (`/etc/resolv.conf`). `/etc/hosts` comes first,
/// whatever is set here. A change holds from the next lookup of each name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Dns {
    /// Servers to ask, each an IP address with or without a port. All of them must know the same names: the first answer counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub(crate) servers: Option<Vec<DnsServer>>,
    /// Domains in which a relative name is searched, in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) search: Option<Vec<DomainName>>,
    /// Names with fewer dots are searched in the domains before they are tried as they are written; others after it. A name that ends
    /// with a dot is not searched.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 15))]
    pub(crate) ndots: Option<u8>,
    /// The time limit of a lookup with all its questions.
    pub(crate) timeout: Duration,
}

impl Default for Dns {
    fn default() -> Self {
        Self { servers: None, search: None, ndots: None, timeout: Duration::from_secs(5) }
    }
}

impl Dns {
    /// Returns the time limit of a lookup.
    pub(crate) fn timeout(&self) -> time::Duration {
        self.timeout.into()
    }
}
