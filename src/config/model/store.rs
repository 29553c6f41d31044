//! `stores`: servers of Redis or Valkey in which gateways share the states of rate limits.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::CertificateFiles;
use crate::config::values::duration::Duration;
use crate::config::values::store_url::StoreUrl;

/// A Redis or Valkey, of version 5 or later, that gateways share.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Store {
    /// Its place: `redis://HOST:PORT/DATABASE`, `rediss://` for TLS, `redis+unix:///PATH`, `redis+sentinel://HOST,HOST/MASTER` or
    /// `redis+cluster://HOST,HOST`. A user and a password are written before the host, as `USER:${PASSWORD}@`; a password must come from a
    /// variable.
    pub(crate) url: StoreUrl,
    /// TLS to the servers; only for `rediss`.
    #[serde(default, skip_serializing_if = "StoreTls::is_default")]
    pub(crate) tls: StoreTls,
    /// The connections of a gateway.
    #[serde(default)]
    pub(crate) pool: StorePool,
    /// The time that a decision may take, and so the time that a store which stops to respond costs a request. Requests that come later do
    /// without the store until it responds again.
    #[serde(default = "timeout_built_in")]
    #[schemars(extend("pattern" = Duration::pattern_to_a_minute()))]
    pub(crate) timeout: Duration,
}

/// TLS to a store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct StoreTls {
    /// File with the certificates of authorities to trust, PEM, instead of the system's. Relative to the folder of the configuration file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
    /// The certificate to present if the store requests one. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client: Option<CertificateFiles>,
}

/// The connections to a store.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct StorePool {
    /// Connections of a gateway, to each server of a cluster. All workers share them, and each carries any number of decisions at once.
    #[schemars(range(min = 1, max = 16))]
    pub(crate) max_connections: u8,
}

impl Store {
    /// The longest time of a decision.
    pub(crate) const TIMEOUT_MAX: Duration = Duration::from_secs(60);
}

impl StoreTls {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for StorePool {
    fn default() -> Self {
        Self { max_connections: 1 }
    }
}

const fn timeout_built_in() -> Duration {
    Duration::from_millis(50)
}
