//! Messages that are malformed: each ends its stream and no other (RFC 9113 §8.1.1).

use super::case::Outcome::*;
use super::case::*;
use super::*;

#[tokio::test]
async fn malformed_requests_end_their_streams() {
    run(groups()).await;
}

pub(super) fn groups() -> Vec<Group> {
    vec![
        Group { name: "http2 8.1", rfc: "RFC 9113 §8.1", cases: exchanges() },
        Group { name: "http2 8.1.2", rfc: "RFC 9113 §8.2.1", cases: fields() },
        Group { name: "http2 8.1.2.1", rfc: "RFC 9113 §8.3", cases: pseudo_fields() },
        Group { name: "http2 8.1.2.2", rfc: "RFC 9113 §8.2.2", cases: connection_fields() },
        Group { name: "http2 8.1.2.3", rfc: "RFC 9113 §8.3.1", cases: request_pseudo_fields() },
        Group { name: "http2 8.1.2.6", rfc: "RFC 9113 §8.1.1", cases: lengths() },
    ]
}

/// A whole request with these fields, which must be refused. The connection serves the next.
fn refused(name: &'static str, fields: &[(&str, &str)]) -> Case {
    case(name)
        .sends(headers(1, END_STREAM, fields))
        .gets(StreamError(1, PROTOCOL_ERROR))
        .sends(hello(3))
        .gets_response(3)
}

fn exchanges() -> Vec<Case> {
    vec![
        case("trailers that do not end the stream")
            .sends(open(1))
            .sends(data(1, 0, b"test"))
            .sends(headers(1, 0, &[("x-a", "1")]))
            .gets(StreamError(1, PROTOCOL_ERROR)),
    ]
}

fn fields() -> Vec<Case> {
    let with = |name, value| with(HELLO, &[(name, value)]);
    vec![
        refused("a name with upper-case letters", &with("X-A", "1")),
        refused("a name with a space", &with("x a", "1")),
        refused("a name with a colon within", &with("x:a", "1")),
        refused("a name with a byte beyond ASCII", &with("x-\u{e4}", "1")),
        refused("a name without a byte", &with("", "1")),
        refused("a value with a line feed", &with("x-a", "1\nx-b: 2")),
        refused("a value with a carriage return", &with("x-a", "1\r")),
        refused("a value with a zero", &with("x-a", "1\0")),
        refused("a value that begins with a space", &with("x-a", " 1")),
        refused("a value that ends with a tab", &with("x-a", "1\t")),
    ]
}

fn pseudo_fields() -> Vec<Case> {
    let after = with(&[("x-a", "1")], HELLO);
    vec![
        refused("an unknown one", &with(HELLO, &[(":test", "ok")])),
        refused("one of a response", &with(HELLO, &[(":status", "200")])),
        case("one in trailers")
            .sends(open(1))
            .sends(data(1, 0, b"test"))
            .sends(headers(1, END_STREAM, &[(":method", "POST")]))
            .gets(StreamError(1, PROTOCOL_ERROR)),
        refused("all behind a field", &after),
        refused("one behind a field", &with(&HELLO[..3], &[("x-a", "1"), HELLO[3]])),
    ]
}

fn connection_fields() -> Vec<Case> {
    let with = |name, value| with(HELLO, &[(name, value)]);
    vec![
        refused("connection", &with("connection", "keep-alive")),
        refused("keep-alive", &with("keep-alive", "timeout=5")),
        refused("proxy-connection", &with("proxy-connection", "keep-alive")),
        refused("transfer-encoding", &with("transfer-encoding", "chunked")),
        refused("upgrade", &with("upgrade", "websocket")),
        refused("te with more than trailers", &with("te", "trailers, deflate")),
        case("te with trailers").sends(headers(1, END_STREAM, &with("te", "trailers"))).gets_response(1),
    ]
}

fn request_pseudo_fields() -> Vec<Case> {
    let without = |missing| HELLO.iter().copied().filter(|(name, _)| *name != missing).collect::<Vec<_>>();
    let twice = |index: usize| [&HELLO[..=index], &HELLO[index..]].concat();
    let path = |path| with(&without(":path"), &[(":path", path)]);
    vec![
        refused("an empty :path", &path("")),
        refused("a :path without a slash", &path("a")),
        refused("no :method", &without(":method")),
        refused("no :scheme", &without(":scheme")),
        refused("no :path", &without(":path")),
        refused("two :method", &twice(0)),
        refused("two :scheme", &twice(1)),
        refused("two :path", &twice(2)),
        refused("two :authority", &twice(3)),
        // RFC 9113 §8.5.
        refused("CONNECT with :path", &with(&[(":method", "CONNECT")], &HELLO[2..])),
        refused("CONNECT with :scheme", &[(":method", "CONNECT"), HELLO[1], HELLO[3]]),
        refused("CONNECT without :authority", &[(":method", "CONNECT")]),
    ]
}

fn lengths() -> Vec<Case> {
    let post = |length| headers(1, 0, &with(HELD, &[("content-length", length)]));
    vec![
        case("more data than content-length, in one frame")
            .sends(post("1"))
            .sends(data(1, END_STREAM, b"test"))
            .gets(StreamError(1, PROTOCOL_ERROR)),
        case("more data than content-length, in two frames")
            .sends(post("5"))
            .sends(data(1, 0, b"test"))
            .sends(data(1, END_STREAM, b"test"))
            .gets(StreamError(1, PROTOCOL_ERROR)),
        case("less data than content-length")
            .sends(post("5"))
            .sends(data(1, END_STREAM, b"test"))
            .gets(StreamError(1, PROTOCOL_ERROR)),
        case("less data than content-length, and trailers")
            .sends(post("5"))
            .sends(data(1, 0, b"test"))
            .sends(headers(1, END_STREAM, &[("x-a", "1")]))
            .gets(StreamError(1, PROTOCOL_ERROR)),
        refused("a content-length without data", &with(HELLO, &[("content-length", "1")])),
        refused("two content-length", &with(HELLO, &[("content-length", "0"), ("content-length", "1")])),
    ]
}
