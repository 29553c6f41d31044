//! Frames that are wrong by the definition of their kind.

use super::case::Outcome::*;
use super::case::*;
use super::*;

#[tokio::test]
async fn frames_that_are_wrong_end_their_stream_or_the_connection() {
    run(groups()).await;
}

pub(super) fn groups() -> Vec<Group> {
    vec![
        Group { name: "http2 6.1", rfc: "RFC 9113 §6.1", cases: data_frames() },
        Group { name: "http2 6.2", rfc: "RFC 9113 §6.2", cases: headers_frames() },
        Group { name: "http2 6.3", rfc: "RFC 9113 §6.3", cases: priority_frames() },
        Group { name: "http2 6.4", rfc: "RFC 9113 §6.4", cases: reset_frames() },
        Group { name: "http2 6.7", rfc: "RFC 9113 §6.7", cases: ping_frames() },
        Group { name: "http2 6.8", rfc: "RFC 9113 §6.8", cases: goaway_frames() },
        Group { name: "http2 6.10", rfc: "RFC 9113 §6.10", cases: continuation_frames() },
        Group { name: "http2 8.2", rfc: "RFC 9113 §8.4", cases: pushes() },
    ]
}

fn data_frames() -> Vec<Case> {
    let padded = |padding: u8| frame(DATA, END_STREAM | PADDED, 1, &[&[padding], &b"test"[..]].concat());
    vec![
        case("stream 0").sends(data(0, END_STREAM, b"test")).gets(ConnectionError(PROTOCOL_ERROR)),
        case("a stream that takes no more")
            .sends(half_closed(1))
            .sends(data(1, END_STREAM, b"test"))
            .gets(StreamError(1, STREAM_CLOSED)),
        case("padding longer than the payload")
            .sends(open(1))
            .sends(padded(6))
            .gets(ConnectionError(PROTOCOL_ERROR)),
        case("padding as long as the payload with its length")
            .sends(open(1))
            .sends(padded(5))
            .gets(ConnectionError(PROTOCOL_ERROR)),
        case("padding alone")
            .sends(headers(1, 0, ECHO))
            .sends(data(1, 0, b"data"))
            .sends(padded(4))
            .gets(Head(1))
            .gets(Data(1, b"data")),
        case("no room for the length of the padding")
            .sends(open(1))
            .sends(frame(DATA, END_STREAM | PADDED, 1, b""))
            .gets(ConnectionError(FRAME_SIZE_ERROR)),
    ]
}

fn headers_frames() -> Vec<Case> {
    let unended = frame(HEADERS, 0, 1, &block(HELD));
    let rest = continuation(1, END_HEADERS, &[("x-a", "1")]);
    let padding = u8::try_from(block(HELLO).len() + 1).unwrap();
    let padded = [&[padding], &block(HELLO)[..]].concat();
    vec![
        case("an unended block before PRIORITY")
            .sends(&unended)
            .sends(priority(1, 0, 255))
            .sends(&rest)
            .gets(ConnectionError(PROTOCOL_ERROR)),
        case("an unended block before HEADERS of another stream")
            .sends(&unended)
            .sends(hello(3))
            .sends(&rest)
            .gets(ConnectionError(PROTOCOL_ERROR)),
        case("stream 0").sends(hello(0)).gets(ConnectionError(PROTOCOL_ERROR)),
        case("padding longer than the payload")
            .sends(frame(HEADERS, END_STREAM | END_HEADERS | PADDED, 1, &padded))
            .gets(ConnectionError(PROTOCOL_ERROR)),
        case("no room for the priority")
            .sends(frame(HEADERS, END_STREAM | END_HEADERS | WITH_PRIORITY, 1, &[0; 4]))
            .gets(ConnectionError(FRAME_SIZE_ERROR)),
    ]
}

fn priority_frames() -> Vec<Case> {
    vec![
        case("stream 0").sends(priority(0, 0, 255)).gets(ConnectionError(PROTOCOL_ERROR)),
        case("a length other than 5")
            .sends(half_closed(1))
            .sends(frame(PRIORITY, 0, 1, &[0x80, 0, 0, 1]))
            .gets(StreamError(1, FRAME_SIZE_ERROR)),
        case("an idle stream does not close smaller ones")
            .sends(priority(3, 0, 255))
            .sends(hello(1))
            .gets_response(1),
    ]
}

