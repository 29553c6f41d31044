//! `jwt`: tokens that an issuer signs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::byte_size::ByteSize;
use crate::config::values::duration::Duration;
use crate::config::values::header::HeaderName;
use crate::config::values::key_source::KeySource;
use crate::config::values::or_off::OrOff;
use crate::config::values::token_place::TokenPlace;

/// JSON Web Tokens (RFC 7519) that an issuer signs with a private key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Jwt {
    /// The claim `iss` of its tokens, exactly.
    #[schemars(length(min = 1))]
    pub(crate) issuer: String,
    /// The claim `aud` must have one of these. Default: tokens for any audience are accepted, which is right only if all that the
    /// issuer signs is for this gateway.
    #[serde(default)]
    pub(crate) audiences: Vec<String>,
    /// The algorithms that tokens may be signed with. A key is only used with algorithms of its type.
    #[schemars(length(min = 1))]
    pub(crate) algorithms: Vec<JwtAlgorithm>,
    /// The issuer's public keys, a JWK set (RFC 7517): a URL, or a file, relative to the folder of the configuration file. A file is
    /// read again when it changes.
    pub(crate) jwks: KeySource,
    /// File with the certificates to trust for an `https` URL, PEM, instead of the system's authorities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) jwks_ca: Option<PathBuf>,
    /// The longest time until the keys of a URL are fetched again. A shorter `max-age` of the response holds, down to a minute.
    #[serde(default = "refresh_built_in")]
    pub(crate) jwks_refresh: Duration,
    /// The shortest time between the end of a fetch and one that a token with an unknown key causes.
    #[serde(default = "cooldown_built_in")]
    pub(crate) jwks_cooldown: Duration,
    /// The time limit of a fetch, and so of a request that waits for one.
    #[serde(default = "timeout_built_in")]
    pub(crate) jwks_timeout: Duration,
    /// The place of the token: `bearer` for `Authorization: Bearer`, `header:NAME`, `cookie:NAME` or `query:NAME`. A header may have
    /// `Bearer` before the token.
    #[serde(default)]
    pub(crate) from: TokenPlace,
    /// The difference between the clocks of the issuer and the gateway that `exp`, `nbf` and `iat` permit.
    #[serde(default = "leeway_built_in")]
    pub(crate) leeway: OrOff<Duration>,
    /// The only `typ` that is accepted, such as `at+jwt`. Default: `JWT`, `at+jwt`, and tokens without one.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub(crate) typ: Option<String>,
    /// Claims that a token must have. Dots lead into objects: `realm_access.roles`.
    #[serde(default = "required_claims_built_in")]
    pub(crate) required_claims: Vec<String>,
    /// Claims that the upstream gets, each in a header. A list becomes one text with commas. What a client sends in these headers is
    /// removed, also from requests without a token.
    #[serde(default)]
    pub(crate) claims_to_headers: BTreeMap<String, HeaderName>,
    /// Sends the token on to the upstream.
    #[serde(default = "crate::config::model::yes")]
    pub(crate) forward_token: bool,
    /// The length of the longest token that is looked at.
    #[serde(default = "max_token_built_in")]
    pub(crate) max_token: ByteSize,
}

/// An algorithm of signatures (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub(crate) enum JwtAlgorithm {
    /// RSA PKCS #1 v1.5 with SHA-256.
    RS256,
    /// RSA PKCS #1 v1.5 with SHA-384.
    RS384,
    /// RSA PKCS #1 v1.5 with SHA-512.
    RS512,
    /// RSA PSS with SHA-256.
    PS256,
    /// RSA PSS with SHA-384.
    PS384,
    /// RSA PSS with SHA-512.
    PS512,
    /// ECDSA on P-256.
    ES256,
    /// ECDSA on P-384.
    ES384,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

const fn refresh_built_in() -> Duration {
    Duration::from_secs(600)
}

const fn cooldown_built_in() -> Duration {
    Duration::from_secs(10)
}

const fn timeout_built_in() -> Duration {
    Duration::from_secs(5)
}

const fn leeway_built_in() -> OrOff<Duration> {
    OrOff::On(Duration::from_secs(60))
}

fn required_claims_built_in() -> Vec<String> {
    ["exp", "sub"].map(str::to_owned).into()
}

const fn max_token_built_in() -> ByteSize {
    ByteSize::from_bytes(16 << 10)
}
