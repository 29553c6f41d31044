//! Edits of header fields.

use std::collections::HashSet;

use http::{HeaderName, HeaderValue};

use crate::http::fields::Fields;
use crate::http::forward::{has_spellings, is_spelling_of};

/// Fields that frame a message or route it on one connection. The gateway writes them itself. An edit could only make
/// two readers disagree on the end of a message.
const RESERVED: [&str; 10] = [
    "connection",
    "content-length",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The reason why a field cannot be set, added or removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderEditError {
    /// The text is not the name of a field.
    #[error("`{0}` is not a header name")]
    Name(String),
    /// The text is not the value of a field.
    #[error("the value of header `{0}` has characters that a header cannot have")]
    Value(String),
    /// The gateway writes this field itself.
    #[error(
        "`{0}` is written by the gateway itself: leave it out (the Host sent upstream is the route's `host`)"
    )]
    Reserved(String),
}

/// The edits of a route to the fields of its requests and responses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Headers {
    pub(crate) request: HeaderEdits,
    pub(crate) response: HeaderEdits,
}

/// Edits to the fields of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HeaderEdits {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
    /// Removed and set names that have other spellings.
    spelt: Vec<HeaderName>,
}

impl HeaderEdits {
    /// Parses the edits: fields to set, to add, and to remove. A name that is set several times gets all of its values.
    ///
    /// # Errors
    /// Returns everything that is wrong with any of them.
    pub(crate) fn new(
        set: &[(String, String)],
        add: &[(String, String)],
        remove: &[String],
    ) -> Result<Self, Vec<HeaderEditError>> {
        let mut errors = Vec::new();
        let mut edits = Self::default();
        for (written, fields) in [(set, &mut edits.set), (add, &mut edits.add)] {
            for (name, value) in written {
                parse_field(name, value).map_or_else(|error| errors.push(error), |field| fields.push(field));
            }
        }
        for name in remove {
            parse_name(name).map_or_else(|error| errors.push(error), |name| edits.remove.push(name));
        }
        edits.append_repeated();
        let edited = edits.remove.iter().chain(edits.set.iter().map(|(name, _)| name));
        edits.spelt = edited.filter(|name| has_spellings(name)).cloned().collect();
        if errors.is_empty() { Ok(edits) } else { Err(errors) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Applies the edits to a request, like [`HeaderEdits::apply`]. Other spellings of removed or set names are
    /// removed, too: an upstream may take `X_User` for `X-User`.
    pub(crate) fn apply_to_request(&self, headers: &mut Fields) {
        for field in &self.spelt {
            headers.retain(|name, _| !is_spelling_of(name, field));
        }
        self.apply(headers);
    }

    /// Leaves the first value of each name in `set`, because setting replaces, and moves the others before the added
    /// fields.
    fn append_repeated(&mut self) {
        let mut names = HashSet::new();
        let (first, repeated): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.set).into_iter().partition(|(name, _)| names.insert(name.clone()));
        self.set = first;
        self.add.splice(..0, repeated);
    }

    /// Removes, then sets, then adds. A set field replaces all of its occurrences; an added one comes on top.
    pub(crate) fn apply(&self, headers: &mut Fields) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name.clone(), value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name.clone(), value.clone());
        }
    }
}

/// Parses a field that the configuration may write.
pub(super) fn parse_field(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), HeaderEditError> {
    let field = parse_name(name)?;
    let value = HeaderValue::from_str(value).map_err(|_| HeaderEditError::Value(name.to_owned()))?;
    Ok((field, value))
}

fn parse_name(name: &str) -> Result<HeaderName, HeaderEditError> {
    let field: HeaderName = name.parse().map_err(|_| HeaderEditError::Name(name.to_owned()))?;
    if RESERVED.contains(&field.as_str()) {
        return Err(HeaderEditError::Reserved(name.to_owned()));
    }
    Ok(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn values<'h>(headers: &'h Fields, name: &str) -> Vec<&'h str> {
        headers.get_all(name).map(|value| value.to_str().unwrap()).collect()
    }

    #[test]
    fn fields_are_removed_then_set_then_added() {
        let edits = HeaderEdits::new(
            &fields(&[("X-Set", "new"), ("x-gone", "back")]),
            &fields(&[("x-set", "more"), ("x-add", "2"), ("x-add", "3")]),
            &["X-Gone".into(), "x-none".into()],
        );
        let mut headers = Fields::written(&[
            ("x-set", "a"),
            ("x-set", "b"),
            ("x-gone", "a"),
            ("x-add", "1"),
            ("x-kept", "k"),
        ]);
        edits.unwrap().apply(&mut headers);
        assert_eq!(values(&headers, "x-set"), ["new", "more"]);
        assert_eq!(values(&headers, "x-gone"), ["back"]);
        assert_eq!(values(&headers, "x-add"), ["1", "2", "3"]);
        assert_eq!(values(&headers, "x-kept"), ["k"]);
    }

    #[test]
    fn a_field_with_several_values_is_set_to_all_of_them() {
        let set =
            fields(&[("set-cookie", "a=1"), ("x-one", "1"), ("Set-Cookie", "b=2"), ("set-cookie", "c=3")]);
        let edits = HeaderEdits::new(&set, &fields(&[("set-cookie", "d=4")]), &[]).unwrap();
        let mut headers = Fields::written(&[("set-cookie", "old"), ("set-cookie", "older")]);
        edits.apply(&mut headers);
        assert_eq!(values(&headers, "set-cookie"), ["a=1", "b=2", "c=3", "d=4"]);
        assert_eq!(values(&headers, "x-one"), ["1"]);
    }

    #[test]
    fn every_field_that_cannot_be_edited_is_reported() {
        let set = fields(&[("a b", "1"), ("a", "1\r\nb: 2"), ("Host", "x")]);
        let add = fields(&[("Content-Length", "1")]);
        let errors = HeaderEdits::new(&set, &add, &["transfer-encoding".into(), String::new()]).unwrap_err();
        let expected = [
            HeaderEditError::Name("a b".into()),
            HeaderEditError::Value("a".into()),
            HeaderEditError::Reserved("Host".into()),
            HeaderEditError::Reserved("Content-Length".into()),
            HeaderEditError::Reserved("transfer-encoding".into()),
            HeaderEditError::Name(String::new()),
        ];
        assert_eq!(errors, expected);
    }
}
