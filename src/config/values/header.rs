//! Names and values of header fields, as the file writes them, and the conditions on them.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::pattern;
use super::text::{Malformed, text_type};

/// A header name; prints in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct HeaderName(http::HeaderName);

text_type!(HeaderName, format: "header-name", pattern: pattern::whole(pattern::TOKEN));

impl HeaderName {
    /// Returns the name as a type of the `http` crate.
    pub(crate) fn as_http(&self) -> &http::HeaderName {
        &self.0
    }

    /// Returns the advice for a field that no edit changes, since the gateway writes it itself: one that belongs to a
    /// single connection (RFC 9110 §7.6.1), one that frames the message (RFC 9112 §6), or Host. An edit could only make
    /// two readers disagree on the end of a message, or on the host that it is for. Returns `None` for all others.
    pub(crate) fn advise_reserved(&self) -> Option<&'static str> {
        Some(match self.0.as_str() {
            "content-length" | "transfer-encoding" => "it follows from the body",
            "connection" | "http2-settings" | "keep-alive" | "proxy-connection" => {
                "each side's connection has its own"
            }
            "host" => "only requests have one: on a route with `upstream`, write `host` beside `headers`",
            "te" | "trailer" => "trailers are forwarded as they come",
            "upgrade" => "list the protocols under `upgrade`",
            _ => return None,
        })
    }
}

impl Ord for HeaderName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.as_str().cmp(other.0.as_str())
    }
}

impl PartialOrd for HeaderName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<http::HeaderName> for HeaderName {
    fn from(name: http::HeaderName) -> Self {
        Self(name)
    }
}

impl FromStr for HeaderName {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        text.parse().map(Self).map_err(|_| {
            let name = text.split(':').next().unwrap_or(text).trim_end();
            let help = match name.parse::<http::HeaderName>() {
                Ok(_) => format!("write only the name: `{name}`"),
                Err(_) => "write only the name, as in `x-request-id`".to_owned(),
            };
            Malformed::new(format!("`{text}` is not a header name")).help(help)
        })
    }
}

/// The value of a header: printable ASCII (RFC 9110 §5.5).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct HeaderValue(http::HeaderValue);

text_type!(HeaderValue, format: "header-value", pattern: PRINTABLE);

const PRINTABLE: &str = "^[\\t\\x20-\\x7e]*$";

impl HeaderValue {
    /// Returns the value as a type of the `http` crate.
    pub(crate) fn as_http(&self) -> &http::HeaderValue {
        &self.0
    }
}

impl fmt::Display for HeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_str().unwrap_or_default())
    }
}

impl FromStr for HeaderValue {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let is_printable = text.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
        match text.parse() {
            Ok(value) if is_printable => Ok(Self(value)),
            _ => Err(Malformed::new("a header value holds only printable ASCII")
                .help("take out line breaks and other characters")),
        }
    }
}

/// The values of a header in the configuration, at least one: a text, or a list of texts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(from = "OneOrSeveral<T>", into = "OneOrSeveral<T>", bound(serialize = "T: Clone + Serialize"))]
pub(crate) struct HeaderValues<T = HeaderValue>(Vec<T>);

impl<T> HeaderValues<T> {
    /// Returns the values in the order of the file, which is the order of their lines in a message.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }
}

impl<T: JsonSchema> JsonSchema for HeaderValues<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("HeaderValues_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        OneOrSeveral::<T>::json_schema(generator)
    }
}

/// The two ways to write the values of a header.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
enum OneOrSeveral<T> {
    /// One value.
    One(T),
    /// Several values.
    Several(#[schemars(length(min = 1))] Vec<T>),
}

impl<T> From<OneOrSeveral<T>> for HeaderValues<T> {
    fn from(form: OneOrSeveral<T>) -> Self {
        match form {
            OneOrSeveral::One(value) => Self(vec![value]),
            OneOrSeveral::Several(values) => Self(values),
        }
    }
}

impl<T> From<HeaderValues<T>> for OneOrSeveral<T> {
    fn from(HeaderValues(values): HeaderValues<T>) -> Self {
        match <[T; 1]>::try_from(values) {
            Ok([value]) => Self::One(value),
            Err(values) => Self::Several(values),
        }
    }
}

/// The condition on a header or a query parameter for a route to match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ValueMatch<T> {
    /// Present, with any value.
    Present,
    /// Exactly this value.
    Exact(T),
}

/// The condition on a header.
pub(crate) type HeaderMatch = ValueMatch<HeaderValue>;

/// The condition on a query parameter.
pub(crate) type QueryMatch = ValueMatch<String>;

text_type!(HeaderMatch, format: "header-match", pattern: PRINTABLE);
text_type!(QueryMatch, format: "value-match", pattern: "^");

impl HeaderMatch {
    /// Returns the condition with its value as text.
    pub(crate) fn as_text(&self) -> ValueMatch<String> {
        match self {
            Self::Present => ValueMatch::Present,
            Self::Exact(value) => ValueMatch::Exact(value.to_string()),
        }
    }
}

impl<T: fmt::Display> fmt::Display for ValueMatch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Present => f.write_str("present"),
            Self::Exact(value) => value.fmt(f),
        }
    }
}

impl<T: FromStr> FromStr for ValueMatch<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if text == "present" { Self::Present } else { Self::Exact(text.parse()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::{HeaderMatch, HeaderName, HeaderValue};

    #[test]
    fn fields_that_the_gateway_writes_are_reserved_with_advice() {
        for name in [
            "connection",
            "content-length",
            "host",
            "http2-settings",
            "keep-alive",
            "proxy-connection",
            "te",
            "trailer",
            "Transfer-Encoding",
            "upgrade",
        ] {
            assert!(name.parse::<HeaderName>().unwrap().advise_reserved().is_some(), "{name}");
        }
        assert_eq!("x-a".parse::<HeaderName>().unwrap().advise_reserved(), None);
    }

    #[test]
    fn header_names_are_tokens_and_values_have_no_line_breaks() {
        assert_eq!("X-Request-ID".parse::<HeaderName>().unwrap().to_string(), "x-request-id");
        for text in ["", "x y", "x:", "é"] {
            assert!(text.parse::<HeaderName>().is_err(), "{text}");
        }
        assert_eq!("x-a: b".parse::<HeaderName>().unwrap_err().help.unwrap(), "write only the name: `x-a`");
        assert_eq!("a, b".parse::<HeaderValue>().unwrap().to_string(), "a, b");
        for text in ["a\r\nb", "a\nb", "\0", "\u{7f}", "é"] {
            assert!(text.parse::<HeaderValue>().is_err(), "{text:?}");
            assert!(text.parse::<HeaderMatch>().is_err(), "{text:?}");
        }
    }
}
