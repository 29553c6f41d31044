//! Methods, as the file writes them.

use std::fmt;
use std::str::FromStr;

use super::text::{Malformed, text_type};

/// A method; case matters (RFC 9110 §9.1). No method in use has a letter in lower case, and CONNECT is never forwarded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Method(http::Method);

text_type!(Method, format: "method", pattern: "^(?!CONNECT$)[0-9A-Z!#$%&'*+.^_`|~-]+$");

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

impl From<http::Method> for Method {
    fn from(method: http::Method) -> Self {
        Self(method)
    }
}

impl FromStr for Method {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let upper = text.to_ascii_uppercase();
        if upper == "CONNECT" {
            return Err(Malformed::new(format!("`{text}` is never forwarded")));
        }
        match upper.parse() {
            Ok(method) if text == upper => Ok(Self(method)),
            Ok(_) => Err(Malformed::new(format!("`{text}` is not a method: case matters"))
                .help(format!("write `{upper}`"))),
            Err(_) => Err(Malformed::new(format!("`{text}` is not a method")).help("write one as in `GET`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Method;

    #[test]
    fn methods_are_tokens_without_a_lower_case_letter() {
        for text in ["GET", "PURGE", "M-SEARCH"] {
            assert_eq!(text.parse::<Method>().unwrap().to_string(), text);
        }
        assert_eq!("get".parse::<Method>().unwrap_err().help.unwrap(), "write `GET`");
        for text in ["", "CONNECT", "connect", "m-search", "GE T", "GET,POST", "É"] {
            assert!(text.parse::<Method>().is_err(), "{text}");
        }
    }
}
