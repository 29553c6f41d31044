//! `oidc`: people who log in at an OpenID provider.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ClaimsToHeaders;
use crate::config::values::cookie_name::CookieName;
use crate::config::values::duration::Duration;
use crate::config::values::issuer_url::IssuerUrl;
use crate::config::values::or_off::OrOff;
use crate::config::values::path::RoutePath;
use crate::config::values::redirect_target::RedirectTarget;
use crate::config::values::secret::{Secret, Secrets};

/// People who log in with their browsers at an OpenID provider (OpenID Connect Core 1.0): by the authorization code flow with PKCE.
/// Their sessions are in encrypted cookies; the gateway keeps no state. A browser that navigates without a session is sent to the
/// provider; any other request without one gets 401.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Oidc {
    /// The provider's issuer, exactly as its metadata has it. The metadata is at `/.well-known/openid-configuration` below it. With
    /// `https`, all of the provider's endpoints must have it, too.
    pub(crate) issuer: IssuerUrl,
    /// The identifier that the provider has given the gateway.
    #[schemars(length(min = 1))]
    pub(crate) client_id: String,
    /// The secret that belongs to `client_id`: `file:PATH`, or a variable, `${NAME}`. A file is read again when it changes. Default:
    /// none, for a public client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_secret: Option<Secret>,
    /// File with the certificates to trust for the provider, PEM, instead of the system's authorities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
    /// The scopes that are requested; `openid` always is. Many providers give a refresh token only for `offline_access`.
    #[serde(default = "scopes_built_in")]
    pub(crate) scopes: Vec<String>,
    /// Further parameters of the request for a login, such as `prompt`, `acr_values` or `access_type`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) parameters: BTreeMap<String, String>,
    /// The path to which the provider sends browsers back, on each host that is used. A route with this way must match it.
    #[serde(default = "redirect_path_built_in")]
    pub(crate) redirect_path: RoutePath,
    /// The path that ends the session, by GET or POST. A route with this way must match it.
    #[serde(default = "logout_path_built_in")]
    pub(crate) logout_path: RoutePath,
    /// The place for browsers after a logout: a path, or a URL that the provider knows as `post_logout_redirect_uri`. Default: the
    /// provider's own page, or one of the gateway if the provider has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) post_logout_redirect: Option<RedirectTarget>,
    /// The cookie that is the session.
    pub(crate) session: OidcSession,
    /// The time limit of a request to the provider.
    #[serde(default = "timeout_built_in")]
    pub(crate) timeout: Duration,
    /// The longest time until the provider's metadata and keys are fetched again.
    #[serde(default = "refresh_built_in")]
    pub(crate) refresh: Duration,
    /// The difference between the clocks of the provider and the gateway that `exp`, `nbf` and `iat` permit.
    #[serde(default = "leeway_built_in")]
    pub(crate) leeway: OrOff<Duration>,
    /// Claims of the session by their names, with the request's field that gets each: `sub`, and those that `session.claims` keeps. What
    /// clients send in these fields is removed.
    #[serde(default, skip_serializing_if = "ClaimsToHeaders::is_empty")]
    pub(crate) claims_to_headers: ClaimsToHeaders,
}

impl Oidc {
    /// The parameters of the request for a login that the gateway sets.
    pub(crate) const OWN_PARAMETERS: [&str; 10] = [
        "client_id",
        "code_challenge",
        "code_challenge_method",
        "nonce",
        "redirect_uri",
        "request",
        "response_mode",
        "response_type",
        "scope",
        "state",
    ];
}

/// The cookie that is the session.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OidcSession {
    /// The cookie's name. Over HTTPS, `__Host-` is put before it. A session of more than 3800 bytes is in several cookies, `NAME-2` and
    /// so on. Default: `session-` and the name of the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cookie: Option<CookieName>,
    /// The secret that encrypts the cookie, at least 32 characters, as `openssl rand -base64 32` makes it: `file:PATH`, or a variable,
    /// `${NAME}`. Of a list, the first encrypts and all decrypt. Gateways with the same secret know each other's sessions.
    pub(crate) secret: Secrets,
    /// The time from a login to the end of its session.
    #[serde(default = "max_age_built_in")]
    pub(crate) max_age: Duration,
    /// The time without a request after which a session ends.
    #[serde(default)]
    pub(crate) idle_timeout: OrOff<Duration>,
    /// The claims of the ID token that the session keeps. Dots do not lead into objects here. Default: all but those of the protocol
    /// itself, such as `iss` and `nonce`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) claims: Option<Vec<String>>,
}

fn scopes_built_in() -> Vec<String> {
    ["openid", "profile"].map(str::to_owned).into()
}

fn path(text: &str) -> RoutePath {
    #[allow(clippy::expect_used, reason = "it is one of the two constants below, which a test parses")]
    text.parse().expect("a path")
}

fn redirect_path_built_in() -> RoutePath {
    path("/oauth2/callback")
}

fn logout_path_built_in() -> RoutePath {
    path("/oauth2/logout")
}

const fn timeout_built_in() -> Duration {
    Duration::from_secs(5)
}

const fn refresh_built_in() -> Duration {
    Duration::from_secs(600)
}

const fn leeway_built_in() -> OrOff<Duration> {
    OrOff::On(Duration::from_secs(60))
}

const fn max_age_built_in() -> Duration {
    Duration::from_secs(8 * 3600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_are_built_in_are_paths() {
        assert_eq!(redirect_path_built_in().as_str(), "/oauth2/callback");
        assert_eq!(logout_path_built_in().as_str(), "/oauth2/logout");
    }
}
