//! Callers that are known by tokens of an issuer.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
    RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use support::serde_json::{Value, json};
use support::{Certificates, Gateway, Origin, Response, unused_address, wait_until};
use tokio::task::JoinSet;

use crate::pooled::{self, OK};
use crate::reloading::{is_generation, replace};

const ISSUER: &str = "https://issuer.test";

/// A key of the issuer.
pub(crate) enum SigningKey {
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl SigningKey {
    pub(crate) fn es256() -> Self {
        Self::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn rs256() -> Self {
        Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    /// The key that the issuer publishes.
    pub(crate) fn public(&self, kid: &str) -> Value {
        match self {
            Self::Ec(key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                json!({ "kid": kid, "kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y) })
            }
            Self::Rsa(key) => {
                let RsaPublicKeyComponents::<Vec<u8>> { n, e } = key.public_key().into();
                json!({ "kid": kid, "kty": "RSA", "n": encode(n), "e": encode(e) })
            }
        }
    }

    /// A token of this key with these claims in place of the usual ones; those that are null are left out.
    pub(crate) fn token(&self, kid: &str, claims: Value) -> String {
        let alg = if matches!(self, Self::Ec(_)) { "ES256" } else { "RS256" };
        let signed = unsigned(&json!({ "alg": alg, "kid": kid, "typ": "JWT" }), claims);
        let signature = match self {
            Self::Ec(key) => key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap().as_ref().to_vec(),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
                signature
            }
        };
        format!("{signed}.{}", encode(signature))
    }
}

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The part of a token that is signed.
pub(crate) fn unsigned(head: &Value, changes: Value) -> String {
    let mut claims =
        json!({ "iss": ISSUER, "aud": "api", "sub": "ann", "exp": now() + 600, "scope": "read write" });
    let Value::Object(changes) = changes else { panic!("no claims") };
    for (name, value) in changes {
        let claims = claims.as_object_mut().unwrap();
        if value.is_null() {
            claims.remove(&name)
        } else {
            claims.insert(name, value)
        };
    }
    format!("{}.{}", encode(head.to_string()), encode(claims.to_string()))
}

pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

fn set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// The place where the issuer publishes its keys, which can change.
#[derive(Clone, Default)]
struct Published(Arc<Mutex<String>>);

impl Published {
    fn new(keys: &[Value]) -> Self {
        let published = Self::default();
        published.publish(keys);
        published
    }

    fn publish(&self, keys: &[Value]) {
        *self.0.lock().unwrap() = set(keys);
    }

    fn response(&self) -> Vec<u8> {
        let body = self.0.lock().unwrap().clone();
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }

    fn origin(&self) -> Origin {
        let published = self.clone();
        Origin::respond(move |_| published.response())
    }
}

/// A configuration whose only route needs a token, with these keys of `jwt` and of the route.
fn config(origin: &Origin, jwks: &str, jwt: &str, route: &str) -> String {
    format!(
        "workers: 2\nauth: {{ staff: {{ jwt: {{ issuer: '{ISSUER}', audiences: [api], algorithms: [ES256, RS256], jwks: '{jwks}', claims_to_headers: {{ sub: x-user, org.team: x-team }}, {jwt} }} }} }}\nroutes:\n  - {{ name: r, match: {{ prefix: / }}, upstream: {{ url: '{}' }}, auth: [staff], {route} }}\n",
        origin.url()
    )
}

async fn start(origin: &Origin, keys: &[Value], jwt: &str, route: &str) -> Gateway {
    pooled::gateway(&config(origin, "keys.json", jwt, route)).file("keys.json", set(keys)).start().await
}

async fn send(gateway: &Gateway, fields: &[(&str, &str)]) -> Response {
    gateway.client("web").await.request("GET", "/", fields, b"").await
}

async fn with_token(gateway: &Gateway, token: &str) -> Response {
    send(gateway, &[("authorization", &format!("Bearer {token}"))]).await
}

/// The status, and the reason of an error.
async fn outcome(gateway: &Gateway, token: &str) -> (u16, String) {
    let response = with_token(gateway, token).await;
    (response.status, response.header("x-gateway-error").unwrap_or_default().to_owned())
}

fn refused(reason: &str) -> (u16, String) {
    (401, format!("auth.jwt.{reason}"))
}

fn served() -> (u16, String) {
    (200, String::new())
}

#[tokio::test]
async fn token_lets_a_caller_in_and_its_claims_go_up() {
    let (key, origin) = (SigningKey::es256(), Origin::answer(OK));
    let gateway = start(&origin, &[key.public("one")], "", "").await;
    let token = key.token("one", json!({ "org": { "team": ["a", "b"] } }));
    // The second time, the worker may know it.
    for _ in 0..2 {
        assert_eq!(outcome(&gateway, &token).await, served());
    }
    let request = &origin.requests()[1];
    assert_eq!(request.headers.get("x-user"), Some("ann"));
    assert_eq!(request.headers.get("x-team"), Some("a,b"));
    assert_eq!(request.headers.get("authorization"), Some(&*format!("Bearer {token}")));
}

#[tokio::test]
async fn request_without_a_token_gets_a_challenge_without_an_error() {
    let (key, origin) = (SigningKey::es256(), Origin::answer(OK));
    let gateway = start(&origin, &[key.public("one")], "", "").await;
    for fields in [&[][..], &[("authorization", "Basic YTpi")]] {
        let response = send(&gateway, fields).await;
        assert_eq!((response.status, response.header("x-gateway-error")), (401, Some("auth.required")));
        assert_eq!(response.header("www-authenticate"), Some("Bearer realm=\"staff\""));
    }
    let response = with_token(&gateway, &key.token("one", json!({ "exp": now() - 61 }))).await;
    assert_eq!(
        response.header("www-authenticate"),
        Some("Bearer realm=\"staff\", error=\"invalid_token\", error_description=\"the token has expired\"")
    );
    assert_eq!(origin.requests().len(), 0);
}

#[tokio::test]
async fn bad_tokens_are_refused_with_their_reasons() {
    let (key, other, origin) = (SigningKey::es256(), SigningKey::es256(), Origin::answer(OK));
    let gateway = start(&origin, &[key.public("one")], "", "").await;
    let sign = |claims: Value| key.token("one", claims);
    let none = |alg: &str| format!("{}.", unsigned(&json!({ "alg": alg, "kid": "one" }), json!({})));
    let mut tampered = sign(json!({}));
    tampered.pop();
    for (token, reason) in [
        (String::new(), "malformed"),
        ("a.b".to_owned(), "malformed"),
        ("a.b.c".to_owned(), "malformed"),
        (tampered, "malformed"),
        (sign(json!({ "exp": now() - 61 })), "expired"),
        (sign(json!({ "exp": null })), "required_claims"),
        (sign(json!({ "sub": null })), "required_claims"),
        (sign(json!({ "nbf": now() + 90 })), "not_before"),
        (sign(json!({ "iat": now() + 90 })), "issued_at"),
        (sign(json!({ "iss": "https://issuer.test/" })), "issuer"),
        (sign(json!({ "aud": ["other"] })), "audiences"),
        (other.token("one", json!({})), "signature"),
        (key.token("two", json!({})), "kid"),
        (none("none"), "algorithms"),
        (none("nOnE"), "algorithms"),
        (none("ES256"), "signature"),
        (none("RS256"), "algorithms"),
        ("a".repeat(16_385), "max_token"),
    ] {
        assert_eq!(outcome(&gateway, &token).await, refused(reason), "{token}");
    }
    assert_eq!(outcome(&gateway, &sign(json!({ "exp": now() - 30, "aud": ["x", "api"] }))).await, served());
    let two = [("authorization", "Bearer a.b.c"), ("authorization", "Bearer d.e.f")];
    assert_eq!(send(&gateway, &two).await.header("x-gateway-error"), Some("auth.jwt.several"));
}

#[tokio::test]
async fn public_key_of_rsa_is_no_secret_of_an_hmac() {
    let (key, origin) = (SigningKey::rs256(), Origin::answer(OK));
    let public = key.public("one");
    let gateway = start(&origin, std::slice::from_ref(&public), "", "").await;
    assert_eq!(outcome(&gateway, &key.token("one", json!({}))).await, served());
    let SigningKey::Rsa(pair) = &key else { unreachable!() };
    let modulus = URL_SAFE_NO_PAD.decode(public["n"].as_str().unwrap()).unwrap();
    for secret in [pair.public_key().as_ref().to_vec(), modulus, public.to_string().into_bytes()] {
        let signed = unsigned(&json!({ "alg": "HS256", "kid": "one" }), json!({}));
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), signed.as_bytes());
        let token = format!("{signed}.{}", encode(mac));
        assert_eq!(outcome(&gateway, &token).await, refused("algorithms"));
    }
}

#[tokio::test]
async fn identity_that_a_client_sends_never_goes_up() {
    let (key, origin) = (SigningKey::es256(), Origin::answer(OK));
    let gateway = start(&origin, &[key.public("one")], "", "").await;
    let token = format!("Bearer {}", key.token("one", json!({})));
    let fields = [
        ("authorization", &*token),
        ("x-user", "root"),
        ("X_User", "root"),
        ("x-team", "root"),
        ("x.team", "root"),
    ];
    assert_eq!(send(&gateway, &fields).await.status, 200);
    let headers = &origin.requests()[0].headers;
    assert_eq!(headers.all("x-user"), ["ann"]);
    for name in ["x_user", "x-team", "x.team"] {
        assert!(!headers.has(name), "{name}");
    }
}

#[tokio::test]
async fn token_has_its_place_and_is_forwarded_only_where_asked() {
    let (key, origin) = (SigningKey::es256(), Origin::answer(OK));
    let token = key.token("one", json!({}));
    let config =
        |place: &str| config(&origin, "keys.json", &format!("from: '{place}', forward_token: false"), "");
    let gateway =
        pooled::gateway(&config("bearer")).file("keys.json", set(&[key.public("one")])).start().await;
    assert_eq!(outcome(&gateway, &token).await, served());
    let (cookie, query) = (format!("a=1; t={token}"), format!("/?a=1&t={token}"));
    for (place, path, field) in [
        ("header:x-token", "/", ("x-token", &*token)),
        ("cookie:t", "/", ("cookie", &*cookie)),
        ("query:t", &*query, ("x-none", "")),
    ] {
        gateway.reload(&pooled::whole(&config(place))).await;
        assert_eq!(outcome(&gateway, &token).await, (401, "auth.required".to_owned()), "{place}");
        let mut client = gateway.client("web").await;
        assert_eq!(client.request("GET", path, &[field], b"").await.status, 200, "{place}");
    }
    for request in origin.requests() {
        assert!(!String::from_utf8_lossy(&request.raw_head).contains(&token), "{request:?}");
    }
    let requests = origin.requests();
    assert_eq!(requests[2].headers.get("cookie"), Some("a=1"));
    assert_eq!(requests[3].target, "/?a=1");
}

#[tokio::test]
async fn token_goes_up_if_one_of_two_issuers_has_signed_it() {
    let (key, other, origin) = (SigningKey::es256(), SigningKey::es256(), Origin::answer(OK));
    let way = |issuer: &str, jwks: &str| {
        format!(
            "jwt: {{ issuer: '{issuer}', algorithms: [ES256], jwks: {jwks}, claims_to_headers: {{ sub: x-{jwks} }} }}"
        )
    };
    let config = format!(
        "auth: {{ staff: {{ {} }}, other: {{ {} }}, key: {{ api_key: {{ header: x-key, keys: api.yaml }} }} }}\nroutes:\n  - {{ match: {{ prefix: / }}, upstream: {{ url: '{}' }}, auth: [other, staff, key] }}\n",
        way(ISSUER, "staff"),
        way("other", "other"),
        origin.url()
    );
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"secret");
    let digits: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let gateway = pooled::gateway(&config)
        .file("staff", set(&[key.public("one")]))
        .file("other", set(&[other.public("two")]))
        .file("api.yaml", format!("- {{ id: machine, key: 'sha256:{digits}' }}"))
        .start()
        .await;
    assert_eq!(outcome(&gateway, &key.token("one", json!({}))).await, served());
    // A token that no issuer has signed does not go up, even if a key lets the caller in.
    let forged = format!("Bearer {}", SigningKey::es256().token("one", json!({})));
    let fields = [("authorization", &*forged), ("x-key", "secret"), ("x-staff", "root")];
    assert_eq!(send(&gateway, &fields).await.status, 200);
    let [first, second] = &origin.requests()[..] else { panic!("two requests") };
    assert!(first.headers.has("authorization"));
    assert_eq!((first.headers.get("x-staff"), first.headers.get("x-other")), (Some("ann"), None));
    for name in ["authorization", "x-key", "x-staff"] {
        assert!(!second.headers.has(name), "{name}");
    }
}

#[tokio::test]
async fn keys_in_a_file_are_read_again_when_it_changes() {
    let (old, new, origin) = (SigningKey::es256(), SigningKey::es256(), Origin::answer(OK));
    let gateway = start(&origin, &[old.public("one")], "", "").await;
    let (with_old, with_new) = (old.token("one", json!({})), new.token("two", json!({})));
    assert_eq!(outcome(&gateway, &with_old).await, served());
    assert_eq!(outcome(&gateway, &with_new).await, refused("kid"));
    replace(&gateway.folder().join("keys.json"), set(&[new.public("two")]));
    is_generation(&gateway, 2).await;
    assert_eq!(outcome(&gateway, &with_new).await, served());
    assert_eq!(outcome(&gateway, &with_old).await, refused("kid"), "known by a key that is gone");
    fs::write(gateway.folder().join("keys.json"), "{}").unwrap();
    let log = gateway.wait_for_log("configuration refused").await;
    assert!(!log.is_empty());
    gateway.wait_for_log("keys.json` has no keys: it is not a JWK set").await;
    assert_eq!(outcome(&gateway, &with_new).await, served());
}

#[tokio::test]
async fn keys_are_fetched_once_and_a_new_key_once_more() {
    let (old, new, origin) = (SigningKey::es256(), SigningKey::es256(), Origin::answer(OK));
    let published = Published::new(&[old.public("one"), json!({ "kty": "oct", "k": "AAAA" })]);
    let issuer = published.origin();
    let jwks = format!("{}/keys?v=1", issuer.url());
    let config = config(&origin, &jwks, "jwks_cooldown: 1ms", "");
    let gateway = pooled::gateway(&config).start().await;
    assert_eq!(outcome(&gateway, &old.token("one", json!({}))).await, served());
    assert_eq!(issuer.requests().len(), 1);
    assert_eq!(issuer.requests()[0].target, "/keys?v=1");
    assert_eq!(gateway.metric(r#"gateway_auth_jwks_keys{auth="staff"}"#).await, Some(1.0));
    published.publish(&[new.public("two")]);
    let token = new.token("two", json!({}));
    let mut clients = JoinSet::new();
    for _ in 0..20 {
        let (mut client, token) = (gateway.client("web").await, format!("Bearer {token}"));
        clients
            .spawn(async move { client.request("GET", "/", &[("authorization", &token)], b"").await.status });
    }
    assert_eq!(clients.join_all().await, [200; 20]);
    assert_eq!(issuer.requests().len(), 2);
    assert_eq!(issuer.accepted(), 1, "on a connection that is kept");
    assert_eq!(outcome(&gateway, &old.token("one", json!({}))).await, refused("kid"));
    // A reload that leaves the way as it is keeps its keys.
    let fetched = issuer.requests().len();
    gateway.reload(&pooled::whole(&config.replace("name: r,", "name: other,"))).await;
    assert_eq!(outcome(&gateway, &token).await, served());
    assert_eq!(issuer.requests().len(), fetched);
}

#[tokio::test]
async fn storm_of_unknown_keys_causes_no_fetch() {
    let (key, origin) = (SigningKey::es256(), Origin::answer(OK));
    let published = Published::new(&[key.public("one")]);
    let issuer = published.origin();
    let gateway = pooled::gateway(&config(&origin, &issuer.url(), "", "")).start().await;
    assert_eq!(outcome(&gateway, &key.token("one", json!({}))).await, served());
    let mut clients = JoinSet::new();
    for client in 0..8 {
        let mut connection = gateway.client("web").await;
        let tokens: Vec<_> = (0..25)
            .map(|number| format!("Bearer {}", key.token(&format!("{client}-{number}"), json!({}))))
            .collect();
        clients.spawn(async move {
            for token in tokens {
                let response = connection.request("GET", "/", &[("authorization", &token)], b"").await;
                assert_eq!(response.header("x-gateway-error"), Some("auth.jwt.kid"));
            }
        });
    }
    clients.join_all().await;
    assert_eq!(issuer.requests().len(), 1, "within ten seconds of the first fetch");
    assert_eq!(outcome(&gateway, &key.token("one", json!({}))).await, served());
}

#[tokio::test]
async fn gateway_starts_while_the_issuer_is_down_and_serves_once_it_is_up() {
    let (key, origin, address) = (SigningKey::es256(), Origin::answer(OK), unused_address());
    let jwks = format!("http://{address}/keys");
    let gateway = pooled::gateway(&config(&origin, &jwks, "jwks_cooldown: 1ms", "")).start().await;
    let token = key.token("one", json!({}));
    let response = with_token(&gateway, &token).await;
    assert_eq!((response.status, response.header("x-gateway-error")), (503, Some("auth.jwt.keys")));
    gateway.wait_for_log("the issuer's keys cannot be fetched").await;
    // Without a token, a request needs no keys.
    assert_eq!(send(&gateway, &[]).await.status, 401);
    let published = Published::new(&[key.public("one")]);
    let answers = published.clone();
    let issuer = Origin::builder().address(address).respond(move |_| answers.response());
    wait_until("the keys to be fetched", async || outcome(&gateway, &token).await == served()).await;
    // Down again: the keys stay.
    issuer.stop().await;
    assert_eq!(outcome(&gateway, &key.token("two", json!({}))).await, refused("kid"));
    let failed = r#"gateway_auth_jwks_fetches_total{auth="staff",result="failed"}"#;
    assert!(gateway.metric(failed).await >= Some(2.0));
    assert_eq!(outcome(&gateway, &key.token("one", json!({ "jti": "new" }))).await, served());
}

#[tokio::test]
async fn responses_that_are_no_keys_are_refused() {
    let (key, origin) = (SigningKey::es256(), Origin::answer(OK));
    let issuer = Origin::respond(|request| {
        let response = match &*request.target {
            "/moved" => "HTTP/1.1 302 Found\r\nlocation: /keys\r\ncontent-length: 0\r\n\r\n".to_owned(),
            "/gone" => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(),
            "/html" => "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>".to_owned(),
            _ => format!("HTTP/1.1 200 OK\r\ncontent-length: 2097152\r\n\r\n{}", " ".repeat(2 << 20)),
        };
        response.into_bytes()
    });
    for (path, reason) in [
        ("/moved", "redirects to \"/keys\""),
        ("/gone", "status 404"),
        ("/html", "not JSON"),
        ("/large", "larger than 1 MiB"),
    ] {
        let jwks = format!("{}{path}", issuer.url());
        let gateway = pooled::gateway(&config(&origin, &jwks, "", "")).start().await;
        gateway.wait_for_log(reason).await;
        assert_eq!(outcome(&gateway, &key.token("one", json!({}))).await, (503, "auth.jwt.keys".to_owned()));
    }
}

#[tokio::test]
async fn issuer_with_tls_must_have_a_trusted_certificate() {
    let (key, origin, certificates) = (SigningKey::es256(), Origin::answer(OK), Certificates::new());
    let published = Published::new(&[key.public("one")]);
    let identity = certificates.server(&["localhost"]);
    let issuer =
        Origin::builder().tls(certificates.server_config(&identity)).respond(move |_| published.response());
    let jwks = format!("https://localhost:{}/keys", issuer.addr().port());
    let ca = format!("jwks_ca: '{}'", certificates.ca().display());
    let token = key.token("one", json!({}));
    let gateway = pooled::gateway(&config(&origin, &jwks, &ca, "")).start().await;
    assert_eq!(outcome(&gateway, &token).await, served());
    let untrusting = pooled::gateway(&config(&origin, &jwks, "", "")).start().await;
    assert_eq!(outcome(&untrusting, &token).await, (503, "auth.jwt.keys".to_owned()));
}

#[tokio::test]
async fn scope_that_a_token_lacks_is_forbidden() {
    let (key, origin) = (SigningKey::es256(), Origin::answer(OK));
    let gateway = start(&origin, &[key.public("one")], "", "require: { scope: [write] }").await;
    assert_eq!(outcome(&gateway, &key.token("one", json!({}))).await, served());
    let response = with_token(&gateway, &key.token("one", json!({ "scope": "read" }))).await;
    assert_eq!((response.status, response.header("x-gateway-error")), (403, Some("require.scope")));
}
