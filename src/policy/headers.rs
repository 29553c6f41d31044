//! Edits of header fields.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};

use crate::config;
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
    /// Creates the edits. A name that is set to several values gets all of them: the first is set, since setting
    /// replaces, and the others are added before the added fields.
    fn new(written: &config::HeaderEdits) -> Self {
        let remove: Vec<HeaderName> = written.remove.iter().map(|name| name.as_http().clone()).collect();
        let (mut set, mut add) = (Vec::new(), Vec::new());
        for (name, value) in fields(&written.set) {
            let is_first = set.last().is_none_or(|(last, _)| *last != name);
            if is_first { &mut set } else { &mut add }.push((name, value));
        }
        add.extend(fields(&written.add));
        let edited = remove.iter().chain(set.iter().map(|(name, _)| name));
        let spelt = edited.filter(|name| has_spellings(name)).cloned().collect();
        Self { remove, set, add, spelt }
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

/// Returns the fields of a section, one for each value.
pub(super) fn fields(
    section: &BTreeMap<config::HeaderName, config::HeaderValues>,
) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    let fields = section.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
    fields.map(|(name, value)| (name.as_http().clone(), value.as_http().clone()))
}

#[cfg(test)]
mod tests {
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
}
