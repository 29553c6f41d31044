//! Names in client certificates, as the file writes them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::host::HostPattern;
use super::pattern;
use super::text::{Malformed, text_type};

/// A name of a subjectAltName, or a pattern for several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SanPattern {
    /// A DNS name, or all below a domain: `*.internal`.
    Dns(HostPattern),
    Uri(String),
    /// Every URI that begins with this text, whose last character is a slash: `spiffe://example.org/ns/*`.
    UriBelow(String),
    /// An address, whose domain is in lower case.
    Email(String),
    /// Every address of this domain, in lower case: `*@example.org`.
    EmailAt(String),
    Ip(IpAddr),
}

/// The visible ASCII characters without `*`.
const VISIBLE: &str = "[!-)+-~]";

/// The visible ASCII characters without `*`, `/`, `:` and `@`.
const LOCAL_PART: &str = "[!-)+-.0-9;-?A-~]";

text_type!(SanPattern, format: "san-pattern", pattern: {
    let host = pattern::host_name();
    pattern::whole(&pattern::any([
        format!("(?:\\*\\.)?{host}"),
        pattern::ipv4(),
        pattern::ipv6(),
        format!("(?:[A-Za-z][0-9A-Za-z+.-]*://|urn:){VISIBLE}+(?:/\\*)?"),
        format!("(?:\\*|{LOCAL_PART}+)@{host}"),
    ]))
});

impl fmt::Display for SanPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(host) => host.fmt(f),
            Self::Uri(text) | Self::Email(text) => f.write_str(text),
            Self::UriBelow(text) => write!(f, "{text}*"),
            Self::EmailAt(domain) => write!(f, "*@{domain}"),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

impl FromStr for SanPattern {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Ip(address));
        }
        let parsed = match text {
            _ if text.contains("://") || text.starts_with("urn:") => uri(text),
            _ if text.contains('@') => email(text),
            // Brackets are for hosts in URLs.
            _ if text.starts_with('[') => None,
            _ => text.parse().ok().map(Self::Dns),
        };
        parsed.ok_or_else(|| {
            Malformed::new(format!("`{text}` is not a name of a certificate")).help(
                "write a DNS name or `*.internal`, a URI or `spiffe://example.org/ns/*`, an address `a@b.test` or `*@b.test`, or \
                 an IP address",
            )
        })
    }
}

fn uri(text: &str) -> Option<SanPattern> {
    let (exact, is_pattern) = text.strip_suffix("/*").map_or((text, false), |below| (below, true));
    let (scheme, rest) = exact.split_once("://").or_else(|| Some(("urn", exact.strip_prefix("urn:")?)))?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'.' | b'-'));
    if !is_scheme || rest.is_empty() || !rest.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'*') {
        return None;
    }
    Some(if is_pattern {
        SanPattern::UriBelow(format!("{exact}/"))
    } else {
        SanPattern::Uri(exact.to_owned())
    })
}

fn email(text: &str) -> Option<SanPattern> {
    let (local, domain) = text.split_once('@')?;
    let Ok(HostPattern::Exact(domain)) = domain.parse() else { return None };
    if domain.starts_with('[') {
        return None;
    }
    let is_local = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'*' | b'/' | b':' | b'@');
    match local {
        "*" => Some(SanPattern::EmailAt(domain)),
        "" => None,
        _ if local.bytes().all(is_local) => Some(SanPattern::Email(format!("{local}@{domain}"))),
        _ => None,
    }
}

/// A distinguished name of a certificate, or its common name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DistinguishedName {
    /// The common name, which has no `=`.
    CommonName(String),
    /// The whole name as text (RFC 4514), the last part first, without spaces behind commas.
    Whole(String),
}

text_type!(DistinguishedName, format: "distinguished-name", pattern: pattern::whole("[^\\x00-\\x1f\\x7f]+"));

impl fmt::Display for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommonName(text) | Self::Whole(text) => f.write_str(text),
        }
    }
}

impl FromStr for DistinguishedName {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if text.is_empty() || text.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(Malformed::new(format!("`{text}` is not a name of a certificate")).help(
                "write a common name, or the whole name as `openssl x509 -noout -subject -nameopt RFC2253` shows it",
            ));
        }
        Ok(match text.contains('=') {
            true => Self::Whole(without_spaces(text)),
            false => Self::CommonName(text.to_owned()),
        })
    }
}

/// Leaves out the spaces that some programs write between the parts of a name.
fn without_spaces(text: &str) -> String {
    let mut whole = String::with_capacity(text.len());
    let (mut is_escaped, mut begins) = (false, false);
    for character in text.chars() {
        if begins && character == ' ' {
            continue;
        }
        begins = character == ',' && !is_escaped;
        is_escaped = character == '\\' && !is_escaped;
        whole.push(character);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternative_names_are_known_by_their_form() {
        for (text, expected) in [
            ("A.Internal", SanPattern::Dns(HostPattern::Exact("a.internal".to_owned()))),
            ("*.internal", SanPattern::Dns(HostPattern::Below("internal".to_owned()))),
            ("10.0.0.1", SanPattern::Ip([10, 0, 0, 1].into())),
            ("::1", SanPattern::Ip(std::net::Ipv6Addr::LOCALHOST.into())),
            ("spiffe://Example.org/a", SanPattern::Uri("spiffe://Example.org/a".to_owned())),
            ("spiffe://example.org/ns/*", SanPattern::UriBelow("spiffe://example.org/ns/".to_owned())),
            ("spiffe://example.org/*", SanPattern::UriBelow("spiffe://example.org/".to_owned())),
            ("urn:uuid:f81d4fae", SanPattern::Uri("urn:uuid:f81d4fae".to_owned())),
            ("A@B.test", SanPattern::Email("A@b.test".to_owned())),
            ("*@b.test", SanPattern::EmailAt("b.test".to_owned())),
        ] {
            assert_eq!(text.parse::<SanPattern>().unwrap(), expected);
            let shown = expected.to_string();
            assert_eq!(shown.parse::<SanPattern>().unwrap(), expected, "{shown}");
        }
        for text in [
            "",
            "*",
            "a b",
            "*.",
            "a.*",
            "spiffe://",
            "spiffe://*",
            "spiffe://example.org*",
            "spiffe://a/*/b",
            "1a://b",
            "://b",
            "urn:",
            "@b.test",
            "a@*.b.test",
            "a@",
            "a@b@c",
            "a/b",
            "a:80",
            "[::1]",
            "a@[::1]",
        ] {
            assert!(text.parse::<SanPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn spaces_between_the_parts_of_a_name_do_not_count() {
        let name = |text: &str| text.parse::<DistinguishedName>().unwrap();
        assert_eq!(name("worker 1"), DistinguishedName::CommonName("worker 1".to_owned()));
        assert_eq!(
            name("CN=a,  O=Sue\\, Grabbit\\\\, C=DE"),
            DistinguishedName::Whole("CN=a,O=Sue\\, Grabbit\\\\,C=DE".to_owned())
        );
        assert!("".parse::<DistinguishedName>().is_err() && "a\n".parse::<DistinguishedName>().is_err());
    }
}
