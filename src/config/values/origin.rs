//! Origins of web pages (RFC 6454), as the file writes them.

use std::fmt;
use std::str::FromStr;

use regex_lite::Regex;

use super::text::{Malformed, text_type};

/// The origins that a page may have: one, all below a domain, all that a regular expression matches, or any.
#[derive(Clone, Debug)]
pub(crate) enum OriginPattern {
    /// Written as `*`.
    Any,
    /// An origin in lower case as a browser sends it, or `null`, which sandboxed pages and files have.
    Exact(String),
    /// Written as `*.example.com` or `https://*.example.com:8443`.
    Below {
        /// The scheme with `://`, if only one may be used.
        scheme: Option<String>,
        /// The end of the rest of the origin: `.example.com`, and a port if it is not the scheme's default.
        suffix: String,
    },
    /// Written as `regex:PATTERN`, and matched against the whole origin.
    Regex {
        /// As written, without `regex:`.
        written: String,
        /// Anchored at both ends.
        regex: Regex,
    },
}

text_type!(OriginPattern, format: "origin-pattern", pattern: {
    let host = "(?:[0-9a-z_](?:[0-9a-z_.-]*[0-9a-z_])?|\\[[0-9a-f:.]+\\])(?::[0-9]{1,5})?";
    let exact = format!("[a-z][a-z0-9+.-]*://{host}");
    let below = format!("(?:[a-z][a-z0-9+.-]*://)?\\*\\.{host}");
    format!("^(?:\\*|null|{exact}|{below}|regex:[\\s\\S]+)$")
});

impl OriginPattern {
    /// Returns true if a page of this origin is meant. `origin` is the value of the field `Origin`.
    pub(crate) fn has(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact == origin,
            Self::Below { scheme, suffix } => {
                let rest = match scheme {
                    Some(scheme) => origin.strip_prefix(scheme.as_str()),
                    None => origin.split_once("://").map(|(_, rest)| rest),
                };
                let below = rest.and_then(|rest| rest.strip_suffix(suffix.as_str()));
                // The rest is a name: a slash or an `@` would make it another host.
                let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
                below.is_some_and(|below| !below.is_empty() && below.bytes().all(is_name))
            }
            Self::Regex { regex, .. } => regex.is_match(origin),
        }
    }
}

impl PartialEq for OriginPattern {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for OriginPattern {}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(origin) => f.write_str(origin),
            Self::Below { scheme, suffix } => write!(f, "{}*{suffix}", scheme.as_deref().unwrap_or_default()),
            Self::Regex { written, .. } => write!(f, "regex:{written}"),
        }
    }
}

impl FromStr for OriginPattern {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if let Some(written) = text.strip_prefix("regex:") {
            return regex(written);
        }
        match text {
            "*" => return Ok(Self::Any),
            "null" => return Ok(Self::Exact("null".to_owned())),
            _ => {}
        }
        let (scheme, host) = match text.split_once("://") {
            Some((scheme, host)) => (Some(scheme), host),
            None => (None, text),
        };
        let is_scheme = |scheme: &str| {
            scheme.starts_with(|first: char| first.is_ascii_lowercase())
                && scheme.bytes().all(|byte| {
                    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'+' | b'.' | b'-')
                })
        };
        let (below, host) = match host.strip_prefix("*.") {
            Some(host) => (true, host),
            None => (false, host),
        };
        if scheme.is_some_and(|scheme| !is_scheme(scheme)) || !is_host(host) || (scheme.is_none() && !below) {
            return Err(malformed(text));
        }
        Ok(if below {
            let scheme = scheme.map(|scheme| format!("{scheme}://"));
            Self::Below { scheme, suffix: format!(".{host}") }
        } else {
            Self::Exact(text.to_owned())
        })
    }
}

fn regex(written: &str) -> Result<OriginPattern, Malformed> {
    if written.is_empty() {
        return Err(Malformed::new("the regular expression is empty").help("write `*` for any origin"));
    }
    match Regex::new(&format!("^(?:{written})$")) {
        Ok(regex) => Ok(OriginPattern::Regex { written: written.to_owned(), regex }),
        Err(error) => Err(Malformed::new(format!("`{written}` is not a regular expression: {error}"))
            .help("it is matched against the whole origin, as in `regex:https://[a-z]+\\.example\\.com`")),
    }
}

