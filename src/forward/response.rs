//! Checks and cleans the head of an upstream's response.

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::hop_by_hop::remove_hop_by_hop;
use super::upgrade::{is_confirmed, set_upgrade};

/// Why a response cannot be forwarded. The answer to each is 502, and the connection is not used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// A 101 that no request asked for, or to another protocol than it asked for (RFC 9110 §15.2.2).
    #[error("the upstream switched protocols without having been asked to")]
    UnaskedUpgrade,
    /// Lengths that differ, or that are none (RFC 9112 §6.3).
    #[error("the upstream's Content-Length is not one length")]
    ContentLength,
}

impl ResponseError {
    /// A name for logs, metrics and `x-gateway-error` that stays the same from version to version.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::UnaskedUpgrade => "upstream.unasked_upgrade",
            Self::ContentLength => "upstream.content_length",
        }
    }
}

/// Makes an upstream's response head fit for the downstream: hop-by-hop fields are removed, `Content-Length`
/// is one length or none. `upgrade` is the protocol that the request, as it was sent, asked to switch to; it
/// stays in a 101 to it.
///
/// # Errors
/// [`ResponseError`]; the fields are left as they were.
pub fn clean_response(
    status: StatusCode,
    headers: &mut HeaderMap,
    upgrade: Option<&HeaderValue>,
) -> Result<(), ResponseError> {
    let upgrade = if status == StatusCode::SWITCHING_PROTOCOLS {
        Some(
            upgrade
                .filter(|requested| is_confirmed(headers, requested))
                .ok_or(ResponseError::UnaskedUpgrade)?,
        )
    } else {
        None
    };
    settle_content_length(status, headers)?;
    remove_hop_by_hop(headers);
    if let Some(protocol) = upgrade {
        set_upgrade(headers, protocol.clone());
    }
    Ok(())
}

/// Leaves exactly one `Content-Length`, as digits, or none where the status allows none (RFC 9110 §8.6).
fn settle_content_length(status: StatusCode, headers: &mut HeaderMap) -> Result<(), ResponseError> {
    let Some(first) = headers.get(CONTENT_LENGTH) else { return Ok(()) };
    if status.is_informational() || status == StatusCode::NO_CONTENT {
        headers.remove(CONTENT_LENGTH);
        return Ok(());
    }
    let is_one_line = headers.get_all(CONTENT_LENGTH).iter().nth(1).is_none();
    if is_one_line && is_length(first.as_bytes()) {
        return Ok(());
    }
    // The same length several times, in lines or as a list, is that length (RFC 9112 §6.3, item 5).
    let mut lengths =
        headers.get_all(CONTENT_LENGTH).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let length = lengths.next().unwrap_or_default().trim_ascii();
    if !is_length(length) || lengths.any(|other| other.trim_ascii() != length) {
        return Err(ResponseError::ContentLength);
    }
    let value = HeaderValue::from_bytes(length).map_err(|_| ResponseError::ContentLength)?;
    headers.insert(CONTENT_LENGTH, value);
    Ok(())
}

/// Whether `value` is digits that fit the 64 bits in which lengths are counted.
fn is_length(value: &[u8]) -> bool {
    let digits = value.iter().all(u8::is_ascii_digit) && !value.is_empty();
    digits && std::str::from_utf8(value).is_ok_and(|digits| digits.parse::<u64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{headers, lines};
    use super::*;

    fn cleaned(
        status: StatusCode,
        before: &[&str],
        upgrade: Option<&str>,
    ) -> Result<Vec<String>, ResponseError> {
        let mut headers = headers(before);
        let upgrade = upgrade.and_then(|protocol| HeaderValue::from_str(protocol).ok());
        clean_response(status, &mut headers, upgrade.as_ref()).map(|()| lines(&headers))
    }

    #[test]
    fn there_is_one_length_or_none() {
        let ok = |lines: &[&str]| Ok(lines.iter().map(|line| (*line).to_owned()).collect());
        let cases: [(&[&str], Option<&str>); 10] = [
            (&["content-length: 5"], Some("content-length: 5")),
            (&["content-length: 5", "content-length: 5"], Some("content-length: 5")),
            (&["content-length: 5, 5"], Some("content-length: 5")),
            (&["content-length: 5", "content-length: 6"], None),
            (&["content-length: 5, 6"], None),
            (&["content-length: 5,"], None),
            (&["content-length: +5"], None),
            (&["content-length: 0x5"], None),
            (&["content-length:"], None),
            (&["content-length: 18446744073709551616"], None),
        ];
        for (before, expected) in cases {
            let expected = expected.map_or(Err(ResponseError::ContentLength), |line| ok(&[line]));
            assert_eq!(cleaned(StatusCode::OK, before, None), expected, "{before:?}");
        }
        assert_eq!(cleaned(StatusCode::OK, &[], None), ok(&[]));
        assert_eq!(cleaned(StatusCode::NO_CONTENT, &["content-length: 5"], None), ok(&[]));
        assert_eq!(
            cleaned(StatusCode::EARLY_HINTS, &["content-length: x", "link: a"], None),
            ok(&["link: a"])
        );
        assert_eq!(
            cleaned(StatusCode::NOT_MODIFIED, &["content-length: 5"], None),
            ok(&["content-length: 5"])
        );
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
        let unasked = Err(ResponseError::UnaskedUpgrade);
        assert_eq!(switch(&proper, None), unasked);
        assert_eq!(switch(&proper, Some("other")), unasked);
        assert_eq!(switch(&["upgrade: websocket"], Some("websocket")), unasked);
        assert_eq!(switch(&["connection: upgrade"], Some("websocket")), unasked);
        assert_eq!(switch(&["connection: upgrade", "upgrade: websocket, h2c"], Some("websocket")), unasked);
    }
}
