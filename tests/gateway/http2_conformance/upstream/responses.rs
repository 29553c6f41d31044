//! Responses that are malformed: each ends its stream and no other (RFC 9113 §8.1.1).

use super::super::case::Outcome::*;
use super::*;

#[tokio::test]
async fn malformed_responses_end_their_streams() {
    run(GET, sections()).await;
}

pub(super) fn sections() -> Vec<Section> {
    vec![
        Section { rfc: "RFC 9113 §8.1", cases: exchanges() },
        Section { rfc: "RFC 9113 §8.1.1", cases: lengths() },
        Section { rfc: "RFC 9113 §8.2", cases: fields() },
        Section { rfc: "RFC 9113 §8.3", cases: pseudo_fields() },
    ]
}

/// A response that must be refused at its head.
fn refused(name: &'static str, fields: &[(&str, &str)]) -> (Case, Seen) {
    (case(name).sends(headers(1, END_STREAM, fields)).gets(StreamError(1, PROTOCOL_ERROR)), MALFORMED)
}

/// A response that becomes malformed behind its head, with these fields in it.
fn broken(name: &'static str, fields: &[(&str, &str)], bytes: &[&[u8]]) -> (Case, Seen) {
    let head = headers(1, 0, &[OK, fields].concat());
    (case(name).sends(head).sends(bytes.concat()).gets(StreamError(1, PROTOCOL_ERROR)), Cut)
}

fn exchanges() -> Vec<(Case, Seen)> {
    let interim = |flags| headers(1, flags, &[(":status", "103")]);
    vec![
        (
            case("an interim response that ends its stream")
                .sends(interim(END_STREAM))
                .gets(StreamError(1, PROTOCOL_ERROR)),
            MALFORMED,
        ),
        (
            case("DATA behind an interim response")
                .sends(interim(0))
                .sends(data(1, END_STREAM, b"test"))
                .gets(StreamError(1, PROTOCOL_ERROR)),
            Cut,
        ),
        broken(
            "trailers that do not end the stream",
            &[],
            &[&data(1, 0, b"test"), &headers(1, 0, &[("x-a", "1")])],
        ),
        broken("a second head", &[], &[&headers(1, 0, OK)]),
    ]
}

fn lengths() -> Vec<(Case, Seen)> {
    // The head has no fault, so the client gets it. It has no content to wait for.
    let no_content = |name, status| {
        let sent = [headers(1, 0, &[(":status", status)]), data(1, END_STREAM, b"test")].concat();
        case(name).sends(sent).gets(StreamError(1, PROTOCOL_ERROR))
    };
    let five = [("content-length", "5")];
    vec![
        broken("more data than content-length", &five, &[&data(1, END_STREAM, b"longer")]),
        broken("less data than content-length", &five, &[&data(1, END_STREAM, b"less")]),
        broken(
            "less data than content-length, and trailers",
            &five,
            &[&data(1, 0, b"less"), &headers(1, END_STREAM, &[("x-a", "1")])],
        ),
        refused("no data, and a content-length", &[OK[0], five[0]]),
        refused("two content-length", &[OK[0], ("content-length", "0"), ("content-length", "1")]),
        refused("a content-length that is no number", &[OK[0], ("content-length", "-1")]),
        (no_content("data of a 204", "204"), Empty(204)),
        (no_content("data of a 304", "304"), Empty(304)),
    ]
}

fn fields() -> Vec<(Case, Seen)> {
    let with = |name, field| refused(name, &[OK[0], field]);
    vec![
        with("keep-alive", ("keep-alive", "timeout=5")),
        with("proxy-connection", ("proxy-connection", "close")),
        with("transfer-encoding", ("transfer-encoding", "chunked")),
        with("upgrade", ("upgrade", "websocket")),
        with("a name with a space", ("x a", "1")),
        with("a value with a line feed", ("x-a", "1\nx-b: 2")),
        with("a value that begins with a space", ("x-a", " 1")),
        broken(
            "a name with upper-case letters in trailers",
            &[],
            &[&data(1, 0, b"test"), &headers(1, END_STREAM, &[("X-A", "1")])],
        ),
        broken(
            "connection in trailers",
            &[],
            &[&data(1, 0, b"test"), &headers(1, END_STREAM, &[("connection", "close")])],
        ),
    ]
}

fn pseudo_fields() -> Vec<(Case, Seen)> {
    vec![
        refused("an unknown one", &[OK[0], (":test", "ok")]),
        refused("a :status without a number", &[(":status", "ok")]),
        refused("a :status of four digits", &[(":status", "2000")]),
        refused("a :status below 100", &[(":status", "099")]),
        broken(
            ":status in trailers",
            &[],
            &[&data(1, 0, b"test"), &headers(1, END_STREAM, &[(":status", "200")])],
        ),
    ]
}
