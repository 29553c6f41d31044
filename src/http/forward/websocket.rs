//! The handshake of a WebSocket (RFC 6455 §4) that the gateway does itself: over HTTP/2 clients have none (RFC 8441 §5).

use aws_lc_rs::{digest, rand};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};

use crate::http::base64::encode;
use crate::http::fields::Fields;

/// The text that a server appends to the key (RFC 6455 §1.3).
const SERVER_TEXT: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A key that the gateway has sent in place of its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WebSocketKey(HeaderValue);

impl WebSocketKey {
    /// Returns a fresh key, which proves only that the response is not one from a cache. Returns `None` if the system has no
    /// random numbers.
    pub(crate) fn fresh() -> Option<Self> {
        let mut nonce = [0; 16];
        rand::fill(&mut nonce).ok()?;
        HeaderValue::from_maybe_shared(Bytes::from(encode(&nonce))).ok().map(Self)
    }

    /// Makes `headers` those of a client's handshake. A version that the client has named stays.
    pub(crate) fn ask(&self, headers: &mut Fields) {
        headers.insert(header::SEC_WEBSOCKET_KEY, self.0.clone());
        if !headers.contains_key(header::SEC_WEBSOCKET_VERSION) {
            headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
    }

    /// Returns true if the server's handshake responds to this key. Its field is removed: the client knows nothing of the key.
    pub(crate) fn take_accepted(&self, headers: &mut Fields) -> bool {
        const ACCEPT: HeaderName = header::SEC_WEBSOCKET_ACCEPT;
        let is_accepted = headers.get_all(ACCEPT).eq([&accept(&self.0)]);
        headers.remove(ACCEPT);
        is_accepted
    }
}

/// Returns the `Sec-WebSocket-Accept` with which a server responds to a key (RFC 6455 §4.2.2).
pub(crate) fn accept(key: &HeaderValue) -> HeaderValue {
    // The RFC's choice: nothing is secret here.
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key.as_bytes());
    context.update(SERVER_TEXT);
    let text = Bytes::from(encode(context.finish().as_ref()));
    HeaderValue::from_maybe_shared(text).unwrap_or(const { HeaderValue::from_static("") })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{headers, lines};
    use super::*;

    #[test]
    fn handshake_is_accepted_with_the_value_of_its_document_only() {
        let key = WebSocketKey(HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
        for (fields, is_accepted) in [
            (&["sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="][..], true),
            (&["sec-websocket-accept: S3pPLMBiTxaQ9kYGzzhZRbK+xOo="], false),
            (&["sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "sec-websocket-accept: x"], false),
            (&[], false),
        ] {
            let mut headers = headers(fields);
            assert_eq!(key.take_accepted(&mut headers), is_accepted, "{fields:?}");
            assert_eq!(lines(&headers), [""; 0]);
        }
    }

    #[test]
    fn keys_are_fresh_and_have_the_form_of_sixteen_bytes() {
        let (one, other) = (WebSocketKey::fresh().unwrap(), WebSocketKey::fresh().unwrap());
        assert_ne!(one, other);
        assert_eq!((one.0.len(), one.0.as_bytes().ends_with(b"==")), (24, true));
        let mut asked = headers(&["sec-websocket-key: x", "sec-websocket-version: 8"]);
        one.ask(&mut asked);
        let key = format!("sec-websocket-key: {}", one.0.to_str().unwrap());
        assert_eq!(lines(&asked), [&key, "sec-websocket-version: 8"]);
        let mut asked = headers(&[]);
        one.ask(&mut asked);
        assert_eq!(lines(&asked), [&key, "sec-websocket-version: 13"]);
    }
}
