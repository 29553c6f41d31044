//! The keys by which a limit counts.

use std::net::IpAddr;

use crate::config::LimitBy;
use crate::http::fields::Fields;

/// The parts of a request by which limits count.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'a> {
    /// The address of the client, behind trusted proxies the one that they name. A client on a Unix socket has none.
    pub(crate) client: Option<IpAddr>,
    /// The name of the way by which the client is known, and its subject.
    pub(crate) identity: Option<(&'a str, &'a str)>,
    pub(crate) headers: &'a Fields,
}

/// A key. Requests with equal keys share a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Key<'a> {
    /// All requests.
    Route,
    /// All clients on Unix sockets.
    Unaddressed,
    V4(u32),
    /// The upper half of an address: a client can choose the lower one (RFC 4291 §2.5.1).
    V6(u64),
    Header(&'a [u8]),
    Identity(&'a str, &'a str),
}

impl<'a> Key<'a> {
    /// Returns the key of a request. If it lacks the part by which a limit counts, the client's address takes its place: otherwise
    /// leaving the part out would avoid the limit. The same holds for a field with two values, of which an upstream may read the other.
    pub(crate) fn new(by: &LimitBy, caller: &Caller<'a>) -> Self {
        let own = match by {
            LimitBy::Route => Some(Key::Route),
            LimitBy::ClientIp => None,
            LimitBy::Identity => {
                // A token may have no subject.
                let named = caller.identity.filter(|(_, subject)| !subject.is_empty());
                named.map(|(way, subject)| Key::Identity(way, subject))
            }
            LimitBy::Header(name) => {
                let mut values = caller.headers.get_all(name.as_http());
                let value = values.next().map(http::HeaderValue::as_bytes);
                value.filter(|value| !value.is_empty() && values.next().is_none()).map(Key::Header)
            }
        };
        own.unwrap_or_else(|| Self::of_address(caller.client))
    }

    /// Returns the bytes that stand for the key on all gateways. Different keys have different bytes.
    pub(super) fn bytes(&self) -> Vec<u8> {
        match self {
            Key::Route => vec![0],
            Key::Unaddressed => vec![1],
            Key::V4(address) => [&[2][..], &address.to_be_bytes()].concat(),
            Key::V6(address) => [&[3][..], &address.to_be_bytes()].concat(),
            Key::Header(value) => [&[4][..], value].concat(),
            Key::Identity(way, subject) => {
                let length = (way.len() as u64).to_be_bytes();
                [&[5][..], &length, way.as_bytes(), subject.as_bytes()].concat()
            }
        }
    }

    fn of_address(client: Option<IpAddr>) -> Self {
        match client.map(|address| address.to_canonical()) {
            None => Key::Unaddressed,
            Some(IpAddr::V4(address)) => Key::V4(address.to_bits()),
            Some(IpAddr::V6(address)) => Key::V6(u64::try_from(address.to_bits() >> 64).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key<'a>(by: &str, client: Option<&str>, headers: &'a Fields) -> Key<'a> {
        let client = client.map(|client| client.parse().unwrap());
        Key::new(&by.parse().unwrap(), &Caller { client, identity: None, headers })
    }

    #[test]
    fn addresses_count_by_64_bits_of_ipv6_and_all_of_ipv4() {
        let none = Fields::new();
        let of = |client: &str| key("client_ip", Some(client), &none);
        assert_eq!(of("2001:db8::1"), of("2001:db8:0:0:ffff::2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_eq!(key("client_ip", None, &none), Key::Unaddressed);
    }

    #[test]
    fn request_without_one_value_of_the_field_counts_by_its_address() {
        let address =
            |headers: &Fields| key("header:x-key", Some("192.0.2.1"), headers) == Key::V4(0xc000_0201);
        assert!(address(&Fields::new()));
        assert!(address(&Fields::written(&[("x-key", "")])));
        assert!(address(&Fields::written(&[("x-key", "a"), ("x-key", "b")])));
        let one = Fields::written(&[("x-key", "a")]);
        assert_eq!(key("header:x-key", Some("192.0.2.1"), &one), Key::Header(b"a"));
        assert_eq!(key("identity", Some("192.0.2.1"), &one), Key::V4(0xc000_0201));
        assert_eq!(key("route", None, &one), Key::Route);
    }
}
