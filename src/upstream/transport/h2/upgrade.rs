//! A request for another protocol, from the form of HTTP/1.1 to that of HTTP/2 and back (RFC 8441).

use http::{HeaderValue, header};

use crate::http::fields::Fields;
use crate::http::forward;

/// A request that asks to switch to another protocol.
pub(super) struct Upgrade {
    pub(super) protocol: HeaderValue,
    /// The fields of the extended CONNECT.
    pub(super) headers: Fields,
    /// The key of a WebSocket's handshake, which HTTP/2 does not have (RFC 8441 §5).
    key: Option<HeaderValue>,
}

impl Upgrade {
    /// Returns the upgrade that these fields of HTTP/1.1 ask for.
    pub(super) fn of(headers: &Fields) -> Self {
        let mut headers = headers.clone();
        let key = headers.remove(header::SEC_WEBSOCKET_KEY);
        let protocol = headers.remove(header::UPGRADE).unwrap_or(const { HeaderValue::from_static("") });
        Self { protocol, headers, key }
    }

    /// Returns the fields of a 101 that stand for those of a successful response.
    pub(super) fn confirm(self, mut headers: Fields) -> Fields {
        forward::set_upgrade(&mut headers, self.protocol);
        if let Some(key) = &self.key {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, forward::websocket_accept(key));
        }
        headers
    }
}
