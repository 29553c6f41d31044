//! Parts of HTTP messages, as the file writes them: methods, header names and values.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::pattern;
use super::text::{Malformed, text_type};

/// A method; case matters (RFC 9110 §9.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Method(http::Method);

text_type!(Method, format: "method", pattern: method_pattern());

/// Returns a pattern for tokens. It permits no other spelling of the methods that everyone writes in upper case.
fn method_pattern() -> String {
    let in_any_case = |method: &&str| -> String {
        method.chars().map(|letter| format!("[{letter}{}]", letter.to_ascii_lowercase())).collect()
    };
    let standard = pattern::any(STANDARD_METHODS.iter().map(in_any_case));
    let forwarded = STANDARD_METHODS.iter().filter(|method| **method != "CONNECT");
    pattern::whole(&format!("{}|(?!{standard}$){}", pattern::any(forwarded), pattern::TOKEN))
}

impl Method {
    /// Returns the method as a type of the `http` crate.
    pub(crate) fn as_http(&self) -> &http::Method {
        &self.0
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Method {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let upper = text.to_ascii_uppercase();
        if text != upper && STANDARD_METHODS.contains(&upper.as_str()) {
            return Err(Malformed::new(format!("`{text}` is not a method: case matters"))
                .help(format!("write `{upper}`")));
        }
        if text == "CONNECT" {
            return Err(Malformed::new("`CONNECT` is never forwarded"));
        }
        match text.parse() {
            Ok(method) => Ok(Self(method)),
            Err(_) => Err(Malformed::new(format!("`{text}` is not a method")).help("write one as in `GET`")),
        }
    }
}

/// The methods that everyone writes in upper case (RFC 9110 §9.3, RFC 5789).
const STANDARD_METHODS: [&str; 9] =
    ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

/// A header name; prints in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct HeaderName(http::HeaderName);

text_type!(HeaderName, format: "header-name", pattern: pattern::whole(pattern::TOKEN));

impl HeaderName {
    /// Returns the name as a type of the `http` crate.
    pub(crate) fn as_http(&self) -> &http::HeaderName {
        &self.0
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

text_type!(HeaderValue, format: "header-value", pattern: "^[\\t\\x20-\\x7e]*$");

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
#[serde(from = "HeaderValuesForm", into = "HeaderValuesForm")]
pub(crate) struct HeaderValues(Vec<HeaderValue>);

impl HeaderValues {
    /// Returns the values in the order of the file, which is the order of their lines in a message.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &HeaderValue> {
        self.0.iter()
    }
}

impl JsonSchema for HeaderValues {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "HeaderValues".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        HeaderValuesForm::json_schema(generator)
    }
}

/// The two ways to write the values of a header.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
enum HeaderValuesForm {
    /// One value.
    One(HeaderValue),
    /// Several values.
    Several(#[schemars(length(min = 1))] Vec<HeaderValue>),
}

impl From<HeaderValuesForm> for HeaderValues {
    fn from(form: HeaderValuesForm) -> Self {
        match form {
            HeaderValuesForm::One(value) => Self(vec![value]),
            HeaderValuesForm::Several(values) => Self(values),
        }
    }
}

impl From<HeaderValues> for HeaderValuesForm {
    fn from(HeaderValues(values): HeaderValues) -> Self {
        match <[HeaderValue; 1]>::try_from(values) {
            Ok([value]) => Self::One(value),
            Err(values) => Self::Several(values),
        }
    }
}

/// The condition on a header or a query parameter for a route to match.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ValueMatch {
    /// Present, with any value.
    Present,
    /// Exactly this value.
    Exact(String),
}

text_type!(ValueMatch, format: "value-match", pattern: "^");

impl fmt::Display for ValueMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Present => f.write_str("present"),
            Self::Exact(value) => f.write_str(value),
        }
    }
}

impl FromStr for ValueMatch {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if text == "present" { Self::Present } else { Self::Exact(text.to_owned()) })
    }
}

/// The target of a redirect: an absolute URL, or an absolute path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RedirectTarget(String);

