//! An OpenID provider that a test scripts: it signs what the test says.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use support::serde_json::{Value, json};
use support::{Gate, Origin, Request};

use crate::auth_jwt::{SigningKey, encode, now, unsigned};

/// The gateway's secret there.
pub(super) const SECRET: &str = "the gateway's secret";

/// The way in which ID tokens are signed.
pub(super) enum Sign {
    Normal,
    /// Not at all, as `alg` says.
    None,
    /// By HMAC, with the public key as its secret.
    Hmac,
    /// By a key that the provider does not publish, under the identifier of one that it does.
    OtherKey,
}

/// The provider's behaviour, which a test changes.
pub(super) struct Script {
    pub(super) key: SigningKey,
    pub(super) kid: &'static str,
    pub(super) sign: Sign,
    /// Claims in place of the usual ones of ID tokens.
    pub(super) claims: Value,
    /// Members in place of the usual ones of the token endpoint's responses.
    pub(super) tokens: Value,
    /// Members in place of the usual ones of the metadata.
    pub(super) metadata: Value,
    /// The status and body of the token endpoint in place of tokens.
    pub(super) error: Option<(u16, &'static str)>,
    /// The gate that each request for tokens passes.
    pub(super) gate: Option<Gate>,
    /// The codes that are not used yet.
    codes: HashMap<String, Login>,
    /// The forms of the requests for tokens, in order.
    pub(super) asked: Vec<HashMap<String, String>>,
    number: usize,
}

/// A login that the provider has confirmed.
struct Login {
    nonce: String,
    challenge: String,
    redirect_uri: String,
}

/// A scripted provider.
pub(super) struct Scripted {
    origin: Origin,
    script: Arc<Mutex<Script>>,
}

impl Scripted {
    pub(super) fn start() -> Self {
        Self::start_at(None)
    }

    /// Starts at an address, for a provider that returns.
    pub(super) fn start_at(address: Option<SocketAddr>) -> Self {
        let script = Arc::new(Mutex::new(Script {
            key: SigningKey::es256(),
            kid: "one",
            sign: Sign::Normal,
            claims: json!({}),
            tokens: json!({}),
            metadata: json!({}),
            error: None,
            gate: None,
            codes: HashMap::new(),
            asked: Vec::new(),
            number: 0,
        }));
        let own = Arc::clone(&script);
        let mut builder = Origin::builder();
        if let Some(address) = address {
            builder = builder.address(address);
        }
        let origin = builder.script(move |mut connection| {
            let script = Arc::clone(&own);
            async move {
                while let Some(request) = connection.read_request().await {
                    let gate = script.lock().unwrap().gate.clone().filter(|_| request.target == "/token");
                    let response = script.lock().unwrap().respond(&request);
                    if let Some(gate) = gate {
                        gate.pass().await;
                    }
                    connection.write(&response).await;
                }
            }
        });
        Self { origin, script }
    }

    pub(super) fn issuer(&self) -> String {
        self.origin.url()
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(super) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    /// Confirms the login that a gateway's redirect asks for, as if the person had logged in. Returns the URL that the browser is sent
    /// back to.
    pub(super) fn confirm(&self, location: &str) -> String {
        let (place, query) = location.split_once('?').expect("a query");
        assert_eq!(place, format!("{}/authorize", self.issuer()));
        let asked = form(query.as_bytes());
        assert_eq!((&*asked["response_type"], &*asked["client_id"]), ("code", "gateway"));
        assert_eq!(asked["code_challenge_method"], "S256");
        let mut script = self.script();
        script.number += 1;
        let code = format!("code-{}", script.number);
        let login = Login {
            nonce: asked["nonce"].clone(),
            challenge: asked["code_challenge"].clone(),
            redirect_uri: asked["redirect_uri"].clone(),
        };
        let back = format!("{}?code={code}&state={}", login.redirect_uri, asked["state"]);
        script.codes.insert(code, login);
        back
    }
}

impl Script {
    fn respond(&mut self, request: &Request) -> Vec<u8> {
        let host = request.headers.get("host").unwrap();
        let (status, body) = match &*request.target {
            "/.well-known/openid-configuration" => (200, self.metadata(&format!("http://{host}"))),
            "/keys" => (200, json!({ "keys": [self.key.public(self.kid)] })),
            "/token" => self.token(request, &format!("http://{host}")),
            other => panic!("{other}"),
        };
        let body = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
        format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }

    fn metadata(&self, issuer: &str) -> Value {
        let metadata = json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"),
            "jwks_uri": format!("{issuer}/keys"),
            "end_session_endpoint": format!("{issuer}/end"),
            "id_token_signing_alg_values_supported": ["none", "HS256", "ES256", "RS256"],
        });
        changed(metadata, &self.metadata)
    }

    /// Responds to a request for tokens (RFC 6749 §4.1.3 and §6, RFC 7636 §4.5).
    fn token(&mut self, request: &Request, issuer: &str) -> (u16, Value) {
        let asked = form(&request.body);
        self.asked.push(asked.clone());
        if let Some((status, body)) = self.error {
            return (status, body.into());
        }
        let basic = support_basic("gateway", SECRET);
        if request.headers.get("authorization") != Some(&basic) {
            return (401, json!({ "error": "invalid_client" }));
        }
        let refused = (400, json!({ "error": "invalid_grant" }));
        let nonce = match &*asked["grant_type"] {
            "authorization_code" => {
                let Some(login) = self.codes.remove(&asked["code"]) else { return refused };
                let challenge = encode(digest(&SHA256, asked["code_verifier"].as_bytes()));
                if challenge != login.challenge || asked["redirect_uri"] != login.redirect_uri {
                    return refused;
                }
                Some(login.nonce)
            }
            "refresh_token" if asked["refresh_token"] == format!("refresh-{}", self.number) => {
                self.number += 1;
                None
            }
            _ => return refused,
        };
        let claims = json!({
            "iss": issuer, "aud": "gateway", "sub": "ann", "iat": now(), "exp": now() + 600, "nonce": nonce, "scope": null,
            "email": "ann@example.com", "groups": ["staff", "admins"],
        });
        let id_token = self.id_token(merged(claims, &self.claims));
        let tokens = json!({
            "access_token": "unused", "token_type": "Bearer", "expires_in": 600, "id_token": id_token,
            "refresh_token": format!("refresh-{}", self.number),
        });
        (200, changed(tokens, &self.tokens))
    }

    fn id_token(&self, claims: Value) -> String {
        match self.sign {
            Sign::Normal => self.key.token(self.kid, claims),
            Sign::OtherKey => SigningKey::es256().token(self.kid, claims),
            Sign::None => format!("{}.", unsigned(&json!({ "alg": "none", "kid": self.kid }), claims)),
            Sign::Hmac => {
                let signed = unsigned(&json!({ "alg": "HS256", "kid": self.kid }), claims);
                let public = self.key.public(self.kid).to_string();
                let mac =
                    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, public.as_bytes()), signed.as_bytes());
                format!("{signed}.{}", encode(mac))
            }
        }
    }
}

/// Returns an object with other members; one that is null is left out.
fn changed(object: Value, changes: &Value) -> Value {
    let mut object = merged(object, changes);
    object.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    object
}

/// Returns an object with other members.
fn merged(mut object: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        object[name] = value.clone();
    }
    object
}

/// The credentials of a client (RFC 6749 §2.3.1).
fn support_basic(name: &str, secret: &str) -> String {
    use base64::Engine as _;
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encoded(name), encoded(secret));
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}

fn form(text: &[u8]) -> HashMap<String, String> {
    form_urlencoded::parse(text).into_owned().collect()
}
