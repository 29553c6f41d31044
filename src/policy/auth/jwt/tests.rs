//! Tokens as an issuer signs them, and as an attacker would.

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::claims::Rules;
use super::*;
use crate::config::KeySource;
use crate::policy::auth::place::Place;

const NOW: u64 = 1_000_000;

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A key of an issuer, for ES256.
struct SigningKey(EcdsaKeyPair);

impl SigningKey {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn jwk(&self, kid: Option<&str>) -> Value {
        let (x, y) = self.0.public_key().as_ref()[1..].split_at(32);
        let mut jwk = json!({ "kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y) });
        if let Some(kid) = kid {
            jwk["kid"] = kid.into();
        }
        jwk
    }

    fn sign(&self, head: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", encode(head.to_string()), encode(claims.to_string()));
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", encode(signature))
    }
}

fn set(keys: &[Value]) -> Arc<KeySet> {
    Arc::new(KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap())
}

fn settings(algorithms: &[Algorithm]) -> Settings {
    let text = |texts: &[&str]| texts.iter().map(|text| (*text).into()).collect();
    Settings {
        rules: Rules {
            issuer: "iss".into(),
            audiences: text(&["api"]),
            required: text(&["exp", "sub"]),
            leeway: 60,
        },
        algorithms: algorithms.into(),
        typ: None,
        token_bytes_max: 4096,
        way: "staff".into(),
        place: Place::Bearer,
        forward_token: true,
    }
}

fn jwt(keys: Arc<KeySet>) -> Jwt {
    Jwt::new(settings(&[Algorithm::ES256, Algorithm::RS256]), Keys::File(keys), 1)
}

fn claims() -> Value {
    json!({ "iss": "iss", "aud": "api", "sub": "ann", "exp": NOW + 100 })
}

fn head() -> Value {
    json!({ "alg": "ES256", "kid": "one" })
}

async fn verify(jwt: &Jwt, token: &str) -> Result<Arc<Identity>, Failure> {
    jwt.verify_at(token, NOW).await
}

#[tokio::test]
async fn signed_token_makes_its_subject_known() {
    let key = SigningKey::new();
    let jwt = jwt(set(&[key.jwk(Some("one"))]));
    let token = key.sign(&head(), &claims());
    let verified = verify(&jwt, &token).await.unwrap();
    assert_eq!((&*verified.way, &*verified.subject), ("staff", "ann"));
    assert_eq!(verified.claims["iss"], "iss");
    let again = verify(&jwt, &token).await.unwrap();
    assert!(Arc::ptr_eq(&verified, &again), "verified twice");
    assert_eq!(jwt.verify_at(&token, NOW + 160).await.unwrap_err(), Failure::Expired);
}

#[tokio::test]
async fn token_of_a_wrong_form_or_signature_is_refused() {
    let (key, other) = (SigningKey::new(), SigningKey::new());
    let jwt = jwt(set(&[key.jwk(Some("one"))]));
    let token = key.sign(&head(), &claims());
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let unsigned = |alg: &str| {
        format!(
            "{}.{}.",
            encode(json!({ "alg": alg, "kid": "one" }).to_string()),
            encode(claims().to_string())
        )
    };
    let admin = encode(json!({ "iss": "iss", "aud": "api", "sub": "root", "exp": NOW + 100 }).to_string());
    let (signed_head, _) = signed.split_once('.').unwrap();
    for (token, expected) in [
        (String::new(), Failure::Malformed),
        ("abc".to_owned(), Failure::Malformed),
        ("a.b.c.d.e".to_owned(), Failure::Malformed),
        (format!("{token}="), Failure::Malformed),
        (format!("{token}+"), Failure::Malformed),
        (format!("{signed}."), Failure::Signature),
        (format!("{signed}.{}", encode([0; 64])), Failure::Signature),
        (format!("{signed_head}.{admin}.{signature}"), Failure::Signature),
        (other.sign(&head(), &claims()), Failure::Signature),
        (key.sign(&json!({ "alg": "ES256", "kid": "two" }), &claims()), Failure::UnknownKey),
        (key.sign(&json!({ "alg": "ES256", "kid": "" }), &claims()), Failure::UnknownKey),
        (key.sign(&json!({ "alg": "ES256", "kid": "one", "crit": ["x"] }), &claims()), Failure::Critical),
        (key.sign(&json!({ "alg": "ES256", "kid": "one", "typ": "logout+jwt" }), &claims()), Failure::Type),
        (key.sign(&head(), &json!([])), Failure::Malformed),
        (unsigned("none"), Failure::Algorithm),
        (unsigned("None"), Failure::Algorithm),
        (unsigned(""), Failure::Algorithm),
        (unsigned("es256"), Failure::Algorithm),
        (unsigned("ES256"), Failure::Signature),
        // Configured, but the key is for another one.
        (unsigned("RS256"), Failure::Algorithm),
        // Of the key, but not configured.
        (unsigned("ES384"), Failure::Algorithm),
        ("a".repeat(4097), Failure::TooLarge),
    ] {
        assert_eq!(verify(&jwt, &token).await.unwrap_err(), expected, "{token}");
    }
}

#[tokio::test]
async fn algorithm_of_a_key_counts_only_if_the_configuration_lists_it() {
    let key = SigningKey::new();
    let token = key.sign(&head(), &claims());
    for (listed, expected) in [
        (&[Algorithm::ES384, Algorithm::RS256][..], Some(Failure::Algorithm)),
        (&[Algorithm::ES384, Algorithm::ES256], None),
    ] {
        let keys = Keys::File(set(&[key.jwk(Some("one"))]));
        let verified = verify(&Jwt::new(settings(listed), keys, 1), &token).await;
        assert_eq!(verified.err(), expected, "{listed:?}");
    }
}

#[tokio::test]
async fn public_key_is_no_secret() {
    // The public key, which an attacker knows, is taken for the secret of an HMAC.
    let key = SigningKey::new();
    let public = key.jwk(Some("one"));
    let mut settings = settings(&[Algorithm::ES256]);
    settings.algorithms = [Algorithm::ES256, Algorithm::HS256].into();
    let jwt = Jwt::new(settings, Keys::File(set(std::slice::from_ref(&public))), 1);
    let signed = format!("{}.{}", encode(r#"{"alg":"HS256","kid":"one"}"#), encode(claims().to_string()));
    for secret in [public.to_string().into_bytes(), key.0.public_key().as_ref().to_vec()] {
        let mac = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
        let token = format!("{signed}.{}", encode(aws_lc_rs::hmac::sign(&mac, signed.as_bytes())));
        assert_eq!(verify(&jwt, &token).await.unwrap_err(), Failure::Algorithm);
    }
}

#[tokio::test]
async fn token_without_an_identifier_is_tried_with_the_keys_that_fit() {
    let keys: Vec<SigningKey> = (0..12).map(|_| SigningKey::new()).collect();
    let jwks: Vec<Value> = keys.iter().enumerate().map(|(n, key)| key.jwk(Some(&n.to_string()))).collect();
    let jwt = jwt(set(&jwks));
    let sign = |number: usize| keys[number].sign(&json!({ "alg": "ES256" }), &claims());
    assert!(verify(&jwt, &sign(0)).await.is_ok());
    assert!(verify(&jwt, &sign(7)).await.is_ok());
    assert_eq!(
        verify(&jwt, &sign(8)).await.unwrap_err(),
        Failure::Signature,
        "tried with more than eight keys"
    );
}

#[tokio::test]
async fn key_without_an_identifier_verifies_any_token_of_its_algorithm() {
    let (key, named) = (SigningKey::new(), SigningKey::new());
    let jwt = jwt(set(&[key.jwk(None), named.jwk(Some("named"))]));
    assert!(verify(&jwt, &key.sign(&head(), &claims())).await.is_ok());
    let token = key.sign(&json!({ "alg": "ES256", "kid": "named" }), &claims());
    assert_eq!(verify(&jwt, &token).await.unwrap_err(), Failure::Signature);
}

#[tokio::test(start_paused = true)]
async fn keys_of_an_issuer_that_is_down_are_kept_and_new_ones_are_fetched_once() {
    let Ok(KeySource::Url(url)) = "https://a".parse() else { panic!() };
    let [timeout, cooldown, refresh] = [5, 10, 60].map(Duration::from_secs);
    let remote = Arc::new(RemoteKeys::new(RemoteSource { url, ca: None, timeout, cooldown, refresh }));
    let jwt = Jwt::new(settings(&[Algorithm::ES256]), Keys::Remote(remote.clone()), 1);
    let (old, new) = (SigningKey::new(), SigningKey::new());
    let (with_old, with_new) =
        (old.sign(&head(), &claims()), new.sign(&json!({ "alg": "ES256", "kid": "new" }), &claims()));
    remote.end(None);
    assert_eq!(verify(&jwt, &with_old).await.unwrap_err(), Failure::Keys, "not known, and just asked for");
    let parse = |keys: &[Value]| KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).ok();
    remote.end(parse(&[old.jwk(Some("one"))]));
    let verified = verify(&jwt, &with_old).await.unwrap();
    remote.end(None);
    assert!(Arc::ptr_eq(&verified, &verify(&jwt, &with_old).await.unwrap()));
    assert_eq!(verify(&jwt, &with_new).await.unwrap_err(), Failure::UnknownKey);
    tokio::time::advance(Duration::from_secs(10)).await;
    let fetched = async {
        remote.wanted().notified().await;
        remote.end(parse(&[new.jwk(Some("new"))]));
    };
    let (verified, ()) = tokio::join!(verify(&jwt, &with_new), fetched);
    assert!(verified.is_ok());
    // The old key is gone, and what was verified with it, too.
    assert_eq!(verify(&jwt, &with_old).await.unwrap_err(), Failure::UnknownKey);
}

#[test]
fn keys_that_cannot_verify_are_skipped_with_the_reason() {
    let key = SigningKey::new();
    let with = |name: &str, value: Value| {
        let mut jwk = key.jwk(Some("k"));
        jwk[name] = value;
        jwk
    };
    let modulus = |bytes: usize| json!({ "kty": "RSA", "n": encode(vec![0xff; bytes]), "e": "AQAB" });
    for (jwk, reason) in [
        (json!({ "kty": "oct", "k": "c2VjcmV0" }), "secret"),
        (json!({ "kty": "oct", "kid": "k" }), "secret"),
        (json!({ "kty": "new" }), ""),
        (json!(5), ""),
        (with("use", "enc".into()), "`use`"),
        (with("key_ops", json!(["sign"])), "`key_ops`"),
        (with("alg", "RS256".into()), "`alg`"),
        (with("alg", "ES384".into()), "`alg`"),
        (with("alg", "ES512".into()), "`alg`"),
        (with("crv", "P-384".into()), "curve"),
        (with("crv", "P-521".into()), "P521"),
        (with("x", "AAAA".into()), "curve"),
        (with("y", "?".into()), ""),
        (modulus(128), "1024 bits"),
        (modulus(2048), "16384 bits"),
    ] {
        let parsed = KeySet::parse(json!({ "keys": [jwk, key.jwk(None)] }).to_string().as_bytes()).unwrap();
        assert_eq!(parsed.len(), 1, "{jwk}");
        assert!(parsed.skipped()[0].contains(reason), "{jwk}: {:?}", parsed.skipped());
    }
    for jwk in [
        with("use", "sig".into()),
        with("key_ops", json!(["verify"])),
        with("alg", "ES256".into()),
        with("unknown", json!({})),
        with("d", "AAAA".into()),
        modulus(256),
    ] {
        let parsed = KeySet::parse(json!({ "keys": [jwk] }).to_string().as_bytes()).unwrap();
        assert_eq!((parsed.len(), parsed.skipped().len()), (1, 0), "{jwk}");
    }
}

#[test]
fn set_without_a_key_is_an_error_that_says_why() {
    for (json, reason) in [
        ("", "not JSON"),
        ("<html>", "not JSON"),
        ("[]", "not a JWK set"),
        (r#"{"keys":{}}"#, "not a JWK set"),
        (r#"{"keys":[]}"#, "no keys"),
        (r#"{"keys":[{"kty":"oct","k":"AAAA","kid":"a"}]}"#, "key 0 (kid \"a\"): it is a secret"),
    ] {
        let error = KeySet::parse(json.as_bytes()).unwrap_err();
        assert!(error.contains(reason), "{json}: {error}");
    }
}

/// Prints what a token costs: `cargo test --release --lib -- jwt::tests::cost --ignored --nocapture`.
#[tokio::test]
#[ignore = "a measurement"]
#[allow(clippy::print_stdout, reason = "a measurement")]
async fn cost_of_a_token() {
    let key = SigningKey::new();
    let jwt = jwt(set(&[key.jwk(Some("one"))]));
    let tokens: Vec<String> = (0..1000)
        .map(|number| {
            let mut claims = claims();
            claims["jti"] = number.into();
            key.sign(&head(), &claims)
        })
        .collect();
    for name in ["cold", "known", "known"] {
        let began = std::time::Instant::now();
        for token in &tokens {
            verify(&jwt, token).await.unwrap();
        }
        println!("{name}: {:?}", began.elapsed() / 1000);
    }
}
