//! The fields of a message's head, in the order in which they arrived.
//!
//! [`http::HeaderMap`] hashes every name and keeps an index beside its fields, which pays off in maps of hundreds. A
//! head has a dozen fields, is read once, changed in a few places and written once. Here it is a list, and a lookup
//! walks along it. The producer of a list bounds its length (`limits.headers`, HTTP/2's header list size, the number of
//! fields that a filter may set). The methods have the names and meaning of those of `HeaderMap`, with one exception:
//! removal never changes the order of the remaining fields.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Header fields (RFC 9110 §6.3), in order. Two lists of the same fields are equal, even if they were read from
/// different heads.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fields {
    list: Vec<(HeaderName, HeaderValue)>,
    /// The head that the fields were read from. Names are in lower case, and only the head has their original letter
    /// case (`header_case: preserve`). It is boxed because few heads are remembered, while every list is moved.
    received: Option<Box<Bytes>>,
}

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.list == other.list
    }
}

impl Eq for Fields {}

/// A key to find a field by: its name, or the name in lower case as a string.
pub(crate) trait Name {
    /// Returns true if the key matches `name`.
    fn is(&self, name: &HeaderName) -> bool;
}

impl Name for HeaderName {
    fn is(&self, name: &HeaderName) -> bool {
        self == name
    }
}

impl Name for str {
    fn is(&self, name: &HeaderName) -> bool {
        self == name.as_str()
    }
}

impl<N: Name + ?Sized> Name for &N {
    fn is(&self, name: &HeaderName) -> bool {
        (**self).is(name)
    }
}

impl Fields {
    pub(crate) const fn new() -> Self {
        Self { list: Vec::new(), received: None }
    }

    /// Creates an empty list with room for `capacity` fields.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self { list: Vec::with_capacity(capacity), received: None }
    }

    /// Returns the head that the fields were read from, if it is remembered.
    pub(crate) fn received(&self) -> Option<&Bytes> {
        self.received.as_deref()
    }

    /// Remembers the head that the fields were read from. It costs no memory as long as the values are slices of it.
    pub(crate) fn remember(&mut self, head: Bytes) {
        self.received = Some(Box::new(head));
    }

    /// Replaces all fields. The head that the previous ones were read from stays remembered.
    pub(crate) fn replace_all(&mut self, fields: Fields) {
        self.list = fields.list;
    }

    /// Returns the number of fields. A name that occurs twice counts twice.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// Returns the first value under `name`.
    pub(crate) fn get(&self, name: impl Name) -> Option<&HeaderValue> {
        self.list.iter().find(|field| name.is(&field.0)).map(|field| &field.1)
    }

    /// Returns all values under `name`, in order.
    pub(crate) fn get_all(&self, name: impl Name) -> impl DoubleEndedIterator<Item = &HeaderValue> {
        self.list.iter().filter(move |field| name.is(&field.0)).map(|field| &field.1)
    }

    /// Returns the value under `name`, with all lines as one list (RFC 9110 §5.3), which for cookies has its own separator.
    pub(crate) fn joined(&self, name: &HeaderName) -> Option<HeaderValue> {
        let mut lines = self.get_all(name);
        let (first, second) = (lines.next()?, lines.next());
        let Some(second) = second else { return Some(first.clone()) };
        let separator: &[u8] = if name == http::header::COOKIE { b"; " } else { b", " };
        let mut joined = first.as_bytes().to_vec();
        for line in std::iter::once(second).chain(lines) {
            joined.extend_from_slice(separator);
            joined.extend_from_slice(line.as_bytes());
        }
        HeaderValue::from_bytes(&joined).ok()
    }

    /// Returns true if there is a field with this name.
    pub(crate) fn contains_key(&self, name: impl Name) -> bool {
        self.get(name).is_some()
    }

    /// Appends a field, even if there are others with its name.
    pub(crate) fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.list.push((name, value));
    }

    /// Makes `value` the only one under `name`. It takes the place of the first value so far, or goes to the end.
    pub(crate) fn insert(&mut self, name: HeaderName, value: HeaderValue) {
        let Some(first) = self.list.iter().position(|field| field.0 == name) else {
            return self.append(name, value);
        };
        let mut index = 0;
        self.list.retain(|field| {
            index += 1;
            index <= first + 1 || field.0 != name
        });
        if let Some(field) = self.list.get_mut(first) {
            field.1 = value;
        }
    }

    /// Removes all fields with this name. Returns the value of the first one.
    pub(crate) fn remove(&mut self, name: impl Name) -> Option<HeaderValue> {
        let first = self.list.iter().position(|field| name.is(&field.0))?;
        let removed = self.list.remove(first).1;
        self.list.retain(|field| !name.is(&field.0));
        Some(removed)
    }

    /// Keeps the fields for which `keep` returns true.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&HeaderName, &HeaderValue) -> bool) {
        self.list.retain(|(name, value)| keep(name, value));
    }

    /// Replaces each value under `name` for which `change` returns another one.
    pub(crate) fn replace(
        &mut self,
        name: impl Name,
        mut change: impl FnMut(&HeaderValue) -> Option<HeaderValue>,
    ) {
        for (_, value) in self.list.iter_mut().filter(|field| name.is(&field.0)) {
            if let Some(changed) = change(value) {
                *value = changed;
            }
        }
    }

    /// Returns the name and value of every field, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.list.iter().map(|(name, value)| (name, value))
    }

    /// Returns the name of every field, in order. A name that occurs twice is returned twice.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &HeaderName> {
        self.list.iter().map(|field| &field.0)
    }
}

