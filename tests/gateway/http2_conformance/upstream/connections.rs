//! The beginning of a connection, the format of frames, header blocks, and the states of streams.

use super::super::case::Outcome::*;
use super::*;

#[tokio::test]
async fn upstream_connections_conform() {
    run(GET, sections()).await;
}

pub(super) fn sections() -> Vec<Section> {
    let states = [idle(), reset_states(), closed()].into_iter().flatten().collect();
    vec![
        Section { rfc: "RFC 9113 §3.4", cases: beginning() },
        Section { rfc: "RFC 9113 §4.1", cases: format() },
        Section { rfc: "RFC 9113 §4.2", cases: size() },
        Section { rfc: "RFC 9113 §4.3", cases: blocks() },
        Section { rfc: "RFC 9113 §5.1", cases: states },
        Section { rfc: "RFC 9113 §5.1.1", cases: numbers() },
        Section { rfc: "RFC 9113 §5.4.1", cases: connection_errors() },
        Section { rfc: "RFC 9113 §5.5", cases: extensions() },
        Section { rfc: "RFC 9113 §7", cases: codes() },
    ]
}

/// A kind of frames that no document defines.
const UNKNOWN: u8 = 0x16;

/// An error of the connection before the response.
fn fatal(name: &'static str, bytes: impl AsRef<[u8]>, code: u32) -> (Case, Seen) {
    (case(name).sends(bytes).gets(ConnectionError(code)), MALFORMED)
}

fn beginning() -> Vec<(Case, Seen)> {
    let wrong =
        |name, bytes: &[u8]| (raw_case(name).sends(bytes).gets(ConnectionError(PROTOCOL_ERROR)), PROTOCOL);
    vec![
        (case("a request and its response").sends(respond(1)), Whole("ok")),
        wrong("a first frame that is not SETTINGS", &ping(0, &[0; 8])),
        wrong("a first frame that is an acknowledgement", &frame(SETTINGS, ACK, 0, b"")),
    ]
}

fn format() -> Vec<(Case, Seen)> {
    let ignored = |name, bytes: Vec<u8>| (case(name).sends(bytes).sends(respond(1)), Whole("ok"));
    let ping = |stream| frame(PING, 0x16, stream, b"12345678");
    vec![
        ignored("an unknown kind is ignored", frame(UNKNOWN, 0xff, 0, &[0; 8])),
        ignored("an unknown kind on the stream is ignored", frame(UNKNOWN, 0xff, 1, &[0; 8])),
        (
            case("unknown flags are ignored").sends(ping(0)).gets(Pong(b"12345678")).sends(respond(1)),
            Whole("ok"),
        ),
        (
            case("the reserved bit is ignored")
                .sends(ping(0x8000_0000))
                .gets(Pong(b"12345678"))
                .sends(respond(1)),
            Whole("ok"),
        ),
    ]
}

fn size() -> Vec<(Case, Seen)> {
    let head = headers(1, 0, OK);
    let largest = LARGEST.as_bytes();
    let whole = [&head[..], &data(1, 0, largest), &data(1, END_STREAM, b"")].concat();
    // The size is wrong as soon as it is known. Of the rest, only a byte is sent: the gateway closes, and a reset by the system
    // because of what it has not read could overtake GOAWAY.
    let beyond = |kind, stream| frame(kind, END_HEADERS, stream, &[largest, b"x"].concat())[..10].to_vec();
    vec![
        (case("DATA of the largest size").sends(whole), Whole(LARGEST)),
        (
            case("DATA beyond the largest size")
                .sends(head)
                .sends(beyond(DATA, 1))
                .gets(ConnectionError(FRAME_SIZE_ERROR)),
            Cut,
        ),
        fatal("HEADERS beyond the largest size", beyond(HEADERS, 1), FRAME_SIZE_ERROR),
        fatal("SETTINGS beyond the largest size", beyond(SETTINGS, 0), FRAME_SIZE_ERROR),
    ]
}

/// A payload of the largest size.
const LARGEST: &str = {
    const BYTES: [u8; PAYLOAD_MAX] = [b'x'; PAYLOAD_MAX];
    match std::str::from_utf8(&BYTES) {
        Ok(text) => text,
        Err(_) => "",
    }
};

