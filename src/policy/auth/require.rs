//! `require`: the claims that a known caller must have.

use std::sync::Arc;

use http::{HeaderValue, header};

use super::super::identity::{Identity, SUBJECT};
use super::super::refusal::Refusal;
use super::quotable;
use crate::config;
use crate::http::error::Error;
use crate::http::fields::Fields;

/// The claims that a known caller must have to use a route.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Require(config::Require);

impl Require {
    pub(crate) fn new(written: config::Require) -> Self {
        Self(written)
    }

    /// Admits a caller that has everything. Of one that several ways know, each claim may be in any of the identities.
    pub(crate) fn admit(&self, identities: &[Arc<Identity>]) -> Result<(), Refusal> {
        let has = |claim: &str, value: &String| {
            let mut has = identities.iter().map(|identity| {
                let is_subject = claim == SUBJECT && *identity.subject == **value;
                is_subject
                    || identity.members(claim).any(|member| member == value)
                    || identity.text(claim).is_some_and(|text| text == value.as_str())
            });
            has.any(|has| has)
        };
        let config::Require { scope, group, claims } = &self.0;
        if !scope.iter().all(|wanted| has("scope", wanted) || has("scp", wanted)) {
            return Err(insufficient_scope(scope));
        }
        if !group.is_empty() && !group.iter().any(|wanted| has("groups", wanted) || has("group", wanted)) {
            return Err(Error::Forbidden("require.group").into());
        }
        let has_claim =
            |(claim, values): (&String, &Vec<String>)| values.iter().any(|value| has(claim, value));
        if !claims.iter().all(has_claim) {
            return Err(Error::Forbidden("require.claims").into());
        }
        Ok(())
    }
}

/// Returns the refusal of a caller without the scopes, as RFC 6750 §3.1 asks for it.
fn insufficient_scope(scope: &[String]) -> Refusal {
    let value = format!("Bearer error=\"insufficient_scope\", scope=\"{}\"", quotable(&scope.join(" ")));
    let value = HeaderValue::try_from(value).ok();
    let fields: Fields = value.into_iter().map(|value| (header::WWW_AUTHENTICATE, value)).collect();
    Refusal { error: Error::Forbidden("require.scope"), fields }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::section;

    fn refusal(yaml: &str, claims: &Value) -> Option<&'static str> {
        let claims = claims.as_object().unwrap().clone();
        let identity = Identity { way: "a".into(), subject: "acme".into(), claims };
        let admitted = Require::new(section(yaml)).admit(&[Arc::new(identity)]);
        admitted.err().map(|refusal| refusal.error.reason())
    }

    #[test]
    fn caller_needs_all_scopes_one_group_and_every_claim() {
        let yaml = "{ scope: [a, b], group: [x, y], claims: { sub: [acme], level: ['7', '8'] } }";
        let all = json!({ "scope": "b c a", "groups": ["z", "y"], "level": 7 });
        assert_eq!(refusal(yaml, &all), None);
        assert_eq!(refusal("{}", &json!({})), None);
        for (claim, value, reason) in [
            ("scope", json!("a"), "require.scope"),
            ("scope", json!(["a"]), "require.scope"),
            ("scope", Value::Null, "require.scope"),
            ("scope", json!("ab"), "require.scope"),
            ("groups", json!([]), "require.group"),
            ("groups", json!(["xy"]), "require.group"),
            ("level", json!(9), "require.claims"),
            ("level", Value::Null, "require.claims"),
        ] {
            let mut claims = all.clone();
            claims[claim] = value;
            assert_eq!(refusal(yaml, &claims), Some(reason), "{claims}");
        }
        assert_eq!(refusal("{ claims: { sub: [other] } }", &all), Some("require.claims"));
        let other_names = json!({ "scp": ["a", "b"], "group": "x", "level": "8" });
        assert_eq!(refusal(yaml, &other_names), None);
    }

    #[test]
    fn lack_of_scopes_is_told_to_clients_of_oauth() {
        let require = Require::new(section("{ scope: ['orders:read', b] }"));
        let identity = Identity { way: "a".into(), subject: "acme".into(), claims: serde_json::Map::new() };
        let refusal = require.admit(&[Arc::new(identity)]).unwrap_err();
        let challenge = refusal.fields.get(header::WWW_AUTHENTICATE).unwrap();
        assert_eq!(challenge, "Bearer error=\"insufficient_scope\", scope=\"orders:read b\"");
    }
}
