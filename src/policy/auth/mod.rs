//! Authentication: who calls, and whether the caller may use the route.

mod api_key;
mod basic;
mod claims;
mod credentials;
mod forward;
mod jwt;
mod mtls;
mod oidc;
mod place;
mod require;

use std::sync::Arc;

pub(crate) use api_key::{ApiKey, hash_key};
pub(crate) use basic::{Basic, InvalidLine, Users, comparisons};
use bytes::Bytes;
pub(crate) use claims::ClaimsToHeaders;
pub(crate) use credentials::{Credentials, RequestContext};
pub(crate) use forward::{Asked, AuthServer, BODY_BYTES_MAX, Forward, ForwardSettings, Question};
use http::{HeaderValue, StatusCode, header};
#[cfg(fuzzing)]
pub(crate) use jwt::fuzz as fuzz_token;
pub(crate) use jwt::{Failure, Jwt, KeySet, Keys, RemoteKeys, RemoteSource, Settings};
pub(crate) use mtls::Mtls;
#[cfg(fuzzing)]
pub(crate) use oidc::fuzz as fuzz_session;
pub(crate) use oidc::{
    ClientAuthentication, Grant, HiddenText, Metadata, Oidc, OidcSettings, Outcome, Provider, ProviderSource,
    Sealer, TokenCall, TokenError, Tokens,
};
pub(crate) use require::Require;

use super::identity::Identity;
use super::refusal::Refusal;
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::forward::remove_named;
use crate::http::message::Response;
use crate::observe::metrics::{AuthOutcome, AuthReport, AuthStats};

/// The authentication of a route.
#[derive(Clone)]
pub(crate) struct Auth {
    /// In the order of the file.
    pub(crate) ways: Box<[Arc<Way>]>,
    /// True if all of the ways are needed.
    pub(crate) needs_all: bool,
    pub(crate) require: Require,
}

/// A way to know who calls, which several routes may use.
pub(crate) struct Way {
    /// Its name under `auth`.
    pub(crate) name: Arc<str>,
    pub(crate) kind: Kind,
    pub(crate) claims_to_headers: ClaimsToHeaders,
    /// Shared by the ways of this name of successive configurations.
    pub(crate) stats: Arc<AuthStats>,
    /// True if the requests of each identity are counted.
    pub(crate) counts_identities: bool,
}

/// The kinds of ways. Each has its file here and in `config/model/auth/`.
pub(crate) enum Kind {
    ApiKey(ApiKey),
    /// Shared by the ways of successive configurations, as long as it stays the same.
    Jwt(Arc<Jwt>),
    Basic(Basic),
    /// Shared in the same way, for the answers that it remembers.
    Forward(Arc<Forward>),
    Mtls(Mtls),
    /// Shared in the same way, for its provider and the refreshes in progress.
    Oidc(Arc<Oidc>),
}

/// The verdict of a way on a request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// The request has no credentials of this kind.
    Absent,
    /// It has valid ones.
    Known(Arc<Identity>),
    /// It has some that are not valid. The reason begins with `auth.` and the kind.
    Refused(&'static str),
    /// It cannot be found out now if they are valid.
    Unavailable(&'static str),
    /// The way has a response of its own, if no other way knows the caller: that of a server it asked, or a place to log in.
    Responds(Box<WayResponse>),
    /// It cannot be found out now who calls, and the way admits such requests: if no other way knows the caller, without an identity.
    Open,
}

/// The caller of a request that is admitted.
#[derive(Debug, Default)]
pub(crate) struct Admitted {
    /// The callers that the ways know; the first one is the caller of the request. There may be none if a way admits requests that it cannot judge.
    pub(crate) identities: Vec<Arc<Identity>>,
    /// Fields that the response gets, whichever it is.
    pub(crate) response: Fields,
}

/// The response to a request that is not admitted.
#[derive(Debug, PartialEq)]
pub(crate) enum Denial {
    Refused(Refusal),
    Response(Box<WayResponse>),
}

impl Denial {
    /// Returns the error in place of a way's own response, for a call of gRPC, whose client could not read the response.
    pub(crate) fn error_for_call(own: &WayResponse) -> Error {
        let reason = own.reason.unwrap_or(DENIED);
        match own.response.status {
            StatusCode::FORBIDDEN => Error::Forbidden(reason),
            _ => Error::Unauthenticated(reason),
        }
    }
}

/// A way's own response to a request that is not admitted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WayResponse {
    pub(crate) response: Response<Bytes>,
    /// The reason for logs and metrics, if the response reports a failure. It is a 403 then.
    pub(crate) reason: Option<&'static str>,
}

