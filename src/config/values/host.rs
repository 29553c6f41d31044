//! Hosts, as the file writes them and as requests name them.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use http::HeaderValue;

use super::text::{Malformed, text_type};
use super::{pattern, punycode};

/// The hosts that a route applies to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum HostPattern {
    /// This host; in lower case.
    Exact(String),
    /// Every name below this domain, however deep: `*.example.com` is kept as `example.com`, in lower case.
    Below(String),
}

text_type!(HostPattern, format: "host-pattern", pattern: {
    pattern::whole(&format!("(?:\\*\\.)?{}|\\[{}\\]", pattern::host_name(), pattern::ipv6()))
});

impl HostPattern {
    /// Returns true if a host, in lower case and without its port, is one of these.
    pub(crate) fn covers(&self, host: &str) -> bool {
        match self {
            Self::Exact(own) => own == host,
            Self::Below(domain) => {
                host.strip_suffix(&**domain).is_some_and(|below| below.len() > 1 && below.ends_with('.'))
            }
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Below(domain) => write!(f, "*.{domain}"),
        }
    }
}

impl FromStr for HostPattern {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let lower = text.to_ascii_lowercase();
        let malformed = || Malformed::new(format!("`{text}` is not a host")).help(advise_host(text));
        if let Some(domain) = lower.strip_prefix("*.") {
            return if is_host_name(domain) { Ok(Self::Below(domain.to_owned())) } else { Err(malformed()) };
        }
        if is_ipv6_literal(&lower) || is_host_name(&lower) {
            Ok(Self::Exact(lower))
        } else {
            Err(malformed())
        }
    }
}

/// Returns the advice for a text that is not a host.
fn advise_host(text: &str) -> String {
    let form = "write only a name: `api.example.com`, or `*.example.com` for all below it";
    if let Some(help) = punycode::advise(text) {
        return help;
    }
    let is_good = |host: &&str| host.parse::<HostPattern>().is_ok();
    if let Some((_, rest)) = text.split_once("://") {
        let host = rest.split(['/', ':', '?']).next().unwrap_or(rest);
        return Some(host)
            .filter(is_good)
            .map_or(form.to_owned(), |host| format!("write only the name: `{host}`"));
    }
    if let Some(host) = text.split('/').next().filter(|host| *host != text).filter(is_good) {
        return format!("write `{host}`, and the path with `path` or `prefix`");
    }
    if let Some((host, _)) = text.rsplit_once(':').filter(|(host, _)| is_good(host)) {
        return format!("write `{host}`: the port does not matter");
    }
    if let Some(host) = text.strip_suffix('.').filter(is_good) {
        return format!("write `{host}`, without the dot at its end");
    }
    match text {
        "*" | "" => "leave `host` out for all hosts".to_owned(),
        _ if text.contains('*') => {
            "a `*` stands only for whole labels at the beginning: `*.example.com`".to_owned()
        }
        _ => form.to_owned(),
    }
}

/// The largest length of a host name (RFC 1035 §2.3.4), without the dot that may end it in a request.
pub(crate) const HOST_BYTES_MAX: usize = 253;

const LABEL_BYTES_MAX: usize = 63;

/// Returns true if a text is a name of labels with single dots between them, as DNS and the URLs in use have them (RFC
/// 1123 §2.1, and `_`). IPv4 addresses match, too.
pub(crate) fn is_host_name(text: &str) -> bool {
    let mut label = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte == b'.' {
            if at == label || at - label > LABEL_BYTES_MAX {
                return false;
            }
            label = at + 1;
        } else if !byte.is_ascii_alphanumeric() && !matches!(byte, b'-' | b'_') {
            return false;
        }
    }
    (1..=LABEL_BYTES_MAX).contains(&(text.len() - label)) && text.len() <= HOST_BYTES_MAX
}

/// Returns true if a text is an IPv6 address in brackets.
pub(crate) fn is_ipv6_literal(text: &str) -> bool {
    let inside = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inside.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

/// The Host sent to an upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum HostHeader {
    /// The endpoint's own: host and port of its URL.
    #[default]
    Upstream,
    /// The one that the client sent.
    Preserve,
    /// This one, whatever the client sent; a host with or without a port.
    Literal(HeaderValue),
}

