//! The fields of messages whose bodies change.

use http::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, HeaderMap, HeaderName, HeaderValue,
};

use crate::http::fields::Fields;

/// Adjusts the head of a message whose body is decoded.
pub(crate) fn head_of_decoded(headers: &mut Fields) {
    headers.remove(CONTENT_ENCODING);
    head_of_changed(headers);
}

/// Adjusts the head of a message whose body may have been replaced. Its length is unknown, and statements about its
/// exact bytes no longer hold. A strong validator becomes a weak one (RFC 9110 §8.8.1), because ranges of one body must
/// not be combined with those of another (§14.3).
pub(crate) fn head_of_changed(headers: &mut Fields) {
    headers.retain(|name, _| name != CONTENT_LENGTH && name != ACCEPT_RANGES && !is_digest(name.as_str()));
    match headers.get(ETAG).map(weak) {
        Some(Some(weak)) => headers.insert(ETAG, weak),
        Some(None) => drop(headers.remove(ETAG)),
        None => {}
    }
}

/// Returns the weak form of a validator, or `None` if it is malformed.
fn weak(etag: &HeaderValue) -> Option<HeaderValue> {
    match etag.as_bytes() {
        [b'W', b'/', ..] => Some(etag.clone()),
        strong @ [b'"', ..] => HeaderValue::from_bytes(&[b"W/", strong].concat()).ok(),
        _ => None,
    }
}

/// Removes the digests of the coded bytes.
pub(super) fn without_digests(mut trailers: HeaderMap) -> HeaderMap {
    let digests: Vec<HeaderName> = trailers.keys().filter(|name| is_digest(name.as_str())).cloned().collect();
    for digest in digests {
        trailers.remove(digest);
    }
    trailers
}

/// Returns true if a field describes the exact bytes of a message: a digest (RFC 9530), or one of its predecessors
/// `Digest` and `Content-MD5`.
fn is_digest(name: &str) -> bool {
    matches!(name, "digest" | "repr-digest" | "content-md5" | "content-digest")
}
