//! The host that a request is for.

use http::header::HOST;
use http::{Uri, Version};

use crate::config::values::host::{is_host_name, is_ipv6_literal};
use crate::http::fields::Fields;

/// The reason for which a request's host cannot be determined. The response to each is 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HostError {
    /// No Host, in a version that requires one (RFC 9112 §3.2).
    #[error("the request has no Host")]
    Missing,
    /// More than one Host (RFC 9112 §3.2).
    #[error("the request has more than one Host")]
    Repeated,
    /// A value other than a host name or an IP address with an optional port.
    #[error("the request's Host is not a host")]
    Malformed,
    /// `:authority` and Host name two different hosts (RFC 9113 §8.3.1).
    #[error("the request's :authority and Host are not the same")]
    Contradiction,
}

impl HostError {
    /// Returns a name for logs, metrics and `x-gateway-error` that stays the same from version to version.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Missing => "host.missing",
            Self::Repeated => "host.repeated",
            Self::Malformed => "host.malformed",
            Self::Contradiction => "host.contradiction",
        }
    }
}

/// The host that a request is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RequestHost<'a> {
    /// The host and port as the client wrote them, without a colon that no port follows. It becomes part of a Location
    /// to the client. Empty if there is none.
    pub(crate) authority: &'a str,
    /// A host name or an IP address, IPv6 with its brackets, in the client's case; empty if there is none.
    pub(crate) host: &'a str,
    /// The port, if one is written.
    pub(crate) port: Option<u16>,
}

/// Determines the host of a request from its target and its fields.
///
/// The target's authority takes precedence over Host (RFC 9112 §3.2.2), but Host is checked all the same. HTTP/1.1 has
/// exactly one Host (§3.2). HTTP/1.0 may have none; the host is empty then. HTTP/2 has `:authority`, Host, or both if they agree.
///
/// A host is an IPv6 address in brackets, or labels of letters, digits, `-` and `_` with single dots between them and at
/// most one at the end. These are the names that DNS can have, and fewer than RFC 3986 §3.2.2 allows. User names and
/// lists are rejected.
pub(crate) fn request_host<'a>(
    uri: &'a Uri,
    headers: &'a Fields,
    version: Version,
) -> Result<RequestHost<'a>, HostError> {
    let field = host_field(headers)?;
    let target = uri.authority().map(|authority| parse(authority.as_str())).transpose()?;
    match (target, field) {
        (Some(target), Some(field)) if version >= Version::HTTP_2 => {
            if is_same(target, field, uri) {
                Ok(target)
            } else {
                Err(HostError::Contradiction)
            }
        }
        (Some(target), Some(_)) => Ok(target),
        (None, Some(field)) => Ok(field),
        (Some(target), None) if version != Version::HTTP_11 => Ok(target),
        (None, None) if version <= Version::HTTP_10 => Ok(RequestHost::default()),
        (_, None) => Err(HostError::Missing),
    }
}

/// Returns true for a host with or without a port, as a Host field has it.
pub(crate) fn is_authority(text: &str) -> bool {
    parse(text).is_ok()
}

/// Parses a host with or without a port, as a Host field has it. Returns `None` for anything else, including an empty text.
pub(crate) fn parse_authority(text: &str) -> Option<RequestHost<'_>> {
    parse(text).ok()
}

fn host_field(headers: &Fields) -> Result<Option<RequestHost<'_>>, HostError> {
    let mut values = headers.get_all(HOST);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(HostError::Repeated);
    }
    let text = value.to_str().map_err(|_| HostError::Malformed)?;
    parse(text).map(Some)
}

fn is_same(target: RequestHost<'_>, field: RequestHost<'_>, uri: &Uri) -> bool {
    let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let port = |of: RequestHost<'_>| of.port.unwrap_or(default);
    target.host.eq_ignore_ascii_case(field.host) && port(target) == port(field)
}

/// Reads `host [":" port]` (RFC 9110 §7.2).
fn parse(text: &str) -> Result<RequestHost<'_>, HostError> {
    let host_bytes = match text.strip_prefix('[') {
        Some(rest) => rest.find(']').map(|at| at + 2),
        None => Some(text.bytes().position(|byte| byte == b':').unwrap_or(text.len())),
    };
    let (host, rest) = host_bytes.and_then(|at| text.split_at_checked(at)).ok_or(HostError::Malformed)?;
    if !is_ipv6_literal(host) && !is_host_name(host.strip_suffix('.').unwrap_or(host)) {
        return Err(HostError::Malformed);
    }
    // A colon without a port is allowed and means none (RFC 3986 §3.2.3).
    if matches!(rest, "" | ":") {
        return Ok(RequestHost { authority: host, host, port: None });
    }
    let port = rest.strip_prefix(':').ok_or(HostError::Malformed)?;
    Ok(RequestHost { authority: text, host, port: Some(parse_port(port)?) })
}

