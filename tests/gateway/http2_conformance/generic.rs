//! Frames and messages as they should be.

use super::case::Outcome::*;
use super::case::*;
use super::*;

#[tokio::test]
async fn proper_frames_and_messages_are_accepted() {
    run(groups()).await;
}

pub(super) fn groups() -> Vec<Group> {
    vec![
        Group { name: "generic 1", rfc: "RFC 9113 §3.4", cases: beginning() },
        Group { name: "generic 2", rfc: "RFC 9113 §5.1", cases: states() },
        Group { name: "generic 3.1", rfc: "RFC 9113 §6.1", cases: data_frames() },
        Group { name: "generic 3.2", rfc: "RFC 9113 §6.2", cases: headers_frames() },
        Group { name: "generic 3.3", rfc: "RFC 9113 §6.3", cases: priority_frames() },
        Group { name: "generic 3.4", rfc: "RFC 9113 §6.4", cases: reset_frames() },
        Group { name: "generic 3.5", rfc: "RFC 9113 §6.5", cases: settings_frames() },
        Group { name: "generic 3.7", rfc: "RFC 9113 §6.7", cases: ping_frames() },
        Group { name: "generic 3.8", rfc: "RFC 9113 §6.8", cases: goaway_frames() },
        Group { name: "generic 3.9", rfc: "RFC 9113 §6.9", cases: window_update_frames() },
        Group { name: "generic 3.10", rfc: "RFC 9113 §6.10", cases: continuation_frames() },
        Group { name: "generic 4", rfc: "RFC 9113 §8.1", cases: messages() },
        Group { name: "generic 5", rfc: "RFC 7541 §6", cases: representations() },
    ]
}

fn beginning() -> Vec<Case> {
    vec![
        raw_case("the server's first frame is SETTINGS")
            .sends(PREFACE)
            .sends(settings(&[(4, 65_535)]))
            .gets(Setting(3, 128))
            .gets(SettingsAck),
    ]
}

fn states() -> Vec<Case> {
    vec![
        case("PRIORITY on an idle stream").sends(priority(1, 0, 255)),
        case("WINDOW_UPDATE on a half-closed stream opens its window")
            .sends(settings(&[(4, 0)]))
            .sends(hello(1))
            .gets(Head(1))
            .sends(window_update(1, 1))
            .gets(Data(1, b"h")),
        case("PRIORITY on a half-closed stream")
            .sends(settings(&[(4, 0)]))
            .sends(hello(1))
            .gets(Head(1))
            .sends(priority(1, 0, 255))
            .sends(window_update(1, 1))
            .gets(Data(1, b"h")),
        case("RST_STREAM on a half-closed stream").sends(half_closed(1)).sends(reset(1, CANCEL)),
        case("PRIORITY on a closed stream").sends(hello(1)).gets_response(1).sends(priority(1, 0, 255)),
    ]
}

fn data_frames() -> Vec<Case> {
    let post = headers(1, 0, ECHO);
    vec![
        case("one frame").sends(&post).sends(data(1, END_STREAM, b"test")).gets_response(1),
        case("two frames")
            .sends(&post)
            .sends(data(1, 0, b"test"))
            .sends(data(1, END_STREAM, b"test"))
            .gets_response(1),
        case("a padded frame")
            .sends(&post)
            .sends(data(1, END_STREAM | PADDED, b"\x06testpadded"))
            .gets(Head(1))
            .gets(Data(1, b"test")),
    ]
}

fn headers_frames() -> Vec<Case> {
    let padded = [&[8], &block(HELLO)[..], &[0; 8]].concat();
    let with_priority = [&[0, 0, 0, 0, 255], &block(HELLO)[..]].concat();
    vec![
        case("a whole block").sends(hello(1)).gets_response(1),
        case("a padded block")
            .sends(frame(HEADERS, END_STREAM | END_HEADERS | PADDED, 1, &padded))
            .gets_response(1),
        case("a block behind a priority")
            .sends(frame(HEADERS, END_STREAM | END_HEADERS | WITH_PRIORITY, 1, &with_priority))
            .gets_response(1),
    ]
}

/// RFC 9113 §5.3.2 deprecates priorities. Their frames are read, and change nothing.
fn priority_frames() -> Vec<Case> {
    const EXCLUSIVE: u32 = 0x8000_0000;
    vec![
        case("the least weight").sends(priority(1, 0, 0)).sends(hello(1)).gets_response(1),
        case("the largest weight").sends(priority(1, 0, 255)).sends(hello(1)).gets_response(1),
        case("a dependency").sends(priority(3, 1, 0)).sends(hello(1)).gets_response(1),
        case("an exclusive dependency").sends(priority(1, EXCLUSIVE, 0)).sends(hello(1)).gets_response(1),
        case("an idle stream, before the head of a smaller one")
            .sends(priority(3, 0, 255))
            .sends(hello(1))
            .gets_response(1),
    ]
}

fn reset_frames() -> Vec<Case> {
    vec![case("an open stream").sends(open(1)).sends(reset(1, CANCEL))]
}

