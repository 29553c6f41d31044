//! Names and passwords by the Basic scheme (RFC 7617), checked against an htpasswd file.

mod cache;
mod credentials;
mod hash;
#[cfg(test)]
mod tests;
mod users;
mod verifier;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, header};

use self::credentials::{BasicCredentials, Found, is_basic};
pub(crate) use self::users::{InvalidLine, Users};
use self::verifier::{Comparison, Verifier};
use super::Verdict;
use crate::http::fields::Fields;

/// The reasons for refusing a name or a password, and for not finding out.
const WRONG: &str = "auth.basic.credentials";
const BUSY: &str = "auth.basic.busy";

/// A way to know users by their passwords.
#[derive(Debug)]
pub(crate) struct Basic {
    users: Users,
    /// The time for which a password that was right needs no computation.
    match_age_max: Duration,
    /// The value of `WWW-Authenticate` for a request that needs credentials.
    challenge: HeaderValue,
}

impl Basic {
    /// Returns the way for the users of a file. `realm` has no control characters, and is ASCII.
    pub(crate) fn new(users: Users, realm: &str, match_age_max: Duration) -> Option<Self> {
        let realm = realm.replace('\\', "\\\\").replace('"', "\\\"");
        let challenge = HeaderValue::from_str(&format!("Basic realm=\"{realm}\", charset=\"UTF-8\"")).ok()?;
        Some(Self { users, match_age_max, challenge })
    }

    /// Returns the value of `WWW-Authenticate` that asks for credentials.
    pub(crate) fn challenge(&self) -> &HeaderValue {
        &self.challenge
    }

    /// Judges the credentials of a request. An unknown user takes as long as the user whose hash is the costliest.
    pub(super) async fn verify(&self, headers: &Fields) -> Verdict {
        match BasicCredentials::find(headers) {
            Found::Absent => Verdict::Absent,
            Found::Malformed => Verdict::Refused("auth.basic.malformed"),
            // The time depends on what the client has sent, and not on the file.
            Found::TooLong => Verdict::Refused(WRONG),
            Found::Credentials(credentials) => {
                let Some(verifier) = Verifier::of_process() else { return Verdict::Unavailable(BUSY) };
                self.compare(&credentials, verifier).await
            }
        }
    }

    async fn compare(&self, credentials: &BasicCredentials, verifier: &Arc<Verifier>) -> Verdict {
        let Some((entry, identity)) = self.users.find(credentials.user()) else {
            return Verdict::Refused(WRONG);
        };
        let comparison = Comparison {
            user: credentials.user(),
            password: credentials.password(),
            entry,
            is_known: identity.is_some(),
            match_age_max: self.match_age_max,
        };
        match (verifier.compare(comparison).await, identity) {
            (Ok(true), Some(identity)) => Verdict::Known(Arc::clone(identity)),
            (Ok(_), _) => Verdict::Refused(WRONG),
            (Err(_busy), _) => Verdict::Unavailable(BUSY),
        }
    }

    /// Removes the credentials of this scheme. Those of another one may be for the upstream.
    pub(super) fn remove(headers: &mut Fields) {
        headers.retain(|name, value| name != header::AUTHORIZATION || !is_basic(value.as_bytes()));
    }
}

/// Returns the number of passwords that were compared with hashes, and the number of those that wait for it.
pub(crate) fn comparisons() -> (u64, u64) {
    Verifier::of_process().map_or((0, 0), |verifier| (verifier.computed(), verifier.queued()))
}
