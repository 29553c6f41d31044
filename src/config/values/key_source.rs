//! The place of an issuer's keys, as the file writes it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::endpoint_url::{EndpointUrl, Server};
use super::network::Scheme;
use super::pattern;
use super::text::{Malformed, text_type};

/// The place of an issuer's keys: a URL, or the path of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeySource {
    Url(KeyUrl),
    File(PathBuf),
}

/// The URL of an issuer's keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KeyUrl {
    pub(crate) scheme: Scheme,
    /// A name, an IPv4 address, or an IPv6 address without brackets; in lower case.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The value of the Host field.
    pub(crate) authority: String,
    /// Path and query, at least `/`.
    pub(crate) target: String,
}

text_type!(KeySource, format: "key-source", pattern: {
    let host = format!("(?:{}\\.?|\\[{}\\])", pattern::host_name(), pattern::ipv6());
    let url = format!("https?://{host}(?::{})?(?:/[!-\"$-~]*)?", pattern::port());
    pattern::whole(&pattern::any([url, "(?![\\s\\S]*://)[\\s\\S]+".to_owned()]))
});

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => url.fmt(f),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

impl fmt::Display for KeyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.as_str(), self.authority, self.target)
    }
}

impl FromStr for KeySource {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return match text {
                "" => Err(Malformed::new("the place of the keys is empty")
                    .help("write a URL, or the path of a file")),
                path => Ok(Self::File(path.into())),
            };
        };
        let (authority, target) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        // The path is not one of a request that others read, so only its characters are checked.
        let is_target = target.is_empty() || target.starts_with('/');
        if !is_target || !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
            return Err(Malformed::new(format!("`{text}` has no valid path"))
                .help("write it with escapes and without a fragment: `https://issuer.example/keys?v=1`"));
        }
        let endpoint = format!("{scheme}://{authority}").parse::<EndpointUrl>()?;
        let authority = endpoint.authority();
        let Server::Inet { host, port } = endpoint.server else {
            return Err(Malformed::new(format!("`{text}` is not a URL")).help("write `https://…`"));
        };
        let target = if target.is_empty() { "/" } else { target }.to_owned();
        Ok(Self::Url(KeyUrl { scheme: endpoint.scheme, host, port, authority, target }))
    }
}

#[cfg(test)]
mod tests {
    use super::KeySource;

    #[test]
    fn keys_are_at_a_url_or_in_a_file() {
        for (text, printed) in [
            ("https://a/keys?x=%20", "https://a/keys?x=%20"),
            ("http://[::1]:80", "http://[::1]/"),
            ("https://A.example:8443/.well-known/jwks.json", "https://a.example:8443/.well-known/jwks.json"),
            ("keys.json", "keys.json"),
            ("/etc/a:b/keys", "/etc/a:b/keys"),
        ] {
            let parsed: KeySource = text.parse().unwrap();
            assert_eq!(parsed.to_string(), printed);
            assert_eq!(matches!(parsed, KeySource::Url(_)), text.contains("://"), "{text}");
        }
        for text in [
            "",
            "ftp://a/b",
            "https://",
            "https://a/b c",
            "https://a/b#c",
            "https://a?b",
            "https://u@a/b",
            "HTTPS://a/",
        ] {
            assert!(text.parse::<KeySource>().is_err(), "{text}");
        }
    }
}
