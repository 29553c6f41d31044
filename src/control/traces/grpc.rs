//! The frame of gRPC around a message, and the statuses that end a call.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use prost::Message;

use super::outcome::{Refusal, rejected};

/// The length of a message's prefix: a flag for compression, and the length of the rest.
const PREFIX: usize = 5;

/// Statuses (gRPC, "Status codes and their use in gRPC").
const OK: u32 = 0;
const RESOURCE_EXHAUSTED: u32 = 8;

/// The statuses after which spans are sent again (OTLP, "Failures"): CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE and
/// DATA_LOSS.
const RETRIED: [u32; 6] = [1, 4, 10, 11, 14, 15];

/// The details of a status (`google.rpc.Status`).
#[derive(Clone, PartialEq, Message)]
struct Details {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// A message of any type (`google.protobuf.Any`).
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// The pause that a server asks for (`google.rpc.RetryInfo`).
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// A duration (`google.protobuf.Duration`).
#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// Returns a message in its frame.
pub(super) fn framed(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(PREFIX + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.extend_from_slice(message);
    framed.freeze()
}

/// Returns what a response says. Its status is in the trailers, or in the head of a response without a body.
pub(super) fn outcome(
    status: StatusCode,
    headers: &HeaderMap,
    trailers: &HeaderMap,
    body: &[u8],
) -> Result<u64, Refusal> {
    let fields = if trailers.contains_key("grpc-status") { trailers } else { headers };
    let text = |name: &str| fields.get(name).and_then(|value| value.to_str().ok());
    let Some(code) = text("grpc-status").and_then(|code| code.parse().ok()) else {
        let error = format!("status {} without a status of gRPC", status.as_u16());
        let is_retried = matches!(status.as_u16(), 200 | 429 | 502..=504);
        return Err(if is_retried { Refusal::retry(error) } else { Refusal::Final(error) });
    };
    if code == OK {
        return Ok(body.get(PREFIX..).map_or(0, rejected));
    }
    let message = text("grpc-message").unwrap_or_default();
    let error = format!("status {code} of gRPC: {message}");
    let after = text("grpc-status-details-bin").and_then(retry_delay);
    if RETRIED.contains(&code) || (code == RESOURCE_EXHAUSTED && after.is_some()) {
        return Err(Refusal::retry_after(after, error));
    }
    Err(Refusal::Final(error))
}

/// Returns the pause in the details of a status.
fn retry_delay(details: &str) -> Option<Duration> {
    let details =
        Details::decode(&*BASE64_STANDARD_NO_PAD.decode(details.trim_end_matches('=')).ok()?).ok()?;
    let info = details.details.iter().find(|any| any.type_url.ends_with("google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(&*info.value).ok()?.retry_delay?;
    Some(Duration::new(delay.seconds.try_into().ok()?, delay.nanos.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn statuses_of_grpc_are_taken_as_the_specification_says() {
        let of =
            |code: &str| outcome(StatusCode::OK, &HeaderMap::new(), &fields(&[("grpc-status", code)]), b"");
        assert_eq!(of("0"), Ok(0));
        for code in ["1", "4", "10", "11", "14", "15"] {
            assert!(matches!(of(code), Err(Refusal::Retry { after: None, .. })), "{code}");
        }
        for code in ["2", "3", "7", "8", "12", "13", "16", "99"] {
            assert!(matches!(of(code), Err(Refusal::Final(_))), "{code}");
        }
        let in_head = fields(&[("grpc-status", "14"), ("grpc-message", "busy")]);
        let refusal = outcome(StatusCode::OK, &in_head, &HeaderMap::new(), b"");
        assert_eq!(refusal, Err(Refusal::retry("status 14 of gRPC: busy")));
        let of_proxy = |status| outcome(status, &HeaderMap::new(), &HeaderMap::new(), b"");
        assert!(matches!(of_proxy(StatusCode::BAD_GATEWAY), Err(Refusal::Retry { .. })));
        assert!(matches!(of_proxy(StatusCode::NOT_FOUND), Err(Refusal::Final(_))));
    }

    #[test]
    fn pause_in_the_details_is_found() {
        let delay = RetryInfo { retry_delay: Some(Delay { seconds: 2, nanos: 500_000_000 }) };
        let any = Any {
            type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
            value: delay.encode_to_vec(),
        };
        let details = Details { details: vec![any] }.encode_to_vec();
        let details = BASE64_STANDARD_NO_PAD.encode(details);
        let trailers = fields(&[("grpc-status", "8"), ("grpc-status-details-bin", &details)]);
        let refusal = outcome(StatusCode::OK, &HeaderMap::new(), &trailers, b"");
        let Err(Refusal::Retry { after, .. }) = refusal else { panic!("{refusal:?}") };
        assert_eq!(after, Some(Duration::from_millis(2500)));
        assert_eq!((retry_delay("??"), retry_delay("AAAA")), (None, None));
    }

    #[test]
    fn frame_has_the_length_of_its_message() {
        assert_eq!(&*framed(b"ab"), b"\0\0\0\0\x02ab");
    }
}