fn parse_port(port: &str) -> Result<u16, HostError> {
    // Only digits are accepted; the parser of integers would also take a sign.
    let is_number = port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|port| is_number && *port != 0);
    port.ok_or(HostError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::super::tests::headers;
    use super::*;

    #[test]
    fn hosts_are_names_and_addresses_with_at_most_a_port() {
        let cases = [
            ("example.com", "example.com", "example.com", None),
            ("Example.com:8080", "Example.com:8080", "Example.com", Some(8080)),
            ("example.com.", "example.com.", "example.com.", None),
            ("example.com:", "example.com", "example.com", None),
            ("my_service-1", "my_service-1", "my_service-1", None),
            ("127.0.0.1:80", "127.0.0.1:80", "127.0.0.1", Some(80)),
            ("[::1]", "[::1]", "[::1]", None),
            ("[::1]:65535", "[::1]:65535", "[::1]", Some(65535)),
        ];
        for (text, authority, host, port) in cases {
            assert_eq!(parse(text), Ok(RequestHost { authority, host, port }), "{text}");
        }
        assert!(parse(&format!("{}.", ["a"; 127].join("."))).is_ok());
    }

    #[test]
    fn invalid_hosts_are_rejected() {
        let cases = [
            "",
            ":80",
            ".",
            ".a",
            "a..b",
            "a b",
            "a,b",
            "a, b",
            "user@a",
            "user:x@a",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "a%41",
            "http://a",
            "a:b",
            "a:+80",
            "a:-1",
            "a:0",
            "a:65536",
            "a:000080",
            "a:80:80",
            "a: 80",
            "::1",
            "[::1",
            "[]",
            "[a]",
            "[::1]a",
            "[::1]:x",
            "[::1%25eth0]",
            "[v1.a]",
            "é",
            "*",
        ];
        for text in cases {
            assert_eq!(parse(text), Err(HostError::Malformed), "{text}");
        }
        assert_eq!(parse(&["a"; 128].join(".")), Err(HostError::Malformed));
        assert_eq!(parse(&"a".repeat(64)), Err(HostError::Malformed));
    }

    #[test]
    fn each_version_has_its_own_rules() {
        use HostError::{Contradiction, Malformed, Missing, Repeated};
        let (h10, h11, h2) = (Version::HTTP_10, Version::HTTP_11, Version::HTTP_2);
        type Case = (Version, &'static str, &'static [&'static str], Result<&'static str, HostError>);
        let cases: [Case; 20] = [
            (h11, "/", &["host: a"], Ok("a")),
            (h11, "/", &[], Err(Missing)),
            (h11, "/", &["host: a", "host: a"], Err(Repeated)),
            (h11, "/", &["host:"], Err(Malformed)),
            (h11, "/", &["host: a, b"], Err(Malformed)),
            (h11, "http://b/", &["host: a"], Ok("b")),
            (h11, "http://b/", &[], Err(Missing)),
            (h11, "http://b/", &["host: a b"], Err(Malformed)),
            (h11, "http://u@b/", &["host: b"], Err(Malformed)),
            (h10, "/", &[], Ok("")),
            (h10, "/", &["host: a"], Ok("a")),
            (h10, "/", &["host: a", "host: b"], Err(Repeated)),
            (h10, "http://b/", &[], Ok("b")),
            (h2, "https://b/", &[], Ok("b")),
            (h2, "/", &["host: a"], Ok("a")),
            (h2, "/", &[], Err(Missing)),
            (h2, "https://b/", &["host: B:443"], Ok("b")),
            (h2, "https://b/", &["host: b:80"], Err(Contradiction)),
            (h2, "https://b/", &["host: a"], Err(Contradiction)),
            (h2, "https://u@b/", &[], Err(Malformed)),
        ];
        for (version, uri, fields, expected) in cases {
            let (uri, headers) = (uri.parse().unwrap(), headers(fields));
            let host = request_host(&uri, &headers, version).map(|host| host.authority);
            assert_eq!(host, expected, "{version:?} {uri} {fields:?}");
        }
    }
}
