//! The scheme and the host that a client used.

use http::HeaderName;

use super::host::{RequestHost, parse_authority};
use super::list_members;
use crate::config::Scheme;
use crate::http::fields::Fields;

pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The scheme and the host of the URL that a client used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientOrigin<'a> {
    pub(crate) scheme: Scheme,
    /// The host and port. Empty for a client of HTTP/1.0 that sent no Host.
    pub(crate) host: RequestHost<'a>,
}

impl<'a> ClientOrigin<'a> {
    /// Returns an origin for `authority`, the request's host with its port.
    ///
    /// The host never comes from `X-Forwarded-Host`. Many proxies pass on what clients write there, and the route was
    /// chosen by the request's own host.
    pub(crate) fn new(scheme: Scheme, authority: &'a str) -> Self {
        Self { scheme, host: parse_authority(authority).unwrap_or_default() }
    }
}

/// Returns the scheme of `X-Forwarded-Proto`. If it has several members, the first one counts: proxies append to the
/// field, so the first is the scheme of the connection that the client opened.
///
/// Spring, Rack and Express read the field this way, and an upstream behind the gateway gets the same field. If the
/// first proxy appends to what its client sent, the client can write the first member. It then affects only the
/// locations in its own responses.
pub(super) fn forwarded_scheme(headers: &Fields) -> Option<Scheme> {
    match list_members(headers, X_FORWARDED_PROTO).next()? {
        scheme if scheme.eq_ignore_ascii_case("https") => Some(Scheme::Https),
        scheme if scheme.eq_ignore_ascii_case("http") => Some(Scheme::Http),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::uri::Scheme;

    use super::super::tests::headers;
    use super::super::{ClientOrigin, Forwarding};
    use crate::config;

    #[test]
    fn the_scheme_of_a_client_is_what_a_trusted_peer_forwards_and_else_the_connections() {
        let cases: [(bool, &[&str], &str); 11] = [
            (true, &[], "https"),
            (true, &["x-forwarded-proto: http"], "http"),
            (true, &["x-forwarded-proto: HTTP, https"], "http"),
            (true, &["x-forwarded-proto: https, http"], "https"),
            (true, &["x-forwarded-proto: http ,https,https"], "http"),
            (true, &["x-forwarded-proto: http", "x-forwarded-proto: https"], "http"),
            (true, &["x-forwarded-proto: gopher, http"], "https"),
            (true, &["x-forwarded-proto: ,"], "https"),
            (true, &["x-forwarded-proto: gopher"], "https"),
            (false, &["x-forwarded-proto: http"], "https"),
            (false, &[], "https"),
        ];
        for (is_trusted, fields, scheme) in cases {
            let forwarding = Forwarding::new("192.0.2.1".parse().ok(), &Scheme::HTTPS, is_trusted);
            assert_eq!(forwarding.client_scheme(&headers(fields)).as_str(), scheme, "{fields:?}");
        }
        let forwarding = Forwarding::new("192.0.2.1".parse().ok(), &Scheme::HTTP, false);
        assert_eq!(forwarding.client_scheme(&headers(&["x-forwarded-proto: https"])).as_str(), "http");
    }

    #[test]
    fn the_host_of_a_client_is_the_requests_own() {
        for (authority, expected) in
            [("a:8080", "a:8080"), ("[::1]:80", "[::1]:80"), ("", ""), ("u@b", ""), ("b/c", "")]
        {
            let origin = ClientOrigin::new(config::Scheme::Https, authority);
            assert_eq!(origin.host.authority, expected, "{authority}");
        }
    }
}
