//! Cleans the head of an upstream's response.

use http::header::CONTENT_LENGTH;
use http::{HeaderValue, StatusCode};

use super::hop_by_hop::remove_hop_by_hop;
use super::upgrade::{is_confirmed, set_upgrade};
use crate::http::fields::Fields;

/// A 101 that no request asked for, or that switches to another protocol than the requested one (RFC 9110 §15.2.2). The
/// client gets a 502, and the connection is not used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the upstream switched protocols without having been asked to")]
pub(crate) struct UnaskedUpgrade;

/// Removes the hop-by-hop fields of an upstream's response head. `upgrade` is the protocol that the request, as it was
/// sent, asked to switch to. A 101 to that protocol keeps it.
///
/// # Errors
/// [`UnaskedUpgrade`]; the fields are left as they were.
pub(crate) fn clean_response(
    status: StatusCode,
    headers: &mut Fields,
    upgrade: Option<&HeaderValue>,
) -> Result<(), UnaskedUpgrade> {
    let upgrade = if status == StatusCode::SWITCHING_PROTOCOLS {
        Some(upgrade.filter(|requested| is_confirmed(headers, requested)).ok_or(UnaskedUpgrade)?)
    } else {
        None
    };
    if status.is_informational() || status == StatusCode::NO_CONTENT {
        // The response to a HEAD may still have a length here. With these statuses there must be none (RFC 9110 §8.6).
        headers.remove(CONTENT_LENGTH);
    }
    remove_hop_by_hop(headers);
    if let Some(protocol) = upgrade {
        set_upgrade(headers, protocol.clone());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{headers, lines};
    use super::*;

    fn cleaned(
        status: StatusCode,
        before: &[&str],
        upgrade: Option<&str>,
    ) -> Result<Vec<String>, UnaskedUpgrade> {
        let mut headers = headers(before);
        let upgrade = upgrade.and_then(|protocol| HeaderValue::from_str(protocol).ok());
        clean_response(status, &mut headers, upgrade.as_ref()).map(|()| lines(&headers))
    }

    #[test]
    fn a_status_that_has_no_body_for_any_method_has_no_length() {
        for (status, stays) in [
            (StatusCode::OK, true),
            (StatusCode::NOT_MODIFIED, true),
            (StatusCode::NO_CONTENT, false),
            (StatusCode::EARLY_HINTS, false),
        ] {
            let cleaned = cleaned(status, &["content-length: 5", "link: a"], None);
            let expected = if stays { vec!["content-length: 5", "link: a"] } else { vec!["link: a"] };
            assert_eq!(cleaned, Ok(expected.into_iter().map(str::to_owned).collect()), "{status}");
        }
    }

    #[test]
    fn hop_by_hop_fields_go() {
        let before =
            ["connection: close, x-hop", "x-hop: 1", "keep-alive: timeout=5", "upgrade: h2c", "server: s"];
        assert_eq!(cleaned(StatusCode::OK, &before, Some("websocket")), Ok(vec!["server: s".to_owned()]));
    }

    #[test]
    fn protocols_are_switched_only_where_asked() {
        let switch = |fields: &[&str], upgrade| cleaned(StatusCode::SWITCHING_PROTOCOLS, fields, upgrade);
        let proper = ["connection: Upgrade", "upgrade: WebSocket", "sec-websocket-accept: x"];
        let expected = ["connection: upgrade", "sec-websocket-accept: x", "upgrade: websocket"];
        assert_eq!(switch(&proper, Some("websocket")), Ok(expected.map(str::to_owned).to_vec()));
        let unasked = Err(UnaskedUpgrade);
        assert_eq!(switch(&proper, None), unasked);
        assert_eq!(switch(&proper, Some("other")), unasked);
        assert_eq!(switch(&["upgrade: websocket"], Some("websocket")), unasked);
        assert_eq!(switch(&["connection: upgrade"], Some("websocket")), unasked);
        assert_eq!(switch(&["connection: upgrade", "upgrade: websocket, h2c"], Some("websocket")), unasked);
    }
}
