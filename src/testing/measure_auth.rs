//! Tokens that `benches/instructions` has verified.
#![allow(clippy::panic, clippy::expect_used, reason = "a benchmark that cannot run may panic")]

use std::borrow::Cow;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::uri::Scheme;
use http::{HeaderValue, Method, Uri, header};
use serde_json::json;

use crate::http::fields::Fields;
use crate::http::forward::{Forwarding, TrustedProxies};
use crate::observe::metrics::enter_worker;
use crate::policy::auth::{Credentials, Jwt, KeySet, Keys, RequestContext, Settings};

/// A way by tokens that are signed with ES256, and requests with such tokens.
pub struct Tokens {
    jwt: Jwt,
    forwarding: Forwarding,
    trusted_proxies: TrustedProxies,
    requests: Vec<Fields>,
}

impl Tokens {
    /// Signs so many tokens with a new key.
    pub fn new(count: usize) -> Self {
        enter_worker(0);
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let point = key.public_key().as_ref().get(1..).unwrap_or_default();
        let (x, y) = point.split_at(32);
        let set = json!({ "keys": [
            { "kid": "one", "kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y) },
        ] });
        let keys = KeySet::parse(set.to_string().as_bytes()).expect("a key set");
        let settings = json!({
            "issuer": "https://id.example.com", "audiences": ["shop"], "algorithms": ["ES256"], "jwks": "keys.json",
        });
        let settings = serde_json::from_value(settings).expect("settings");
        let jwt = Jwt::new(Settings::new(&"staff".into(), &settings), Keys::File(Arc::new(keys)), 1);
        let requests = (0..count).map(|number| {
            let mut headers = Fields::new();
            let value = format!("Bearer {}", sign(&key, number));
            headers.append(header::AUTHORIZATION, HeaderValue::try_from(value).expect("a value"));
            headers
        });
        Self {
            jwt,
            forwarding: Forwarding::new(None, &Scheme::HTTP, false),
            trusted_proxies: TrustedProxies::default(),
            requests: requests.collect(),
        }
    }

    /// Verifies the token of a request. Returns true if its caller is known.
    pub fn verify(&mut self, number: usize) -> bool {
        let Some(headers) = self.requests.get_mut(number) else { return false };
        let mut target = Cow::Owned(Uri::from_static("/orders"));
        let context = RequestContext {
            method: &Method::GET,
            path: "/orders",
            forwarding: &self.forwarding,
            trusted_proxies: &self.trusted_proxies,
            is_traced: false,
        };
        let request = Credentials { headers, target: &mut target, certificate: None, context };
        let caller = pin!(self.jwt.caller(&request)).poll(&mut Context::from_waker(Waker::noop()));
        matches!(caller, Poll::Ready(Ok(Some(_))))
    }
}

fn sign(key: &EcdsaKeyPair, number: usize) -> String {
    let head = json!({ "alg": "ES256", "kid": "one", "typ": "JWT" });
    let claims = json!({
        "iss": "https://id.example.com", "aud": "shop", "sub": "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
        "exp": 99_999_999_999_u64, "iat": 1_700_000_000, "jti": format!("{number:08}"), "scope": "orders profile email",
        "name": "Ann Example", "email": "ann@example.com",
    });
    let signed = format!("{}.{}", encode(head.to_string()), encode(claims.to_string()));
    let signature = key.sign(&SystemRandom::new(), signed.as_bytes()).expect("a signature");
    format!("{signed}.{}", encode(signature))
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
