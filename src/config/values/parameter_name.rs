//! Names of parameters in queries, as the file writes them.

use std::fmt;
use std::str::FromStr;

use super::text::{Malformed, text_type};

/// The name of a parameter, of characters that need no escape in a query (RFC 3986 §2.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ParameterName(String);

text_type!(ParameterName, format: "parameter-name", pattern: "^[A-Za-z0-9._~-]+$");

impl ParameterName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ParameterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ParameterName {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'~' | b'-');
        if !text.is_empty() && text.bytes().all(is_plain) {
            return Ok(Self(text.to_owned()));
        }
        Err(Malformed::new(format!("`{text}` is not the name of a parameter"))
            .help("write letters, digits, `-`, `.`, `_` and `~`, as in `api_key`"))
    }
}
