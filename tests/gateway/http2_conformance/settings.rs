//! Settings, and the windows that they and WINDOW_UPDATE change.

use super::case::Outcome::*;
use super::case::*;
use super::*;

#[tokio::test]
async fn settings_and_windows_conform() {
    run(groups()).await;
}

pub(super) fn groups() -> Vec<Group> {
    vec![
        Group { name: "http2 6.5", rfc: "RFC 9113 §6.5", cases: settings_frames() },
        Group { name: "http2 6.5.2", rfc: "RFC 9113 §6.5.2", cases: values() },
        Group { name: "http2 6.5.3", rfc: "RFC 9113 §6.5.3", cases: synchronization() },
        Group { name: "http2 6.9", rfc: "RFC 9113 §6.9", cases: window_update_frames() },
        Group { name: "http2 6.9.1", rfc: "RFC 9113 §6.9.1", cases: windows() },
        Group { name: "http2 6.9.2", rfc: "RFC 9113 §6.9.2", cases: initial_windows() },
    ]
}

const ENABLE_PUSH: u16 = 2;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;

/// The window of a stream, `http2.stream_window`. That of the connection is twice as large.
const STREAM_WINDOW: u32 = 64 << 10;

/// A request whose body the gateway does not take.
const POST_HELLO: [(&str, &str); 4] = [(":method", "POST"), HELLO[1], HELLO[2], HELLO[3]];

fn settings_frames() -> Vec<Case> {
    vec![
        case("an acknowledgement with a payload")
            .sends(frame(SETTINGS, ACK, 0, &[0]))
            .gets(ConnectionError(FRAME_SIZE_ERROR)),
        case("a stream")
            .sends(frame(SETTINGS, 0, 1, &[0, 3, 0, 0, 0, 100]))
            .gets(ConnectionError(PROTOCOL_ERROR)),
        // RFC 9113 §6.5 names this code. The public suite takes PROTOCOL_ERROR, too.
        case("a length that is no multiple of 6")
            .sends(frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100, 0, 2]))
            .gets(ConnectionError(FRAME_SIZE_ERROR)),
    ]
}

fn values() -> Vec<Case> {
    let wrong =
        |name, id, value, code| case(name).sends(settings(&[(id, value)])).gets(ConnectionError(code));
    vec![
        wrong("ENABLE_PUSH beyond 1", ENABLE_PUSH, 2, PROTOCOL_ERROR),
        wrong(
            "INITIAL_WINDOW_SIZE beyond its limit",
            INITIAL_WINDOW_SIZE,
            WINDOW_MAX + 1,
            FLOW_CONTROL_ERROR,
        ),
        wrong("MAX_FRAME_SIZE below its least value", MAX_FRAME_SIZE, 16_383, PROTOCOL_ERROR),
        wrong("MAX_FRAME_SIZE beyond its limit", MAX_FRAME_SIZE, 16_777_216, PROTOCOL_ERROR),
        case("an unknown setting is ignored")
            .gets(SettingsAck)
            .sends(settings(&[(0xff, 1)]))
            .gets(SettingsAck),
        case("the limits themselves")
            .gets(SettingsAck)
            .sends(settings(&[(INITIAL_WINDOW_SIZE, WINDOW_MAX), (MAX_FRAME_SIZE, 16_777_215)]))
            .gets(SettingsAck)
            .sends(settings(&[(MAX_FRAME_SIZE, 16_384)]))
            .gets(SettingsAck),
    ]
}

fn synchronization() -> Vec<Case> {
    vec![
        case("values are taken in their order")
            .sends(settings(&[(INITIAL_WINDOW_SIZE, 100), (INITIAL_WINDOW_SIZE, 1)]))
            .sends(hello(1))
            .gets(Head(1))
            .gets(Data(1, b"h")),
        case("settings are acknowledged, each frame once")
            .gets(SettingsAck)
            .sends(settings(&[(ENABLE_PUSH, 0)]))
            .gets(SettingsAck)
            .sends(settings(&[]))
            .sends(settings(&[]))
            .gets(SettingsAck)
            .gets(SettingsAck),
        case("an acknowledgement is not acknowledged")
            .sends(frame(SETTINGS, ACK, 0, b""))
            .gets(SettingsAck)
            .sends(ping(0, b"12345678"))
            .gets(Pong(b"12345678")),
    ]
}

