//! The name of a program in syslog, as the file writes it.

use std::fmt;
use std::str::FromStr;

use super::pattern;
use super::text::{Malformed, text_type};

/// The name of a program: 1 to 48 characters of visible ASCII (RFC 5424 §6.2.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogTag(String);

text_type!(LogTag, format: "log-tag", pattern: pattern::whole("[!-~]{1,48}"));

impl Default for LogTag {
    fn default() -> Self {
        Self("gateway".to_owned())
    }
}

impl fmt::Display for LogTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LogTag {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if (1..=48).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self(text.to_owned()));
        }
        Err(Malformed::new(format!("`{text}` is not the name of a program in syslog"))
            .help("write at most 48 letters, digits and signs, without spaces"))
    }
}

#[cfg(test)]
mod tests {
    use super::LogTag;

    #[test]
    fn tag_is_visible_ascii_of_48_characters() {
        for text in ["gateway", "a", &"a".repeat(48), "gate/way[1]"] {
            assert_eq!(text.parse::<LogTag>().unwrap().to_string(), text);
        }
        for text in ["", "a b", "é", "a\n", &"a".repeat(49)] {
            assert!(text.parse::<LogTag>().is_err(), "{text}");
        }
    }
}
