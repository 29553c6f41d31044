//! The ties of a request to an upstream and an endpoint: the hash of a part of it, and the cookie of `sticky`.

use std::hash::{BuildHasher, Hasher};

use http::{HeaderValue, header};

use crate::config::{HashKey, Scheme};
use crate::http::fields::Fields;
use crate::http::parts::{cookies, parameters};
use crate::proxy::exchange::Exchange;
use crate::snapshot::forwarding::{Split, UpstreamRoute};
use crate::snapshot::sticky::Sticky;
use crate::upstream::{Affinity, Endpoint, EndpointSet};

/// Equal keys have equal hashes in each process, so that gateways beside each other choose the same endpoint.
const SEED: u64 = 0x2545_f491_4f6c_dd1d;

/// The number of digits of each part of a cookie's value.
const DIGITS: usize = 16;

/// The endpoint that a request asks for, as far as the request alone says it.
#[derive(Clone, Copy)]
pub(super) enum Wish {
    /// Any.
    None,
    /// The hash of its key.
    Hash(u64),
    /// The alias of the endpoint that its cookie names.
    Alias(u64),
}

impl Wish {
    /// Reads the wish from the fields of the client.
    pub(super) fn of(route: &UpstreamRoute, exchange: &Exchange<'_>) -> Self {
        if let Some(sticky) = &route.sticky {
            let mut held = held(&exchange.request.headers, &sticky.cookie);
            let held = held.find(|(upstream, _)| *upstream == sticky.upstream);
            return held.map_or(Self::None, |(_, alias)| Self::Alias(alias));
        }
        let hash = route.hash_on.as_ref().and_then(|key| hash(key, exchange));
        hash.map_or(Self::None, Self::Hash)
    }

    /// Returns the wish towards these endpoints. One that is gone is none.
    pub(super) fn affinity(self, route: &UpstreamRoute, endpoints: &EndpointSet) -> Affinity {
        let (alias, sticky) = match (self, &route.sticky) {
            (Self::Hash(hash), _) => return Affinity::Hash(hash),
            (Self::Alias(alias), Some(sticky)) => (alias, sticky),
            _ => return Affinity::None,
        };
        let position = endpoints.iter().position(|endpoint| endpoint.alias(sticky.upstream) == alias);
        position.map_or(Affinity::None, Affinity::Endpoint)
    }

    /// Adds the cookie that names the endpoint which has responded, unless the client has it.
    pub(super) fn hold(self, sticky: &Sticky, endpoint: &Endpoint, client: Scheme, headers: &mut Fields) {
        let alias = endpoint.alias(sticky.upstream);
        if matches!(self, Self::Alias(held) if held == alias) {
            return;
        }
        let Sticky { cookie, upstream, attributes, secure } = sticky;
        let is_secure = secure.unwrap_or(client == Scheme::Https);
        let secure = if is_secure { "; Secure" } else { "" };
        let line = format!("{cookie}={upstream:0DIGITS$x}.{alias:0DIGITS$x}{attributes}{secure}");
        // A token, digits and attributes are always a field's value.
        if let Ok(value) = HeaderValue::try_from(line) {
            headers.append(header::SET_COOKIE, value);
        }
    }
}

/// Returns the upstream that gets a request of a split route: the one that its cookie names, else the one whose turn it is.
pub(super) fn choose<'s>(split: &'s Split, exchange: &Exchange<'_>) -> Option<&'s UpstreamRoute> {
    let of = |route: &UpstreamRoute, upstream: u64| {
        route.sticky.as_ref().is_some_and(|sticky| sticky.upstream == upstream)
    };
    // The upstreams have the same cookie, or none.
    let sticky = split.upstreams().first().and_then(|first| first.sticky.as_ref());
    let held = sticky.and_then(|sticky| {
        let mut held = held(&exchange.request.headers, &sticky.cookie);
        held.find_map(|(upstream, _)| split.upstreams().iter().find(|route| of(route, upstream)))
    });
    held.or_else(|| split.turn())
}

/// Returns the upstreams and endpoints in the values of all cookies of this name. Others than the gateway's own are left out.
fn held<'h>(headers: &'h Fields, name: &'h str) -> impl Iterator<Item = (u64, u64)> + use<'h> {
    cookies(headers, name).filter_map(|value| {
        let (upstream, endpoint) = std::str::from_utf8(value).ok()?.split_once('.')?;
        Some((digits(upstream)?, digits(endpoint)?))
    })
}

fn digits(text: &str) -> Option<u64> {
    // The parser would accept a sign.
    let is_number = text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_number { u64::from_str_radix(text, 16).ok() } else { None }
}

/// Returns the hash of the request's value for `key`, or `None` if the request has none. The fields are those of the client.
pub(super) fn hash(key: &HashKey, exchange: &Exchange<'_>) -> Option<u64> {
    let headers = &exchange.request.headers;
    match key {
        HashKey::ClientIp => Some(hash_of(exchange.client_ip()?.to_string().as_bytes())),
        HashKey::Path => Some(hash_of(exchange.path.as_bytes())),
        HashKey::Header(name) => Some(hash_of(headers.get(name.as_http())?.as_bytes())),
        HashKey::Cookie(name) => Some(hash_of(cookies(headers, name).next()?)),
        HashKey::Query(name) => {
            parameters(exchange.query()?, name).next().map(|value| hash_of(value.as_bytes()))
        }
    }
}

fn hash_of(value: &[u8]) -> u64 {
    let mut hasher = foldhash::quality::FixedState::with_seed(SEED).build_hasher();
    hasher.write(value);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_values_of_the_gateway_name_an_endpoint() {
        let (upstream, endpoint) = ("00000000000000ff", "0123456789abcdef");
        let mut headers = Fields::new();
        for value in [
            "".to_owned(),
            upstream.to_owned(),
            format!("{upstream}."),
            format!("{upstream}.+123456789abcdef"),
            format!("{upstream}.{endpoint}0"),
            format!("{upstream}.{endpoint}.1"),
            format!("g{upstream}.{endpoint}"),
            format!("{upstream}.{endpoint}"),
        ] {
            headers.append(header::COOKIE, HeaderValue::try_from(format!("a=1; s={value}; t=2")).unwrap());
        }
        assert_eq!(held(&headers, "s").collect::<Vec<_>>(), [(0xff, 0x0123_4567_89ab_cdef)]);
        assert_eq!(held(&headers, "t").count(), 0);
    }
}
