//! Frames of a server that are wrong by the definition of their kind.

use super::super::case::Outcome::*;
use super::*;

#[tokio::test]
async fn wrong_frames_of_an_upstream_end_their_stream_or_the_connection() {
    run(GET, sections()).await;
}

pub(super) fn sections() -> Vec<Section> {
    vec![
        Section { rfc: "RFC 9113 §6.1", cases: data_frames() },
        Section { rfc: "RFC 9113 §6.2", cases: headers_frames() },
        Section { rfc: "RFC 9113 §6.3", cases: priority_frames() },
        Section { rfc: "RFC 9113 §6.4", cases: reset_frames() },
        Section { rfc: "RFC 9113 §6.5", cases: settings_frames() },
        Section { rfc: "RFC 9113 §6.6", cases: pushes() },
        Section { rfc: "RFC 9113 §6.7", cases: ping_frames() },
        Section { rfc: "RFC 9113 §6.8", cases: goaway_frames() },
        Section { rfc: "RFC 9113 §6.9", cases: window_update_frames() },
        Section { rfc: "RFC 9113 §6.10", cases: continuation_frames() },
    ]
}

/// An error of the connection before the response.
fn fatal(name: &'static str, bytes: impl AsRef<[u8]>, code: u32) -> (Case, Seen) {
    (case(name).sends(bytes).gets(ConnectionError(code)), MALFORMED)
}

/// An error of the stream before the response.
fn refused(name: &'static str, bytes: impl AsRef<[u8]>, code: u32) -> (Case, Seen) {
    (case(name).sends(bytes).gets(StreamError(1, code)), MALFORMED)
}

fn data_frames() -> Vec<(Case, Seen)> {
    let head = headers(1, 0, OK);
    let padded = |padding: u8| {
        let payload = [&[padding], &b"test"[..]].concat();
        [&head[..], &frame(DATA, END_STREAM | PADDED, 1, &payload)].concat()
    };
    vec![
        (case("padding is dropped").sends(padded(2)), Whole("te")),
        (case("padding as long as the payload").sends(padded(5)).gets(ConnectionError(PROTOCOL_ERROR)), Cut),
        refused("DATA before the head", data(1, END_STREAM, b"test"), PROTOCOL_ERROR),
    ]
}

fn headers_frames() -> Vec<(Case, Seen)> {
    let padding = u8::try_from(block(OK).len() + 1).unwrap();
    let padded = |padding| [&[padding], &block(OK)[..]].concat();
    let flags = END_STREAM | END_HEADERS | PADDED;
    vec![
        fatal("stream 0", headers(0, END_STREAM, OK), PROTOCOL_ERROR),
        fatal("padding longer than the payload", frame(HEADERS, flags, 1, &padded(padding)), PROTOCOL_ERROR),
        fatal(
            "no room for the priority",
            frame(HEADERS, END_STREAM | END_HEADERS | WITH_PRIORITY, 1, &[0; 4]),
            FRAME_SIZE_ERROR,
        ),
    ]
}

fn priority_frames() -> Vec<(Case, Seen)> {
    vec![
        fatal("stream 0", priority(0, 0, 255), PROTOCOL_ERROR),
        refused("a length other than 5", frame(PRIORITY, 0, 1, &[0; 4]), FRAME_SIZE_ERROR),
        (case("a priority is ignored").sends(priority(1, 0, 255)).sends(respond(1)), Whole("ok")),
    ]
}

fn reset_frames() -> Vec<(Case, Seen)> {
    vec![
        fatal("stream 0", reset(0, CANCEL), PROTOCOL_ERROR),
        fatal("a stream that is not open", reset(3, CANCEL), PROTOCOL_ERROR),
        fatal("3 bytes", frame(RST_STREAM, 0, 1, &[0; 3]), FRAME_SIZE_ERROR),
    ]
}

