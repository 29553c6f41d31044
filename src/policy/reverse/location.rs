//! Rewriting of `Location`.

use std::net::Ipv6Addr;

use http::HeaderValue;

use super::Reverse;
use crate::config::Scheme;
use crate::http::forward::{RequestHost, parse_authority};
use crate::policy::rewrite::below_written;

/// The parts of a URL, or of a path with or without an authority.
struct Reference<'a> {
    /// Scheme and authority. `//host/path` has no scheme.
    origin: Option<(Option<Scheme>, &'a str)>,
    path: &'a str,
    /// Query and fragment, with their leading marks.
    rest: &'a str,
}

/// The site that a location names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Named {
    /// No site: the location is a path.
    Nothing,
    Upstream,
    Client,
}

impl Reverse<'_> {
    /// Returns the location that the client can use in place of one that names the upstream, by its scheme, host and
    /// port or by a path alone. Returns `None` for any other, which stays as it is.
    ///
    /// Relative references stay, because the client resolves them in its own terms. So do locations that readers may
    /// understand differently: with a user name, a backslash, white space or a dot segment.
    pub(crate) fn location(&self, location: &HeaderValue) -> Option<HeaderValue> {
        let text = std::str::from_utf8(location.as_bytes()).ok()?;
        let Reference { origin, path, rest } = parse(text)?;
        let named = self.named(origin)?;
        if named != Named::Upstream && self.is_client_path(path) {
            return None;
        }
        let written = if path.is_empty() { "/" } else { path };
        let reversed = self.path(written)?;
        if named != Named::Upstream && reversed == written {
            return None;
        }
        let client = &self.client;
        // The client would take a path that begins with two slashes for a host (RFC 3986 §4.2).
        let needs_origin = named == Named::Upstream || reversed.starts_with("//");
        let location = match client.host.authority {
            _ if named == Named::Client => {
                let origin = text.get(..text.len() - path.len() - rest.len())?;
                [origin, &*reversed, rest].concat()
            }
            "" if reversed.starts_with("//") => return None,
            authority if needs_origin && !authority.is_empty() => {
                [client.scheme.as_str(), "://", authority, &*reversed, rest].concat()
            }
            _ => [&*reversed, rest].concat(),
        };
        HeaderValue::try_from(location.into_bytes()).ok()
    }

    /// Returns true if a location is the HTTPS URL that the client requested, and the upstream speaks plain HTTP.
    /// `query` is the query of the request. A client that follows such a location gets the same response again.
    pub(crate) fn leads_back(&self, location: &HeaderValue, query: Option<&str>) -> bool {
        if (self.client.scheme, self.scheme) != (Scheme::Https, Scheme::Http) {
            return false;
        }
        let reference = std::str::from_utf8(location.as_bytes()).ok().and_then(parse);
        let Some(Reference { origin: Some((Some(Scheme::Https), authority)), path, rest }) = reference else {
            return false;
        };
        let url = rest.split_once('#').map_or(rest, |(url, _fragment)| url);
        let path = if path.is_empty() { "/" } else { path };
        parse_authority(authority)
            .is_some_and(|named| is_same_site((Scheme::Https, &named), (Scheme::Https, &self.client.host)))
            && below_written(path, self.requested) == Some("")
            && url.strip_prefix('?') == query
    }

    /// Returns the site that a location names, or `None` if it is unknown. An upstream that was sent the client's Host
    /// may write either scheme before it. One that believes `X-Forwarded-Proto` may write the client's scheme before
    /// its own host and port, or before its own host if it knows no port.
    fn named(&self, origin: Option<(Option<Scheme>, &str)>) -> Option<Named> {
        let Some((scheme, authority)) = origin else { return Some(Named::Nothing) };
        let host = parse_authority(authority)?;
        let Reverse { client, scheme: own, .. } = self;
        if self.keeps_host {
            let written = (scheme.unwrap_or(client.scheme), &host);
            return is_same_site(written, (client.scheme, &client.host)).then_some(Named::Client);
        }
        let written = (scheme.unwrap_or(*own), &host);
        let is_own = [*own, client.scheme].contains(&written.0)
            && self.authorities.iter().any(|known| is_same_site(written, (*own, known)));
        is_own.then_some(Named::Upstream)
    }
}

/// Parses a location. Returns `None` for a relative reference, another scheme, or a location that readers may
/// understand differently.
fn parse(text: &str) -> Option<Reference<'_>> {
    if text.bytes().any(|byte| byte <= b' ' || matches!(byte, b'\\' | 0x7f)) {
        return None;
    }
    let (scheme, after) = [(Scheme::Http, "http:"), (Scheme::Https, "https:")]
        .into_iter()
        .find_map(|(scheme, written)| {
            let (start, after) = text.split_at_checked(written.len())?;
            start.eq_ignore_ascii_case(written).then_some((Some(scheme), after))
        })
        .unwrap_or((None, text));
    let (path, rest) = after.split_at(after.find(['?', '#']).unwrap_or(after.len()));
    let (origin, path) = match path.strip_prefix("//") {
        Some(path) => {
            let (authority, path) = path.split_at(path.find('/').unwrap_or(path.len()));
            (Some((scheme, authority)), path)
        }
        None if scheme.is_none() && path.starts_with('/') => (None, path),
        None => return None,
    };
    let has_dots = path.split('/').any(is_dot_segment);
    (!has_dots).then_some(Reference { origin, path, rest })
}

fn is_dot_segment(segment: &str) -> bool {
    segment.len() <= 6 && matches!(&*segment.to_ascii_lowercase().replace("%2e", "."), "." | "..")
}

/// Compares hosts and ports. An omitted port is that of the scheme; if both are omitted, the schemes do not matter.
fn is_same_site(one: (Scheme, &RequestHost<'_>), other: (Scheme, &RequestHost<'_>)) -> bool {
    let port = |(scheme, host): (Scheme, &RequestHost<'_>)| host.port.unwrap_or(scheme.default_port());
    let has_no_port = one.1.port.is_none() && other.1.port.is_none();
    is_same_host(one.1.host, other.1.host) && (has_no_port || port(one) == port(other))
}

/// Compares hosts without regard to case, a trailing dot, and the notation of an IPv6 address.
fn is_same_host(one: &str, other: &str) -> bool {
    let address =
        |host: &str| -> Option<Ipv6Addr> { host.strip_prefix('[')?.strip_suffix(']')?.parse().ok() };
    match (address(one), address(other)) {
        (Some(one), Some(other)) => one == other,
        _ => {
            let [one, other] = [one, other].map(|host| host.strip_suffix('.').unwrap_or(host));
            one.eq_ignore_ascii_case(other)
        }
    }
}