/// Returns true for a name or an address in brackets, both in lower case, with a port or without one.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_port =
        |port: &str| (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
    let is_edge = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_';
    let is_name = |host: &str| {
        host.bytes().all(|byte| is_edge(&byte) || matches!(byte, b'-' | b'.'))
            && [host.as_bytes().first(), host.as_bytes().last()]
                .into_iter()
                .all(|edge| edge.is_some_and(is_edge))
    };
    let is_address = |host: &str| {
        let inside = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        inside.is_some_and(|inside| {
            !inside.is_empty()
                && inside.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b':' | b'.'))
        })
    };
    (is_name(host) || is_address(host)) && port.is_none_or(is_port)
}

fn malformed(text: &str) -> Malformed {
    let lower = text.to_ascii_lowercase();
    let bare = lower.trim_end_matches('/').to_owned();
    let help = if bare != text && bare.parse::<OriginPattern>().is_ok() {
        format!("write `{bare}`: browsers send it so")
    } else if let Some((scheme, rest)) = bare.split_once("://") {
        let host = rest.split('/').next().unwrap_or_default();
        format!("an origin has no path: `{scheme}://{host}`")
    } else {
        "write a scheme and a host: `https://app.example.com`, `*.example.com` or `*`".to_owned()
    };
    Malformed::new(format!("`{text}` is not an origin")).help(help)
}

#[cfg(test)]
mod tests {
    use super::OriginPattern;

    #[test]
    fn pattern_has_the_origins_that_it_means() {
        for (pattern, origin, expected) in [
            ("*", "https://a", true),
            ("null", "null", true),
            ("null", "https://null", false),
            ("https://app.example.com", "https://app.example.com", true),
            ("https://app.example.com", "https://app.example.com:8443", false),
            ("https://app.example.com", "http://app.example.com", false),
            ("https://app.example.com", "https://app.example.com.evil.test", false),
            ("https://[::1]:8443", "https://[::1]:8443", true),
            ("*.example.com", "https://a.b.example.com", true),
            ("*.example.com", "http://a.example.com", true),
            ("*.example.com", "https://example.com", false),
            ("*.example.com", "https://.example.com", false),
            ("*.example.com", "https://evil.test/.example.com", false),
            ("*.example.com", "https://evil.test@x.example.com", false),
            ("*.example.com", "https://aexample.com", false),
            ("*.example.com", "https://a.example.com:8443", false),
            ("*.example.com", "null", false),
            ("https://*.example.com:8443", "https://a.example.com:8443", true),
            ("https://*.example.com:8443", "http://a.example.com:8443", false),
            ("regex:https://(a|b)\\.test", "https://a.test", true),
            ("regex:https://(a|b)\\.test", "https://a.test.evil", false),
            ("regex:https://(a|b)\\.test", "xhttps://a.test", false),
            ("regex:a|b", "ab", false),
        ] {
            let parsed: OriginPattern = pattern.parse().unwrap();
            assert_eq!(parsed.has(origin), expected, "{pattern} {origin}");
            assert_eq!(parsed.to_string(), pattern);
        }
    }

    #[test]
    fn malformed_origin_is_refused_with_advice() {
        for (text, help) in [
            ("https://app.example.com/", "write `https://app.example.com`: browsers send it so"),
            ("https://App.example.com", "write `https://app.example.com`: browsers send it so"),
            ("https://app.example.com/x", "an origin has no path: `https://app.example.com`"),
            (
                "app.example.com",
                "write a scheme and a host: `https://app.example.com`, `*.example.com` or `*`",
            ),
            ("", "write a scheme and a host: `https://app.example.com`, `*.example.com` or `*`"),
            ("regex:", "write `*` for any origin"),
        ] {
            assert_eq!(text.parse::<OriginPattern>().unwrap_err().help.unwrap(), help, "{text}");
        }
        let error = "regex:(".parse::<OriginPattern>().unwrap_err();
        assert!(error.message.starts_with("`(` is not a regular expression: "), "{error}");
    }
}
