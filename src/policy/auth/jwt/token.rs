//! A token in its compact form: `head.claims.signature`, each in base64url (RFC 7515 §3.1).

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::failure::Failure;

/// A token whose parts are told apart, and not decoded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'t> {
    head: &'t str,
    claims: &'t str,
    pub(super) signature: &'t str,
    /// The text that is signed: head, dot, claims.
    pub(super) signed: &'t str,
}

/// The parameters of a head that count (RFC 7515 §4.1). Keys that come with the token, as in `jwk`, `jku` or `x5c`, are ignored:
/// a token cannot bring the key that verifies it, and only names one that is known.
#[derive(Debug, Deserialize)]
pub(super) struct Head<'h> {
    #[serde(borrow)]
    pub(super) alg: Cow<'h, str>,
    #[serde(borrow, default)]
    pub(super) kid: Option<Cow<'h, str>>,
    #[serde(borrow, default)]
    typ: Option<Cow<'h, str>>,
    #[serde(default)]
    crit: Presence,
    #[serde(default)]
    b64: Presence,
}

/// True if a parameter is there, with any value.
#[derive(Debug, Default)]
struct Presence(bool);

impl<'de> Deserialize<'de> for Presence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self(true))
    }
}

impl<'t> Token<'t> {
    /// Tells the parts apart. Anything but two dots is no signed token; an encrypted one has four.
    pub(super) fn parse(text: &'t str) -> Result<Self, Failure> {
        let (signed, signature) = text.rsplit_once('.').ok_or(Failure::Malformed)?;
        let (head, claims) = signed.split_once('.').ok_or(Failure::Malformed)?;
        if head.is_empty() || claims.contains('.') {
            return Err(Failure::Malformed);
        }
        Ok(Self { head, claims, signature, signed })
    }

    /// Decodes the head.
    pub(super) fn decode_head(&self) -> Result<Vec<u8>, Failure> {
        decode(self.head)
    }

    /// Decodes the claims. Call it once the signature is verified.
    pub(super) fn claims(&self) -> Result<Map<String, Value>, Failure> {
        serde_json::from_slice(&decode(self.claims)?).map_err(|_| Failure::Malformed)
    }
}

impl<'h> Head<'h> {
    /// Parses a decoded head. A parameter that is there twice is an error.
    pub(super) fn parse(decoded: &'h [u8]) -> Result<Self, Failure> {
        serde_json::from_slice(decoded).map_err(|_| Failure::Malformed)
    }

    /// Checks that nothing in the head changes the meaning of the token. `required` is the only type that is accepted; without
    /// one, tokens of no type, plain ones and access tokens (RFC 9068 §2.1) are.
    pub(super) fn check(&self, required: Option<&str>) -> Result<(), Failure> {
        // No extension is implemented, and a recipient must understand all of those (RFC 7515 §4.1.11).
        if self.crit.0 || self.b64.0 {
            return Err(Failure::Critical);
        }
        let is_permitted = match (self.typ.as_deref().map(short), required) {
            (None, None) => true,
            (None, Some(_)) => false,
            (Some(typ), Some(required)) => typ.eq_ignore_ascii_case(short(required)),
            (Some(typ), None) => ["JWT", "at+jwt"].iter().any(|known| typ.eq_ignore_ascii_case(known)),
        };
        if is_permitted { Ok(()) } else { Err(Failure::Type) }
    }
}

/// Returns a media type without `application/`, which may be left out (RFC 7515 §4.1.9).
fn short(typ: &str) -> &str {
    const PREFIX: &str = "application/";
    match typ.split_at_checked(PREFIX.len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) && !rest.contains('/') => rest,
        _ => typ,
    }
}

fn decode(part: &str) -> Result<Vec<u8>, Failure> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Failure::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(json: &str, required: Option<&str>) -> Result<(), Failure> {
        Head::parse(json.as_bytes())?.check(required)
    }

    #[test]
    fn token_has_three_parts() {
        for text in ["", "a", "a.b", "a.b.c.d", "a.b.c.d.e", ".b.c", "..", ".."] {
            assert_eq!(Token::parse(text).err(), Some(Failure::Malformed), "{text}");
        }
        let token = Token::parse("a.b.c").unwrap();
        assert_eq!((token.head, token.claims, token.signature, token.signed), ("a", "b", "c", "a.b"));
    }

    #[test]
    fn head_that_requires_an_extension_is_refused() {
        for json in [
            r#"{"alg":"ES256","crit":["exp"]}"#,
            r#"{"alg":"ES256","crit":[]}"#,
            r#"{"alg":"ES256","crit":null}"#,
            r#"{"alg":"ES256","b64":false}"#,
            r#"{"alg":"ES256","b64":true}"#,
        ] {
            assert_eq!(head(json, None), Err(Failure::Critical), "{json}");
        }
    }

    #[test]
    fn head_is_an_object_whose_parameters_are_there_once() {
        for json in
            ["", "[]", "null", "{}", r#"{"alg":1}"#, r#"{"alg":"a","alg":"b"}"#, r#"{"alg":"a","kid":{}}"#]
        {
            assert_eq!(head(json, None), Err(Failure::Malformed), "{json}");
        }
        assert_eq!(head(r#"{"alg":"a","jwk":{"kty":"oct"},"x5c":[1]}"#, None), Ok(()));
    }

    #[test]
    fn types_of_other_tokens_are_refused() {
        for (typ, required, expected) in [
            ("JWT", None, true),
            ("jwt", None, true),
            ("at+JWT", None, true),
            ("application/at+jwt", None, true),
            ("logout+jwt", None, false),
            ("dpop+jwt", None, false),
            ("application/x/jwt", None, false),
            ("", None, false),
            ("JWT", Some("at+jwt"), false),
            ("Application/AT+jwt", Some("at+jwt"), true),
            ("at+jwt", Some("application/at+jwt"), true),
        ] {
            let json = format!(r#"{{"alg":"ES256","typ":"{typ}"}}"#);
            assert_eq!(head(&json, required).is_ok(), expected, "{typ} {required:?}");
        }
        assert_eq!(head(r#"{"alg":"ES256"}"#, Some("JWT")), Err(Failure::Type));
        assert_eq!(head(r#"{"alg":"ES256"}"#, None), Ok(()));
    }
}
