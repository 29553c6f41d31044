//! Values of header fields with placeholders, as the file writes them.

use std::fmt;
use std::str::FromStr;

use super::header::HeaderValue;
use super::pattern;
use super::placeholder::{self, Part, Placeholder};
use super::template::parameters;
use super::text::{Malformed, text_type};

/// The value of a field that a request's values may be part of: printable ASCII, with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeaderTemplate {
    text: HeaderValue,
    parts: Box<[Part]>,
}

text_type!(HeaderTemplate, format: "header-template", pattern: {
    let (placeholder, brace) = (placeholder::pattern(), placeholder::pattern_of_braces());
    pattern::whole(&format!("(?:[\\t\\x20-z|}}~]|{placeholder}|{brace})*"))
});

impl HeaderTemplate {
    /// Returns the value if it has no placeholder.
    pub(crate) fn fixed(&self) -> Option<http::HeaderValue> {
        match &*self.parts {
            [] => Some(http::HeaderValue::from_static("")),
            [Part::Literal(text)] => http::HeaderValue::from_str(text).ok(),
            _ => None,
        }
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Returns its placeholders in order.
    pub(crate) fn placeholders(&self) -> impl Iterator<Item = &Placeholder> {
        parameters(&self.parts)
    }
}

impl fmt::Display for HeaderTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl FromStr for HeaderTemplate {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        Ok(Self { parts: placeholder::parts(text)?.into(), text: text.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_without_placeholders_is_fixed() {
        for (text, fixed) in [
            ("", Some("")),
            ("a b", Some("a b")),
            ("{\"a\":1}", Some("{\"a\":1}")),
            ("{{host}", Some("{host}")),
            ("{host}", None),
            ("a{header.b}", None),
        ] {
            let template: HeaderTemplate = text.parse().unwrap();
            let found = template.fixed();
            assert_eq!(found.as_ref().map(|value| value.to_str().unwrap()), fixed, "{text}");
            assert_eq!(template.to_string(), text);
        }
        assert!("é".parse::<HeaderTemplate>().is_err());
    }
}
