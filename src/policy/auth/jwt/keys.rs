//! The keys of an issuer: a JWK set (RFC 7517 §5).

use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, UnparsedPublicKey};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use serde_json::Value;

use super::failure::Failure;

/// The most keys of a set that are used. Issuers have a handful.
const KEYS_MAX: usize = 256;

/// The most keys that are tried for one token.
const TRIES_MAX: usize = 8;

/// The shortest and the longest modulus of RSA, in bytes, that signatures are verified with.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

const RSA: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// The public keys of an issuer.
#[derive(Debug)]
pub(crate) struct KeySet {
    keys: Vec<Key>,
    /// The reasons why the other keys of the set are not used.
    skipped: Vec<String>,
    /// The set as its issuer wrote it.
    json: Value,
    /// Differs between any two sets of the process, so that a token is not remembered for longer than its keys.
    pub(super) number: u64,
}

#[derive(Debug)]
struct Key {
    kid: Option<Box<str>>,
    /// The algorithms that the key is for: those of its type, or the one that it states.
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

impl KeySet {
    /// Parses a set. Keys that are of no use here are skipped.
    ///
    /// # Errors
    /// Returns the reason why there is no key to use.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, String> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let set: Value = serde_json::from_slice(json).map_err(|error| format!("it is not JSON: {error}"))?;
        let list = set.get("keys").and_then(Value::as_array);
        let list = list.ok_or("it is not a JWK set: an object with the list `keys`")?;
        let (mut keys, mut skipped) = (Vec::new(), Vec::new());
        for (index, one) in list.iter().take(KEYS_MAX).enumerate() {
            match Key::parse(one) {
                Ok(key) => keys.push(key),
                Err(reason) => {
                    let kid = one.get("kid").and_then(Value::as_str).map(|kid| format!(" (kid {kid:?})"));
                    skipped.push(format!("key {index}{}: {reason}", kid.unwrap_or_default()));
                }
            }
        }
        match keys.is_empty() {
            true if skipped.is_empty() => Err("it has no keys".to_owned()),
            true => Err(format!("none of its keys can verify a signature: {}", skipped.join("; "))),
            false => {
                let number = NUMBER.fetch_add(1, Ordering::Relaxed);
                Ok(Self { keys, skipped, number, json: set })
            }
        }
    }

    /// Returns true if the issuer has written the same in both.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.json == other.json
    }

    /// Returns the number of keys that are used.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns the reasons why the other keys of the set are not used.
    pub(crate) fn skipped(&self) -> &[String] {
        &self.skipped
    }

    /// Verifies the signature of a text.
    ///
    /// The key is the one with the identifier `kid`. A token without an identifier is tried with each key for the algorithm, and
    /// so is one with an identifier if the keys have none.
    pub(super) fn verify(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        signed: &str,
        signature: &str,
    ) -> Result<(), Failure> {
        let is_named = |key: &&Key| kid.is_none() || key.kid.as_deref() == kid;
        let has_none = |key: &&Key| key.kid.is_none();
        let named = self.keys.iter().any(|key| is_named(&key));
        let known = self.keys.iter().filter(|key| if named { is_named(key) } else { has_none(key) });
        let mut failure = Failure::UnknownKey;
        let mut tries = 0;
        for key in known {
            if !key.algorithms.contains(&algorithm) {
                // A key that could verify may follow.
                failure = if tries == 0 { Failure::Algorithm } else { failure };
                continue;
            }
            if tries == TRIES_MAX {
                break;
            }
            tries += 1;
            // An error is a signature that is not base64, since the key fits the algorithm.
            match jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &key.key, algorithm) {
                Ok(true) => return Ok(()),
                Ok(false) => failure = Failure::Signature,
                Err(_) => return Err(Failure::Malformed),
            }
        }
        Err(failure)
    }
}

impl Key {
    fn parse(json: &Value) -> Result<Self, String> {
        // Before the library's own check: a secret is never a reason to go on, whatever else is written with it.
        if json.get("kty").and_then(Value::as_str) == Some("oct") {
            return Err("it is a secret, which no public set has".to_owned());
        }
        let jwk: Jwk = serde_json::from_value(json.clone()).map_err(|error| error.to_string())?;
        let common = &jwk.common;
        if common.public_key_use.as_ref().is_some_and(|used| *used != PublicKeyUse::Signature) {
            return Err("its `use` is not `sig`".to_owned());
        }
        if common.key_operations.as_ref().is_some_and(|used| !used.contains(&KeyOperations::Verify)) {
            return Err("its `key_ops` do not include `verify`".to_owned());
        }
        let mut algorithms = algorithms(&jwk.algorithm)?.to_vec();
        if let Some(stated) = common.key_algorithm {
            let stated = Algorithm::try_from(stated).ok();
            algorithms.retain(|algorithm| Some(*algorithm) == stated);
        }
        if algorithms.is_empty() {
            return Err("its `alg` is no algorithm of its type".to_owned());
        }
        let key = DecodingKey::from_jwk(&jwk).map_err(|error| error.to_string())?;
        check(&key, &algorithms)?;
        Ok(Self { kid: common.key_id.as_deref().map(Into::into), algorithms, key })
    }
}

/// Returns the algorithms for a type of key.
fn algorithms(parameters: &AlgorithmParameters) -> Result<&'static [Algorithm], String> {
    let unsupported = |curve: &EllipticCurve| format!("its curve is {curve:?}, which is not supported");
    match parameters {
        AlgorithmParameters::RSA(_) => Ok(&RSA),
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => Ok(&[Algorithm::ES256]),
            EllipticCurve::P384 => Ok(&[Algorithm::ES384]),
            ref curve => Err(unsupported(curve)),
        },
        AlgorithmParameters::OctetKeyPair(key) => match key.curve {
            EllipticCurve::Ed25519 => Ok(&[Algorithm::EdDSA]),
            ref curve => Err(unsupported(curve)),
        },
        _ => Err("its `kty` is not supported".to_owned()),
    }
}

/// Checks that a key is one: the library takes any bytes, and finds out with each signature.
fn check(key: &DecodingKey, algorithms: &[Algorithm]) -> Result<(), String> {
    let is_key = match (key.kind(), algorithms) {
        (DecodingKeyKind::RsaModulusExponent { n, .. }, _) => {
            let bytes = n.iter().skip_while(|byte| **byte == 0).count();
            if !MODULUS_BYTES.contains(&bytes) {
                return Err(format!("its modulus has {} bits; 2048 to 8192 are supported", bytes * 8));
            }
            true
        }
        (DecodingKeyKind::SecretOrDer(point), [Algorithm::ES256]) => {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).parse().is_ok()
        }
        (DecodingKeyKind::SecretOrDer(point), [Algorithm::ES384]) => {
            UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).parse().is_ok()
        }
        (DecodingKeyKind::SecretOrDer(point), _) => UnparsedPublicKey::new(&ED25519, point).parse().is_ok(),
    };
    if is_key { Ok(()) } else { Err("it is not a point of its curve".to_owned()) }
}
