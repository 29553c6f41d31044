//! Issuers of OpenID Connect, as the file writes them.

use std::fmt;
use std::str::FromStr;

use super::key_source::{KeySource, KeyUrl};
use super::pattern;
use super::text::{Malformed, text_type};

/// The URL of an issuer, without query and fragment (OpenID Connect Discovery 1.0 §3). It is compared exactly as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IssuerUrl {
    text: String,
    url: KeyUrl,
}

text_type!(IssuerUrl, format: "issuer-url", pattern: {
    let host = format!("(?:{}\\.?|\\[{}\\])", pattern::host_name(), pattern::ipv6());
    pattern::whole(&format!("https?://{host}(?::{})?(?:/[!\"$->@-~]*)?", pattern::port()))
});

impl IssuerUrl {
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the parts of the URL.
    pub(crate) fn url(&self) -> &KeyUrl {
        &self.url
    }
}

impl fmt::Display for IssuerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for IssuerUrl {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        match text.parse() {
            Ok(KeySource::Url(url)) if !url.target.contains('?') => Ok(Self { text: text.to_owned(), url }),
            _ => Err(Malformed::new(format!("`{text}` is not the URL of an issuer"))
                .help("write it as the provider's metadata has it: `https://id.example.com/realms/a`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::IssuerUrl;

    #[test]
    fn issuers_are_urls_that_are_kept_as_written() {
        for text in [
            "https://id.example.com",
            "https://id.example.com/",
            "https://ID.example/realms/a:b",
            "http://[::1]:80",
        ] {
            assert_eq!(text.parse::<IssuerUrl>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "keys.json",
            "id.example.com",
            "https://a/?b",
            "https://a/#b",
            "https://a?b",
            "ftp://a",
            "https://a b",
        ] {
            assert!(text.parse::<IssuerUrl>().is_err(), "{text}");
        }
    }
}
