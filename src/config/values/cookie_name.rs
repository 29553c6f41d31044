//! Names of cookies, as the file writes them.

use std::fmt;
use std::str::FromStr;

use super::pattern;
use super::text::{Malformed, text_type};

/// The name of a cookie, a token (RFC 6265 §4.1.1). Letter case matters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CookieName(String);

text_type!(CookieName, format: "cookie-name", pattern: pattern::whole(pattern::TOKEN));

impl CookieName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true if browsers accept the cookie only with `Secure`, by the prefix of its name.
    pub(crate) fn asks_for_secure(&self) -> bool {
        let begins_with =
            |prefix: &str| self.0.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        ["__Host-", "__Secure-"].into_iter().any(begins_with)
    }
}

impl fmt::Display for CookieName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for CookieName {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        // A field name is a token, too.
        match text.parse::<http::HeaderName>() {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err(Malformed::new(format!("`{text}` is not the name of a cookie"))
                .help("write letters, digits, `-` and `_`, as in `session`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::CookieName;

    #[test]
    fn names_of_cookies_are_tokens() {
        assert_eq!("Session_1".parse::<CookieName>().unwrap().to_string(), "Session_1");
        for text in ["", "a b", "a=b", "a;b", "ä"] {
            assert!(text.parse::<CookieName>().is_err(), "{text}");
        }
    }

    #[test]
    fn prefixes_of_secure_cookies_are_known() {
        let asks = |text: &str| text.parse::<CookieName>().unwrap().asks_for_secure();
        assert_eq!(
            ["__Host-a", "__secure-a", "a", "Host-a", "__Host"].map(asks),
            [true, true, false, false, false]
        );
    }
}