impl From<Response<Bytes>> for WayResponse {
    fn from(response: Response<Bytes>) -> Self {
        Self { response, reason: None }
    }
}

impl From<Refusal> for Denial {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// The fields that a way adds for a caller that it knows. They are set behind the removal of those that the client has sent.
#[derive(Debug, Default)]
struct Additions {
    request: Fields,
    response: Fields,
}

/// The reason for refusing a request without credentials.
const REQUIRED: &str = "auth.required";

/// The reason in place of a way's own response.
const DENIED: &str = "auth.denied";

impl Auth {
    /// Finds out who calls. Removes the credentials from the request, and puts claims into its fields.
    ///
    /// # Errors
    /// Refuses a request whose caller is not known, or may not use the route.
    pub(crate) async fn request(&self, request: &mut Credentials<'_, '_>) -> Result<Admitted, Denial> {
        let mut identities = Vec::new();
        let mut additions = Additions::default();
        let (mut refused, mut unavailable, mut response) = (None, None, None);
        let (mut passed, mut is_open) = (0, false);
        for way in &self.ways {
            let verdict = way.verify(request, &mut additions).await;
            way.count(&verdict);
            let is_passed = match verdict {
                Verdict::Known(identity) => {
                    identities.push(identity);
                    true
                }
                Verdict::Refused(reason) => {
                    refused.get_or_insert(reason);
                    false
                }
                Verdict::Unavailable(reason) => {
                    unavailable.get_or_insert(reason);
                    false
                }
                Verdict::Responds(own) => {
                    response.get_or_insert(own);
                    false
                }
                // One of the other ways may know more.
                Verdict::Open => {
                    is_open = true;
                    self.needs_all
                }
                Verdict::Absent => false,
            };
            passed += usize::from(is_passed);
            // Of several ways that do, the first known caller is enough; of several that must, the first unknown one.
            if is_passed != self.needs_all {
                break;
            }
        }
        let is_admitted = if self.needs_all { passed == self.ways.len() } else { passed > 0 || is_open };
        if !is_admitted {
            return Err(match (response, unavailable, refused) {
                (Some(response), _, _) => Denial::Response(response),
                (None, Some(reason), _) => Refusal::from(Error::AuthUnavailable(reason)).into(),
                (None, None, refused) => self.challenge(refused).into(),
            });
        }
        self.require.admit(&identities)?;
        for way in &self.ways {
            let is_known = |way: &&Arc<Way>| identities.iter().any(|identity| identity.way == way.name);
            let is_verified = self.ways.iter().filter(is_known).any(|known| known.shares_credentials(way));
            way.remove_credentials(request, is_verified);
            way.claims_to_headers.remove(request.headers);
        }
        // A client that names fields of the gateway in `Connection` would have them removed with those of its connection.
        remove_named(request.headers);
        for identity in &identities {
            if let Some(way) = self.ways.iter().find(|way| way.name == identity.way) {
                way.claims_to_headers.set(identity, request.headers);
                way.forward(request);
            }
        }
        request.headers.extend(additions.request);
        Ok(Admitted { identities, response: additions.response })
    }

    /// Returns the 401 with a challenge of each way (RFC 9110 §11.6.1), or a 403 if there is none, which a 401 must have.
    fn challenge(&self, refused: Option<&'static str>) -> Refusal {
        let mut fields = Fields::new();
        for way in &self.ways {
            fields.extend(way.challenge(refused).map(|value| (header::WWW_AUTHENTICATE, value)));
        }
        let reason = refused.unwrap_or(REQUIRED);
        let has_challenge = fields.len() > 0;
        let error = if has_challenge { Error::Unauthenticated(reason) } else { Error::Forbidden(reason) };
        Refusal { error, fields }
    }

    /// Returns true if a caller that one of them knows is known and admitted by the other, too.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let is_same_way = |(one, other): (&Arc<Way>, &Arc<Way>)| Arc::ptr_eq(one, other);
        self.needs_all == other.needs_all
            && self.require == other.require
            && self.ways.len() == other.ways.len()
            && self.ways.iter().zip(&other.ways).all(is_same_way)
    }
}

