//! The metadata of a provider (OpenID Connect Discovery 1.0 §3), as far as the gateway uses it.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::source::ProviderSource;
use crate::config::{KeySource, KeyUrl, Scheme};
use crate::policy::auth::jwt::{Failure, Jwt, Keys, RemoteKeys, RemoteSource, Settings, seconds, unix_time};
use crate::policy::identity::Identity;

/// The time between two fetches of keys that tokens with unknown keys cause. It is short, because such tokens come from the provider
/// itself.
const COOLDOWN: Duration = Duration::from_secs(1);

/// The metadata of a provider.
#[derive(Debug)]
pub(crate) struct Metadata {
    /// The document that it was read from.
    document: Document,
    pub(crate) token_endpoint: KeyUrl,
    pub(crate) jwks_uri: KeyUrl,
    client_id: Box<str>,
    /// Verifies ID tokens.
    jwt: Jwt,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    end_session_endpoint: Option<String>,
    #[serde(default = "algorithms_built_in")]
    id_token_signing_alg_values_supported: Vec<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// The way in which the gateway shows its name and secret at the token endpoint (OpenID Connect Core 1.0 §9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientAuthentication {
    Basic,
    Post,
    /// A public client, which has no secret.
    None,
}

/// A reason why an ID token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Invalid {
    /// The keys of the provider are not known.
    Keys,
    /// The reason, for the log.
    Token(&'static str),
}

/// The claims of an ID token that was verified.
#[derive(Debug)]
pub(super) struct IdToken {
    pub(super) identity: Arc<Identity>,
    pub(super) expires: Option<u64>,
}

fn algorithms_built_in() -> Vec<String> {
    vec!["RS256".to_owned()]
}

impl Metadata {
    /// Parses the metadata of the provider of a way. Takes over the keys of the metadata `before`, if they are at the same place.
    ///
    /// # Errors
    /// Returns the reason why the gateway cannot use it.
    pub(crate) fn parse(
        json: &[u8],
        way: &Arc<str>,
        source: &ProviderSource,
        before: Option<&Self>,
    ) -> Result<Self, String> {
        let document: Document =
            serde_json::from_slice(json).map_err(|error| format!("it is no provider's metadata: {error}"))?;
        if document.issuer != source.issuer.as_str() {
            return Err(format!("it is of the issuer {:?}, which must be the same text", document.issuer));
        }
        let needs_tls = source.issuer.url().scheme == Scheme::Https;
        let url = |name: &str, text: &str| endpoint(name, text, needs_tls);
        url("authorization_endpoint", &document.authorization_endpoint)?;
        if let Some(end_session) = &document.end_session_endpoint {
            url("end_session_endpoint", end_session)?;
        }
        let token_endpoint = url("token_endpoint", &document.token_endpoint)?;
        let jwks_uri = url("jwks_uri", &document.jwks_uri)?;
        let (issuer, leeway) = (source.issuer.as_str(), seconds(source.leeway));
        let algorithms = &document.id_token_signing_alg_values_supported;
        let settings = Settings::of_id_tokens(way, issuer, &source.client_id, algorithms, leeway);
        let settings =
            settings.ok_or("it signs ID tokens by no algorithm with public keys that is supported")?;
        let keys = before.filter(|before| before.jwks_uri == jwks_uri).and_then(|before| before.jwt.remote());
        let keys = keys.cloned().unwrap_or_else(|| {
            Arc::new(RemoteKeys::new(RemoteSource {
                url: jwks_uri.clone(),
                ca: source.ca.clone(),
                timeout: source.timeout,
                cooldown: COOLDOWN,
                refresh: source.refresh,
            }))
        });
        // Each token is seen once, so none is remembered: there is no cache for any worker.
        let jwt = Jwt::new(settings, Keys::Remote(keys), 0);
        Ok(Self { document, token_endpoint, jwks_uri, client_id: source.client_id.as_str().into(), jwt })
    }

    /// Returns true if both say the same.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.document == other.document
    }

    pub(crate) fn keys(&self) -> Option<&Arc<RemoteKeys>> {
        self.jwt.remote()
    }

    pub(super) fn authorization_endpoint(&self) -> &str {
        &self.document.authorization_endpoint
    }

    pub(super) fn end_session_endpoint(&self) -> Option<&str> {
        self.document.end_session_endpoint.as_deref()
    }

    /// Returns true if the provider's responses always name it (RFC 9207 §2.3).
    pub(super) fn names_issuer(&self) -> bool {
        self.document.authorization_response_iss_parameter_supported
    }

    /// Returns the way to show the gateway's secret: in a field, unless the provider accepts only the form's. Without a list, a field is
    /// what each provider accepts.
    pub(crate) fn client_authentication(&self, has_secret: bool) -> ClientAuthentication {
        let methods = self.document.token_endpoint_auth_methods_supported.as_deref();
        let accepts = |method: &str| methods.is_some_and(|methods| methods.iter().any(|one| one == method));
        match has_secret {
            false => ClientAuthentication::None,
            true if accepts("client_secret_post") && !accepts("client_secret_basic") => {
                ClientAuthentication::Post
            }
            true => ClientAuthentication::Basic,
        }
    }

    /// Verifies an ID token (OpenID Connect Core 1.0 §3.1.3.7). One of a login has its `nonce`.
    ///
    /// # Errors
    /// The token is not valid, or the provider's keys are not known.
    pub(super) async fn verify(&self, token: &str, nonce: Option<&str>) -> Result<IdToken, Invalid> {
        let identity = self.jwt.verify_at(token, unix_time()).await.map_err(|failure| match failure {
            Failure::Keys => Invalid::Keys,
            failure => Invalid::Token(failure.reason()),
        })?;
        let claims = &identity.claims;
        check(claims, &self.client_id, nonce).map_err(Invalid::Token)?;
        let expires = claims.get("exp").and_then(Value::as_f64).map(|seconds| seconds as u64);
        Ok(IdToken { identity, expires })
    }
}

