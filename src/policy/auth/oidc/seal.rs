//! Encryption of cookies: AES-256-GCM (NIST SP 800-38D) by keys that HKDF (RFC 5869) derives from the configured secrets.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The longest sealed text. It leaves room for other fields in `limits.header_bytes`, or a browser could send no request any more.
pub(super) const SEALED_BYTES_MAX: usize = 16 << 10;

/// The purpose of a sealed text. A text of one purpose cannot be used for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Login = 1,
    Session = 2,
}

/// The first byte of a sealed text: its form. Others may follow.
const FORM: u8 = 1;

/// Seals texts, so that a client can keep them and neither read nor change them.
///
/// Nonces are random, which is safe for 2³² texts of a key: a session each millisecond for 49 days. Change the secret before.
pub(crate) struct Sealer {
    /// The first key seals; all of them open.
    keys: Box<[LessSafeKey]>,
    /// The way and its provider: authenticated with each text, so that no other way takes it.
    context: Box<[u8]>,
    /// Values that are equal for equal secrets alone, and reveal none.
    marks: Box<[[u8; 32]]>,
}

impl Sealer {
    /// Creates a sealer; `None` if a key cannot be derived, which does not happen. A text that was sealed in another `context` is not
    /// opened.
    pub(crate) fn new(secrets: &[impl AsRef<[u8]>], context: &[&str]) -> Option<Self> {
        let (mut keys, mut marks) = (Vec::new(), Vec::new());
        for secret in secrets {
            let extracted = Salt::new(HKDF_SHA256, b"gateway oidc").extract(secret.as_ref());
            let key = extracted.expand(&[b"cookie"], &AES_256_GCM).ok()?;
            keys.push(LessSafeKey::new(UnboundKey::from(key)));
            let mut mark = [0; 32];
            extracted.expand(&[b"mark"], HKDF_SHA256).ok()?.fill(&mut mark).ok()?;
            marks.push(mark);
        }
        // No part has a zero byte.
        let context = context.join("\0").into_bytes().into();
        Some(Self { keys: keys.into(), context, marks: marks.into() })
    }

    /// Seals a text. Returns `None` if there is no randomness, or if the text is too long.
    pub(super) fn seal(&self, purpose: Purpose, text: &[u8]) -> Option<String> {
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).ok()?;
        let mut sealed = text.to_vec();
        let nonce_written = Nonce::assume_unique_for_key(nonce);
        self.keys.first()?.seal_in_place_append_tag(nonce_written, self.aad(purpose), &mut sealed).ok()?;
        let sealed = URL_SAFE_NO_PAD.encode([&[FORM][..], &nonce, &sealed].concat());
        (sealed.len() <= SEALED_BYTES_MAX).then_some(sealed)
    }

    /// Opens a text that any of the keys has sealed for the same purpose.
    pub(super) fn open(&self, purpose: Purpose, sealed: &str) -> Option<Vec<u8>> {
        if sealed.len() > SEALED_BYTES_MAX {
            return None;
        }
        let decoded = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (form, rest) = decoded.split_first()?;
        let (nonce, encrypted) = rest.split_first_chunk::<NONCE_LEN>()?;
        if *form != FORM {
            return None;
        }
        self.keys.iter().find_map(|key| {
            let mut opened = encrypted.to_vec();
            let nonce = Nonce::assume_unique_for_key(*nonce);
            let length = key.open_in_place(nonce, self.aad(purpose), &mut opened).ok()?.len();
            opened.truncate(length);
            Some(opened)
        })
    }

    fn aad(&self, purpose: Purpose) -> Aad<Vec<u8>> {
        Aad::from([&[purpose as u8][..], &self.context].concat())
    }
}

impl PartialEq for Sealer {
    /// Compares secrets and context.
    fn eq(&self, other: &Self) -> bool {
        self.marks == other.marks && self.context == other.context
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(secrets: &[&str], context: &[&str]) -> Sealer {
        Sealer::new(secrets, context).unwrap()
    }

    #[test]
    fn sealed_text_is_opened_by_the_same_secret_way_and_purpose_alone() {
        let own = sealer(&["one"], &["staff", "issuer"]);
        let sealed = own.seal(Purpose::Session, b"text").unwrap();
        assert_eq!(own.open(Purpose::Session, &sealed).as_deref(), Some(&b"text"[..]));
        assert_eq!(own.open(Purpose::Login, &sealed), None);
        for other in [
            sealer(&["two"], &["staff", "issuer"]),
            sealer(&["one"], &["other", "issuer"]),
            sealer(&["one"], &["staff", "other"]),
        ] {
            assert_eq!(other.open(Purpose::Session, &sealed), None);
            assert!(own != other);
        }
        let rotated = sealer(&["new", "one"], &["staff", "issuer"]);
        assert_eq!(rotated.open(Purpose::Session, &sealed).as_deref(), Some(&b"text"[..]));
        let sealed = rotated.seal(Purpose::Session, b"text").unwrap();
        assert_eq!(own.open(Purpose::Session, &sealed), None, "the first secret seals");
        assert!(own == sealer(&["one"], &["staff", "issuer"]));
    }

    #[test]
    fn text_that_was_changed_or_cut_is_not_opened() {
        let sealer = sealer(&["one"], &["staff"]);
        let sealed = sealer.seal(Purpose::Session, b"some text").unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(sealer.open(Purpose::Session, &changed), None, "{at}");
            assert_eq!(sealer.open(Purpose::Session, &sealed[..at]), None, "{at}");
        }
        assert_eq!(sealer.open(Purpose::Session, &format!("{sealed}A")), None);
        assert_ne!(sealer.seal(Purpose::Session, b"some text").unwrap(), sealed, "the nonce is new");
    }

    #[test]
    fn text_that_is_too_long_is_not_sealed() {
        assert_eq!(sealer(&["one"], &[]).seal(Purpose::Session, &[0; SEALED_BYTES_MAX]), None);
    }
}
