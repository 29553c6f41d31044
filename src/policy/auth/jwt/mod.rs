//! JSON Web Tokens (RFC 7519) as credentials: signed by an issuer, and verified with its public keys.
//!
//! The configuration decides which algorithms are accepted, and the key which of them it is for. A token only chooses among the keys
//! that are known, by their identifiers (RFC 8725 §3.1).

mod cache;
mod claims;
mod failure;
mod keys;
mod remote;
mod settings;
#[cfg(test)]
mod tests;
mod token;
mod verified;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderValue;

use self::cache::Cache;
pub(crate) use self::failure::Failure;
pub(crate) use self::keys::KeySet;
pub(crate) use self::remote::{RemoteKeys, RemoteSource};
pub(crate) use self::settings::Settings;
pub(super) use self::settings::seconds;
use super::credentials::Credentials;
use crate::observe::metrics::Sharded;
use crate::policy::identity::Identity;

/// The source of a way's keys.
#[derive(Debug, Clone)]
pub(crate) enum Keys {
    /// A file, read with the configuration.
    File(Arc<KeySet>),
    /// A URL.
    Remote(Arc<RemoteKeys>),
}

/// A way to know callers by tokens.
#[derive(Debug)]
pub(crate) struct Jwt {
    settings: Settings,
    keys: Keys,
    /// The tokens that each worker has verified. Only its own worker locks a cache.
    caches: Sharded<Mutex<Cache>>,
}

impl Jwt {
    /// Creates a way, with a cache for each worker.
    pub(crate) fn new(settings: Settings, keys: Keys, workers: usize) -> Self {
        Self { settings, keys, caches: Sharded::new(workers) }
    }

    /// Returns true if both accept the same tokens, so that one may have the other's cache.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let has_same_keys = match (&self.keys, &other.keys) {
            (Keys::File(own), Keys::File(other)) => own.is_same(other),
            (Keys::Remote(own), Keys::Remote(other)) => Arc::ptr_eq(own, other),
            _ => false,
        };
        has_same_keys && self.settings == other.settings
    }

    /// Returns true if the tokens of both are the same part of a request.
    pub(crate) fn has_same_place(&self, other: &Self) -> bool {
        self.settings.place == other.settings.place
    }

    /// Returns the keys that are fetched, if they are.
    pub(crate) fn remote(&self) -> Option<&Arc<RemoteKeys>> {
        match &self.keys {
            Keys::File(_) => None,
            Keys::Remote(remote) => Some(remote),
        }
    }

    /// Returns the caller whose token a request has; `None` if it has none. Waits only if the token's key is not known, for at most
    /// the time of a fetch.
    pub(crate) async fn caller(
        &self,
        request: &Credentials<'_, '_>,
    ) -> Result<Option<Arc<Identity>>, Failure> {
        match self.settings.place.find(request)? {
            Some(token) => self.verify_at(token, unix_time()).await.map(Some),
            None => Ok(None),
        }
    }

    /// Removes the token of a request, unless it was verified and the upstream is to have it.
    pub(crate) fn remove(&self, request: &mut Credentials<'_, '_>, is_verified: bool) {
        if !(is_verified && self.settings.forward_token) {
            self.settings.place.remove(request);
        }
    }

    /// Returns the challenge of a response without a valid token (RFC 6750 §3). One to a request without a token has no error.
    pub(crate) fn challenge(&self, realm: &str, refused: Option<&'static str>) -> Option<HeaderValue> {
        let mut challenge = format!("Bearer realm=\"{realm}\"");
        if let Some(description) = refused.and_then(Failure::describe) {
            challenge.push_str(", error=\"invalid_token\", error_description=\"");
            challenge.push_str(description);
            challenge.push('"');
        }
        HeaderValue::try_from(challenge).ok()
    }

    /// Verifies a token at the time `now`, in Unix seconds.
    pub(super) async fn verify_at(&self, token: &str, now: u64) -> Result<Arc<Identity>, Failure> {
        let remote = match &self.keys {
            Keys::File(keys) => return self.verify_with(keys, token, now),
            Keys::Remote(remote) => remote,
        };
        let seen = remote.ended();
        let first = match remote.current().as_ref() {
            Some(keys) => self.verify_with(keys, token, now),
            None => Err(Failure::Keys),
        };
        match first {
            Err(Failure::UnknownKey | Failure::Keys) if remote.fetch(seen).await => {}
            first => return first,
        }
        match remote.current().as_ref() {
            Some(keys) => self.verify_with(keys, token, now),
            None => Err(Failure::Keys),
        }
    }

    fn verify_with(&self, keys: &KeySet, token: &str, now: u64) -> Result<Arc<Identity>, Failure> {
        // Before anything is decoded or hashed.
        if token.len() > self.settings.token_bytes_max {
            return Err(Failure::TooLarge);
        }
        let known = self.with_cache(|cache| cache.get(token, keys.number, now));
        if let Some(identity) = known.flatten() {
            return Ok(identity);
        }
        let verified = self.settings.verify(keys, token, now)?;
        let identity = verified.identity.clone();
        self.with_cache(|cache| cache.insert(token, keys.number, verified));
        Ok(identity)
    }

    fn with_cache<T>(&self, act: impl FnOnce(&mut Cache) -> T) -> Option<T> {
        // A cache is valid even after a panic: at worst, the estimate of its size is not.
        self.caches.mine().map(|cache| act(&mut cache.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

pub(super) fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Parses bytes as a key set, a token, the head of one and its claims.
#[cfg(fuzzing)]
pub(crate) fn fuzz(data: &[u8]) {
    let _keys = KeySet::parse(data).is_ok();
    let _head = token::Head::parse(data).is_ok_and(|head| head.check(Some("at+jwt")).is_ok());
    let rules = claims::Rules {
        issuer: "a".into(),
        audiences: ["b".into()].into(),
        required: ["c.d".into()].into(),
        leeway: 60,
    };
    if let Ok(claims) = serde_json::from_slice(data)
        && let Ok(until) = rules.check(&claims, 1000)
    {
        assert!(until > 1000, "accepted, and not valid");
    }
    if let Ok(token) = std::str::from_utf8(data).map(token::Token::parse).unwrap_or(Err(Failure::Malformed)) {
        let _parts = (token.decode_head().is_ok(), token.claims().is_ok());
    }
}
