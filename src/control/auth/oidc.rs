//! The requests to an OpenID provider: its metadata, fetched before it is old, and its token endpoint, called for workers.

use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use super::client::Client;
use super::jwks::{keep_keys, pause, retry_pause};
use crate::config::KeyUrl;
use crate::control::connector::Tls;
use crate::control::upstreams::names::ActiveResolver;
use crate::net::tls::TlsError;
use crate::policy::auth::{
    ClientAuthentication, Grant, HiddenText, Metadata, Outcome, Provider, ProviderSource, TokenCall,
    TokenError, Tokens,
};

/// The calls of the token endpoint that are in progress at once.
const CALLS_MAX: usize = 32;

/// The shortest time between two fetches of the metadata, however many logins wait for it.
const FETCH_EVERY: Duration = Duration::from_secs(1);

/// The place of the metadata below the issuer (OpenID Connect Discovery 1.0 §4.1).
const WELL_KNOWN: &str = "/.well-known/openid-configuration";

/// The clients of a provider's endpoints.
pub(crate) struct Web {
    metadata: Client,
    tls: Tls,
    resolver: ActiveResolver,
}

impl Web {
    /// Creates the client of an issuer's metadata.
    ///
    /// # Errors
    /// The host has no name that a certificate can have.
    pub(crate) fn new(issuer: &KeyUrl, tls: Tls, resolver: ActiveResolver) -> Result<Self, TlsError> {
        let target = format!("{}{WELL_KNOWN}", issuer.target.trim_end_matches('/'));
        let metadata = Client::new(KeyUrl { target, ..issuer.clone() }, &tls, resolver.clone())?;
        Ok(Self { metadata, tls, resolver })
    }

    fn client(&self, url: &KeyUrl) -> Result<Client, String> {
        Client::new(url.clone(), &self.tls, self.resolver.clone()).map_err(|error| error.to_string())
    }
}

/// Serves the provider of the way `name` for as long as a snapshot has it.
pub(crate) fn keep_provider(name: Arc<str>, provider: &Arc<Provider>, web: Web) {
    let Some(calls) = provider.take_calls() else { return };
    let (wanted, weak) = (provider.wanted().clone(), Arc::downgrade(provider));
    let web = Arc::new(web);
    tokio::spawn(serve(name.clone(), weak.clone(), calls, web.clone()));
    tokio::spawn(async move {
        let mut failures = 0;
        while let Some(pause) = fetch(&name, &weak, &web, &mut failures).await {
            let ended = Instant::now();
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = wanted.notified() => tokio::time::sleep_until(ended + FETCH_EVERY).await,
            }
        }
    });
}

/// Fetches the metadata once. Returns the pause until the next fetch, or `None` if nothing has the provider any more.
async fn fetch(
    name: &Arc<str>,
    provider: &Weak<Provider>,
    web: &Web,
    failures: &mut u32,
) -> Option<Duration> {
    let provider = provider.upgrade()?;
    let source = provider.source();
    let limit = source.timeout;
    let fetched = tokio::time::timeout(limit, web.metadata.fetch()).await;
    let fetched = fetched.unwrap_or_else(|_elapsed| Err(format!("no response within {limit:?}")));
    let before = provider.metadata().clone();
    let parsed = fetched.and_then(|document| {
        let metadata = Metadata::parse(&document.body, name, source, before.as_deref())?;
        Ok((metadata, document.max_age))
    });
    let issuer = source.issuer.as_str();
    match parsed {
        Ok((metadata, max_age)) => {
            *failures = 0;
            let pause = pause(max_age, source.refresh);
            if before.as_ref().is_some_and(|before| before.is_same(&metadata)) {
                provider.end(None);
                return Some(pause);
            }
            tracing::info!(auth = &**name, issuer, "the provider's metadata is fetched");
            let is_known = |keys| {
                before.as_ref().and_then(|before| before.keys()).is_some_and(|one| Arc::ptr_eq(one, keys))
            };
            if let Some(keys) = metadata.keys().filter(|keys| !is_known(keys)) {
                match web.client(&metadata.jwks_uri) {
                    Ok(client) => keep_keys(name.to_string(), keys, client),
                    Err(reason) => tracing::warn!(
                        auth = &**name,
                        issuer,
                        "the provider's keys cannot be fetched: {reason}"
                    ),
                }
            }
            provider.end(Some(metadata));
            Some(pause)
        }
        Err(reason) => {
            let consequence =
                if before.is_some() { "the last one stays in use" } else { "logins get 503 until it can" };
            tracing::warn!(
                auth = &**name,
                issuer,
                "the provider's metadata cannot be fetched: {reason}; {consequence}"
            );
            provider.end(None);
            Some(retry_pause(failures))
        }
    }
}

