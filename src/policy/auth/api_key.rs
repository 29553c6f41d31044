//! API keys: callers known by a secret that they send as it is.
//!
//! The file has digests, so that its readers cannot call. A plain digest is enough: keys are long random texts, unlike
//! passwords. A key is looked up by its digest under a hash with a random seed, and then compared in constant time. So the time of
//! a lookup tells nothing about the keys that there are.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

use super::place::Place;
use super::{Credentials, Verdict};
use crate::config::TokenPlace;
use crate::config::load::key_file::{KeyEntry, parse_keys};
use crate::policy::identity::Identity;

/// The form of a digest in the file, before its hexadecimal digits.
const PREFIX: &str = "sha256:";

/// The longest key that is looked up. Heads have limits of their own.
const KEY_BYTES_MAX: usize = 4096;

type Digest = [u8; SHA256_OUTPUT_LEN];

/// The callers that have a key.
pub(crate) struct ApiKey {
    place: Place,
    /// The standard library's hash has a random seed.
    keys: HashMap<Digest, Arc<Identity>>,
}

/// The error of a file of keys. None shows a text that may be a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyFileError {
    #[error("the file is not UTF-8")]
    NotText,
    #[error("line {line} of the file is not part of a list of keys with `id`, `key` and `metadata`")]
    Malformed { line: usize },
    #[error("the key of `{id}` is not hashed")]
    Plain { id: String },
    #[error("an entry has no `id`")]
    NoId,
    #[error("`{id}` and `{other}` have the same key")]
    Twice { id: String, other: String },
}

impl KeyFileError {
    /// Returns the advice.
    pub(crate) fn advice(&self) -> &'static str {
        match self {
            Self::Plain { .. } => "write what `gateway hash-key` prints for it: `sha256:` and 64 digits",
            Self::Twice { .. } => "give each caller a key of its own",
            Self::NotText | Self::Malformed { .. } | Self::NoId => {
                "`gateway hash-key --id NAME` makes a key and prints its entry"
            }
        }
    }
}

impl ApiKey {
    /// Reads the keys. `way` is the name under `auth`.
    pub(crate) fn new(way: &Arc<str>, place: TokenPlace, file: &[u8]) -> Result<Self, KeyFileError> {
        let text = std::str::from_utf8(file).map_err(|_| KeyFileError::NotText)?;
        let entries = parse_keys(text).map_err(|line| KeyFileError::Malformed { line })?;
        let mut keys: HashMap<Digest, Arc<Identity>> = HashMap::new();
        for KeyEntry { id, key, metadata } in entries {
            if id.is_empty() {
                return Err(KeyFileError::NoId);
            }
            let Some(digest) = parse(&key) else { return Err(KeyFileError::Plain { id }) };
            if let Some(other) = keys.get(&digest) {
                return Err(KeyFileError::Twice { other: other.subject.clone().into(), id });
            }
            let identity = Identity { way: way.clone(), subject: id.into(), claims: metadata };
            keys.insert(digest, Arc::new(identity));
        }
        Ok(Self { place: Place::of_key(place), keys })
    }

    pub(super) fn verify(&self, request: &Credentials<'_, '_>) -> Verdict {
        let key = match self.place.find(request) {
            Ok(None | Some("")) => return Verdict::Absent,
            Ok(Some(key)) => key,
            Err(_several_or_not_text) => return Verdict::Refused("auth.api_key.malformed"),
        };
        if key.len() > KEY_BYTES_MAX {
            return Verdict::Refused("auth.api_key.unknown");
        }
        let digest = digest_of(key.as_bytes());
        match self.keys.get_key_value(&digest) {
            Some((known, identity)) if verify_slices_are_equal(known, &digest).is_ok() => {
                Verdict::Known(identity.clone())
            }
            _ => Verdict::Refused("auth.api_key.unknown"),
        }
    }

    pub(super) fn remove(&self, request: &mut Credentials<'_, '_>) {
        self.place.remove(request);
    }
}

/// Returns the form of a key in the file.
pub(crate) fn hash_key(key: &[u8]) -> String {
    let digits: String = digest_of(key).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{PREFIX}{digits}")
}

fn digest_of(key: &[u8]) -> Digest {
    let mut bytes = [0; SHA256_OUTPUT_LEN];
    // Both have the length of a SHA-256.
    bytes.copy_from_slice(digest(&SHA256, key).as_ref());
    bytes
}

