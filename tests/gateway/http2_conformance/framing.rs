//! The beginning of a connection, the format of frames, and the handling of errors.

use super::case::Outcome::*;
use super::case::*;
use super::*;

#[tokio::test]
async fn framing_of_connections_conforms() {
    run(groups()).await;
}

pub(super) fn groups() -> Vec<Group> {
    vec![
        Group { name: "http2 3.5", rfc: "RFC 9113 §3.4", cases: preface() },
        Group { name: "http2 4.1", rfc: "RFC 9113 §4.1", cases: format() },
        Group { name: "http2 4.2", rfc: "RFC 9113 §4.2", cases: size() },
        Group { name: "http2 4.3", rfc: "RFC 9113 §4.3", cases: blocks() },
        Group { name: "http2 5.4.1", rfc: "RFC 9113 §5.4.1", cases: connection_errors() },
        Group { name: "http2 5.5", rfc: "RFC 9113 §5.5", cases: extensions() },
        Group { name: "http2 7", rfc: "RFC 9113 §7", cases: codes() },
    ]
}

/// A kind of frames that no document defines.
const UNKNOWN: u8 = 0x16;

fn preface() -> Vec<Case> {
    vec![
        raw_case("the server's preface is SETTINGS")
            .sends(PREFACE)
            .sends(settings(&[]))
            .gets(Setting(3, 128)),
        raw_case("not the preface")
            .sends("NO PREFACE OF A CLIENT\r\n\r\n")
            .gets(ConnectionError(PROTOCOL_ERROR)),
        raw_case("a preface that is wrong at its end")
            .sends("PRI * HTTP/2.0\r\n\r\nSM\r\n\r ")
            .gets(ConnectionError(PROTOCOL_ERROR)),
        raw_case("a first frame that is not SETTINGS")
            .sends(PREFACE)
            .sends(ping(0, &[0; 8]))
            .gets(ConnectionError(PROTOCOL_ERROR)),
        raw_case("a first frame that is an acknowledgement")
            .sends(PREFACE)
            .sends(frame(SETTINGS, ACK, 0, b""))
            .gets(ConnectionError(PROTOCOL_ERROR)),
    ]
}

fn format() -> Vec<Case> {
    vec![
        case("an unknown kind is ignored").sends(frame(UNKNOWN, 0, 0, &[0; 8])),
        case("an unknown kind on an idle stream is ignored").sends(frame(UNKNOWN, 0xff, 1, &[0; 8])),
        case("unknown flags are ignored").sends(ping(0x16, b"12345678")).gets(Pong(b"12345678")),
        case("the reserved bit is ignored")
            .sends(frame(PING, 0x16, 0x8000_0000, b"12345678"))
            .gets(Pong(b"12345678")),
    ]
}

fn size() -> Vec<Case> {
    let large = vec![b'x'; PAYLOAD_MAX + 1];
    let long = "v".repeat(PAYLOAD_MAX);
    let fields: Vec<_> = HELLO.iter().copied().chain([("x-a", long.as_str())]).collect();
    vec![
        case("DATA of the largest size")
            .sends(headers(1, 0, ECHO))
            .sends(data(1, END_STREAM, &large[1..]))
            .gets_response(1),
        // RFC 9113 §4.2 permits a connection error for any frame, and the rest of the frame need not be read then.
        case("DATA beyond the largest size")
            .sends(open(1))
            .sends(data(1, END_STREAM, &large))
            .gets(ConnectionError(FRAME_SIZE_ERROR)),
        case("HEADERS beyond the largest size")
            .sends(headers(1, END_STREAM, &fields))
            .gets(ConnectionError(FRAME_SIZE_ERROR)),
        case("an unknown kind beyond the largest size")
            .sends(frame(UNKNOWN, 0, 0, &large))
            .gets(ConnectionError(FRAME_SIZE_ERROR)),
    ]
}

fn blocks() -> Vec<Case> {
    let unended = frame(HEADERS, 0, 1, &block(HELD));
    let rest = continuation(1, END_HEADERS, &[("x-a", "1")]);
    vec![
        case("a literal that ends before its name")
            .sends(frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0x40]))
            .gets(ConnectionError(COMPRESSION_ERROR)),
        case("PRIORITY within a block")
            .sends(&unended)
            .sends(priority(1, 0, 255))
            .sends(&rest)
            .gets(ConnectionError(PROTOCOL_ERROR)),
        case("HEADERS of another stream within a block")
            .sends(&unended)
            .sends(hello(3))
            .sends(&rest)
            .gets(ConnectionError(PROTOCOL_ERROR)),
        case("the block of a stream that was refused changes the table all the same")
            .sends(frame(
                HEADERS,
                END_STREAM | END_HEADERS,
                1,
                &[&block(&HELLO[1..])[..], b"\x40\x06x-test\x04test"].concat(),
            ))
            .gets(StreamError(1, PROTOCOL_ERROR))
            .sends(frame(HEADERS, END_STREAM | END_HEADERS, 3, &[&block(HELLO)[..], &[0x80 | 62]].concat()))
            .gets(Head(3))
            .gets(Data(3, b"seen")),
    ]
}

fn connection_errors() -> Vec<Case> {
    let wrong = frame(PING, 0, 3, &[0; 8]);
    vec![
        // The outcome includes both: GOAWAY and the close.
        case("the connection is closed").sends(&wrong).gets(ConnectionError(PROTOCOL_ERROR)),
        case("GOAWAY comes before").sends(&wrong).gets(ConnectionError(PROTOCOL_ERROR)),
        case("nothing is served after the error")
            .sends(&wrong)
            .sends(hello(1))
            .gets(ConnectionError(PROTOCOL_ERROR)),
    ]
}

fn extensions() -> Vec<Case> {
    vec![
        case("an unknown kind is ignored").sends(frame(UNKNOWN, 0, 0, &[0; 8])),
        case("an unknown kind within a block")
            .sends(frame(HEADERS, END_STREAM, 1, &block(HELLO)))
            .sends(frame(UNKNOWN, 0, 0, &[0; 8]))
            .gets(ConnectionError(PROTOCOL_ERROR)),
    ]
}

fn codes() -> Vec<Case> {
    vec![
        case("GOAWAY with an unknown code ends the connection in order").sends(goaway(0, 0xff)).gets(Closed),
        case("RST_STREAM with an unknown code").sends(open(1)).sends(reset(1, 0xff)),
    ]
}