/// Calls the token endpoint for workers, until nothing has the provider any more.
async fn serve(
    name: Arc<str>,
    provider: Weak<Provider>,
    mut calls: mpsc::Receiver<TokenCall>,
    web: Arc<Web>,
) {
    let permits = Arc::new(Semaphore::new(CALLS_MAX));
    // Kept, with its connection, for as long as the endpoint is the same.
    let mut client: Option<(KeyUrl, Client)> = None;
    while let Some(TokenCall { grant, outcome }) = calls.recv().await {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let Some(provider) = provider.upgrade() else { return };
        let Some(metadata) = provider.metadata().clone() else { continue };
        if outcome.is_closed() {
            continue;
        }
        let url = &metadata.token_endpoint;
        if client.as_ref().is_none_or(|(known, _)| known != url) {
            client = web.client(url).ok().map(|client| (url.clone(), client));
        }
        let Some((_, client)) = client.clone() else { continue };
        let name = name.clone();
        tokio::spawn(async move {
            let result = call(&name, &client, &grant, provider.source(), &metadata).await;
            drop((provider, permit));
            outcome.send_replace(Some(result));
        });
    }
}

/// A response of the token endpoint (RFC 6749 §5.1), without what is not used.
#[derive(Deserialize)]
struct Granted {
    id_token: Option<Box<str>>,
    refresh_token: Option<Box<str>>,
    #[serde(default, deserialize_with = "seconds")]
    expires_in: Option<u64>,
}

/// An error of the token endpoint (RFC 6749 §5.2).
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// Reads a number of seconds, which some providers write as a text.
fn seconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(value.as_u64().or_else(|| value.as_str()?.parse().ok()))
}

async fn call(
    name: &str,
    client: &Client,
    grant: &Grant,
    source: &ProviderSource,
    metadata: &Metadata,
) -> Outcome {
    let (form, authorization) =
        request(grant, source, metadata.client_authentication(source.client_secret.is_some()));
    let posted = tokio::time::timeout(source.timeout, client.post(form, authorization)).await;
    let posted = posted.unwrap_or_else(|_elapsed| Err(format!("no response within {:?}", source.timeout)));
    let outcome = posted
        .map_err(|reason| (TokenError::Unavailable, reason))
        .and_then(|(status, body)| read(status, &body));
    outcome.map(Arc::new).map_err(|(error, reason)| {
        let endpoint = &metadata.token_endpoint;
        match error {
            TokenError::Refused => {
                tracing::info!(auth = name, %endpoint, "the provider refuses a grant: {reason}")
            }
            TokenError::Unavailable => {
                tracing::warn!(auth = name, %endpoint, "the provider gives no tokens: {reason}")
            }
        }
        error
    })
}

/// Returns the form of a request for tokens, and its credentials (RFC 6749 §2.3.1).
fn request(
    grant: &Grant,
    source: &ProviderSource,
    authentication: ClientAuthentication,
) -> (String, Option<HeaderValue>) {
    let mut form = form_urlencoded::Serializer::new(String::new());
    match grant {
        Grant::Code { code, verifier, redirect_uri } => form.extend_pairs([
            ("grant_type", "authorization_code"),
            ("code", &code.0),
            ("code_verifier", &verifier.0),
            ("redirect_uri", redirect_uri),
        ]),
        Grant::Refresh(token) => {
            form.extend_pairs([("grant_type", "refresh_token"), ("refresh_token", &token.0)])
        }
    };
    let secret = source.client_secret.as_ref().map(|HiddenText(secret)| &**secret).unwrap_or_default();
    let authorization = match authentication {
        ClientAuthentication::Basic => basic(&source.client_id, secret),
        ClientAuthentication::Post => {
            form.extend_pairs([("client_id", source.client_id.as_str()), ("client_secret", secret)]);
            None
        }
        ClientAuthentication::None => {
            form.append_pair("client_id", &source.client_id);
            None
        }
    };
    (form.finish(), authorization)
}

