//! Rewriting of `Set-Cookie`.

use std::borrow::Cow;
use std::net::IpAddr;

use http::HeaderValue;

use super::Reverse;

impl Reverse<'_> {
    /// Returns a cookie with the domain and the path that it has for the client (RFC 6265 §5.2), or `None` if nothing
    /// changes. Every other byte stays.
    ///
    /// A domain that is the upstream's, and that the client would not accept, is removed: the cookie is then for the
    /// host that the client requested, and no more widely visible than before. Of several domains the last one counts
    /// (RFC 6265 §5.3). All of them are removed, or another one would count instead. The path of a `__Host-` cookie
    /// stays, because it must be `/`.
    pub(crate) fn cookie(&self, cookie: &HeaderValue) -> Option<HeaderValue> {
        let mut parts = cookie.as_bytes().split(|byte| *byte == b';');
        let pair = parts.next()?;
        let is_bound_to_root = pair
            .trim_ascii_start()
            .get(..HOST_PREFIX.len())
            .is_some_and(|name| name.eq_ignore_ascii_case(HOST_PREFIX));
        let is_domain = |name: &str| name.eq_ignore_ascii_case("domain");
        let domain = parts.clone().filter_map(attribute).rfind(|(name, _)| is_domain(name));
        let loses_domain = domain.is_some_and(|(_, domain)| self.is_foreign_to_client(domain));
        let mut changed = false;
        let mut written = pair.to_vec();
        for part in parts {
            let Some((name, value)) = attribute(part) else {
                written.push(b';');
                written.extend_from_slice(part);
                continue;
            };
            if loses_domain && is_domain(name) {
                changed = true;
                continue;
            }
            written.push(b';');
            let is_path = name.eq_ignore_ascii_case("path") && !is_bound_to_root;
            match self.cookie_path(value).filter(|_| is_path) {
                Some(path) => {
                    changed = true;
                    let (before, after) = around(part, value);
                    written.extend([before, path.as_bytes(), after].concat());
                }
                None => written.extend_from_slice(part),
            }
        }
        if changed { HeaderValue::try_from(written).ok() } else { None }
    }

    /// Returns true for a domain of the upstream for which the client would refuse a cookie.
    fn is_foreign_to_client(&self, domain: &str) -> bool {
        let domain = domain.strip_prefix('.').unwrap_or(domain);
        let domain = domain.strip_suffix('.').unwrap_or(domain);
        self.authorities.iter().any(|own| is_within(own.host, domain))
            && !is_within(self.client.host.host, domain)
    }

    /// Returns the client's path of a cookie, if it differs.
    fn cookie_path<'p>(&self, path: &'p str) -> Option<Cow<'p, str>> {
        if !path.starts_with('/') || self.is_client_path(path) {
            return None;
        }
        let mut reversed = self.path(path)?;
        // All of the upstream is everything below the prefix and the prefix itself, which `/api/` would leave out.
        if path == "/" && reversed.len() > 1 && reversed.ends_with('/') {
            reversed.to_mut().pop();
        }
        (reversed != path && !reversed.contains(';')).then_some(reversed)
    }
}

/// The prefix of the names of cookies that are for one host and all of its paths (RFC 6265bis §4.1.3.2).
const HOST_PREFIX: &[u8] = b"__Host-";

/// Returns name and value of an attribute, without surrounding white space.
fn attribute(part: &[u8]) -> Option<(&str, &str)> {
    let (name, value) = std::str::from_utf8(part).ok()?.split_once('=')?;
    let white = [' ', '\t'];
    Some((name.trim_matches(white), value.trim_matches(white)))
}

/// Returns the parts before and after the value of an attribute, which has no white space but its own.
fn around<'p>(part: &'p [u8], value: &str) -> (&'p [u8], &'p [u8]) {
    let after_name = part.iter().position(|byte| *byte == b'=').map_or(part.len(), |at| at + 1);
    let (name, written) = part.split_at(after_name);
    let start = name.len() + written.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let (before, rest) = part.split_at_checked(start).unwrap_or((part, &[]));
    (before, rest.get(value.len()..).unwrap_or_default())
}

/// Returns true if a host is a domain or below it (RFC 6265 §5.1.3). No host is below an address.
fn is_within(host: &str, domain: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    if domain.is_empty() || host.len() < domain.len() {
        return false;
    }
    let Some((before, end)) = host.split_at_checked(host.len() - domain.len()) else { return false };
    let is_below = before.ends_with('.') && host.parse::<IpAddr>().is_err();
    end.eq_ignore_ascii_case(domain) && (before.is_empty() || is_below)
}
