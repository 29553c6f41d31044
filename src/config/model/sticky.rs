//! `sticky`: a cookie that holds a client at an endpoint.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::cookie_name::CookieName;
use crate::config::values::duration::Duration;
use crate::config::values::or_off::OrOff;

/// Holds a client at the endpoint of its first response, by a cookie, until that endpoint is gone or unhealthy. The cookie is
/// `HttpOnly`, has the path `/`, and its value reveals no address.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sticky {
    /// The name of the cookie. It must differ from the names of the upstream's own cookies and, as its path is `/`, from those of
    /// other upstreams' `sticky` on the same host, except within a split.
    pub(crate) cookie: CookieName,
    /// The time for which browsers keep the cookie, in whole seconds; `off` keeps it until they are closed.
    #[serde(default)]
    pub(crate) max_age: OrOff<Duration>,
    /// Restricts the cookie to HTTPS. Default: if the client sent its request by HTTPS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secure: Option<bool>,
    /// The requests from other sites with which browsers send the cookie.
    #[serde(default)]
    pub(crate) same_site: SameSite,
}

/// The requests from other sites with which browsers send a cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SameSite {
    /// Requests that follow a link from another site.
    #[default]
    Lax,
    /// No request.
    Strict,
    /// Every request. Browsers accept such a cookie only over HTTPS.
    None,
}

impl SameSite {
    /// Returns the value of the attribute.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Lax => "Lax",
            Self::Strict => "Strict",
            Self::None => "None",
        }
    }
}