impl Way {
    /// Returns true if the credentials of both are the same part of a request.
    fn shares_credentials(&self, other: &Self) -> bool {
        match (&self.kind, &other.kind) {
            (Kind::Jwt(own), Kind::Jwt(other)) => own.has_same_place(other),
            _ => std::ptr::eq(self, other),
        }
    }

    /// Returns the keys of an issuer that the way fetches, if it does, and knows where they are.
    pub(crate) fn remote_keys(&self) -> Option<Arc<RemoteKeys>> {
        match &self.kind {
            Kind::Jwt(jwt) => jwt.remote().cloned(),
            Kind::Oidc(oidc) => oidc.provider().metadata().as_ref()?.keys().cloned(),
            _ => None,
        }
    }

    /// Counts a request by the verdict on it.
    fn count(&self, verdict: &Verdict) {
        self.stats.count(match verdict {
            Verdict::Absent => AuthOutcome::Absent,
            Verdict::Known(_) => AuthOutcome::Known,
            Verdict::Refused(_) => AuthOutcome::Refused,
            Verdict::Unavailable(_) | Verdict::Open => AuthOutcome::Unavailable,
            Verdict::Responds(_) => AuthOutcome::Responded,
        });
        if let (true, Verdict::Known(identity)) = (self.counts_identities, verdict) {
            self.stats.count_identity(&identity.subject);
        }
    }

    /// Returns the counts of its requests.
    pub(crate) fn report(&self) -> AuthReport {
        self.stats.report(&self.name, self.counts_identities)
    }

    /// Judges the credentials of a request. For a caller that it knows, the way may add fields.
    async fn verify(&self, request: &Credentials<'_, '_>, additions: &mut Additions) -> Verdict {
        match &self.kind {
            Kind::ApiKey(keys) => keys.verify(request),
            Kind::Basic(basic) => basic.verify(request.headers).await,
            Kind::Forward(forward) => forward.verify(request, additions).await,
            Kind::Mtls(mtls) => mtls.verify(&self.name, request.certificate),
            Kind::Oidc(oidc) => oidc.verify(request, additions).await,
            Kind::Jwt(jwt) => match jwt.caller(request).await {
                Ok(Some(identity)) => Verdict::Known(identity),
                Ok(None) => Verdict::Absent,
                Err(Failure::Keys) => Verdict::Unavailable(Failure::Keys.reason()),
                Err(failure) => Verdict::Refused(failure.reason()),
            },
        }
    }

    fn challenge(&self, refused: Option<&'static str>) -> Option<HeaderValue> {
        match &self.kind {
            Kind::Jwt(jwt) => jwt.challenge(&quotable(&self.name), refused),
            Kind::ApiKey(_) => {
                let challenge = format!("ApiKey realm=\"{}\"", quotable(&self.name));
                HeaderValue::try_from(challenge).ok()
            }
            Kind::Basic(basic) => Some(basic.challenge().clone()),
            // No request can bring a certificate: its connection has one, or not. A server has its own challenges.
            Kind::Mtls(_) | Kind::Forward(_) => None,
            // No scheme is for sessions in cookies. This name is that of a draft, and browsers pass it over.
            Kind::Oidc(_) => HeaderValue::try_from(format!("Cookie realm=\"{}\"", quotable(&self.name))).ok(),
        }
    }

    /// Removes the credentials. Those that were verified go up if the way says so.
    fn remove_credentials(&self, request: &mut Credentials<'_, '_>, is_verified: bool) {
        match &self.kind {
            Kind::ApiKey(keys) => keys.remove(request),
            Kind::Jwt(jwt) => jwt.remove(request, is_verified),
            Kind::Basic(_) => Basic::remove(request.headers),
            // The upstream may need the fields that the server decides by, too.
            Kind::Forward(forward) => forward.remove(request.headers),
            Kind::Mtls(_) => Mtls::remove(request.headers),
            Kind::Oidc(oidc) => oidc.remove(request.headers),
        }
    }

    /// Sets the fields by which the upstream gets the credentials of a known caller, if the way has any.
    fn forward(&self, request: &mut Credentials<'_, '_>) {
        if let (Kind::Mtls(mtls), Some(certificate)) = (&self.kind, request.certificate) {
            mtls.forward(certificate, request.headers);
        }
    }
}

/// Returns a text without what a quoted string must escape (RFC 9110 §5.6.4).
fn quotable(text: &str) -> String {
    text.replace(['"', '\\'], "")
}
