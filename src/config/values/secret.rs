//! Secrets, which the file refers to and never has.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::{Malformed, text_type};

/// A secret: the path of its file, written as `file:PATH`, or its value, which comes from a variable. A value is never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Secret {
    File(PathBuf),
    Value(String),
}

text_type!(Secret, format: "secret", pattern: "^(?:file:[\\s\\S]+|(?!file:)[\\s\\S]*\\$\\{[\\s\\S]*)$");

/// The advice for a secret that is written out.
pub(crate) const ADVICE: &str = "write `file:PATH`, or the variable that has it: `${NAME}`";

/// The beginning of a secret that is in a file.
const FILE: &str = "file:";

impl Secret {
    /// Returns true for the text, before its variables were replaced, of a secret that is written out.
    pub(crate) fn is_written_out(written: &str) -> bool {
        !written.starts_with(FILE) && !written.contains("${")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{FILE}{}", path.display()),
            Self::Value(_) => f.write_str("(hidden)"),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Secret {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        match text.strip_prefix(FILE) {
            Some("") => Err(Malformed::new("`file:` has no path").help("write `file:PATH`")),
            Some(path) => Ok(Self::File(path.into())),
            None if text.is_empty() => Err(Malformed::new("the secret is empty").help(ADVICE)),
            None => Ok(Self::Value(text.to_owned())),
        }
    }
}

/// Secrets in the order of their use: one, or a list of at least one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Secrets {
    /// One secret.
    One(Secret),
    /// Several secrets. The first one is the newest.
    Several(#[schemars(length(min = 1))] Vec<Secret>),
}

impl Secrets {
    pub(crate) fn as_slice(&self) -> &[Secret] {
        match self {
            Self::One(secret) => std::slice::from_ref(secret),
            Self::Several(secrets) => secrets,
        }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [Secret] {
        match self {
            Self::One(secret) => std::slice::from_mut(secret),
            Self::Several(secrets) => secrets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn secret_is_a_file_or_a_value_that_is_not_shown() {
        let file: Secret = "file:keys/a b".parse().unwrap();
        assert_eq!(file.to_string(), "file:keys/a b");
        let value: Secret = "hunter2".parse().unwrap();
        let shown = format!("{value} {value:?} {}", serde_json::to_string(&value).unwrap());
        assert_eq!(shown, "(hidden) (hidden) \"(hidden)\"");
        for text in ["", "file:"] {
            assert!(text.parse::<Secret>().is_err(), "{text}");
        }
    }

    #[test]
    fn secret_that_is_written_out_is_known() {
        for (written, expected) in
            [("hunter2", true), ("file:a", false), ("${A}", false), ("a${A:-b}", false), ("File:a", true)]
        {
            assert_eq!(Secret::is_written_out(written), expected, "{written}");
        }
    }
}
