//! Authentication: who calls, and whether the caller may use the route.

mod api_key;
mod claims;
mod credentials;
#[allow(dead_code, reason = "no way names it yet")]
mod jwt;
mod require;

use std::sync::Arc;

pub(crate) use api_key::{ApiKey, hash_key};
pub(crate) use claims::ClaimsToHeaders;
pub(crate) use credentials::Credentials;
use http::{HeaderValue, header};
#[allow(unused_imports, reason = "no way names it yet")]
pub(crate) use jwt::{KeySet, RemoteKeys};
pub(crate) use require::Require;

use super::identity::Identity;
use super::refusal::Refusal;
use crate::http::error::Error;
use crate::http::fields::Fields;

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
}

/// The kinds of ways. Each has its file here and in `config/model/auth/`.
pub(crate) enum Kind {
    ApiKey(ApiKey),
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
    /// Whether they are valid cannot be found out now.
    #[allow(dead_code, reason = "the ways that ask others follow")]
    Unavailable(&'static str),
}

/// The reason for refusing a request without credentials.
const REQUIRED: &str = "auth.required";

impl Auth {
    /// Finds out who calls. Removes the credentials from the request, and puts claims into its fields.
    ///
    /// # Errors
    /// Refuses a request whose caller is not known, or may not use the route.
    pub(crate) async fn request(
        &self,
        request: &mut Credentials<'_, '_>,
    ) -> Result<Vec<Arc<Identity>>, Refusal> {
        let mut identities = Vec::new();
        let (mut refused, mut unavailable) = (None, None);
        for way in &self.ways {
            let is_known = match way.verify(request).await {
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
                Verdict::Absent => false,
            };
            // Of several ways that do, the first known caller is enough; of several that must, the first unknown one.
            if is_known != self.needs_all {
                break;
            }
        }
        let wanted = if self.needs_all { self.ways.len() } else { 1 };
        if identities.len() < wanted {
            return Err(match (unavailable, refused) {
                (Some(reason), _) => Error::AuthUnavailable(reason).into(),
                (None, refused) => self.challenge(refused),
            });
        }
        self.require.admit(&identities)?;
        for way in &self.ways {
            way.remove_credentials(request);
            way.claims_to_headers.remove(request.headers);
        }
        for identity in &identities {
            if let Some(way) = self.ways.iter().find(|way| way.name == identity.way) {
                way.claims_to_headers.set(identity, request.headers);
            }
        }
        Ok(identities)
    }

    /// Returns the 401 with a challenge of each way (RFC 9110 §11.6.1).
    fn challenge(&self, refused: Option<&'static str>) -> Refusal {
        let mut fields = Fields::new();
        for way in &self.ways {
            fields.extend(way.challenge().map(|value| (header::WWW_AUTHENTICATE, value)));
        }
        Refusal { error: Error::Unauthenticated(refused.unwrap_or(REQUIRED)), fields }
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
    /// Judges the credentials of a request.
    #[allow(clippy::unused_async, reason = "the ways that ask others follow")]
    async fn verify(&self, request: &Credentials<'_, '_>) -> Verdict {
        match &self.kind {
            Kind::ApiKey(keys) => keys.verify(&self.name, request),
        }
    }

    fn challenge(&self) -> Option<HeaderValue> {
        match &self.kind {
            Kind::ApiKey(_) => {
                let challenge = format!("ApiKey realm=\"{}\"", quotable(&self.name));
                HeaderValue::try_from(challenge).ok()
            }
        }
    }

    fn remove_credentials(&self, request: &mut Credentials<'_, '_>) {
        match &self.kind {
            Kind::ApiKey(keys) => keys.remove(request),
        }
    }
}

/// Returns a text without what a quoted string must escape (RFC 9110 §5.6.4).
fn quotable(text: &str) -> String {
    text.replace(['"', '\\'], "")
}
