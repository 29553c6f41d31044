//! JSON Web Tokens (RFC 7519) as credentials: signed by an issuer, and verified with its public keys.
//!
//! The configuration decides which algorithms are accepted, and the key which of them it is for. A token only chooses among the keys
//! that are known, by their identifiers (RFC 8725 §3.1).

mod cache;
mod claims;
mod failure;
mod keys;
mod remote;
#[cfg(test)]
mod tests;
mod token;
mod verified;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderName, HeaderValue};
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use self::cache::Cache;
use self::claims::Rules;
pub(crate) use self::failure::Failure;
pub(crate) use self::keys::KeySet;
pub(crate) use self::remote::RemoteKeys;
use self::token::{Head, Token};
pub(crate) use self::verified::Verified;
use crate::observe::metrics::Sharded;

/// The rules of a way for its tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    rules: Rules,
    algorithms: Box<[Algorithm]>,
    /// The only accepted `typ`; `None` for the usual ones.
    typ: Option<Box<str>>,
    token_bytes_max: usize,
    /// The fields of the request that get claims.
    headers: Box<[(HeaderName, Box<str>)]>,
}

/// The source of a way's keys.
#[derive(Debug, Clone)]
pub(crate) enum Keys {
    /// A file, read with the configuration.
    File(Arc<KeySet>),
    /// A URL.
    Remote(Arc<RemoteKeys>),
}

/// A verifier of tokens.
#[derive(Debug)]
pub(crate) struct Jwt {
    settings: Settings,
    keys: Keys,
    /// The tokens that each worker has verified. Only its own worker locks a cache.
    caches: Sharded<Mutex<Cache>>,
}

impl Jwt {
    /// Creates a verifier, with a cache for each worker.
    pub(crate) fn new(settings: Settings, keys: Keys, workers: usize) -> Self {
        Self { settings, keys, caches: Sharded::new(workers) }
    }

    /// Verifies a token. Waits only if its key is not known, for at most the time of a fetch.
    pub(crate) async fn verify(&self, token: &str) -> Result<Arc<Verified>, Failure> {
        self.verify_at(token, unix_time()).await
    }

    async fn verify_at(&self, token: &str, now: u64) -> Result<Arc<Verified>, Failure> {
        let remote = match &self.keys {
            Keys::File(keys) => return self.verify_with(keys, token, now),
            Keys::Remote(remote) => remote,
        };
        let first = match remote.current().as_ref() {
            Some(keys) => self.verify_with(keys, token, now),
            None => Err(Failure::Keys),
        };
        match first {
            Err(Failure::UnknownKey | Failure::Keys) if remote.fetch().await => {}
            first => return first,
        }
        match remote.current().as_ref() {
            Some(keys) => self.verify_with(keys, token, now),
            None => Err(Failure::Keys),
        }
    }

    fn verify_with(&self, keys: &KeySet, token: &str, now: u64) -> Result<Arc<Verified>, Failure> {
        // Before anything is decoded or hashed.
        if token.len() > self.settings.token_bytes_max {
            return Err(Failure::TooLarge);
        }
        let cached = self.with_cache(|cache| cache.get(token, keys.number, now));
        if let Some(verified) = cached.flatten() {
            return Ok(verified);
        }
        let verified = Arc::new(self.settings.verify(keys, token, now)?);
        self.with_cache(|cache| cache.insert(token, keys.number, &verified));
        Ok(verified)
    }

    fn with_cache<T>(&self, act: impl FnOnce(&mut Cache) -> T) -> Option<T> {
        // A cache is valid even after a panic: at worst, the estimate of its size is not.
        self.caches.mine().map(|cache| act(&mut cache.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Settings {
    fn verify(&self, keys: &KeySet, token: &str, now: u64) -> Result<Verified, Failure> {
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
        Ok(Verified { subject, until, headers: self.fields(&claims), claims })
    }

    /// Returns the fields that get claims. A claim that is missing, or that no field can carry, sets none.
    fn fields(&self, claims: &Map<String, Value>) -> Box<[(HeaderName, HeaderValue)]> {
        let fields = self.headers.iter().filter_map(|(name, claim)| {
            let text = claims::text(claims::find(claims, claim)?)?;
            Some((name.clone(), HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).ok()?))
        });
        fields.collect()
    }
}

fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
