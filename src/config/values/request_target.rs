//! The path and query of a request of the gateway's own, as the file writes them.

use std::fmt;
use std::str::FromStr;

use super::text::{Malformed, text_type};

/// A path, with or without a query, that is sent as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RequestTarget(String);

// The characters of a URI (RFC 3986 §2), without `#`: fragments are never sent.
text_type!(RequestTarget, format: "request-target", pattern: "^/[!$-;=?-Z\\[\\]_a-z~]*$");

impl RequestTarget {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RequestTarget {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let is_sendable = |byte: u8| byte.is_ascii_graphic() && !b"\"#<>\\^`{|}".contains(&byte);
        if text.starts_with('/') && text.bytes().all(is_sendable) {
            return Ok(Self(text.to_owned()));
        }
        Err(Malformed::new(format!("`{text}` is not a path"))
            .help("write one that begins with `/`, with other characters as `%20`: `/healthz?full=1`"))
    }
}

#[cfg(test)]
mod tests {
    use super::RequestTarget;

    #[test]
    fn targets_are_paths_with_or_without_a_query() {
        for text in ["/", "/healthz", "/a/b?c=d&e=[1]", "/%20~!$&'()*+,;=:@"] {
            assert_eq!(text.parse::<RequestTarget>().unwrap().to_string(), text);
        }
        for text in
            ["", "healthz", "http://a/", "/a b", "/a#b", "/é", "/\"", "/{id}", "/a\\b", "/^", "/|", "/`"]
        {
            assert!(text.parse::<RequestTarget>().is_err(), "{text}");
        }
    }
}
