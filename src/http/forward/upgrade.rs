//! Upgrades of a connection to another protocol (RFC 9110 §7.8).

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Version};

use super::list_members;
use crate::config::UpgradeProtocol;
use crate::http::fields::Fields;

/// Returns the protocol that a request asks to switch to: the first one listed that is also in `allowed`, compared
/// without case and with or without a version. `None` means that the response uses the request's own protocol, which a
/// server may always do.
///
/// Only HTTP/1.1 has upgrades, and only if `Connection` names `Upgrade` (RFC 9110 §7.8).
pub(crate) fn upgrade_requested(
    headers: &Fields,
    version: Version,
    allowed: &[UpgradeProtocol],
) -> Option<HeaderValue> {
    if version != Version::HTTP_11 || !headers.contains_key(UPGRADE) || !names_upgrade(headers) {
        return None;
    }
    let protocol = list_members(headers, UPGRADE).find(|protocol| is_allowed(protocol, allowed))?;
    HeaderValue::from_str(protocol).ok()
}

/// Returns true if a request may switch to `protocol`.
pub(crate) fn is_allowed(protocol: &str, allowed: &[UpgradeProtocol]) -> bool {
    let name = name_of(protocol);
    let is = |text: &str| text.eq_ignore_ascii_case(protocol) || text.eq_ignore_ascii_case(name);
    allowed.iter().any(|allowed| is(allowed.as_str()))
}

/// Returns true if a protocol has the handshake of WebSockets.
pub(crate) fn is_websocket(protocol: &HeaderValue) -> bool {
    protocol.to_str().is_ok_and(|protocol| name_of(protocol).eq_ignore_ascii_case("websocket"))
}

fn name_of(protocol: &str) -> &str {
    protocol.split_once('/').map_or(protocol, |(name, _version)| name)
}

fn names_upgrade(headers: &Fields) -> bool {
    list_members(headers, CONNECTION).any(|option| option.eq_ignore_ascii_case("upgrade"))
}

/// Returns true if a 101 switches to exactly the requested protocol.
pub(super) fn is_confirmed(headers: &Fields, requested: &HeaderValue) -> bool {
    let mut protocols = list_members(headers, UPGRADE);
    let same = protocols.next().is_some_and(|protocol| {
        protocol.as_bytes().eq_ignore_ascii_case(requested.as_bytes()) && protocols.next().is_none()
    });
    same && names_upgrade(headers)
}

/// Requests or confirms a switch to `protocol`. It must be called after
/// [`remove_hop_by_hop`](super::remove_hop_by_hop).
pub(crate) fn set_upgrade(headers: &mut Fields, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

#[cfg(test)]
mod tests {
    use super::super::tests::{headers, lines};
    use super::*;

    #[test]
    fn only_an_allowed_protocol_that_connection_names_is_switched_to() {
        let allowed = ["websocket", "custom/2"].map(|name| name.parse().unwrap());
        let cases: [(&[&str], Option<&str>); 12] = [
            (&["connection: Upgrade", "upgrade: WebSocket"], Some("WebSocket")),
            (&["connection: keep-alive, UPGRADE", "upgrade: websocket"], Some("websocket")),
            (&["connection: keep-alive", "connection: upgrade", "upgrade: websocket"], Some("websocket")),
            (&["connection: upgrade", "upgrade: other, websocket"], Some("websocket")),
            (&["connection: upgrade", "upgrade: websocket/13"], Some("websocket/13")),
            (&["connection: upgrade", "upgrade: custom/1"], None),
            (&["connection: upgrade", "upgrade: custom/2"], Some("custom/2")),
            (&["connection: upgrade", "upgrade: h2c"], None),
            (&["connection: upgrade", "upgrade: TLS/1.3"], None),
            (&["connection: keep-alive", "upgrade: websocket"], None),
            (&["upgrade: websocket"], None),
            (&["connection: upgrade"], None),
        ];
        for (fields, expected) in cases {
            let headers = headers(fields);
            let requested = upgrade_requested(&headers, Version::HTTP_11, &allowed);
            assert_eq!(requested.as_ref().map(|value| value.to_str().unwrap()), expected, "{fields:?}");
            assert_eq!(upgrade_requested(&headers, Version::HTTP_10, &allowed), None);
            assert_eq!(upgrade_requested(&headers, Version::HTTP_2, &allowed), None);
            assert_eq!(upgrade_requested(&headers, Version::HTTP_11, &[]), None);
        }
    }

    #[test]
    fn setting_an_upgrade_replaces_what_was_there() {
        let mut headers = headers(&["upgrade: a", "upgrade: b"]);
        set_upgrade(&mut headers, HeaderValue::from_static("websocket"));
        assert_eq!(lines(&headers), ["connection: upgrade", "upgrade: websocket"]);
    }
}