#[cfg(test)]
impl Fields {
    /// Creates fields as a test writes them, with names in lower case.
    pub(crate) fn written(lines: &[(&'static str, &'static str)]) -> Self {
        let lines = lines.iter();
        lines.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }
}

impl Extend<(HeaderName, HeaderValue)> for Fields {
    fn extend<T: IntoIterator<Item = (HeaderName, HeaderValue)>>(&mut self, fields: T) {
        self.list.extend(fields);
    }
}

impl FromIterator<(HeaderName, HeaderValue)> for Fields {
    fn from_iter<T: IntoIterator<Item = (HeaderName, HeaderValue)>>(fields: T) -> Self {
        Self { list: fields.into_iter().collect(), received: None }
    }
}

impl IntoIterator for Fields {
    type Item = (HeaderName, HeaderValue);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

impl From<HeaderMap> for Fields {
    /// Puts fields with the same name next to each other: a map does not record more of their order.
    fn from(map: HeaderMap) -> Self {
        let mut fields = Self::with_capacity(map.len());
        let mut last = None;
        for (name, value) in map {
            // The map returns a name with its first value only.
            let Some(name) = name.or_else(|| last.clone()) else { continue };
            last = Some(name.clone());
            fields.append(name, value);
        }
        fields
    }
}

impl From<Fields> for HeaderMap {
    fn from(fields: Fields) -> Self {
        let mut map = HeaderMap::with_capacity(fields.len());
        for (name, value) in fields {
            map.append(name, value);
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use http::header::{ACCEPT, HOST};
    use proptest::prelude::*;

    use super::*;

    fn value(text: &str) -> HeaderValue {
        HeaderValue::from_str(text).unwrap()
    }

    #[test]
    fn fields_stay_in_order_across_insertions_and_removals() {
        let mut fields = Fields::written(&[("a", "1"), ("host", "x"), ("b", "2"), ("a", "3"), ("c", "4")]);
        fields.insert(HOST, value("y"));
        assert_eq!(fields.remove("b"), Some(value("2")));
        fields.append(ACCEPT, value("5"));
        let expected = Fields::written(&[("a", "1"), ("host", "y"), ("a", "3"), ("c", "4"), ("accept", "5")]);
        assert_eq!(fields, expected);
    }

    #[test]
    fn a_value_that_is_inserted_is_the_only_one() {
        let mut fields = Fields::written(&[("x", "1"), ("a", "1"), ("x", "2"), ("b", "1"), ("x", "3")]);
        fields.insert("x".parse().unwrap(), value("4"));
        assert_eq!(fields, Fields::written(&[("x", "4"), ("a", "1"), ("b", "1")]));
    }

    #[test]
    fn removing_a_name_removes_all_its_fields_and_returns_the_first() {
        let mut fields = Fields::written(&[("x", "1"), ("a", "1"), ("x", "2")]);
        assert_eq!(fields.remove("x"), Some(value("1")));
        assert_eq!(fields.remove("x"), None);
        assert_eq!(fields, Fields::written(&[("a", "1")]));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Append(u8, u8),
        Insert(u8, u8),
        Remove(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        let (name, number) = (0..4u8, any::<u8>());
        prop_oneof![
            (name.clone(), number).prop_map(|(name, number)| Step::Append(name, number)),
            (name.clone(), number).prop_map(|(name, number)| Step::Insert(name, number)),
            name.prop_map(Step::Remove),
        ]
    }

    proptest! {
        #[test]
        fn names_have_the_values_that_they_have_in_a_header_map(steps in prop::collection::vec(step(), 0..30)) {
            let name = |number: u8| -> HeaderName { format!("x-{number}").parse().unwrap() };
            let (mut fields, mut map) = (Fields::new(), HeaderMap::new());
            for step in steps {
                match step {
                    Step::Append(number, content) => {
                        fields.append(name(number), u16::from(content).into());
                        map.append(name(number), u16::from(content).into());
                    }
                    Step::Insert(number, content) => {
                        fields.insert(name(number), u16::from(content).into());
                        map.insert(name(number), u16::from(content).into());
                    }
                    Step::Remove(number) => {
                        prop_assert_eq!(fields.remove(name(number)), map.remove(name(number)));
                    }
                }
                for number in 0..4 {
                    let (one, other) = (fields.get_all(name(number)), map.get_all(name(number)).iter());
                    prop_assert!(one.eq(other));
                    prop_assert_eq!(fields.get(name(number)), map.get(name(number)));
                }
            }
            prop_assert_eq!(fields.len(), map.len());
            prop_assert_eq!(HeaderMap::from(Fields::from(map.clone())), map.clone());
            prop_assert_eq!(HeaderMap::from(fields), map);
        }
    }
}
