//! Removal of the fields that are for one connection only.

use std::collections::HashSet;

use http::header::{CONNECTION, TE};
use http::{HeaderName, HeaderValue};

use super::list_members;
use crate::http::fields::Fields;

/// Whether a field is for one connection only, whether `Connection` names it or not (RFC 9110 §7.6.1). `name` is in lower
/// case.
///
/// Beyond the section's list: what speaks to a proxy (§11.7), which credentials for the gateway's own place
/// in the chain are; and `HTTP2-Settings`, which belongs to the h2c upgrade that is never forwarded.
/// `Proxy` is no field of HTTP, and CGI programs take it for the proxy that they should use (CVE-2016-5385).
/// `Trailer` is not among them: it stays with the trailers, which are forwarded.
fn is_hop_by_hop(name: &str) -> bool {
    // By their lengths first, because every field of every message is asked.
    match name.len() {
        2 => name == "te",
        5 => name == "proxy",
        7 => name == "upgrade",
        10 => matches!(name, "connection" | "keep-alive"),
        14 => name == "http2-settings",
        16 => name == "proxy-connection",
        17 => name == "transfer-encoding",
        18 => name == "proxy-authenticate",
        19 => name == "proxy-authorization",
        25 => name == "proxy-authentication-info",
        _ => false,
    }
}

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

/// As [`remove_hop_by_hop`], where `Connection` or `TE` have to be read for it.
fn remove_with_lists(headers: &mut Fields) {
    let mut named: Vec<HeaderName> = Vec::new();
    for option in list_members(headers, CONNECTION).filter(|option| !is_usual(option)) {
        // Only what is there can go: that bounds the list, however many names a client writes.
        let found = headers.keys().find(|name| name.as_str().eq_ignore_ascii_case(option));
        named.extend(found.filter(|name| !is_end_to_end(name) && !named.contains(name)).cloned());
    }
    let offers_trailers = list_members(headers, TE).any(is_trailers);
    headers.retain(|name, _| !is_hop_by_hop(name.as_str()) && !named.contains(name));
    if offers_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Removes the fields that `Connection` names, and their names from it: what comes under such a name later is not the
/// client's to take away.
pub(crate) fn remove_named(headers: &mut Fields) {
    let (named, left): (Vec<&str>, Vec<&str>) =
        list_members(headers, CONNECTION).partition(|option| is_named(option));
    if named.is_empty() {
        return;
    }
    // The members were a field's value before.
    let left = HeaderValue::from_str(&left.join(", ")).ok().filter(|_| !left.is_empty());
    let named: HashSet<HeaderName> =
        named.into_iter().filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()).collect();
    match left {
        Some(left) => headers.insert(CONNECTION, left),
        None => drop(headers.remove(CONNECTION)),
    }
    headers.retain(|name, _| !named.contains(name));
}

/// Copies of the fields that are for one connection only, as they came.
pub(crate) fn hop_by_hop(headers: &Fields) -> Fields {
    let copied = headers.iter().filter(|(name, _)| is_hop_by_hop(name.as_str()));
    copied.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Puts such fields in place of those that there are by now.
pub(crate) fn replace_hop_by_hop(headers: &mut Fields, copies: Fields) {
    headers.retain(|name, _| !is_hop_by_hop(name.as_str()));
    headers.extend(copies);
}

/// The options of most connections.
fn is_usual(option: &str) -> bool {
    option.eq_ignore_ascii_case("close") || option.eq_ignore_ascii_case("keep-alive")
}

/// Whether an option of `Connection` is a field's name with which that field goes, besides those that go in any case.
fn is_named(option: &str) -> bool {
    let name = || HeaderName::from_bytes(option.as_bytes()).ok();
    !is_usual(option) && name().is_some_and(|name| !is_hop_by_hop(name.as_str()) && !is_end_to_end(&name))
}

fn is_end_to_end(name: &HeaderName) -> bool {
    END_TO_END.contains(&name.as_str()) || name.as_str().starts_with(END_TO_END_PREFIX)
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