fn parse(text: &str) -> Option<Digest> {
    let digits = text.strip_prefix(PREFIX)?.as_bytes();
    let mut digest = Digest::default();
    if digits.len() != 2 * digest.len() {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
        let pair = std::str::from_utf8(pair)
            .ok()
            .filter(|pair| pair.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use http::Uri;

    use super::*;
    use crate::http::fields::Fields;
    use crate::policy::auth::credentials::RequestContext;

    fn file() -> String {
        format!(
            "- {{ id: acme, key: '{}', metadata: {{ plan: gold }} }}\n- {{ id: beta, key: '{}' }}\n",
            hash_key(b"k1"),
            hash_key(b"k2")
        )
    }

    fn verdict(
        place: TokenPlace,
        headers: &[(&'static str, &'static str)],
        target: &'static str,
    ) -> (Result<String, Verdict>, Fields, String) {
        let keys = ApiKey::new(&"partners".into(), place, file().as_bytes()).unwrap();
        let (mut headers, mut target) = (Fields::written(headers), Cow::Owned(Uri::from_static(target)));
        let context = RequestContext::plain();
        let mut request =
            Credentials { headers: &mut headers, target: &mut target, certificate: None, context };
        let verdict = match keys.verify(&request) {
            Verdict::Known(identity) => Ok(identity.subject.to_string()),
            other => Err(other),
        };
        keys.remove(&mut request);
        (verdict, headers, target.to_string())
    }

    #[test]
    fn key_is_found_in_its_place_and_removed() {
        let header = |name: &str| TokenPlace::Header(name.parse().unwrap());
        let known = |subject: &str| Ok(subject.to_owned());
        let malformed = || Err(Verdict::Refused("auth.api_key.malformed"));
        let refused = || Err(Verdict::Refused("auth.api_key.unknown"));
        for (place, headers, target, expected) in [
            (header("x-api-key"), &[("x-api-key", "k1")][..], "/", known("acme")),
            (header("x-api-key"), &[("x-api-key", "k2")], "/", known("beta")),
            (header("x-api-key"), &[("x-api-key", "k3")], "/", refused()),
            (header("x-api-key"), &[("x-api-key", "")], "/", Err(Verdict::Absent)),
            (header("x-api-key"), &[], "/", Err(Verdict::Absent)),
            (header("authorization"), &[("authorization", "ApiKey k1")], "/", known("acme")),
            (header("x-api-key"), &[("x-api-key", "k1"), ("x-api-key", "k2")], "/", malformed()),
            (TokenPlace::Query("key".parse().unwrap()), &[], "/?key=k1", known("acme")),
            (TokenPlace::Query("key".parse().unwrap()), &[], "/?monkey=k1", Err(Verdict::Absent)),
            (TokenPlace::Cookie("key".parse().unwrap()), &[("cookie", "key=k2")], "/", known("beta")),
        ] {
            let (verdict, left, target) = verdict(place, headers, target);
            assert_eq!(verdict, expected, "{headers:?} {target}");
            assert!(left.len() == 0, "{left:?}");
            assert!(!target.contains("k1") || target.contains("monkey"), "{target}");
        }
    }

    #[test]
    fn malformed_file_is_refused_and_no_key_is_shown() {
        let hash = hash_key(b"k1");
        for (file, message) in [
            (b"\xff".to_vec(), "the file is not UTF-8"),
            (
                b"secret-key".to_vec(),
                "line 1 of the file is not part of a list of keys with `id`, `key` and `metadata`",
            ),
            (b"- { id: a, key: secret-key }".to_vec(), "the key of `a` is not hashed"),
            (
                format!("- {{ id: a, key: {hash} }}\n- secret-key").into_bytes(),
                "line 2 of the file is not part of a list of keys with `id`, `key` and `metadata`",
            ),
            (format!("- {{ id: '', key: {hash} }}").into_bytes(), "an entry has no `id`"),
            (format!("- {{ id: a, key: {hash}0 }}").into_bytes(), "the key of `a` is not hashed"),
            (
                format!("- {{ id: a, key: {hash} }}\n- {{ id: b, key: {hash} }}").into_bytes(),
                "`b` and `a` have the same key",
            ),
        ] {
            let place = TokenPlace::Query("key".parse().unwrap());
            let error = ApiKey::new(&"a".into(), place, &file).err().unwrap();
            assert_eq!(error.to_string(), message);
        }
        for file in ["", "[]", "# none yet\n"] {
            assert!(
                ApiKey::new(&"a".into(), TokenPlace::Query("key".parse().unwrap()), file.as_bytes()).is_ok()
            );
        }
    }

    #[test]
    #[ignore = "a measurement"]
    #[allow(clippy::print_stdout, reason = "a measurement")]
    fn cost_of_a_key() {
        const REQUESTS: u32 = 1_000_000;
        let entry =
            |number| format!("- {{ id: c{number}, key: '{}' }}\n", hash_key(format!("k{number}").as_bytes()));
        let file: String = (0..10_000).map(entry).collect();
        let place = TokenPlace::Header("x-api-key".parse().unwrap());
        let keys = ApiKey::new(&"partners".into(), place, file.as_bytes()).unwrap();
        let (mut headers, mut target) =
            (Fields::written(&[("x-api-key", "k77")]), Cow::Owned(Uri::from_static("/")));
        let context = RequestContext::plain();
        let request = Credentials { headers: &mut headers, target: &mut target, certificate: None, context };
        for _ in 0..3 {
            let began = std::time::Instant::now();
            for _ in 0..REQUESTS {
                assert!(matches!(std::hint::black_box(keys.verify(&request)), Verdict::Known(_)));
            }
            println!("a key: {:?}", began.elapsed() / REQUESTS);
        }
    }
}
