use std::task::Poll;

use http::{HeaderMap, StatusCode};
use http_body::Frame;
use proptest::prelude::*;

use super::*;
use crate::http::base64::{Decoder, Encoder};
use crate::http::body::{PollFrame, Streaming};
use crate::http::error::Error;

/// A body of these pieces, and then of trailers if there are any.
struct Pieces(std::vec::IntoIter<Vec<u8>>, Option<HeaderMap>);

impl Pieces {
    fn body(pieces: Vec<Vec<u8>>, trailers: &[(&'static str, &'static str)]) -> Body {
        let trailers = (!trailers.is_empty()).then(|| Fields::written(trailers).into());
        Body::boxed(Self(pieces.into_iter(), trailers))
    }
}

impl Streaming for Pieces {
    fn poll_frame(&mut self, _: &mut std::task::Context<'_>) -> PollFrame {
        let data = self.0.next().map(|piece| Frame::data(piece.into()));
        Poll::Ready(data.or_else(|| self.1.take().map(Frame::trailers)).map(Ok))
    }
}

/// The frames of a body, or its error.
fn frames(mut body: Body) -> Result<Vec<Vec<u8>>, Error> {
    let mut frames = Vec::new();
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    while let Poll::Ready(Some(frame)) = body.poll_frame(&mut cx) {
        frames.push(frame?.into_data().expect("data").to_vec());
    }
    assert!(body.poll_frame(&mut cx).is_ready());
    Ok(frames)
}

fn web(content_type: &'static str, accept: &'static str) -> Option<Web> {
    Web::requested(&Fields::written(&[("content-type", content_type), ("accept", accept)]))
}

fn text_of(data: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    Encoder::default().encode(data, true, &mut text);
    text
}

#[test]
fn response_has_the_accepted_form_or_that_of_the_request() {
    for (content_type, accept, forms) in [
        ("application/grpc-web", "", Some((false, false))),
        ("application/grpc-web+proto", "*/*", Some((false, false))),
        ("application/grpc-web-text", "", Some((true, true))),
        ("Application/gRPC-Web-Text+proto", "text/html, */*", Some((true, true))),
        ("application/grpc-web+proto", "application/grpc-web-text", Some((false, true))),
        (
            "application/grpc-web-text",
            "*/*, application/grpc-web+proto, application/grpc-web-text",
            Some((true, false)),
        ),
        ("application/grpc-web-text;charset=utf-8", "", Some((true, true))),
        ("application/grpc", "application/grpc-web", None),
        ("application/grpc-webx", "", None),
        ("application/json", "", None),
    ] {
        let expected = forms.map(|(is_text, wants_text)| Web { is_text, wants_text });
        assert_eq!(web(content_type, accept), expected, "{content_type} {accept}");
    }
}

#[test]
fn request_becomes_one_of_grpc() {
    for (content_type, expected, body, decoded) in [
        ("application/grpc-web", "application/grpc", "abc", &b"abc"[..]),
        ("application/grpc-web+json;a=b", "application/grpc+json;a=b", "abc", b"abc"),
        (
            "application/grpc-web-text+proto",
            "application/grpc+proto",
            "AAECAwQ=BQY=",
            b"\0\x01\x02\x03\x04\x05\x06",
        ),
    ] {
        let mut headers =
            Fields::written(&[("content-type", content_type), ("content-length", "3"), ("x-a", "b")]);
        let mut body = Pieces::body(body.bytes().map(|byte| vec![byte]).collect(), &[]);
        let web = Web::requested(&headers).unwrap();
        web.request(&mut headers, &mut body);
        assert_eq!(headers.get("content-type").unwrap(), expected);
        assert_eq!(headers.get("te").unwrap(), "trailers");
        assert_eq!(headers.contains_key("content-length"), !web.is_text);
        assert_eq!(headers.get("x-a").unwrap(), "b");
        assert_eq!(frames(body).unwrap().concat(), decoded);
    }
}

#[test]
fn request_that_is_not_base64_fails() {
    for text in ["AAE", "A!==", "AA=A"] {
        let body = Body::boxed(DecodedBody::new(Pieces::body(vec![text.into()], &[])));
        assert_eq!(frames(body), Err(Error::GrpcWebText), "{text}");
    }
}

fn answered(
    content_type: &'static str,
    fields: &[(&'static str, &'static str)],
    body: Body,
) -> Response<Body> {
    let headers = Fields::written(fields);
    web(content_type, "").unwrap().response(Response { status: StatusCode::OK, headers, body })
}