fn settings_frames() -> Vec<(Case, Seen)> {
    let value = |name, id, value, code| fatal(name, settings(&[(id, value)]), code);
    vec![
        fatal("an acknowledgement with a payload", frame(SETTINGS, ACK, 0, &[0; 6]), FRAME_SIZE_ERROR),
        fatal("a stream", frame(SETTINGS, 0, 1, &[0, 3, 0, 0, 0, 100]), PROTOCOL_ERROR),
        fatal("a length that is no multiple of 6", frame(SETTINGS, 0, 0, &[0; 8]), FRAME_SIZE_ERROR),
        value("ENABLE_PUSH of a server", 2, 1, PROTOCOL_ERROR),
        value("ENABLE_PUSH beyond 1", 2, 2, PROTOCOL_ERROR),
        value("INITIAL_WINDOW_SIZE beyond its limit", 4, WINDOW_MAX + 1, FLOW_CONTROL_ERROR),
        value("MAX_FRAME_SIZE below its least value", 5, 16_383, PROTOCOL_ERROR),
        value("MAX_FRAME_SIZE beyond its limit", 5, 16_777_216, PROTOCOL_ERROR),
    ]
}

fn pushes() -> Vec<(Case, Seen)> {
    let promise = [&2u32.to_be_bytes()[..], &block(HELLO)].concat();
    vec![fatal("a push", frame(PUSH_PROMISE, END_HEADERS, 1, &promise), PROTOCOL_ERROR)]
}

fn ping_frames() -> Vec<(Case, Seen)> {
    vec![
        // An answer to the first would fail the case.
        (
            case("a ping is answered, and an answer is not")
                .sends(ping(ACK, b"answered"))
                .sends(ping(0, b"12345678"))
                .gets(Pong(b"12345678"))
                .sends(respond(1)),
            Whole("ok"),
        ),
        fatal("a stream", frame(PING, 0, 1, &[0; 8]), PROTOCOL_ERROR),
        fatal("6 bytes", ping(0, &[0; 6]), FRAME_SIZE_ERROR),
    ]
}

fn goaway_frames() -> Vec<(Case, Seen)> {
    vec![
        fatal("a stream", frame(GOAWAY, 0, 1, &[0; 8]), PROTOCOL_ERROR),
        fatal("7 bytes", frame(GOAWAY, 0, 0, &[0; 7]), FRAME_SIZE_ERROR),
    ]
}

fn window_update_frames() -> Vec<(Case, Seen)> {
    let twice = |stream| window_update(stream, WINDOW_MAX).repeat(2);
    vec![
        fatal("the connection by 0", window_update(0, 0), PROTOCOL_ERROR),
        refused("a stream by 0", window_update(1, 0), PROTOCOL_ERROR),
        fatal("3 bytes", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1]), FRAME_SIZE_ERROR),
        fatal("the connection's window beyond its limit", twice(0), FLOW_CONTROL_ERROR),
        refused("a stream's window beyond its limit", twice(1), FLOW_CONTROL_ERROR),
        fatal(
            "a setting that widens a stream beyond the limit",
            [window_update(1, WINDOW_MAX - 65_535), settings(&[(4, 65_536)])].concat(),
            FLOW_CONTROL_ERROR,
        ),
    ]
}

fn continuation_frames() -> Vec<(Case, Seen)> {
    let unended = frame(HEADERS, END_STREAM, 1, &block(OK));
    let more = continuation(1, 0, &[("x-a", "1")]);
    let last = continuation(1, END_HEADERS, &[("x-a", "1")]);
    let after = |frames: &[&[u8]]| frames.concat();
    vec![
        (case("two frames behind HEADERS").sends(&unended).sends(&more).sends(&last), Whole("")),
        fatal(
            "DATA before the end of the block",
            after(&[&unended, &more, &data(1, 0, b"test")]),
            PROTOCOL_ERROR,
        ),
        fatal("stream 0", after(&[&unended, &continuation(0, END_HEADERS, OK)]), PROTOCOL_ERROR),
        fatal("another stream", after(&[&unended, &continuation(3, END_HEADERS, OK)]), PROTOCOL_ERROR),
        (
            case("behind the last CONTINUATION")
                .sends(after(&[&unended, &last, &last]))
                .gets(ConnectionError(PROTOCOL_ERROR)),
            Whole(""),
        ),
        (
            case("behind DATA")
                .sends(after(&[&headers(1, 0, OK), &data(1, 0, b"test"), &last]))
                .gets(ConnectionError(PROTOCOL_ERROR)),
            Cut,
        ),
    ]
}
