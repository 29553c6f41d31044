//! `auth`: the ways to know who calls, and their use by routes.

mod api_key;
mod basic;
mod forward;
mod jwt;
mod mtls;
mod oidc;

use std::collections::BTreeMap;

pub(crate) use api_key::ApiKey;
pub(crate) use basic::BasicAuth;
pub(crate) use forward::{ForwardAuth, OnAuthError};
pub(crate) use jwt::{Jwt, JwtAlgorithm};
pub(crate) use mtls::{ForwardCertificate, MtlsAuth};
pub(crate) use oidc::Oidc;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::header::HeaderName;
use crate::config::values::token_place::TokenPlace;

/// A way to know who calls. It has exactly one kind.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    { "required": ["api_key"] }, { "required": ["jwt"] }, { "required": ["basic"] }, { "required": ["forward"] },
    { "required": ["mtls"] }, { "required": ["oidc"] }
]))]
pub(crate) struct AuthWay {
    /// Keys that callers send in a field, a parameter or a cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) api_key: Option<ApiKey>,
    /// Tokens that an issuer signs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) jwt: Option<Jwt>,
    /// A name and a password that an htpasswd file has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) basic: Option<BasicAuth>,
    /// The decision of another server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) forward: Option<ForwardAuth>,
    /// The certificate that a listener with `tls.client_auth` has verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mtls: Option<MtlsAuth>,
    /// People who log in at an OpenID provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) oidc: Option<Oidc>,
    /// Counts the requests of each identity that the way knows (`gateway_identity_requests_total`): of the first 100 each, of the others
    /// together.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) identity_metrics: bool,
}

impl AuthWay {
    /// Returns the parts of a request that have a key, a token or a code of the way, and that no log may show.
    pub(crate) fn credentials(&self) -> impl Iterator<Item = TokenPlace> {
        let code = self.oidc.as_ref().and_then(|_| CODE.parse().ok()).map(TokenPlace::Query);
        let key = self.api_key.as_ref().and_then(ApiKey::place);
        key.into_iter().chain(self.jwt.as_ref().map(|jwt| jwt.from.clone())).chain(code)
    }
}

/// The parameter with which a provider sends people back (RFC 6749 §4.1.2).
const CODE: &str = "code";

/// Claims about a caller by their names, each with the request's field that gets its value.
pub(crate) type ClaimsToHeaders = BTreeMap<String, HeaderName>;

/// The ways by which a route knows its callers, by their names under `auth`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum AuthUse {
    /// Any of these, in this order.
    Any(#[schemars(length(min = 1))] Vec<String>),
    /// Several at once.
    All(AllOf),
}

/// Ways that are all needed. The first one tells who the caller is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AllOf {
    /// Their names under `auth`.
    #[schemars(length(min = 1))]
    pub(crate) all: Vec<String>,
}

impl AuthUse {
    /// Returns the names of the ways, and the path to each below the key.
    pub(crate) fn names(&self) -> &[String] {
        match self {
            Self::Any(names) => names,
            Self::All(all) => &all.all,
        }
    }

    /// Returns true if all of the ways are needed.
    pub(crate) fn needs_all(&self) -> bool {
        matches!(self, Self::All(_))
    }
}

/// The claims that a known caller must have to use a route. All are needed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Require {
    /// Scopes, all of them: words of the claim `scope`, or members of `scp`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) scope: Vec<String>,
    /// Groups, one of them: members of the claim `groups`, or of `group`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) group: Vec<String>,
    /// Other claims, each with the values of which it must have one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) claims: BTreeMap<String, Vec<String>>,
}
