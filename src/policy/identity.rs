//! A caller that is known.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value};

/// The name of the claim that is the subject, wherever claims are named.
pub(crate) const SUBJECT: &str = "sub";

/// A caller that authentication knows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Identity {
    /// The way by which it is known, by its name under `auth`.
    pub(crate) way: Arc<str>,
    /// Its name, unique within the way. Empty for a token without `sub`, if the way accepts such.
    pub(crate) subject: Box<str>,
    /// Everything else that is known about it: claims of a token, metadata of a key.
    pub(crate) claims: Map<String, Value>,
}

impl Identity {
    /// Returns a claim as a text: texts as they are, numbers and truth values as JSON writes them, the texts of a list with commas between
    /// them. Returns `None` if there is no such claim, or if it is of another kind or empty.
    pub(crate) fn text(&self, claim: &str) -> Option<Cow<'_, str>> {
        if claim == SUBJECT {
            return Some(Cow::Borrowed(&*self.subject)).filter(|subject| !subject.is_empty());
        }
        let text = match find(&self.claims, claim)? {
            Value::String(text) => Cow::Borrowed(text.as_str()),
            // A reader would take a member with a comma for two.
            Value::Array(_) if self.members(claim).any(|member| member.contains(',')) => return None,
            Value::Array(_) => Cow::Owned(self.members(claim).collect::<Vec<_>>().join(",")),
            Value::Bool(truth) => Cow::Owned(truth.to_string()),
            Value::Number(number) => Cow::Owned(number.to_string()),
            Value::Null | Value::Object(_) => return None,
        };
        Some(text).filter(|text| !text.is_empty())
    }

    /// Returns the texts of a claim: the members of a list, or the words of a text (RFC 8693 §4.2).
    pub(crate) fn members(&self, claim: &str) -> impl Iterator<Item = &str> {
        let (text, list) = match find(&self.claims, claim) {
            Some(Value::String(text)) => (text.as_str(), &[][..]),
            Some(Value::Array(list)) => ("", list.as_slice()),
            _ => ("", &[][..]),
        };
        text.split_ascii_whitespace().chain(list.iter().filter_map(Value::as_str))
    }
}

/// Returns the claim of this name; else the member of an object that the dots in the name lead to, as in `realm_access.roles`.
pub(crate) fn find<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let (first, rest) = name.split_once('.')?;
    rest.split('.').try_fold(claims.get(first)?, |value, name| value.get(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_are_texts_and_lists() {
        let claims = json!({
            "plan": "gold", "scope": "a b", "groups": ["x", "y z", 1], "level": 7, "ok": true, "none": null, "empty": "",
            "deep": { "a": 1, "b": ["x"] }, "deep.c": "flat", "pair": ["a", "b,c"],
        });
        let Value::Object(claims) = claims else { panic!() };
        let identity = Identity { way: "partners".into(), subject: "acme".into(), claims };
        for (claim, text) in [
            ("sub", Some("acme")),
            ("plan", Some("gold")),
            ("scope", Some("a b")),
            ("groups", Some("x,y z")),
            ("level", Some("7")),
            ("ok", Some("true")),
            ("none", None),
            ("empty", None),
            ("deep", None),
            ("deep.a", Some("1")),
            ("deep.b", Some("x")),
            ("deep.b.0", None),
            ("deep.c", Some("flat")),
            ("pair", None),
            ("missing", None),
        ] {
            assert_eq!(identity.text(claim).as_deref(), text, "{claim}");
        }
        let members = |claim| identity.members(claim).collect::<Vec<_>>();
        assert_eq!(members("scope"), ["a", "b"]);
        assert_eq!(members("groups"), ["x", "y z"]);
        assert_eq!(members("level"), [""; 0]);
    }
}
