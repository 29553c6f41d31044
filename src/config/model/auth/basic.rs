//! `basic`: users by their passwords.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ClaimsToHeaders;
use crate::config::values::duration::Duration;
use crate::config::values::or_off::OrOff;
use crate::config::values::realm::Realm;

/// Knows users by a name and a password (RFC 7617) that an htpasswd file has.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BasicAuth {
    /// File with a line `NAME:HASH` for each user, as `htpasswd -B` makes it: bcrypt (`$2y$`, `$2a$`, `$2b$`), argon2 (`$argon2id$`,
    /// `$argon2i$`) or sha-crypt (`$5$`, `$6$`). Relative to the folder of the configuration file. It is read again when it changes.
    pub(crate) users: PathBuf,
    /// The realm in `WWW-Authenticate`, which browsers show: printable ASCII.
    #[serde(default)]
    pub(crate) realm: Realm,
    /// The time for which a password that was right is right without a further computation. `off` computes the hash for every
    /// request.
    #[serde(default = "BasicAuth::default_cache")]
    pub(crate) cache: OrOff<Duration>,
    /// Claims by their names, with the request's field that gets each: `sub` is the name of the user. What clients send in these fields is removed.
    #[serde(default, skip_serializing_if = "ClaimsToHeaders::is_empty")]
    pub(crate) claims_to_headers: ClaimsToHeaders,
}

impl BasicAuth {
    fn default_cache() -> OrOff<Duration> {
        OrOff::On(Duration::from_secs(60))
    }
}