fn settings_frames() -> Vec<Case> {
    let all = [(1, 4096), (2, 1), (3, 100), (4, 65_535), (5, 16_384), (6, 100)];
    // The first acknowledgement is that of the preface.
    vec![
        case("all settings of RFC 9113")
            .gets(SettingsAck)
            .sends(settings(&all))
            .gets(SettingsAck)
            .sends(hello(1))
            .gets_response(1),
    ]
}

fn ping_frames() -> Vec<Case> {
    vec![case("a ping").sends(ping(0, b"12345678")).gets(Pong(b"12345678"))]
}

fn goaway_frames() -> Vec<Case> {
    vec![case("the end of an idle connection").sends(goaway(0, 0)).gets(Closed)]
}

fn window_update_frames() -> Vec<Case> {
    vec![
        case("the connection").sends(window_update(0, 1)),
        case("a stream").sends(hello(1)).sends(window_update(1, 1)).gets(Head(1)),
    ]
}

fn continuation_frames() -> Vec<Case> {
    let (first, second, third) = (&block(HELLO)[..5], &block(HELLO)[5..10], &block(HELLO)[10..]);
    vec![
        case("one frame")
            .sends(frame(HEADERS, END_STREAM, 1, first))
            .sends(frame(CONTINUATION, END_HEADERS, 1, &[second, third].concat()))
            .gets_response(1),
        case("two frames")
            .sends(frame(HEADERS, END_STREAM, 1, first))
            .sends(frame(CONTINUATION, 0, 1, second))
            .sends(frame(CONTINUATION, END_HEADERS, 1, third))
            .gets_response(1),
    ]
}

fn messages() -> Vec<Case> {
    let head = with(&[(":method", "HEAD")], &HELLO[1..]);
    let post = with(ECHO, &[("trailer", "x-test")]);
    vec![
        case("GET").sends(hello(1)).gets(Head(1)).gets(Data(1, b"hello")),
        case("HEAD").sends(headers(1, END_STREAM, &head)).gets(Head(1)),
        case("POST")
            .sends(headers(1, 0, ECHO))
            .sends(data(1, END_STREAM, b"test"))
            .gets(Head(1))
            .gets(Data(1, b"test")),
        case("POST with trailers")
            .sends(headers(1, 0, &post))
            .sends(data(1, 0, b"test"))
            .sends(headers(1, END_STREAM, &[("x-test", "ok")]))
            .gets(Head(1))
            .gets(Data(1, b"test")),
    ]
}

/// The representations of a field in HPACK (RFC 7541 §6), each at the end of a request's fields. The gateway has a route for the
/// field, so its response shows that the field was understood.
fn representations() -> Vec<Case> {
    /// The static table's index of `user-agent` (RFC 7541, A).
    const USER_AGENT: usize = 58;
    /// `x-test` and `test`, as they are and by Huffman codes (RFC 7541, B).
    const NAME: [&[u8]; 2] = [b"\x06x-test", b"\x85\xf2\xb2\x4a\x84\xff"];
    const VALUE: [&[u8]; 2] = [b"\x04test", b"\x83\x49\x50\x9f"];
    let seen = |name, block: Vec<u8>| {
        case(name)
            .sends(frame(HEADERS, END_STREAM | END_HEADERS, 1, &block))
            .gets(Head(1))
            .gets(Data(1, b"seen"))
    };
    let ending = |name, field: &[&[u8]]| seen(name, [&block(HELLO)[..], &field.concat()].concat());
    let known = |high, prefix| integer(high, prefix, USER_AGENT);
    let updated = |update: &[u8]| {
        // Each entry that is added is found again: the table works at its new size.
        let added = [&[0x40], NAME[0], VALUE[0], &[0x80 | 62]].concat();
        [update, &block(HELLO), &added].concat()
    };
    vec![
        ending("indexed: accept-encoding, gzip and deflate", &[&[0x80 | 16]]),
        ending("with indexing, a known name", &[&known(0x40, 6), VALUE[0]]),
        ending("with indexing, a known name, Huffman", &[&known(0x40, 6), VALUE[1]]),
        ending("with indexing, a new name", &[&[0x40], NAME[0], VALUE[0]]),
        ending("with indexing, a new name, Huffman", &[&[0x40], NAME[1], VALUE[1]]),
        ending("without indexing, a known name", &[&known(0, 4), VALUE[0]]),
        ending("without indexing, a known name, Huffman", &[&known(0, 4), VALUE[1]]),
        ending("without indexing, a new name", &[&[0], NAME[0], VALUE[0]]),
        ending("without indexing, a new name, Huffman", &[&[0], NAME[1], VALUE[1]]),
        ending("never indexed, a known name", &[&known(0x10, 4), VALUE[0]]),
        ending("never indexed, a known name, Huffman", &[&known(0x10, 4), VALUE[1]]),
        ending("never indexed, a new name", &[&[0x10], NAME[0], VALUE[0]]),
        ending("never indexed, a new name, Huffman", &[&[0x10], NAME[1], VALUE[1]]),
        seen("a size update", [&[0x20], &block(HELLO)[..], &[0x40], NAME[0], VALUE[0]].concat()),
        seen("two size updates", updated(&[&[0x20], &integer(0x20, 5, 4096)[..]].concat())),
    ]
}
