//! The identifier of a request, by which the logs of several programs are put together.

use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderName, HeaderValue};
use uuid::Builder;

use crate::http::fields::Fields;
use crate::http::forward::is_spelling_of;

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest identifier that is accepted from a peer.
const BYTES_MAX: usize = 128;

/// Gives each request an identifier, which upstream, filters, log and client see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestId;

impl RequestId {
    /// Sets and returns the identifier of a request. That of a trusted peer is kept if it is one word of at most 128 visible ASCII
    /// characters; otherwise it is a new UUID of version 7 (RFC 9562 §5.7), whose order is that of time.
    pub(crate) fn request(self, headers: &mut Fields, is_trusted: bool) -> HeaderValue {
        headers.retain(|name, _| !is_spelling_of(name, &X_REQUEST_ID));
        if let Some(received) = received(headers).filter(|_| is_trusted) {
            return received;
        }
        let id = fresh();
        headers.insert(X_REQUEST_ID, id.clone());
        id
    }
}

/// Returns the identifier of the sender, if it has sent a single one that is valid.
fn received(headers: &Fields) -> Option<HeaderValue> {
    let mut values = headers.get_all(X_REQUEST_ID);
    let (value, other) = (values.next()?, values.next());
    let is_word = !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_graphic);
    (other.is_none() && is_word && value.len() <= BYTES_MAX).then(|| value.clone())
}

fn fresh() -> HeaderValue {
    let mut random = [0; 10];
    fastrand::fill(&mut random);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(since.as_millis()).unwrap_or_default();
    let id = Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
    let mut buffer = uuid::Uuid::encode_buffer();
    let text = id.hyphenated().encode_lower(&mut buffer);
    // It consists of digits, letters and dashes.
    HeaderValue::from_str(text).unwrap_or(const { HeaderValue::from_static("-") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trusted_peer_brings_its_own_identifier_and_only_a_valid_one() {
        let long = "a".repeat(BYTES_MAX);
        for (is_trusted, lines, is_kept) in [
            (true, &["id-1"][..], true),
            (true, &[&long], true),
            (true, &[&format!("{long}a")], false),
            (true, &[""], false),
            (true, &["a b"], false),
            (true, &["a\u{e9}"], false),
            (true, &["a", "a"], false),
            (true, &[], false),
            (false, &["id-1"], false),
        ] {
            let line = |text: &&str| (X_REQUEST_ID, HeaderValue::from_bytes(text.as_bytes()).unwrap());
            let mut headers: Fields = lines.iter().map(line).collect();
            headers.append(HeaderName::from_static("x_request_id"), HeaderValue::from_static("other"));
            let id = RequestId.request(&mut headers, is_trusted);
            let all: Vec<_> = headers.iter().collect();
            assert_eq!(all, [(&X_REQUEST_ID, &id)], "{lines:?}");
            assert_eq!(lines.first().is_some_and(|line| id == *line), is_kept, "{lines:?}");
            assert_eq!(uuid::Uuid::try_parse_ascii(id.as_bytes()).is_ok(), !is_kept, "{id:?}");
        }
    }

    #[test]
    fn new_identifiers_are_in_the_order_of_time_and_differ() {
        let ids: Vec<uuid::Uuid> =
            (0..1000).map(|_| uuid::Uuid::try_parse_ascii(fresh().as_bytes()).unwrap()).collect();
        let time = |id: &uuid::Uuid| id.get_timestamp().unwrap().to_unix();
        assert!(ids.iter().all(|id| id.get_version_num() == 7));
        assert!(ids.is_sorted_by_key(time));
        let distinct: std::collections::HashSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
    }
}
