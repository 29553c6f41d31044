//! The part of a request that ties it to an endpoint.

use std::hash::{BuildHasher, Hasher};

use http::header;

use crate::config::HashKey;
use crate::http::fields::Fields;
use crate::http::forward::client_ip;
use crate::proxy::exchange::Exchange;

/// Equal keys have equal hashes in each process, so that gateways beside each other choose the same endpoint.
const SEED: u64 = 0x2545_f491_4f6c_dd1d;

/// Returns the hash of the request's value for `key`, or `None` if the request has none. The fields are those of the client.
pub(super) fn hash(key: &HashKey, exchange: &Exchange<'_>) -> Option<u64> {
    let headers = &exchange.request.headers;
    match key {
        HashKey::ClientIp => {
            let trusted = &exchange.start.snapshot.trusted_proxies;
            Some(hash_of(client_ip(headers, exchange.client.peer().ip(), trusted).to_string().as_bytes()))
        }
        HashKey::Path => Some(hash_of(exchange.path.as_bytes())),
        HashKey::Header(name) => Some(hash_of(headers.get(name.as_http())?.as_bytes())),
        HashKey::Cookie(name) => Some(hash_of(cookie(headers, name)?)),
        HashKey::Query(name) => parameter(exchange.query()?, name).map(|value| hash_of(value.as_bytes())),
    }
}

/// Returns the value of the first cookie of this name (RFC 6265 §5.4).
fn cookie<'h>(headers: &'h Fields, name: &str) -> Option<&'h [u8]> {
    let pairs = headers.get_all(header::COOKIE).flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

/// Returns the value of the first parameter of this name, both as they are written.
fn parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query.split('&').find_map(|parameter| {
        let (written, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        (written == name).then_some(value)
    })
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
    fn cookies_are_found_by_their_whole_name() {
        let mut headers = Fields::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=1; user=x=y; empty="));
        headers.append(header::COOKIE, HeaderValue::from_static("late=2;user=second"));
        let found = |name: &str| cookie(&headers, name).map(|value| std::str::from_utf8(value).unwrap());
        let values = ["a", "user", "empty", "late", "use", "er"].map(found);
        assert_eq!(values, [Some("1"), Some("x=y"), Some(""), Some("2"), None, None]);
    }

    #[test]
    fn parameters_are_found_by_their_whole_name() {
        let found = |name: &str| parameter("a=1&user=x&flag&user=y", name);
        assert_eq!(["a", "user", "flag", "use"].map(found), [Some("1"), Some("x"), Some(""), None]);
    }
}