#[test]
fn trailers_are_the_last_message() {
    let fields = [
        ("content-type", "application/grpc+proto"),
        ("x-head", "1"),
        ("content-length", "9"),
        ("trailer", "grpc-status"),
    ];
    let pieces = || Pieces::body(vec![b"\0\0\0\0\x02hi".to_vec()], &[("grpc-status", "0"), ("x-late", "b")]);
    let trailers = [&[0x80, 0, 0, 0, 27][..], b"grpc-status: 0\r\nx-late: b\r\n"].concat();

    let response = answered("application/grpc-web", &fields, pieces());
    let expected = Fields::written(&[("content-type", "application/grpc-web+proto"), ("x-head", "1")]);
    assert_eq!(response.headers, expected);
    assert_eq!(response.body.size_hint().exact(), None);
    assert_eq!(frames(response.body).unwrap(), [b"\0\0\0\0\x02hi".to_vec(), trailers.clone()]);

    let response = answered("application/grpc-web-text", &fields, pieces());
    assert_eq!(response.headers.get("content-type").unwrap(), "application/grpc-web-text+proto");
    assert_eq!(frames(response.body).unwrap(), [text_of(b"\0\0\0\0\x02hi"), text_of(&trailers)]);
}

#[test]
fn status_of_a_response_without_trailers_moves_into_its_body() {
    let fields = [
        ("content-type", "application/grpc"),
        ("grpc-status", "5"),
        ("x-head", "1"),
        ("grpc-message", "no"),
        ("grpc-status-details-bin", "AA"),
    ];
    let block = b"grpc-status: 5\r\ngrpc-message: no\r\ngrpc-status-details-bin: AA\r\n";
    let expected = [&[0x80, 0, 0, 0, block.len() as u8][..], block].concat();
    let kinds: [(fn() -> Body, bool); 2] = [(|| Body::Empty, true), (|| Pieces::body(vec![], &[]), false)];
    for (body, has_length) in kinds {
        let response = answered("application/grpc-web", &fields, body());
        assert_eq!(
            response.headers,
            Fields::written(&[("content-type", "application/grpc-web"), ("x-head", "1")])
        );
        assert_eq!(response.body.size_hint().exact().is_some(), has_length);
        assert_eq!(frames(response.body).unwrap(), std::slice::from_ref(&expected));
    }
}

#[test]
fn response_that_is_not_grpc_stays() {
    let fields = [("content-type", "text/html"), ("content-length", "2")];
    let response = answered("application/grpc-web", &fields, Body::full("hi"));
    assert_eq!(response.headers, Fields::written(&fields));
    assert_eq!(frames(response.body).unwrap(), [b"hi"]);
}

#[test]
fn body_without_trailers_ends_without_a_message_of_them() {
    let fields = [("content-type", "application/grpc")];
    let response =
        answered("application/grpc-web-text", &fields, Pieces::body(vec![b"\0\0\0\0\x09h".to_vec()], &[]));
    assert_eq!(frames(response.body).unwrap().concat(), text_of(b"\0\0\0\0\x09h"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bodies_mean_the_same_in_any_pieces(
        bytes in prop::collection::vec(any::<u8>(), 0..40), text in "[A-Za-z0-9+/=]{0,40}", size in 1..9_usize,
    ) {
        pieces::check(&bytes, size);
        pieces::check(text.as_bytes(), size);
    }

    #[test]
    fn whole_messages_are_never_held_back(sizes in prop::collection::vec(0..12_u8, 1..6), cut in 1..9_usize) {
        let messages = sizes.iter().map(|size| [vec![0, 0, 0, 0, *size], vec![b'x'; usize::from(*size)]].concat());
        let messages: Vec<Vec<u8>> = messages.collect();
        let all = messages.concat();
        let ends: Vec<usize> = messages.iter().scan(0, |at, one| { *at += one.len(); Some(*at) }).collect();
        let mut form = Form::text();
        let (mut decoder, mut received, mut sent) = (Decoder::default(), Vec::new(), 0);
        for piece in all.chunks(cut) {
            sent += piece.len();
            let text = form.of_data(Bytes::copy_from_slice(piece));
            prop_assert!(decoder.decode(&text, &mut received).is_ok());
            prop_assert!(decoder.is_complete());
            prop_assert!(sent - received.len() < 3);
            prop_assert!(!ends.contains(&sent) || sent == received.len());
        }
        prop_assert_eq!(received, all);
    }
}
