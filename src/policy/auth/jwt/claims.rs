//! The rules about claims (RFC 7519 §4.1).

use serde_json::{Map, Value};

use super::failure::Failure;
use crate::policy::identity::find;

/// The rules that the claims of a way's tokens must follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rules {
    /// The exact `iss`.
    pub(super) issuer: Box<str>,
    /// The accepted members of `aud`; any if empty.
    pub(super) audiences: Box<[Box<str>]>,
    /// Claims that must be there, as [`find`] finds them.
    pub(super) required: Box<[Box<str>]>,
    /// The seconds by which the clocks of the issuer and the gateway may differ.
    pub(super) leeway: u64,
}

impl Rules {
    /// Checks the claims at the time `now`, in Unix seconds. Returns the time at which they cease to be valid.
    pub(super) fn check(&self, claims: &Map<String, Value>, now: u64) -> Result<u64, Failure> {
        let (earliest, latest) = (now.saturating_sub(self.leeway), now.saturating_add(self.leeway));
        let until = match date(claims, "exp")? {
            // The time itself is too late already (RFC 7519 §4.1.4).
            Some(exp) if exp <= earliest as f64 => return Err(Failure::Expired),
            Some(exp) => (exp.ceil() as u64).saturating_add(self.leeway),
            None => u64::MAX,
        };
        if date(claims, "nbf")?.is_some_and(|nbf| nbf > latest as f64) {
            return Err(Failure::NotYet);
        }
        if date(claims, "iat")?.is_some_and(|iat| iat > latest as f64) {
            return Err(Failure::IssuedLater);
        }
        if claims.get("iss").and_then(Value::as_str) != Some(&self.issuer) {
            return Err(Failure::Issuer);
        }
        if !self.audiences.is_empty() && !self.is_for_us(claims.get("aud")) {
            return Err(Failure::Audience);
        }
        let is_there = |name: &str| find(claims, name).is_some_and(|value| !value.is_null());
        if !claims.get("sub").is_none_or(Value::is_string) || !self.required.iter().all(|name| is_there(name))
        {
            return Err(Failure::Claims);
        }
        Ok(until)
    }

    /// Returns true if one of the audiences is among ours. One audience may be written as a text (RFC 7519 §4.1.3).
    fn is_for_us(&self, aud: Option<&Value>) -> bool {
        let is_ours = |text: &str| self.audiences.iter().any(|ours| **ours == *text);
        match aud {
            Some(Value::String(one)) => is_ours(one),
            Some(Value::Array(several)) => {
                several.iter().all(Value::is_string) && several.iter().filter_map(Value::as_str).any(is_ours)
            }
            _ => false,
        }
    }
}

/// Returns a time in Unix seconds, which may have a fraction (RFC 7519 §2).
fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<f64>, Failure> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or(Failure::Claims),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_000_000;

    fn check(changes: &Value) -> Result<u64, Failure> {
        let rules = Rules {
            issuer: "https://issuer".into(),
            audiences: ["api".into(), "web".into()].into(),
            required: ["exp".into(), "sub".into(), "realm.roles".into()].into(),
            leeway: 60,
        };
        let mut claims = json!({
            "iss": "https://issuer", "aud": "api", "sub": "ann", "exp": NOW + 100, "realm": { "roles": ["a"] },
        });
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => claims.as_object_mut().unwrap().remove(name),
                value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
            };
        }
        rules.check(claims.as_object().unwrap(), NOW)
    }

    #[test]
    fn times_are_compared_with_leeway() {
        assert_eq!(check(&json!({})), Ok(NOW + 160));
        for (changes, expected) in [
            (json!({ "exp": NOW - 59 }), Ok(NOW + 1)),
            (json!({ "exp": NOW - 60 }), Err(Failure::Expired)),
            (json!({ "exp": 0 }), Err(Failure::Expired)),
            (json!({ "exp": -5 }), Err(Failure::Expired)),
            (json!({ "exp": NOW as f64 - 59.5 }), Ok(NOW + 1)),
            (json!({ "exp": 1e300 }), Ok(u64::MAX)),
            (json!({ "exp": "1000100" }), Err(Failure::Claims)),
            (json!({ "exp": null }), Err(Failure::Claims)),
            (json!({ "nbf": NOW + 60 }), Ok(NOW + 160)),
            (json!({ "nbf": NOW + 61 }), Err(Failure::NotYet)),
            (json!({ "nbf": [] }), Err(Failure::Claims)),
            (json!({ "iat": NOW + 60 }), Ok(NOW + 160)),
            (json!({ "iat": NOW + 61 }), Err(Failure::IssuedLater)),
        ] {
            assert_eq!(check(&changes), expected, "{changes}");
        }
    }

    #[test]
    fn issuer_and_audience_are_compared_exactly() {
        for (changes, expected) in [
            (json!({ "iss": "https://issuer/" }), Some(Failure::Issuer)),
            (json!({ "iss": ["https://issuer"] }), Some(Failure::Issuer)),
            (json!({ "iss": null }), Some(Failure::Issuer)),
            (json!({ "aud": "web" }), None),
            (json!({ "aud": ["other", "web"] }), None),
            (json!({ "aud": ["other"] }), Some(Failure::Audience)),
            (json!({ "aud": ["web", 1] }), Some(Failure::Audience)),
            (json!({ "aud": [] }), Some(Failure::Audience)),
            (json!({ "aud": "API" }), Some(Failure::Audience)),
            (json!({ "aud": "api web" }), Some(Failure::Audience)),
            (json!({ "aud": null }), Some(Failure::Audience)),
        ] {
            assert_eq!(check(&changes).err(), expected, "{changes}");
        }
    }

    #[test]
    fn required_claims_are_there() {
        for changes in [
            json!({ "sub": null }),
            json!({ "sub": 5 }),
            json!({ "realm": {} }),
            json!({ "realm": "roles" }),
            json!({ "realm": { "roles": null } }),
        ] {
            assert_eq!(check(&changes).err(), Some(Failure::Claims), "{changes}");
        }
        assert!(check(&json!({ "realm": null, "realm.roles": "flat" })).is_ok());
    }
}
