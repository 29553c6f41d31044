//! Removal of the fields that are for one connection only.

use std::collections::HashSet;

use http::header::{CONNECTION, TE};
use http::{HeaderName, HeaderValue};

use super::list_members;
use crate::http::fields::Fields;

/// Returns true if a field is for one connection only, even if `Connection` does not name it (RFC 9110 §7.6.1). `name`
/// is in lower case.
///
/// The list goes beyond that section. It has the fields that speak to a proxy (§11.7), because their credentials are
/// meant for the gateway's own place in the chain. It has `HTTP2-Settings`, which belongs to the h2c upgrade that is
/// never forwarded. `Proxy` is not a field of HTTP, but CGI programs mistake it for the proxy that they should use
/// (CVE-2016-5385). `Trailer` is not in the list: it stays with the trailers, which are forwarded.
fn is_hop_by_hop(name: &str) -> bool {
    // This compiles to one jump by the name's length. It is cheap, as every field of every message is checked.
    matches!(
        name,
        "te" | "proxy"
            | "upgrade"
            | "connection"
            | "keep-alive"
            | "http2-settings"
            | "proxy-connection"
            | "transfer-encoding"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-authentication-info"
    )
}

/// Fields that stay even if `Connection` names them. RFC 9110 §7.6.1 forbids naming a field that is meant for all
/// recipients. A client that does so anyway wants to hide from the upstream what the gateway, or a proxy before it, relied on.
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

/// The prefix of further fields that stay.
const END_TO_END_PREFIX: &str = "x-forwarded-";

/// Removes connection-specific fields, and those that `Connection` names (RFC 9110 §7.6.1).
///
/// A `TE` that offers trailers is reduced to `TE: trailers` (§10.1.4). The gateway forwards trailers, so it can make
/// that offer itself.
pub(crate) fn remove_hop_by_hop(headers: &mut Fields) {
    let (mut has_any, mut has_lists) = (false, false);
    for (name, value) in headers.iter().filter(|(name, _)| is_hop_by_hop(name.as_str())) {
        has_any = true;
        has_lists |= name == TE || (name == CONNECTION && !value.to_str().is_ok_and(is_usual));
    }
    if has_lists {
        return remove_with_lists(headers);
    }
    if has_any {
        headers.retain(|name, _| !is_hop_by_hop(name.as_str()));
    }
}

/// Does the work of [`remove_hop_by_hop`] if `Connection` or `TE` has to be parsed for it.
fn remove_with_lists(headers: &mut Fields) {
    let mut named: Vec<HeaderName> = Vec::new();
    for option in list_members(headers, CONNECTION).filter(|option| !is_usual(option)) {
        // Only names of present fields are collected. That bounds the list, however many names a client writes.
        let found = headers.keys().find(|name| name.as_str().eq_ignore_ascii_case(option));
        named.extend(found.filter(|name| !is_end_to_end(name) && !named.contains(name)).cloned());
    }
    let offers_trailers = list_members(headers, TE).any(is_trailers);
    headers.retain(|name, _| !is_hop_by_hop(name.as_str()) && !named.contains(name));
    if offers_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Removes the fields that `Connection` names, and removes their names from it. A field that is set later under such a
/// name is then safe from the client.
pub(crate) fn remove_named(headers: &mut Fields) {
    let (named, left): (Vec<&str>, Vec<&str>) =
        list_members(headers, CONNECTION).partition(|option| is_named(option));
    if named.is_empty() {
        return;
    }
    // The members come from a field's value, so they form a valid one.
    let left = HeaderValue::from_str(&left.join(", ")).ok().filter(|_| !left.is_empty());
    let named: HashSet<HeaderName> =
        named.into_iter().filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()).collect();
    match left {
        Some(left) => headers.insert(CONNECTION, left),
        None => drop(headers.remove(CONNECTION)),
    }
    headers.retain(|name, _| !named.contains(name));
}

/// Returns copies of the fields that are for one connection only, as received.
pub(crate) fn hop_by_hop(headers: &Fields) -> Fields {
    let copied = headers.iter().filter(|(name, _)| is_hop_by_hop(name.as_str()));
    copied.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Replaces the present fields that are for one connection only with `copies`.
pub(crate) fn replace_hop_by_hop(headers: &mut Fields, copies: Fields) {
    headers.retain(|name, _| !is_hop_by_hop(name.as_str()));
    headers.extend(copies);
}

/// Returns true for the options that most connections use.
fn is_usual(option: &str) -> bool {
    option.eq_ignore_ascii_case("close") || option.eq_ignore_ascii_case("keep-alive")
}

/// Returns true if an option of `Connection` names a field that is removed only because it is named there.
fn is_named(option: &str) -> bool {
    let name = || HeaderName::from_bytes(option.as_bytes()).ok();
    !is_usual(option) && name().is_some_and(|name| !is_hop_by_hop(name.as_str()) && !is_end_to_end(&name))
}

fn is_end_to_end(name: &HeaderName) -> bool {
    END_TO_END.contains(&name.as_str()) || name.as_str().starts_with(END_TO_END_PREFIX)
}

/// Returns true if a member of `TE` offers trailers. By the grammar `trailers` has no weight, but a weight of zero is respected.
fn is_trailers(member: &str) -> bool {
    let (coding, weight) = member.split_once(';').unwrap_or((member, ""));
    let refuses = weight.split_once('=').is_some_and(|(_, weight)| {
        weight.trim().starts_with('0') && !weight.contains(|digit| matches!(digit, '1'..='9'))
    });
    coding.trim().eq_ignore_ascii_case("trailers") && !refuses
}

#[cfg(test)]
mod tests {
    use super::super::tests::{headers, lines};
    use super::*;

    fn after(before: &[&str]) -> Vec<String> {
        let mut headers = headers(before);
        remove_hop_by_hop(&mut headers);
        lines(&headers)
    }

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
    fn fields_that_connection_names_are_removed_with_it() {
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
    fn fields_that_connection_names_are_removed_before_other_hop_by_hop_fields() {
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
