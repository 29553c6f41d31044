//! The tokens that a worker has verified before.

use std::hash::BuildHasher as _;
use std::sync::Arc;

use foldhash::HashMap;
use foldhash::fast::RandomState;

use super::verified::Verified;
use crate::policy::identity::Identity;

/// The most tokens of a half of the memory, and the most bytes that they and their claims take, by estimate.
const TOKENS_MAX: usize = 1024;
const BYTES_MAX: usize = 4 << 20;

/// The bytes of an entry besides its token and its claims.
const ENTRY_BYTES: usize = 512;

/// The bytes that a decoded claim takes for each byte of its JSON, by estimate.
const DECODED_BYTES: usize = 4;

/// A memory of verified tokens, which is never larger than two halves of [`BYTES_MAX`]. The older half is dropped when the younger
/// one is full; a token that is used again is young again.
#[derive(Debug, Default)]
pub(super) struct Cache {
    /// Draws the key that tokens are hashed with, so that no client can choose tokens with equal hashes.
    hasher: RandomState,
    young: Half,
    old: Half,
}

#[derive(Debug, Default)]
struct Half {
    /// By the hash of the token. The whole token is compared, too, but only if the hash is equal: the time of a comparison
    /// reveals nothing about a token, because the hash is not known either.
    entries: HashMap<u64, Entry>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    token: Box<str>,
    /// The number of the keys that have verified it.
    keys: u64,
    verified: Verified,
}

impl Cache {
    /// Returns a token that was verified with these keys and is still valid at the time `now`.
    pub(super) fn get(&mut self, token: &str, keys: u64, now: u64) -> Option<Arc<Identity>> {
        let hash = self.hasher.hash_one(token);
        if let Some(entry) = self.young.entries.get(&hash) {
            return entry.is_valid(token, keys, now).then(|| entry.verified.identity.clone());
        }
        let entry = self.old.entries.remove(&hash)?;
        if !entry.is_valid(token, keys, now) {
            return None;
        }
        let identity = entry.verified.identity.clone();
        self.add(hash, entry);
        Some(identity)
    }

    /// Remembers a token.
    pub(super) fn insert(&mut self, token: &str, keys: u64, verified: Verified) {
        let hash = self.hasher.hash_one(token);
        self.add(hash, Entry { token: token.into(), keys, verified });
    }

    fn add(&mut self, hash: u64, entry: Entry) {
        let bytes = ENTRY_BYTES + entry.token.len() * (1 + DECODED_BYTES);
        if self.young.entries.len() >= TOKENS_MAX || self.young.bytes + bytes > BYTES_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        if self.young.entries.insert(hash, entry).is_none() {
            self.young.bytes += bytes;
        }
    }
}

impl Entry {
    fn is_valid(&self, token: &str, keys: u64, now: u64) -> bool {
        self.keys == keys && now < self.verified.until && *self.token == *token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verified(until: u64) -> Verified {
        let identity = Identity { way: "a".into(), subject: "ann".into(), claims: serde_json::Map::new() };
        Verified { identity: Arc::new(identity), until }
    }

    #[test]
    fn token_is_remembered_until_it_expires_or_the_keys_change() {
        let mut cache = Cache::default();
        cache.insert("a.b.c", 1, verified(100));
        assert!(cache.get("a.b.c", 1, 99).is_some());
        assert!(cache.get("a.b.c", 1, 100).is_none());
        assert!(cache.get("a.b.c", 2, 99).is_none());
        assert!(cache.get("a.b.d", 1, 99).is_none());
        assert!(cache.get("a.b.c", 1, 99).is_some());
    }

    #[test]
    fn memory_is_bounded_and_keeps_tokens_in_use() {
        let mut cache = Cache::default();
        cache.insert("used", 1, verified(100));
        for number in 0..10 * TOKENS_MAX {
            cache.insert(&format!("token {number}"), 1, verified(100));
            assert!(cache.get("used", 1, 1).is_some(), "{number}");
        }
        assert!(cache.young.entries.len() + cache.old.entries.len() <= 2 * TOKENS_MAX);
        assert!(cache.get("token 0", 1, 1).is_none());
    }

    #[test]
    fn large_tokens_take_the_room_of_many() {
        let mut cache = Cache::default();
        for number in 0..TOKENS_MAX {
            cache.insert(&format!("{number:>16384}"), 1, verified(100));
        }
        assert!(cache.young.bytes <= BYTES_MAX && cache.old.bytes <= BYTES_MAX);
        assert!(cache.young.entries.len() < TOKENS_MAX / 10);
    }
}
