//! Removal of the fields that are for one connection only.

use http::header::{CONNECTION, TE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::list_members;

/// Fields that are for one connection only, whether `Connection` names them or not (RFC 9110 §7.6.1).
///
/// Beyond the section's list: what speaks to a proxy (§11.7), which credentials for the gateway's own place
/// in the chain are; and `HTTP2-Settings`, which belongs to the h2c upgrade that is never forwarded.
/// `Trailer` is not among them: it stays with the trailers, which are forwarded.
const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "te",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// Fields that stay even where `Connection` names them. RFC 9110 §7.6.1 forbids naming a field that is meant
/// for all recipients; a client that does it anyway wants the upstream to see a request without what a proxy
/// before the gateway, or the gateway itself, relied on.
const END_TO_END: [&str; 10] = [
    "authorization",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "forwarded",
    "host",
    "via",
    "x-real-ip",
];

/// Fields that begin like this stay as well.
const END_TO_END_PREFIX: &str = "x-forwarded-";

/// Removes connection-specific fields, and those that `Connection` names (RFC 9110 §7.6.1).
///
/// `TE: trailers` is what remains of a `TE` that offers trailers (§10.1.4): the gateway forwards trailers, so
/// the offer is its own, too.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let mut present = 0_u16;
    for name in headers.keys() {
        if let Some(position) = HOP_BY_HOP.iter().position(|hop| *hop == name.as_str()) {
            present |= 1 << position;
        }
    }
    if present == 0 {
        return;
    }
    let named = named_by_connection(headers);
    let offers_trailers = list_members(headers, TE).any(is_trailers);
    for (position, name) in HOP_BY_HOP.iter().enumerate() {
        if present & 1 << position != 0 {
            headers.remove(*name);
        }
    }
    for name in named {
        headers.remove(name);
    }
    if offers_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Removes the fields that `Connection` names, and their names from it: what comes under such a name later is not the
/// client's to take away.
pub(crate) fn remove_named(headers: &mut HeaderMap) {
    let named = named_by_connection(headers);
    if named.is_empty() {
        return;
    }
    let is_named = |option: &&str| named.iter().any(|name| name.as_str().eq_ignore_ascii_case(option));
    let left: Vec<&str> = list_members(headers, CONNECTION).filter(|option| !is_named(option)).collect();
    // The members were a field's value before.
    match HeaderValue::from_str(&left.join(", ")).ok().filter(|_| !left.is_empty()) {
        Some(left) => drop(headers.insert(CONNECTION, left)),
        None => drop(headers.remove(CONNECTION)),
    }
    for name in named {
        headers.remove(name);
    }
}

/// Copies of the fields that are for one connection only, as they came.
pub(crate) fn hop_by_hop(headers: &HeaderMap) -> HeaderMap {
    let mut copies = HeaderMap::new();
    let copied = headers.iter().filter(|(name, _)| is_hop_by_hop(name));
    copied.for_each(|(name, value)| {
        copies.append(name.clone(), value.clone());
    });
    copies
}

/// Puts such fields in place of those that there are by now.
pub(crate) fn replace_hop_by_hop(headers: &mut HeaderMap, copies: HeaderMap) {
    super::remove_where(headers, is_hop_by_hop);
    headers.extend(copies);
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(&name.as_str())
}

/// The fields that `Connection` names besides those that are removed in any case; rarely any.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let is_hop_by_hop = |option: &&str| HOP_BY_HOP.iter().any(|name| name.eq_ignore_ascii_case(option));
    list_members(headers, CONNECTION)
        .filter(|option| !option.eq_ignore_ascii_case("close") && !is_hop_by_hop(option))
        .filter_map(|option| HeaderName::from_bytes(option.as_bytes()).ok())
        .filter(|name| !END_TO_END.contains(&name.as_str()) && !name.as_str().starts_with(END_TO_END_PREFIX))
        .collect()
}

/// Whether a member of `TE` offers trailers. They have no weight by the grammar; one of zero is taken at its
/// word.
fn is_trailers(member: &str) -> bool {
    let (coding, weight) = member.split_once(';').unwrap_or((member, ""));
    let refuses = weight.split_once('=').is_some_and(|(_, weight)| {
        weight.trim().starts_with('0') && !weight.contains(|digit| matches!(digit, '1'..='9'))
    });
    coding.trim().eq_ignore_ascii_case("trailers") && !refuses
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may panic")]

    use super::super::tests::{headers, lines};
    use super::*;

    fn after(before: &[&str]) -> Vec<String> {
        let mut headers = headers(before);
        remove_hop_by_hop(&mut headers);
        lines(&headers)
    }

    #[test]
    fn every_hop_by_hop_field_goes_and_the_others_stay() {
        for name in HOP_BY_HOP {
            assert_eq!(
                after(&[&format!("{name}: x"), "accept: y", &format!("{name}: z")]),
                ["accept: y"],
                "{name}"
            );
        }
        assert_eq!(after(&["trailer: x", "expect: 100-continue"]), ["expect: 100-continue", "trailer: x"]);
    }

    #[test]
    fn what_connection_names_goes_with_it() {
        let before = [
            "connection: close, X-Secret",
            "connection: x-other,, keep-alive",
            "x-secret: 1",
            "x-other: 2",
            "x: 3",
        ];
        assert_eq!(after(&before), ["x: 3"]);
        assert_eq!(after(&["connection: not a name, @", "x: 3"]), ["x: 3"]);
    }

    #[test]
    fn what_connection_names_goes_before_the_rest_does() {
        let cases: [(&[&str], &[&str]); 3] = [
            (&["connection: X-A, upgrade", "upgrade: b", "x-a: 1"], &["connection: upgrade", "upgrade: b"]),
            (&["connection: x-a", "connection: x-b", "x-a: 1", "x-c: 2"], &["x-c: 2"]),
            (
                &["connection: close, host", "host: a", "x-a: 1"],
                &["connection: close, host", "host: a", "x-a: 1"],
            ),
        ];
        for (before, after) in cases {
            let mut headers = headers(before);
            remove_named(&mut headers);
            assert_eq!(lines(&headers), after, "{before:?}");
        }
    }

    #[test]
    fn connection_cannot_take_end_to_end_fields_away() {
        for name in END_TO_END.into_iter().chain(["x-forwarded-for", "x-forwarded-port"]) {
            let field = format!("{name}: x");
            assert_eq!(after(&[&format!("connection: {}", name.to_uppercase()), &field]), [field], "{name}");
        }
    }

    #[test]
    fn an_offer_of_trailers_stays() {
        let cases = [
            ("trailers", true),
            ("gzip, Trailers", true),
            ("trailers;q=0.5", true),
            ("trailers;q=0", false),
            ("trailers; q=0.000", false),
            ("gzip", false),
            ("x-trailers", false),
        ];
        for (offer, stays) in cases {
            let expected: &[&str] = if stays { &["te: trailers"] } else { &[] };
            assert_eq!(after(&[&format!("te: {offer}"), "connection: te"]), expected, "{offer}");
        }
    }
}
