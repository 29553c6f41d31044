//! Realms of HTTP authentication, as the file writes them.

use std::fmt;
use std::str::FromStr;

use super::pattern;
use super::text::{Malformed, text_type};

/// A realm (RFC 9110 §11.5): text that browsers show with their question for a password. It is printable ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Realm(String);

text_type!(Realm, format: "realm", pattern: pattern::whole("[ -~]{1,200}"));

impl Realm {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Realm {
    fn default() -> Self {
        Self("gateway".to_owned())
    }
}

impl fmt::Display for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Realm {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if (1..=200).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Ok(Self(text.to_owned()));
        }
        Err(Malformed::new(format!("`{text}` is not a realm"))
            .help("write 1 to 200 printable characters of ASCII; browsers show no others alike"))
    }
}
