//! The rules of a way for its tokens.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use serde::Deserialize as _;
use serde::de::IntoDeserializer as _;
use serde::de::value::{Error as ValueError, StrDeserializer};
use serde_json::Value;

use super::claims::Rules;
use super::failure::Failure;
use super::keys::KeySet;
use super::token::{Head, Token};
use super::verified::Verified;
use crate::config;
use crate::config::JwtAlgorithm;
use crate::policy::auth::place::Place;
use crate::policy::identity::Identity;

/// The length of the longest ID token that is looked at.
const ID_TOKEN_BYTES_MAX: usize = 64 << 10;

/// The rules of a way for its tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The name of the way.
    pub(super) way: Arc<str>,
    pub(super) rules: Rules,
    pub(super) algorithms: Box<[Algorithm]>,
    /// The only accepted `typ`; `None` for the usual ones.
    pub(super) typ: Option<Box<str>>,
    pub(super) token_bytes_max: usize,
    pub(super) place: Place,
    /// True if the upstream gets the token, too.
    pub(super) forward_token: bool,
}

impl Settings {
    pub(crate) fn new(way: &Arc<str>, written: &config::Jwt) -> Self {
        let boxed = |texts: &[String]| texts.iter().map(|text| text.as_str().into()).collect();
        let rules = Rules {
            issuer: written.issuer.as_str().into(),
            audiences: boxed(&written.audiences),
            required: boxed(&written.required_claims),
            leeway: written.leeway.duration().map_or(0, seconds),
        };
        Self {
            way: way.clone(),
            rules,
            algorithms: written.algorithms.iter().map(|algorithm| algorithm_of(*algorithm)).collect(),
            typ: written.typ.as_deref().map(Into::into),
            token_bytes_max: written.max_token.length(),
            place: Place::of_token(written.from.clone()),
            forward_token: written.forward_token,
        }
    }

    /// Returns the rules for the ID tokens of a provider (OpenID Connect Core 1.0 §2), which lists the names of its algorithms. Returns
    /// `None` if none of them is supported.
    pub(in crate::policy::auth) fn of_id_tokens(
        way: &Arc<str>,
        issuer: &str,
        client_id: &str,
        algorithms: &[String],
        leeway: u64,
    ) -> Option<Self> {
        let algorithms = public_algorithms(algorithms);
        if algorithms.is_empty() {
            return None;
        }
        let rules = Rules {
            issuer: issuer.into(),
            audiences: [client_id.into()].into(),
            required: ["exp", "iat", "sub"].map(Into::into).into(),
            leeway,
        };
        Some(Self {
            way: way.clone(),
            rules,
            algorithms,
            typ: None,
            token_bytes_max: ID_TOKEN_BYTES_MAX,
            // It comes from the provider, and not with a request.
            place: Place::Bearer,
            forward_token: false,
        })
    }

    /// Verifies a token at the time `now`, in Unix seconds.
    pub(super) fn verify(&self, keys: &KeySet, token: &str, now: u64) -> Result<Verified, Failure> {
        let token = Token::parse(token)?;
        let decoded = token.decode_head()?;
        let head = Head::parse(&decoded)?;
        head.check(self.typ.as_deref())?;
        // `none` is no algorithm, so it is never among those of the configuration.
        let algorithm = head.alg.parse().map_err(|_| Failure::Algorithm)?;
        if !self.algorithms.contains(&algorithm) {
            return Err(Failure::Algorithm);
        }
        keys.verify(head.kid.as_deref(), algorithm, token.signed, token.signature)?;
        let claims = token.claims()?;
        let until = self.rules.check(&claims, now)?;
        let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default().into();
        Ok(Verified { identity: Arc::new(Identity { way: self.way.clone(), subject, claims }), until })
    }
}

/// Returns a duration in seconds, rounded up: those are the unit of tokens.
pub(in crate::policy::auth) fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

fn algorithm_of(written: JwtAlgorithm) -> Algorithm {
    match written {
        JwtAlgorithm::RS256 => Algorithm::RS256,
        JwtAlgorithm::RS384 => Algorithm::RS384,
        JwtAlgorithm::RS512 => Algorithm::RS512,
        JwtAlgorithm::PS256 => Algorithm::PS256,
        JwtAlgorithm::PS384 => Algorithm::PS384,
        JwtAlgorithm::PS512 => Algorithm::PS512,
        JwtAlgorithm::ES256 => Algorithm::ES256,
        JwtAlgorithm::ES384 => Algorithm::ES384,
        JwtAlgorithm::EdDsa => Algorithm::EdDSA,
    }
}

/// Returns the algorithms with public keys, which are those that a configuration can have. Neither `none` nor one with a shared secret is
/// among them, whatever a provider lists: the public key of the provider could be taken for that secret.
fn public_algorithms(names: &[String]) -> Box<[Algorithm]> {
    let parsed = names.iter().filter_map(|name| {
        let name: StrDeserializer<'_, ValueError> = name.as_str().into_deserializer();
        JwtAlgorithm::deserialize(name).ok()
    });
    parsed.map(algorithm_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algorithms_are_those_with_public_keys() {
        let names = ["none", "HS256", "RS256", "HS512", "ES256", "unknown", "EdDSA"].map(str::to_owned);
        assert_eq!(*public_algorithms(&names), [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA]);
    }
}
