//! The states of streams, their numbers, and how many are open.

use super::case::Outcome::*;
use super::case::*;
use super::*;

#[tokio::test]
async fn states_and_numbers_of_streams_conform() {
    run(groups()).await;
}

pub(super) fn groups() -> Vec<Group> {
    let states = [idle(), half_closed_states(), reset_states(), closed()].into_iter().flatten().collect();
    vec![
        Group { name: "http2 5.1", rfc: "RFC 9113 §5.1", cases: states },
        Group { name: "http2 5.1.1", rfc: "RFC 9113 §5.1.1", cases: numbers() },
        Group { name: "http2 5.1.2", rfc: "RFC 9113 §5.1.2", cases: concurrency() },
        Group {
            name: "http2 5.3.1",
            rfc: "RFC 7540 §5.3.1, dropped by RFC 9113 §5.3",
            cases: dependencies(),
        },
    ]
}

fn idle() -> Vec<Case> {
    let idle = |name, bytes: Vec<u8>| case(name).sends(bytes).gets(ConnectionError(PROTOCOL_ERROR));
    // A server opens the streams with even numbers, and this one pushes nothing: they are idle for ever.
    let servers =
        |name, bytes: Vec<u8>| case(name).sends(open(3)).sends(bytes).gets(ConnectionError(PROTOCOL_ERROR));
    vec![
        idle("idle: DATA", data(1, END_STREAM, b"test")),
        idle("idle: RST_STREAM", reset(1, CANCEL)),
        idle("idle: WINDOW_UPDATE", window_update(1, 100)),
        idle("idle: CONTINUATION", continuation(1, END_HEADERS, HELLO)),
        servers("idle, of the server: DATA", data(2, END_STREAM, b"test")),
        servers("idle, of the server: RST_STREAM", reset(2, CANCEL)),
        servers("idle, of the server: WINDOW_UPDATE", window_update(2, 100)),
        servers("idle, of the server: HEADERS", hello(2)),
    ]
}

fn half_closed_states() -> Vec<Case> {
    vec![
        case("half-closed: DATA")
            .sends(half_closed(1))
            .sends(data(1, END_STREAM, b"test"))
            .gets(StreamError(1, STREAM_CLOSED)),
        case("half-closed: HEADERS")
            .sends(half_closed(1))
            .sends(half_closed(1))
            .gets(StreamError(1, STREAM_CLOSED)),
        // The public suite takes STREAM_CLOSED, too. RFC 9113 §6.10 names this one.
        case("half-closed: CONTINUATION")
            .sends(half_closed(1))
            .sends(continuation(1, END_HEADERS, HELLO))
            .gets(ConnectionError(PROTOCOL_ERROR)),
    ]
}

fn reset_states() -> Vec<Case> {
    let closed = [open(1), reset(1, CANCEL)].concat();
    vec![
        case("closed by RST_STREAM: DATA")
            .sends(&closed)
            .sends(data(1, END_STREAM, b"test"))
            .gets(StreamError(1, STREAM_CLOSED)),
        case("closed by RST_STREAM: HEADERS")
            .sends(&closed)
            .sends(headers(1, END_STREAM, &[("x-a", "1")]))
            .gets(StreamError(1, STREAM_CLOSED)),
        case("closed by RST_STREAM: CONTINUATION")
            .sends(&closed)
            .sends(continuation(1, END_HEADERS, &[("x-a", "1")]))
            .gets(ConnectionError(PROTOCOL_ERROR)),
        case("closed by RST_STREAM: WINDOW_UPDATE, RST_STREAM and PRIORITY are ignored")
            .sends(&closed)
            .sends(window_update(1, 1))
            .sends(reset(1, CANCEL))
            .sends(priority(1, 0, 1)),
    ]
}

fn closed() -> Vec<Case> {
    let closed = |name| case(name).sends(hello(1)).gets_response(1);
    vec![
        closed("closed by both: DATA")
            .sends(data(1, END_STREAM, b"test"))
            .gets(ConnectionError(STREAM_CLOSED)),
        closed("closed by both: HEADERS").sends(hello(1)).gets(ConnectionError(STREAM_CLOSED)),
        closed("closed by both: CONTINUATION")
            .sends(continuation(1, END_HEADERS, HELLO))
            .gets(ConnectionError(PROTOCOL_ERROR)),
        closed("closed by both: WINDOW_UPDATE and RST_STREAM are ignored")
            .sends(window_update(1, 1))
            .sends(reset(1, CANCEL)),
    ]
}

fn numbers() -> Vec<Case> {
    vec![
        case("an even number").sends(hello(2)).gets(ConnectionError(PROTOCOL_ERROR)),
        case("a smaller number than the last")
            .sends(hello(5))
            .sends(hello(3))
            .gets(ConnectionError(PROTOCOL_ERROR)),
        case("a number that is in use")
            .sends(half_closed(5))
            .sends(half_closed(5))
            .gets(StreamError(5, STREAM_CLOSED)),
        case("a number that was skipped is closed")
            .sends(open(5))
            .sends(data(3, END_STREAM, b"test"))
            .gets(StreamError(3, STREAM_CLOSED)),
        case("the largest number").sends(hello(0x7fff_ffff)).gets_response(0x7fff_ffff),
    ]
}

fn concurrency() -> Vec<Case> {
    /// The default of `http2.max_streams`.
    const STREAMS_MAX: u32 = 128;
    // Without a window no response ends, so all streams stay open.
    let all: Vec<u8> = (0..STREAMS_MAX).flat_map(|index| hello(2 * index + 1)).collect();
    vec![
        case("one stream more than the setting allows")
            .gets(Setting(3, STREAMS_MAX))
            .sends(settings(&[(4, 0)]))
            .sends(&all)
            .sends(hello(2 * STREAMS_MAX + 1))
            .gets(StreamError(2 * STREAMS_MAX + 1, REFUSED_STREAM)),
        case("streams that have ended do not count")
            .sends(settings(&[(4, 0)]))
            .sends(&all)
            .sends(settings(&[(4, 5)]))
            .gets(End(2 * STREAMS_MAX - 1))
            .sends(hello(2 * STREAMS_MAX + 1))
            .gets_response(2 * STREAMS_MAX + 1),
    ]
}

/// RFC 9113 ignores priorities, but does not forbid what RFC 7540 demanded: a stream that depends on itself is an error.
fn dependencies() -> Vec<Case> {
    let block = [&[0, 0, 0, 1, 255], &block(HELD)[..]].concat();
    vec![
        case("HEADERS of a stream that depends on itself")
            .sends(frame(HEADERS, END_STREAM | END_HEADERS | WITH_PRIORITY, 1, &block))
            .gets(StreamError(1, PROTOCOL_ERROR)),
        case("PRIORITY of a stream that depends on itself")
            .sends(priority(1, 1, 255))
            .gets(StreamError(1, PROTOCOL_ERROR)),
    ]
}