fn window_update_frames() -> Vec<Case> {
    let sized = |stream, length: usize| frame(WINDOW_UPDATE, 0, stream, &[1; 5][..length]);
    vec![
        case("the connection by 0").sends(window_update(0, 0)).gets(ConnectionError(PROTOCOL_ERROR)),
        case("a stream by 0").sends(open(1)).sends(window_update(1, 0)).gets(StreamError(1, PROTOCOL_ERROR)),
        case("3 bytes").sends(sized(0, 3)).gets(ConnectionError(FRAME_SIZE_ERROR)),
        case("5 bytes on a stream").sends(open(1)).sends(sized(1, 5)).gets(ConnectionError(FRAME_SIZE_ERROR)),
        case("the reserved bit is ignored")
            .sends(settings(&[(INITIAL_WINDOW_SIZE, 0)]))
            .sends(hello(1))
            .sends(window_update(1, 0x8000_0002))
            .gets(Head(1))
            .gets(Data(1, b"he")),
    ]
}

fn windows() -> Vec<Case> {
    // Without a window the response does not end, and the route takes no body.
    let post = |stream| [settings(&[(INITIAL_WINDOW_SIZE, 0)]), headers(stream, 0, &POST_HELLO)].concat();
    let untaken = [1, 3].map(|stream| {
        let full = data(stream, 0, &[b'x'; 16 << 10]).repeat(STREAM_WINDOW as usize / (16 << 10));
        [post(stream), full].concat()
    });
    vec![
        case("no more data than the window")
            .sends(settings(&[(INITIAL_WINDOW_SIZE, 1)]))
            .sends(hello(1))
            .gets(Head(1))
            .gets(Data(1, b"h")),
        case("the connection's window beyond its limit")
            .sends(window_update(0, WINDOW_MAX))
            .sends(window_update(0, WINDOW_MAX))
            .gets(ConnectionError(FLOW_CONTROL_ERROR)),
        case("a stream's window beyond its limit")
            .sends(open(1))
            .sends(window_update(1, WINDOW_MAX))
            .sends(window_update(1, WINDOW_MAX))
            .gets(StreamError(1, FLOW_CONTROL_ERROR)),
        case("more data than the stream's window")
            .gets(Setting(INITIAL_WINDOW_SIZE, STREAM_WINDOW))
            .sends(&untaken[0])
            .sends(data(1, 0, b"x"))
            .gets(StreamError(1, FLOW_CONTROL_ERROR)),
        case("more data than the connection's window")
            .sends(untaken.concat())
            .sends(post(5))
            .sends(data(5, 0, b"x"))
            .gets(ConnectionError(FLOW_CONTROL_ERROR)),
    ]
}

fn initial_windows() -> Vec<Case> {
    vec![
        case("a larger value opens the windows of open streams")
            .sends(settings(&[(INITIAL_WINDOW_SIZE, 0)]))
            .sends(hello(1))
            .gets(Head(1))
            .sends(settings(&[(INITIAL_WINDOW_SIZE, 1)]))
            .gets(Data(1, b"h")),
        case("a window may be negative")
            .sends(settings(&[(INITIAL_WINDOW_SIZE, 3)]))
            .sends(hello(1))
            .gets(Data(1, b"hel"))
            .sends(settings(&[(INITIAL_WINDOW_SIZE, 2)]))
            .sends(window_update(1, 2))
            .gets(Data(1, b"l")),
        case("a value beyond the limit of windows")
            .sends(settings(&[(INITIAL_WINDOW_SIZE, WINDOW_MAX + 1)]))
            .gets(ConnectionError(FLOW_CONTROL_ERROR)),
        case("a value that widens an open stream beyond the limit")
            .sends(open(1))
            .sends(window_update(1, WINDOW_MAX - 65_535))
            .sends(settings(&[(INITIAL_WINDOW_SIZE, 65_536)]))
            .gets(ConnectionError(FLOW_CONTROL_ERROR)),
    ]
}