fn blocks() -> Vec<(Case, Seen)> {
    let unended = frame(HEADERS, END_STREAM, 1, &block(OK));
    let behind =
        |bytes: &[u8]| frame(HEADERS, END_STREAM | END_HEADERS, 1, &[&block(OK)[..], bytes].concat());
    vec![
        fatal(
            "a literal that ends before its name",
            frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0x40]),
            COMPRESSION_ERROR,
        ),
        fatal("an index beyond the tables", behind(&integer(0x80, 7, 62)), COMPRESSION_ERROR),
        fatal("the index 0", behind(&[0x80]), COMPRESSION_ERROR),
        fatal("a size update behind fields", behind(&[0x21]), COMPRESSION_ERROR),
        fatal(
            "a size update beyond the setting",
            frame(
                HEADERS,
                END_STREAM | END_HEADERS,
                1,
                &[&integer(0x20, 5, 1 << 20)[..], &block(OK)].concat(),
            ),
            COMPRESSION_ERROR,
        ),
        fatal("a Huffman code padded with zeros", behind(b"\x00\x03x-a\x83\x49\x50\x90"), COMPRESSION_ERROR),
        fatal("PRIORITY within a block", [&unended[..], &priority(1, 0, 255)].concat(), PROTOCOL_ERROR),
        fatal(
            "HEADERS of another stream within a block",
            [unended, headers(3, 0, OK)].concat(),
            PROTOCOL_ERROR,
        ),
    ]
}

/// The gateway allows no pushes, so the streams of its server are idle for ever.
fn idle() -> Vec<(Case, Seen)> {
    vec![
        fatal("idle: DATA", data(2, END_STREAM, b"test"), PROTOCOL_ERROR),
        fatal("idle: RST_STREAM", reset(2, CANCEL), PROTOCOL_ERROR),
        fatal("idle: WINDOW_UPDATE", window_update(2, 100), PROTOCOL_ERROR),
        fatal("idle: CONTINUATION", continuation(2, END_HEADERS, OK), PROTOCOL_ERROR),
        fatal(
            "idle: DATA on a stream that the client has not opened",
            data(3, END_STREAM, b"test"),
            PROTOCOL_ERROR,
        ),
    ]
}

fn reset_states() -> Vec<(Case, Seen)> {
    let closed = |name| case(name).sends(headers(1, 0, OK)).sends(reset(1, CANCEL));
    vec![
        (
            closed("closed by RST_STREAM: DATA")
                .sends(data(1, END_STREAM, b"test"))
                .gets(StreamError(1, STREAM_CLOSED)),
            Cut,
        ),
        (
            closed("closed by RST_STREAM: HEADERS")
                .sends(headers(1, END_STREAM, OK))
                .gets(StreamError(1, STREAM_CLOSED)),
            Cut,
        ),
        (
            closed("closed by RST_STREAM: CONTINUATION")
                .sends(continuation(1, END_HEADERS, OK))
                .gets(ConnectionError(PROTOCOL_ERROR)),
            Cut,
        ),
    ]
}

/// The response is whole, and the client gets it in any case.
fn closed() -> Vec<(Case, Seen)> {
    let closed = |name, bytes: Vec<u8>, code| {
        (case(name).sends(respond(1)).sends(bytes).gets(ConnectionError(code)), Whole("ok"))
    };
    vec![
        closed("closed by both: DATA", data(1, END_STREAM, b"test"), STREAM_CLOSED),
        closed("closed by both: HEADERS", headers(1, END_STREAM, OK), STREAM_CLOSED),
        closed("closed by both: CONTINUATION", continuation(1, END_HEADERS, OK), PROTOCOL_ERROR),
        (
            case("closed by both: WINDOW_UPDATE, RST_STREAM and PRIORITY are ignored")
                .sends(respond(1))
                .sends(window_update(1, 1))
                .sends(reset(1, CANCEL))
                .sends(priority(1, 0, 1)),
            Whole("ok"),
        ),
    ]
}

fn numbers() -> Vec<(Case, Seen)> {
    vec![
        fatal(
            "HEADERS on a stream that the client has not opened",
            headers(101, END_STREAM, OK),
            PROTOCOL_ERROR,
        ),
        fatal("HEADERS on a stream of the server", headers(2, END_STREAM, OK), PROTOCOL_ERROR),
    ]
}

fn connection_errors() -> Vec<(Case, Seen)> {
    let wrong = frame(PING, 0, 3, &[0; 8]);
    vec![
        fatal("GOAWAY and a close", &wrong, PROTOCOL_ERROR),
        fatal("nothing is read after the error", [wrong, respond(1)].concat(), PROTOCOL_ERROR),
    ]
}

fn extensions() -> Vec<(Case, Seen)> {
    let within = [frame(HEADERS, END_STREAM, 1, &block(OK)), frame(UNKNOWN, 0, 0, &[0; 8])].concat();
    vec![fatal("an unknown kind within a block", within, PROTOCOL_ERROR)]
}

fn codes() -> Vec<(Case, Seen)> {
    vec![
        (
            case("GOAWAY with an unknown code").sends(goaway(1, 0xff)).sends(respond(1)).gets(Closed),
            Whole("ok"),
        ),
        (case("RST_STREAM with an unknown code").sends(reset(1, 0xff)), Refused(502, "upstream.reset")),
    ]
}
