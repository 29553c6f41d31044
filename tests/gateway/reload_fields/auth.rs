//! Edits of the ways of authentication. No route uses them, so no client sees them.

use std::fs;
use std::path::Path;

use support::serde_json::{Value, json};

use super::Site;
use super::table::{Edit, place};

/// The files that the ways name, and copies of them.
pub(super) fn write_files(folder: &Path) {
    let jwks = json!({ "keys": [{
        "kid": "one", "kty": "EC", "crv": "P-256",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    }] });
    for (name, content) in [
        ("keys", format!("[{{ id: kim, key: 'sha256:{}' }}]", "0".repeat(64))),
        ("users", "ann:$2y$04$NbHAbOP6rn8d9dO8vkm3qusBqrp1TUQwXZhe9/L4gryMVd57pGVGe\n".to_owned()),
        ("jwks", jwks.to_string()),
        ("secret", "0".repeat(32)),
    ] {
        fs::write(folder.join(name), &content).unwrap();
        fs::write(folder.join(format!("{name}-copy")), content).unwrap();
    }
}

/// All but those that exclude the others.
pub(super) fn edits(site: &Site) -> Vec<Edit> {
    let of = |kind: &str, key: &str, old: Value, new: Value| {
        place(format!("auth.NAME.{kind}.{key}"), &format!("auth.{kind}.{kind}.{key}"), old, new)
    };
    let file = |name: &str| json!(site.file(name));
    let secret = |name: &str| json!(format!("file:{}", site.file(name).display()));
    let (claims, other_claims) = (json!({ "sub": "x-user" }), json!({ "sub": "x-caller" }));
    vec![
        of("api_key", "header", json!("x-api-key"), json!("x-key")),
        of("api_key", "keys", file("keys"), file("keys-copy")),
        of("api_key", "claims_to_headers", claims.clone(), other_claims.clone()),
        of("basic", "users", file("users"), file("users-copy")),
        of("basic", "realm", json!("one"), json!("two")),
        of("basic", "cache", json!("1m"), json!("off")),
        of("basic", "claims_to_headers", claims.clone(), other_claims.clone()),
        of("jwt", "issuer", json!("https://one.test"), json!("https://two.test")),
        of("jwt", "audiences", json!(["one"]), json!(["two"])),
        of("jwt", "algorithms", json!(["ES256"]), json!(["ES256", "ES384"])),
        of("jwt", "jwks", file("jwks"), file("jwks-copy")),
        of("jwt", "jwks_refresh", json!("10m"), json!("11m")),
        of("jwt", "jwks_cooldown", json!("10s"), json!("11s")),
        of("jwt", "jwks_timeout", json!("5s"), json!("6s")),
        of("jwt", "from", json!("bearer"), json!("cookie:token")),
        of("jwt", "leeway", json!("60s"), json!("off")),
        of("jwt", "type", json!("at+jwt"), json!("JWT")),
        of("jwt", "required_claims", json!(["exp"]), json!(["exp", "sub"])),
        of("jwt", "claims_to_headers", claims.clone(), other_claims.clone()),
        of("jwt", "forward_token", json!(true), json!(false)),
        of("jwt", "max_token", json!("16KiB"), json!("8KiB")),
        of("mtls", "san", json!(["*.one.test"]), json!(["*.two.test"])),
        of("mtls", "subject", json!(["one"]), json!(["two"])),
        of("mtls", "issuer", json!(["one"]), json!(["two"])),
        of("mtls", "forward", json!("off"), json!("client-cert")),
        of("mtls", "claims_to_headers", claims.clone(), other_claims.clone()),
        of("oidc", "issuer", json!("https://127.0.0.1:1/one"), json!("https://127.0.0.1:1/two")),
        of("oidc", "client_id", json!("one"), json!("two")),
        of("oidc", "client_secret", secret("secret"), secret("secret-copy")),
        of("oidc", "ca", file("ca.pem"), file("ca-copy.pem")),
        of("oidc", "scopes", json!(["openid"]), json!(["openid", "email"])),
        of("oidc", "parameters", json!({ "prompt": "login" }), json!({ "prompt": "consent" })),
        of("oidc", "redirect_path", json!("/oauth2/callback"), json!("/back")),
        of("oidc", "logout_path", json!("/oauth2/logout"), json!("/logout")),
        of("oidc", "post_logout_redirect", json!("/one"), json!("/two")),
        of("oidc", "session.cookie", json!("one"), json!("two")),
        of("oidc", "session.secret", secret("secret"), secret("secret-copy")),
        of("oidc", "session.max_age", json!("8h"), json!("9h")),
        of("oidc", "session.idle_timeout", json!("off"), json!("1h")),
        of("oidc", "session.claims", json!(["email"]), json!(["groups"])),
        of("oidc", "timeout", json!("5s"), json!("6s")),
        of("oidc", "refresh", json!("10m"), json!("11m")),
        of("oidc", "leeway", json!("60s"), json!("off")),
        of("oidc", "claims_to_headers", claims, other_claims),
        of("forward", "to", json!("named"), json!("several")),
        of("forward", "path", json!("/one"), json!("/two")),
        of("forward", "method", json!("GET"), json!("POST")),
        of("forward", "timeout", json!("1s"), json!("2s")),
        of("forward", "request_headers", json!(["cookie"]), json!(["cookie", "authorization"])),
        of("forward", "response_headers", json!(["x-one"]), json!(["x-two"])),
        of("forward", "client_headers", json!([]), json!(["set-cookie"])),
        of("forward", "identity", json!("x-one"), json!("x-two")),
        of("forward", "on_error", json!("closed"), json!("open")),
        of("forward", "cache.ttl", json!("1s"), json!("2s")),
        of("forward", "cache.refusals", json!("off"), json!("1s")),
        place("auth.NAME.identity_metrics".to_owned(), "auth.forward.identity_metrics", false, true),
        of("forward", "cache.key", json!(["header:cookie", "header:authorization"]), Value::Null),
    ]
}