fn reset_frames() -> Vec<Case> {
    let sized = |length: usize| frame(RST_STREAM, 0, 1, &[0; 5][..length]);
    vec![
        case("stream 0").sends(reset(0, CANCEL)).gets(ConnectionError(PROTOCOL_ERROR)),
        case("an idle stream").sends(reset(1, CANCEL)).gets(ConnectionError(PROTOCOL_ERROR)),
        case("3 bytes").sends(half_closed(1)).sends(sized(3)).gets(ConnectionError(FRAME_SIZE_ERROR)),
        case("5 bytes").sends(half_closed(1)).sends(sized(5)).gets(ConnectionError(FRAME_SIZE_ERROR)),
    ]
}

fn ping_frames() -> Vec<Case> {
    vec![
        case("a ping is answered by the same payload").sends(ping(0, b"12345678")).gets(Pong(b"12345678")),
        // An answer to the first would fail the case.
        case("an answer is not answered")
            .sends(ping(ACK, b"answered"))
            .sends(ping(0, b"12345678"))
            .gets(Pong(b"12345678")),
        case("a stream").sends(frame(PING, 0, 1, &[0; 8])).gets(ConnectionError(PROTOCOL_ERROR)),
        case("6 bytes").sends(ping(0, &[0; 6])).gets(ConnectionError(FRAME_SIZE_ERROR)),
        case("9 bytes").sends(ping(0, &[0; 9])).gets(ConnectionError(FRAME_SIZE_ERROR)),
    ]
}

fn goaway_frames() -> Vec<Case> {
    vec![
        case("a stream").sends(frame(GOAWAY, 0, 1, &[0; 8])).gets(ConnectionError(PROTOCOL_ERROR)),
        case("7 bytes").sends(frame(GOAWAY, 0, 0, &[0; 7])).gets(ConnectionError(FRAME_SIZE_ERROR)),
        case("streams that are open are served to their end")
            .sends(headers(1, 0, ECHO))
            .sends(goaway(0, 0))
            .sends(data(1, END_STREAM, b"test"))
            .gets(Head(1))
            .gets(Data(1, b"test"))
            .gets(Closed),
    ]
}

fn continuation_frames() -> Vec<Case> {
    let unended = frame(HEADERS, END_STREAM, 1, &block(HELLO));
    let more = continuation(1, 0, &[("x-a", "1")]);
    let last = continuation(1, END_HEADERS, &[("x-a", "1")]);
    vec![
        case("two frames behind HEADERS").sends(&unended).sends(&more).sends(&last).gets_response(1),
        case("DATA before the end of the block")
            .sends(frame(HEADERS, 0, 1, &block(HELD)))
            .sends(&more)
            .sends(data(1, END_STREAM, b"test"))
            .gets(ConnectionError(PROTOCOL_ERROR)),
        case("stream 0")
            .sends(&unended)
            .sends(continuation(0, END_HEADERS, &[("x-a", "1")]))
            .gets(ConnectionError(PROTOCOL_ERROR)),
        case("behind HEADERS with the whole block")
            .sends(half_closed(1))
            .sends(&last)
            .gets(ConnectionError(PROTOCOL_ERROR)),
        case("behind the last CONTINUATION")
            .sends(&unended)
            .sends(&last)
            .sends(&last)
            .gets(ConnectionError(PROTOCOL_ERROR)),
        case("behind DATA")
            .sends(open(1))
            .sends(data(1, 0, b"test"))
            .sends(&last)
            .gets(ConnectionError(PROTOCOL_ERROR)),
        case("another stream")
            .sends(&unended)
            .sends(continuation(3, END_HEADERS, &[("x-a", "1")]))
            .gets(ConnectionError(PROTOCOL_ERROR)),
    ]
}

fn pushes() -> Vec<Case> {
    let promise = [&3u32.to_be_bytes()[..], &block(HELLO)].concat();
    vec![
        case("a client's PUSH_PROMISE")
            .sends(open(1))
            .sends(frame(PUSH_PROMISE, END_HEADERS, 1, &promise))
            .gets(ConnectionError(PROTOCOL_ERROR)),
    ]
}
