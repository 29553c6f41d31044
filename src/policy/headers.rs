//! Edits of header fields.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};

use super::placeholders::{RequestValues, field_value};
use crate::config::{self, HeaderTemplate};
use crate::http::fields::Fields;
use crate::http::forward::{has_spellings, is_spelling_of};

/// The edits of a route to the fields of its requests and responses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Headers {
    pub(crate) request: HeaderEdits,
    pub(crate) response: HeaderEdits,
}

impl Headers {
    pub(crate) fn new(written: &config::Headers) -> Self {
        Self { request: HeaderEdits::new(&written.request), response: HeaderEdits::new(&written.response) }
    }

    /// Returns true if an edit takes in values of the request.
    pub(crate) fn has_placeholders(&self) -> bool {
        self.request.has_placeholders() || self.response.has_placeholders()
    }

    /// Returns the edits with the values of a request.
    pub(crate) fn resolved(&self, values: &dyn RequestValues) -> Self {
        Self { request: self.request.resolved(values), response: self.response.resolved(values) }
    }
}

/// Edits to the fields of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HeaderEdits {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, Value)>,
    add: Vec<(HeaderName, Value)>,
    /// Removed and set names that have other spellings.
    spelt: Vec<HeaderName>,
}

/// The value of an edited field.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Fixed(HeaderValue),
    /// One with values of the request. Unless it is [`resolved`](HeaderEdits::resolved), there is no value.
    Template(HeaderTemplate),
}

impl Value {
    fn new(written: &HeaderTemplate) -> Self {
        written.fixed().map_or_else(|| Self::Template(written.clone()), Self::Fixed)
    }

    fn as_fixed(&self) -> Option<&HeaderValue> {
        match self {
            Self::Fixed(value) => Some(value),
            Self::Template(_) => None,
        }
    }

    /// Returns the value with those of a request. One that lacks a value stays a template.
    fn resolved(&self, values: &dyn RequestValues) -> Self {
        let Self::Template(template) = self else { return self.clone() };
        field_value(template, values).map_or_else(|| self.clone(), Self::Fixed)
    }
}

impl HeaderEdits {
    /// Creates the edits. A name that is set to several values gets all of them: the first is set, since setting
    /// replaces, and the others are added before the added fields.
    fn new(written: &config::HeaderEdits) -> Self {
        let remove: Vec<HeaderName> = written.remove.iter().map(|name| name.as_http().clone()).collect();
        let (mut set, mut add) = (Vec::new(), Vec::new());
        for (name, value) in fields(&written.set) {
            let is_first = set.last().is_none_or(|(last, _)| *last != name);
            if is_first { &mut set } else { &mut add }.push((name, Value::new(value)));
        }
        add.extend(fields(&written.add).map(|(name, value)| (name, Value::new(value))));
        let edited = remove.iter().chain(set.iter().map(|(name, _)| name));
        let spelt = edited.filter(|name| has_spellings(name)).cloned().collect();
        Self { remove, set, add, spelt }
    }

    fn has_placeholders(&self) -> bool {
        self.set.iter().chain(&self.add).any(|(_, value)| value.as_fixed().is_none())
    }

    fn resolved(&self, values: &dyn RequestValues) -> Self {
        let resolved = |edits: &[(HeaderName, Value)]| {
            edits.iter().map(|(name, value)| (name.clone(), value.resolved(values))).collect()
        };
        Self { set: resolved(&self.set), add: resolved(&self.add), ..self.clone() }
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

    /// Removes, then sets, then adds. A set field replaces all of its occurrences; an added one comes on top. A field that is set to a
    /// value that the request lacks is removed: what the client has sent must not pass for it.
    pub(crate) fn apply(&self, headers: &mut Fields) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            match value.as_fixed() {
                Some(value) => headers.insert(name.clone(), value.clone()),
                None => drop(headers.remove(name)),
            }
        }
        for (name, value) in &self.add {
            if let Some(value) = value.as_fixed() {
                headers.append(name.clone(), value.clone());
            }
        }
    }
}

/// Returns the fields of a section, one for each value.
pub(super) fn fields<T>(
    section: &BTreeMap<config::HeaderName, config::HeaderValues<T>>,
) -> impl Iterator<Item = (HeaderName, &T)> {
    let fields = section.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
    fields.map(|(name, value)| (name.as_http().clone(), value))
}

#[cfg(test)]
mod tests {
    use super::super::placeholders::tests::Values;
    use super::*;
    use crate::config::section;

    fn edits(yaml: &str) -> HeaderEdits {
        HeaderEdits::new(&section(yaml))
    }

    fn values<'h>(headers: &'h Fields, name: &str) -> Vec<&'h str> {
        headers.get_all(name).map(|value| value.to_str().unwrap()).collect()
    }

    #[test]
    fn fields_are_removed_then_set_then_added() {
        let edits = edits(
            "{ set: { X-Set: new, x-gone: back }, add: { x-set: more, x-add: ['2', '3'] }, remove: [X-Gone, x-none] }",
        );
        let mut headers = Fields::written(&[
            ("x-set", "a"),
            ("x-set", "b"),
            ("x-gone", "a"),
            ("x-add", "1"),
            ("x-kept", "k"),
        ]);
        edits.apply(&mut headers);
        assert_eq!(values(&headers, "x-set"), ["new", "more"]);
        assert_eq!(values(&headers, "x-gone"), ["back"]);
        assert_eq!(values(&headers, "x-add"), ["1", "2", "3"]);
        assert_eq!(values(&headers, "x-kept"), ["k"]);
    }

    #[test]
    fn a_field_with_several_values_is_set_to_all_of_them() {
        let edits = edits("{ set: { Set-Cookie: [a=1, b=2, c=3], x-one: '1' }, add: { set-cookie: d=4 } }");
        let mut headers = Fields::written(&[("set-cookie", "old"), ("set-cookie", "older")]);
        edits.apply(&mut headers);
        assert_eq!(values(&headers, "set-cookie"), ["a=1", "b=2", "c=3", "d=4"]);
        assert_eq!(values(&headers, "x-one"), ["1"]);
    }

    #[test]
    fn field_without_its_value_is_removed_and_never_empty() {
        let edits = edits(
            "{ set: { x-user: '{query.user}', x-plan: [a, '{query.plan}'] }, add: { x-more: '{query.user}!', x-none: '{query.n}' } }",
        );
        let sent = || Fields::written(&[("x-user", "forged"), ("x-user", "twice"), ("x-more", "kept")]);
        for (query, user, plan, more) in [
            ("user=ann&plan=gold", &["ann"][..], &["a", "gold"][..], &["kept", "ann!"][..]),
            ("user=", &[], &["a"], &["kept"]),
        ] {
            let mut headers = sent();
            edits.resolved(&Values::new("/", "/", query)).apply(&mut headers);
            assert_eq!(values(&headers, "x-user"), user, "{query}");
            assert_eq!(values(&headers, "x-plan"), plan, "{query}");
            assert_eq!(values(&headers, "x-more"), more, "{query}");
            assert_eq!(values(&headers, "x-none"), [""; 0], "{query}");
        }
        let mut headers = sent();
        edits.apply(&mut headers);
        assert_eq!(values(&headers, "x-user"), [""; 0], "without any values");
    }
}
