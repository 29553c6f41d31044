//! The session of a person who has logged in: the content of its cookie.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::hidden_text::HiddenText;
use super::seal::{Purpose, Sealer};
use crate::policy::identity::Identity;

/// Claims of the protocol itself, which tell an application nothing about the person.
const PROTOCOL_CLAIMS: [&str; 11] =
    ["iss", "sub", "aud", "exp", "iat", "nbf", "nonce", "azp", "at_hash", "c_hash", "s_hash"];

/// The session of a person who has logged in. Times are in Unix seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Session {
    /// The claim `sub`.
    #[serde(rename = "s")]
    pub(super) subject: Box<str>,
    /// The claims that are kept.
    #[serde(rename = "c")]
    pub(super) claims: Map<String, Value>,
    /// The time of the login.
    #[serde(rename = "b")]
    pub(super) began: u64,
    /// The time at which the cookie was made.
    #[serde(rename = "w")]
    pub(super) written: u64,
    /// The end of the provider's word: the session needs a refresh then.
    #[serde(rename = "u")]
    pub(super) until: u64,
    /// The token for a refresh.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub(super) refresh_token: Option<HiddenText>,
    /// The ID token, which the provider gets back at the logout.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub(super) id_token: Option<HiddenText>,
}

/// The time limits of sessions, in seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lifetime {
    pub(super) max_age: u64,
    pub(super) idle: Option<u64>,
}

impl Session {
    pub(super) fn seal(&self, sealer: &Sealer) -> Option<String> {
        sealer.seal(Purpose::Session, &serde_json::to_vec(self).ok()?)
    }

    pub(super) fn open(sealed: &str, sealer: &Sealer) -> Option<Self> {
        serde_json::from_slice(&sealer.open(Purpose::Session, sealed)?).ok()
    }

    pub(super) fn into_identity(self, way: &Arc<str>) -> Identity {
        Identity { way: way.clone(), subject: self.subject, claims: self.claims }
    }
}

impl Lifetime {
    /// Returns the seconds for which the session may go on; `None` if it has ended. A time in the future is that of a gateway whose clock
    /// is ahead.
    pub(super) fn left(&self, session: &Session, now: u64) -> Option<u64> {
        let end = session.began.saturating_add(self.max_age);
        let idle_end = self.idle.map(|idle| session.written.saturating_add(idle));
        if idle_end.is_some_and(|end| now >= end) {
            return None;
        }
        end.checked_sub(now).filter(|left| *left > 0)
    }

    /// Returns the seconds for which a browser keeps the cookie of a session that is used now.
    pub(super) fn of_cookie(&self, session: &Session, now: u64) -> u64 {
        let left = session.began.saturating_add(self.max_age).saturating_sub(now);
        self.idle.map_or(left, |idle| left.min(idle))
    }

    /// Returns true if the cookie must be written again, so that a session in use does not end as one that is not. A session is written
    /// four times within `idle`, not with each response.
    pub(super) fn must_renew(&self, session: &Session, now: u64) -> bool {
        self.idle.is_some_and(|idle| now >= session.written.saturating_add(idle / 4))
    }
}

/// Returns the claims of an ID token that a session keeps: those that are named, or all but those of the protocol.
pub(super) fn kept_claims(claims: &Map<String, Value>, kept: Option<&[Box<str>]>) -> Map<String, Value> {
    let is_kept = |name: &str| match kept {
        Some(kept) => kept.iter().any(|kept| **kept == *name),
        None => !PROTOCOL_CLAIMS.contains(&name),
    };
    let claims = claims.iter().filter(|(name, _)| is_kept(name));
    claims.map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn session() -> Session {
        Session {
            subject: "ann".into(),
            claims: json!({ "email": "ann@example.com" }).as_object().unwrap().clone(),
            began: 1000,
            written: 1100,
            until: 2000,
            refresh_token: Some(HiddenText("refresh".into())),
            id_token: None,
        }
    }

    #[test]
    fn session_is_the_same_behind_its_cookie() {
        let sealer = Sealer::new(&["one"], &["staff"]).unwrap();
        let sealed = session().seal(&sealer).unwrap();
        assert_eq!(Session::open(&sealed, &sealer), Some(session()));
        assert_eq!(Session::open("", &sealer), None);
        assert!(!format!("{:?}", session()).contains("refresh\""), "{:?}", session());
    }

    #[test]
    fn session_ends_after_its_age_and_without_requests() {
        let lifetime = |max_age, idle| Lifetime { max_age, idle };
        for (lifetime, now, left) in [
            (lifetime(500, None), 1000, Some(500)),
            (lifetime(500, None), 1499, Some(1)),
            (lifetime(500, None), 1500, None),
            (lifetime(500, None), 900, Some(600)),
            (lifetime(500, Some(50)), 1149, Some(351)),
            (lifetime(500, Some(50)), 1150, None),
            (lifetime(u64::MAX, Some(50)), 1000, Some(u64::MAX - 1000)),
        ] {
            assert_eq!(lifetime.left(&session(), now), left, "{lifetime:?} at {now}");
        }
        assert_eq!(lifetime(500, Some(50)).of_cookie(&session(), 1200), 50);
        assert_eq!(lifetime(500, Some(50)).of_cookie(&session(), 1480), 20);
        assert!(!lifetime(500, Some(40)).must_renew(&session(), 1109));
        assert!(lifetime(500, Some(40)).must_renew(&session(), 1110));
        assert!(!lifetime(500, None).must_renew(&session(), 1499));
    }

    #[test]
    fn claims_that_are_named_are_kept_or_all_but_those_of_the_protocol() {
        let claims = json!({ "iss": "a", "sub": "b", "nonce": "c", "email": "d", "groups": ["e"] });
        let claims = claims.as_object().unwrap();
        let names = |kept: Option<&[Box<str>]>| kept_claims(claims, kept).keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(None), ["email", "groups"]);
        assert_eq!(names(Some(&["groups".into(), "nonce".into(), "x".into()])), ["nonce", "groups"]);
        assert!(names(Some(&[])).is_empty());
    }
}