text_type!(RedirectTarget, format: "redirect-target", pattern: redirect_pattern());

/// Returns a pattern for a URL or a path of the characters that `http::Uri` accepts.
fn redirect_pattern() -> String {
    let path = "[!$-;=@-_a-~\"]*(?:[?][!$-;=?-~\"]*)?(?:#[!-~]*)?";
    let host = "[0-9A-Za-z._~!$&'()*+,;=%-]";
    pattern::whole(&format!(
        "/{path}|https?://(?:[0-9A-Za-z._~!$&'()*+,;=%:-]*@)?(?:{host}+|\\[[0-9A-Fa-f:.]+\\])(?::[0-9]*)?(?:[/?#]{path})?"
    ))
}

impl RedirectTarget {
    /// Returns the value of the `location` field.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RedirectTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RedirectTarget {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let is_absolute =
            text.starts_with('/') || text.starts_with("http://") || text.starts_with("https://");
        let is_uri = text.bytes().all(|byte| byte.is_ascii_graphic()) && text.parse::<http::Uri>().is_ok();
        if is_absolute && is_uri {
            return Ok(Self(text.to_owned()));
        }
        Err(Malformed::new(format!("`{text}` is not a place to redirect to"))
            .help("write a URL or a path: `https://example.com/new`, `/new`"))
    }
}

/// A protocol that a client may upgrade to (RFC 9110 §7.8), in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct UpgradeProtocol(String);

text_type!(UpgradeProtocol, format: "upgrade-protocol", pattern: {
    let refused = "(?:[hH]2[cC]$|[hH][tT][tT][pP]/|[tT][lL][sS]/)";
    pattern::whole(&format!("(?!{refused}){token}(?:/{token})?", token = pattern::TOKEN))
});

impl UpgradeProtocol {
    /// Returns `websocket` (RFC 6455), the default of a route.
    pub(crate) fn websocket() -> Self {
        Self("websocket".to_owned())
    }

    /// Returns the name in lower case.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UpgradeProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for UpgradeProtocol {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let name = text.to_ascii_lowercase();
        if name == "h2c" || name.starts_with("http/") || name.starts_with("tls/") {
            return Err(Malformed::new(format!(
                "`{text}` would let requests past the routes; it is never forwarded"
            ))
            .help("list `h2` under the listener's `protocols` for HTTP/2 without TLS"));
        }
        let is_token = |part: &str| part.parse::<http::HeaderName>().is_ok();
        if !name.split('/').all(is_token) || name.split('/').count() > 2 {
            return Err(
                Malformed::new(format!("`{text}` is not a protocol")).help("write its name: `websocket`")
            );
        }
        Ok(Self(name))
    }
}

#[cfg(test)]
mod tests {
    use super::{HeaderName, HeaderValue, Method, RedirectTarget, UpgradeProtocol};

    #[test]
    fn methods_keep_their_case() {
        for text in ["GET", "PURGE", "m-search"] {
            assert_eq!(text.parse::<Method>().unwrap().to_string(), text);
        }
        assert_eq!("get".parse::<Method>().unwrap_err().help.unwrap(), "write `GET`");
        for text in ["", "CONNECT", "GE T", "GET,POST"] {
            assert!(text.parse::<Method>().is_err(), "{text}");
        }
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
        }
    }

    #[test]
    fn a_redirect_leads_to_a_url_or_a_path() {
        for text in ["/", "/new?x=1", "https://example.com/new", "http://a"] {
            assert!(text.parse::<RedirectTarget>().is_ok(), "{text}");
        }
        for text in ["", "new", "javascript:x", "/a b", "/a\r\nb", "https://"] {
            assert!(text.parse::<RedirectTarget>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn no_upgrade_leads_past_the_routes() {
        assert_eq!("WebSocket".parse::<UpgradeProtocol>().unwrap().as_str(), "websocket");
        for text in ["", "h2c", "H2C", "HTTP/2.0", "TLS/1.2", "a b", "a/b/c"] {
            assert!(text.parse::<UpgradeProtocol>().is_err(), "{text}");
        }
    }
}
