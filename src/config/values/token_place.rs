//! The part of a request that has its token.

use std::fmt;
use std::str::FromStr;

use super::cookie_name::CookieName;
use super::header::HeaderName;
use super::parameter_name::ParameterName;
use super::pattern;
use super::text::{Malformed, text_type};

/// The part of a request that has its token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum TokenPlace {
    /// Written as `bearer`: `Authorization: Bearer` (RFC 6750 §2.1).
    #[default]
    Bearer,
    /// Written as `header:NAME`.
    Header(HeaderName),
    /// Written as `cookie:NAME`.
    Cookie(CookieName),
    /// Written as `query:NAME`.
    Query(ParameterName),
}

text_type!(TokenPlace, format: "token-place", pattern: {
    pattern::whole(&format!("(?:bearer|(?:header|cookie):{}|query:[0-9A-Za-z._~-]+)", pattern::TOKEN))
});

impl fmt::Display for TokenPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bearer => f.write_str("bearer"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
        }
    }
}

impl FromStr for TokenPlace {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let refused = || {
            Malformed::new(format!("`{text}` is no place of a token"))
                .help("write `bearer`, `header:NAME`, `cookie:NAME` or `query:NAME`")
        };
        match text.split_once(':') {
            None if text == "bearer" => Ok(Self::Bearer),
            Some(("header", name)) => name.parse().map(Self::Header).map_err(|_| refused()),
            Some(("cookie", name)) => name.parse().map(Self::Cookie).map_err(|_| refused()),
            Some(("query", name)) => name.parse().map(Self::Query).map_err(|_| refused()),
            _ => Err(refused()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::TokenPlace;

    #[test]
    fn places_of_a_token_are_read_and_printed() {
        for text in ["bearer", "header:x-token", "cookie:session", "query:access_token"] {
            assert_eq!(text.parse::<TokenPlace>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "Bearer",
            "header",
            "header:",
            "header:a b",
            "cookie:",
            "cookie:a;b",
            "query:",
            "query:a%20",
            "query:a&b",
        ] {
            assert!(text.parse::<TokenPlace>().is_err(), "{text}");
        }
    }
}