/// Checks the claims that only ID tokens have.
fn check(claims: &Map<String, Value>, client_id: &str, nonce: Option<&str>) -> Result<(), &'static str> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if nonce.is_some() && text("nonce") != nonce {
        return Err("its `nonce` is not that of the login");
    }
    let has_several = claims.get("aud").and_then(Value::as_array).is_some_and(|several| several.len() > 1);
    match claims.get("azp").map(Value::as_str) {
        None if has_several => Err("it is for several audiences and has no `azp`"),
        Some(azp) if azp != Some(client_id) => Err("its `azp` is another client"),
        _ => Ok(()),
    }
}

/// Parses the URL of an endpoint.
fn endpoint(name: &str, text: &str, needs_tls: bool) -> Result<KeyUrl, String> {
    match text.parse() {
        Ok(KeySource::Url(url)) if needs_tls && url.scheme != Scheme::Https => {
            Err(format!("its `{name}` is not an https URL"))
        }
        Ok(KeySource::Url(url)) => Ok(url),
        _ => Err(format!("its `{name}` is not a URL")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::IssuerUrl;

    fn source(issuer: &str) -> ProviderSource {
        ProviderSource {
            issuer: issuer.parse::<IssuerUrl>().unwrap(),
            client_id: "gateway".to_owned(),
            client_secret: None,
            ca: None,
            timeout: Duration::from_secs(5),
            refresh: Duration::from_secs(60),
            leeway: Duration::ZERO,
        }
    }

    fn parse(issuer: &str, changes: &Value) -> Result<Metadata, String> {
        let mut document = json!({
            "issuer": "https://id.example.com",
            "authorization_endpoint": "https://id.example.com/auth",
            "token_endpoint": "https://id.example.com/token",
            "jwks_uri": "https://keys.example.com/jwks",
        });
        document.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        Metadata::parse(document.to_string().as_bytes(), &"staff".into(), &source(issuer), None)
    }

    #[test]
    fn metadata_is_of_the_issuer_and_has_https_endpoints() {
        const ISSUER: &str = "https://id.example.com";
        assert!(parse(ISSUER, &json!({})).is_ok());
        for (issuer, changes, reason) in [
            ("https://id.example.com/", json!({}), "it is of the issuer"),
            (ISSUER, json!({ "issuer": "https://id.example.com/" }), "it is of the issuer"),
            (ISSUER, json!({ "issuer": null }), "it is no provider's metadata"),
            (ISSUER, json!({ "token_endpoint": "http://id.example.com/token" }), "`token_endpoint`"),
            (ISSUER, json!({ "authorization_endpoint": "http://a/" }), "`authorization_endpoint`"),
            (ISSUER, json!({ "authorization_endpoint": "javascript:alert(1)" }), "`authorization_endpoint`"),
            (ISSUER, json!({ "end_session_endpoint": "http://a/" }), "`end_session_endpoint`"),
            (ISSUER, json!({ "jwks_uri": "keys.json" }), "`jwks_uri`"),
            (ISSUER, json!({ "id_token_signing_alg_values_supported": ["none", "HS256"] }), "no algorithm"),
        ] {
            let error = parse(issuer, &changes).unwrap_err();
            assert!(error.contains(reason), "{changes}: {error}");
        }
        let plain = json!({ "issuer": "http://localhost", "token_endpoint": "http://localhost/token" });
        assert!(parse("http://localhost", &plain).is_ok());
    }

    #[test]
    fn secret_is_shown_as_the_provider_accepts_it() {
        for (methods, has_secret, expected) in [
            (json!(null), true, ClientAuthentication::Basic),
            (json!(["client_secret_post"]), true, ClientAuthentication::Post),
            (json!(["client_secret_post", "client_secret_basic"]), true, ClientAuthentication::Basic),
            (json!(["private_key_jwt"]), true, ClientAuthentication::Basic),
            (json!(["client_secret_post"]), false, ClientAuthentication::None),
        ] {
            let changes = json!({ "token_endpoint_auth_methods_supported": methods });
            let metadata = parse("https://id.example.com", &changes).unwrap();
            assert_eq!(metadata.client_authentication(has_secret), expected, "{methods}");
        }
    }

    #[test]
    fn id_token_is_of_the_login_and_for_the_gateway() {
        for (claims, nonce, is_valid) in [
            (json!({ "nonce": "n", "aud": "gateway" }), Some("n"), true),
            (json!({ "nonce": "m", "aud": "gateway" }), Some("n"), false),
            (json!({ "aud": "gateway" }), Some("n"), false),
            (json!({ "aud": "gateway" }), None, true),
            (json!({ "aud": ["gateway"] }), None, true),
            (json!({ "aud": ["gateway", "other"] }), None, false),
            (json!({ "aud": ["gateway", "other"], "azp": "gateway" }), None, true),
            (json!({ "aud": ["gateway", "other"], "azp": "other" }), None, false),
            (json!({ "aud": "gateway", "azp": 1 }), None, false),
        ] {
            let checked = check(claims.as_object().unwrap(), "gateway", nonce);
            assert_eq!(checked.is_ok(), is_valid, "{claims}");
        }
    }
}
