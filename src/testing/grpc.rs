//! Messages of gRPC and bodies of gRPC-Web in pieces, for tests and fuzzing: the same bytes mean the same, however they arrive.

use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::filter::proxy_wasm::ChunkedBody;
use crate::http::body::Body;
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::grpc::{self, GRPC_STATUS, GRPC_TIMEOUT, Status, Web, framed, read_messages};
use crate::http::message::Response;

/// The largest message that is read.
const MESSAGE_BYTES_MAX: usize = 300;

/// The length of a text that is not cut, even if each byte has become a replacement character of three.
const TEXT_BYTES: usize = 300;

/// The flag of the message of gRPC-Web that has the trailers.
const TRAILERS: u8 = 0x80;

/// Reads a body of any bytes as gRPC and gRPC-Web do, in pieces of about `size` bytes and whole, and translates it.
pub(crate) fn check(body: &[u8], size: usize) {
    check_messages(body, size.max(1));
    check_fields(body);
    let body = Bytes::copy_from_slice(body);
    for size in [1, size.max(1)] {
        let (count, whole) = (body.len().div_ceil(size), 1);
        assert_eq!(text_request(&body, count), text_request(&body, whole), "pieces of {size}");
        for content_type in ["application/grpc-web", "application/grpc-web-text"] {
            check_response(&body, count, content_type);
        }
    }
}

fn check_messages(body: &[u8], size: usize) {
    let (messages, end) = read_messages(std::iter::once(body), MESSAGE_BYTES_MAX);
    for size in [1, size] {
        assert_eq!(
            read_messages(body.chunks(size), MESSAGE_BYTES_MAX),
            (messages.clone(), end),
            "pieces of {size}"
        );
    }
    let again: Vec<u8> = messages.iter().flat_map(|message| framed(message)).collect();
    assert!(body.starts_with(&again), "a message is not what was framed");
    assert!(end.is_err() || end == Ok(body.len() > again.len()), "the end is not where the messages end");
}

/// Returns the data of a request whose body is text.
fn text_request(text: &Bytes, count: usize) -> Result<Vec<u8>, Error> {
    let mut headers = Fields::new();
    headers.append(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc-web-text"));
    let mut body = Body::from(ChunkedBody::of(text, count));
    if let Some(web) = Web::requested(&headers) {
        web.request(&mut headers, &mut body);
    }
    data(body)
}

/// Translates a response with trailers. Its client must find each byte of the messages, and then the trailers.
fn check_response(body: &Bytes, count: usize, content_type: &'static str) {
    let mut request = Fields::new();
    request.append(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    let Some(web) = Web::requested(&request) else { return };
    let mut headers = Fields::new();
    headers.append(header::CONTENT_TYPE, grpc::CONTENT_TYPE);
    let trailers = HeaderMap::from_iter([(GRPC_STATUS, Status::OK.value())]);
    let source = ChunkedBody::of(body, count).with_trailers(trailers);
    let response = web.response(Response { status: StatusCode::OK, headers, body: source.into() });
    let sent = data(response.body);
    let received = match content_type {
        // The form of requests is the same.
        "application/grpc-web-text" => sent.and_then(|text| text_request(&text.into(), 1)),
        _ => sent,
    };
    let end = b"grpc-status: 0\r\n";
    let expected = [body, &[TRAILERS, 0, 0, 0, 16][..], end].concat();
    assert_eq!(received, Ok(expected), "{count} pieces");
}

/// Reads a body to its end, or to its error.
fn data(mut body: Body) -> Result<Vec<u8>, Error> {
    let (mut cx, mut data) = (Context::from_waker(Waker::noop()), Vec::new());
    while let Poll::Ready(Some(frame)) = body.poll_frame(&mut cx) {
        let piece = frame?.into_data().unwrap_or_default();
        data.extend_from_slice(&piece);
    }
    Ok(data)
}

/// Parses the bytes as the fields of a call, and writes them again.
fn check_fields(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes.get(..TEXT_BYTES).unwrap_or(bytes));
    assert_eq!(grpc::message_text(&grpc::message(text.as_bytes())), text);
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    if let Some(status) = Status::parse(&value) {
        assert_eq!(Status::parse(&status.value()), Some(status));
    }
    let timeout = |value| {
        let mut headers = Fields::new();
        headers.append(header::CONTENT_TYPE, grpc::CONTENT_TYPE);
        headers.append(GRPC_TIMEOUT, value);
        grpc::timeout(&headers)
    };
    if let Some(read) = timeout(value) {
        let again = timeout(grpc::timeout_value(read));
        assert!(again.is_some_and(|again| again <= read), "{read:?} became {again:?}");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Parts of bodies: messages, ones that are cut or too large, text, and any bytes.
    fn part() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            4 => prop::collection::vec(any::<u8>(), 0..20).prop_map(|message| framed(&message).to_vec()),
            1 => (0..3u8, 0..2u8, any::<u8>()).prop_map(|(flag, high, low)| vec![flag, 0, 0, high, low]),
            2 => "[A-Za-z0-9+/]{0,12}={0,2}".prop_map(String::into_bytes),
            1 => "[0-9]{1,9}[HMSmun]".prop_map(String::into_bytes),
            1 => prop::collection::vec(any::<u8>(), 0..8),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

        #[test]
        fn grpc_bodies_mean_the_same_however_they_are_cut(
            parts in prop::collection::vec(part(), 0..6),
            size in 1usize..40,
        ) {
            check(&parts.concat(), size);
        }
    }
}