text_type!(HostHeader, format: "host-header", pattern: {
    let host = format!("(?:{}|\\[{}\\])", pattern::host_name(), pattern::ipv6());
    pattern::whole(&format!("{host}(?::{})?", pattern::port()))
});

impl fmt::Display for HostHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upstream => f.write_str("upstream"),
            Self::Preserve => f.write_str("preserve"),
            Self::Literal(host) => f.write_str(host.to_str().unwrap_or_default()),
        }
    }
}

impl FromStr for HostHeader {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        match text {
            "upstream" => return Ok(Self::Upstream),
            "preserve" => return Ok(Self::Preserve),
            _ => {}
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (text, None),
        };
        let is_port = |port: &str| {
            port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
        };
        let is_port = port.is_none_or(is_port);
        match (host.parse(), HeaderValue::from_str(&text.to_ascii_lowercase())) {
            (Ok(HostPattern::Exact(_)), Ok(literal)) if is_port => Ok(Self::Literal(literal)),
            _ => {
                let form = "write `upstream`, `preserve`, or a host with or without port: `api.example.com`";
                let help = punycode::advise(host).unwrap_or_else(|| form.to_owned());
                Err(Malformed::new(format!("`{text}` is not a host")).help(help))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{HOST_BYTES_MAX, HostHeader, HostPattern, is_host_name};

    #[test]
    fn a_host_name_is_one_that_dns_can_have() {
        let label = "a".repeat(63);
        let longest = [&label[..], &label, &label, &"a".repeat(61)].join(".");
        assert_eq!(longest.len(), HOST_BYTES_MAX);
        for text in ["a", "my_service-1", "127.0.0.1", "-.A", &label, &longest] {
            assert!(is_host_name(text), "{text}");
        }
        for text in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "a b",
            "é",
            "*",
            "[::1]",
            &format!("{label}a"),
            &format!("{longest}a"),
        ] {
            assert!(!is_host_name(text), "{text}");
        }
    }

    #[test]
    fn a_host_is_exact_or_all_below_a_domain() {
        assert_eq!("API.example.com".parse(), Ok(HostPattern::Exact("api.example.com".to_owned())));
        assert_eq!("*.Example.com".parse(), Ok(HostPattern::Below("example.com".to_owned())));
        assert_eq!("[::1]".parse(), Ok(HostPattern::Exact("[::1]".to_owned())));
        for text in ["", "*", "*.", "a.*.b", "http://a", "a:80", "a/b", "a..b", "*.*.a", "[::1", "a b"] {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_host_that_is_none_gets_the_nearest_form() {
        for (text, help) in [
            ("bücher.example", "`xn--bcher-kva.example`"),
            ("http://api.example/x", "write only the name: `api.example`"),
            ("a.example/x", "write `a.example`, and the path with `path` or `prefix`"),
            ("a.example:80", "write `a.example`: the port does not matter"),
            ("a.example.", "without the dot at its end"),
            ("*", "leave `host` out"),
            ("api.*", "whole labels at the beginning"),
            ("a b", "write only a name"),
        ] {
            let given = text.parse::<HostPattern>().unwrap_err().help.unwrap();
            assert!(given.contains(help), "{text}: {given}");
        }
        assert!("ü:80".parse::<HostHeader>().unwrap_err().help.unwrap().contains("xn--tda"));
    }

    #[test]
    fn the_host_sent_may_have_a_port() {
        assert_eq!("upstream".parse(), Ok(HostHeader::Upstream));
        assert_eq!("preserve".parse(), Ok(HostHeader::Preserve));
        for text in ["a.example", "a.example:8080", "[::1]:80", "[::1]"] {
            assert_eq!(text.parse(), Ok(HostHeader::Literal(text.parse().unwrap())));
        }
        for text in ["", "a:0", "a:x", "a:", "a:+80", "*.a", "http://a", "a b"] {
            assert!(text.parse::<HostHeader>().is_err(), "{text}");
        }
    }
}