fn basic(client_id: &str, secret: &str) -> Option<HeaderValue> {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encoded(client_id), encoded(secret));
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Reads a response of the token endpoint. The reason of an error has nothing of a token.
fn read(status: StatusCode, body: &Bytes) -> Result<Tokens, (TokenError, String)> {
    if status == StatusCode::OK {
        let granted = serde_json::from_slice(body);
        // The parser's own words may show a token.
        let Granted { id_token, refresh_token, expires_in } = granted
            .map_err(|_| (TokenError::Unavailable, "its response is not that of RFC 6749".to_owned()))?;
        let received = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let hidden = |text: Option<Box<str>>| text.map(HiddenText);
        return Ok(Tokens {
            id_token: hidden(id_token),
            refresh_token: hidden(refresh_token),
            expires_in,
            received,
        });
    }
    let refusal: Option<Refusal> = serde_json::from_slice(body).ok().filter(|_| status.is_client_error());
    match refusal {
        // The gateway's own name, secret or registration: not the fault of the grant.
        Some(Refusal { error }) if ["invalid_client", "unauthorized_client"].contains(&&*error) => {
            Err((TokenError::Unavailable, format!("{error}: look at `client_id` and `client_secret`")))
        }
        Some(Refusal { error }) if status != StatusCode::TOO_MANY_REQUESTS => {
            let shown: String = error.chars().filter(char::is_ascii_graphic).take(64).collect();
            Err((TokenError::Refused, shown))
        }
        _ => Err((TokenError::Unavailable, format!("status {}", status.as_u16()))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn response_of_the_token_endpoint_is_tokens_a_refusal_or_a_fault() {
        let read = |status: u16, body: &str| {
            let outcome =
                read(StatusCode::from_u16(status).unwrap(), &Bytes::copy_from_slice(body.as_bytes()));
            outcome.map(|tokens| tokens.expires_in).map_err(|(error, _)| error)
        };
        for (status, body, expected) in [
            (200, r#"{"id_token":"a","expires_in":60}"#, Ok(Some(60))),
            (200, r#"{"id_token":"a","expires_in":"60"}"#, Ok(Some(60))),
            (200, r#"{"access_token":"a","expires_in":null}"#, Ok(None)),
            (200, r#"{"id_token":5}"#, Err(TokenError::Unavailable)),
            (200, "<html>", Err(TokenError::Unavailable)),
            (400, r#"{"error":"invalid_grant","error_description":"x"}"#, Err(TokenError::Refused)),
            (401, r#"{"error":"invalid_client"}"#, Err(TokenError::Unavailable)),
            (400, "<html>", Err(TokenError::Unavailable)),
            (404, "", Err(TokenError::Unavailable)),
            (429, r#"{"error":"slow_down"}"#, Err(TokenError::Unavailable)),
            (503, r#"{"error":"invalid_grant"}"#, Err(TokenError::Unavailable)),
        ] {
            assert_eq!(read(status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn client_shows_its_secret_in_a_field_or_in_the_form() {
        let source = ProviderSource {
            issuer: "https://a".parse().unwrap(),
            client_id: "a b".to_owned(),
            client_secret: Some(HiddenText("c:d".into())),
            ca: None,
            timeout: Duration::from_secs(1),
            refresh: Duration::from_secs(1),
            leeway: Duration::ZERO,
        };
        let grant = Grant::Refresh(HiddenText("t&t".into()));
        let request = |authentication| request(&grant, &source, authentication);
        let (form, field) = request(ClientAuthentication::Basic);
        assert_eq!(form, "grant_type=refresh_token&refresh_token=t%26t");
        assert_eq!(field.unwrap(), format!("Basic {}", STANDARD.encode("a+b:c%3Ad")));
        let (form, field) = request(ClientAuthentication::Post);
        assert_eq!((form.split_once("&client_id=").unwrap().1, field), ("a+b&client_secret=c%3Ad", None));
        let (form, field) = request(ClientAuthentication::None);
        assert_eq!((form.split_once("t%26t").unwrap().1, field), ("&client_id=a+b", None));
    }
}
