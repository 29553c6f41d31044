//! Malformed messages and wrong frames.

use super::*;

#[test]
fn malformed_requests_reset_their_stream_and_nothing_else() {
    let cases: [&[(&str, &str)]; 24] = [
        &GET[1..],
        &[GET[0], GET[2], GET[3]],
        &GET[..3],
        &with(&[(":path", "/")]),
        &with(&[("x-a", "1"), (":authority", "a")])[..],
        &[GET[0], GET[1], ("x-a", "1"), GET[3]],
        &with(&[(":status", "200")]),
        &with(&[(":unknown", "1")]),
        &with(&[(":protocol", "websocket")]),
        &with(&[("connection", "close")]),
        &with(&[("keep-alive", "1")]),
        &with(&[("proxy-connection", "close")]),
        &with(&[("transfer-encoding", "chunked")]),
        &with(&[("upgrade", "h2c")]),
        &with(&[("te", "gzip")]),
        &with(&[("X-A", "1")]),
        &with(&[("x a", "1")]),
        &with(&[("x-a", "1\r\nx-b: 2")]),
        &with(&[("x-a", "1\0")]),
        &with(&[("x-a", " 1")]),
        &with(&[("content-length", "1")]),
        &with(&[("content-length", "-1")]),
        &with(&[("content-length", "0"), ("content-length", "0")]),
        &[GET[0], GET[1], GET[2], (":path", "")],
    ];
    for fields in cases {
        let mut raw = Raw::new();
        assert_eq!(raw.headers(1, fields, true), Ok(()), "{fields:?}");
        assert_eq!(raw.reset(1), Some(Code::PROTOCOL_ERROR), "{fields:?}");
        raw.headers(3, &GET, true).unwrap();
        let mut requests = Vec::new();
        while let Some(event) = raw.server.event() {
            if let Event::Request(key, _) = event {
                requests.push(key.id);
            }
        }
        assert_eq!(requests, [3], "{fields:?}");
    }
}

#[test]
fn data_that_content_length_does_not_match_resets_its_stream() {
    for (length, data, end) in [("3", &b"ab"[..], true), ("1", b"ab", false), ("0", b"a", true)] {
        let mut raw = Raw::new();
        raw.headers(1, &with(&[("content-length", length)]), false).unwrap();
        raw.frame(Kind::Data, if end { flag::END_STREAM } else { 0 }, 1, data).unwrap();
        assert_eq!(raw.reset(1), Some(Code::PROTOCOL_ERROR), "{length}");
    }
}

#[test]
fn connection_errors_say_what_is_wrong() {
    type Frame<'a> = (Kind, u8, u32, &'a [u8]);
    let cases: [(Frame<'_>, Code); 22] = [
        ((Kind::Data, 0, 0, b"a"), Code::PROTOCOL_ERROR),
        ((Kind::Data, 0, 1, b"a"), Code::PROTOCOL_ERROR),
        ((Kind::Data, flag::PADDED, 1, b"\x05a"), Code::PROTOCOL_ERROR),
        ((Kind::Headers, flag::END_HEADERS, 0, b""), Code::PROTOCOL_ERROR),
        ((Kind::Headers, flag::END_HEADERS, 2, b""), Code::PROTOCOL_ERROR),
        ((Kind::Headers, flag::END_HEADERS, 1, b"\x80"), Code::COMPRESSION_ERROR),
        ((Kind::Headers, flag::END_HEADERS | flag::PRIORITY, 1, b"\x00"), Code::FRAME_SIZE_ERROR),
        ((Kind::Continuation, flag::END_HEADERS, 1, b""), Code::PROTOCOL_ERROR),
        ((Kind::Priority, 0, 0, &[0; 5]), Code::PROTOCOL_ERROR),
        ((Kind::Reset, 0, 0, &[0; 4]), Code::PROTOCOL_ERROR),
        ((Kind::Reset, 0, 1, &[0; 4]), Code::PROTOCOL_ERROR),
        ((Kind::Reset, 0, 1, &[0; 3]), Code::FRAME_SIZE_ERROR),
        ((Kind::Settings, 0, 1, b""), Code::PROTOCOL_ERROR),
        ((Kind::Settings, flag::ACK, 0, &[0; 6]), Code::FRAME_SIZE_ERROR),
        ((Kind::Settings, 0, 0, &[0; 5]), Code::FRAME_SIZE_ERROR),
        ((Kind::PushPromise, flag::END_HEADERS, 1, &[0; 4]), Code::PROTOCOL_ERROR),
        ((Kind::Ping, 0, 1, &[0; 8]), Code::PROTOCOL_ERROR),
        ((Kind::Ping, 0, 0, &[0; 7]), Code::FRAME_SIZE_ERROR),
        ((Kind::GoAway, 0, 1, &[0; 8]), Code::PROTOCOL_ERROR),
        ((Kind::WindowUpdate, 0, 0, &[0; 4]), Code::PROTOCOL_ERROR),
        ((Kind::WindowUpdate, 0, 1, &[0, 0, 0, 1]), Code::PROTOCOL_ERROR),
        ((Kind::WindowUpdate, 0, 0, &[0x7f, 0xff, 0xff, 0xff]), Code::FLOW_CONTROL_ERROR),
    ];
    for (frame, code) in cases {
        let mut raw = Raw::new();
        let error = raw.frame(frame.0, frame.1, frame.2, frame.3).unwrap_err();
        assert_eq!(error.code, code, "{frame:?}");
        let frames = raw.frames();
        let (kind, .., payload) = frames.last().unwrap();
        assert_eq!(*kind, Kind::GoAway, "{frame:?}");
        assert_eq!(payload[4..8], code.0.to_be_bytes(), "{frame:?}");
        assert_eq!(payload[8..], *error.reason.as_bytes());
    }
}

#[test]
fn goaway_of_an_error_is_not_followed_by_an_update_of_a_window() {
    let mut raw = Raw::new();
    raw.headers(1, &GET, false).unwrap();
    for _ in 0..6 {
        raw.frame(Kind::Data, 0, 1, &[0; 16_000]).unwrap();
    }
    raw.frame(Kind::Ping, 0, 1, &[0; 8]).unwrap_err();
    while let Some(Part::Data(_)) = raw.server.take(StreamKey { slot: 0, id: 1 }) {}
    assert_eq!(raw.frames().last().unwrap().0, Kind::GoAway);
}

#[test]
fn header_block_is_not_interrupted() {
    let mut raw = Raw::new();
    let block = raw.block(&GET);
    raw.frame(Kind::Headers, flag::END_STREAM, 1, &block[..10]).unwrap();
    assert_eq!(raw.frame(Kind::Ping, 0, 0, &[0; 8]).unwrap_err().code, Code::PROTOCOL_ERROR);
    let mut raw = Raw::new();
    raw.frame(Kind::Headers, flag::END_STREAM, 1, &block[..10]).unwrap();
    raw.frame(Kind::Continuation, 0, 1, &block[10..20]).unwrap();
    raw.frame(Kind::Continuation, flag::END_HEADERS, 1, &block[20..]).unwrap();
    assert!(std::iter::from_fn(|| raw.server.event()).any(|event| matches!(event, Event::Request(..))));
}

#[test]
fn heads_beyond_the_limits_are_passed_on_as_such() {
    let many: Vec<(&str, &str)> = std::iter::repeat_n(("x", "1"), 21).collect();
    let value = "v".repeat(120);
    let large: Vec<(&str, &str)> = std::iter::repeat_n(("x", value.as_str()), 15).collect();
    let path = format!("/{}", "a".repeat(110));
    let crumbs: Vec<(&str, &str)> = std::iter::repeat_n(("cookie", "a=b"), 40).collect();
    let limits =
        Limits { head: HeadLimits { header_bytes: 2000, target_bytes: 100, ..LIMITS.head }, ..LIMITS };
    for (fields, beyond) in [
        (with(&many), Some(crate::http::error::Error::TooManyHeaders)),
        (with(&large), Some(crate::http::error::Error::HeadTooLarge)),
        (vec![GET[0], GET[1], GET[2], (":path", &path)], Some(crate::http::error::Error::TargetTooLong)),
        (with(&crumbs), None),
    ] {
        let mut raw = Raw::new();
        raw.server.limits = limits.clone();
        raw.headers(1, &fields, true).unwrap();
        let head = std::iter::from_fn(|| raw.server.event()).find_map(|event| match event {
            Event::Request(_, head) => Some(head),
            _ => None,
        });
        assert_eq!(head.unwrap().beyond, beyond);
    }
}

#[test]
fn late_frames_are_told_from_wrong_ones() {
    let mut raw = Raw::new();
    raw.headers(1, &GET, false).unwrap();
    raw.server.reset(StreamKey { slot: 0, id: 1 }, Code::CANCEL);
    raw.server.release(StreamKey { slot: 0, id: 1 });
    raw.frames();
    raw.frame(Kind::Data, 0, 1, b"late").unwrap();
    raw.headers(1, &[("x-end", "1")], true).unwrap();
    assert_eq!(raw.frames(), [], "frames on their way are ignored");
    raw.headers(3, &GET, true).unwrap();
    raw.server.respond(StreamKey { slot: 0, id: 3 }, StatusCode::OK, &Fields::new(), None, true);
    raw.server.release(StreamKey { slot: 0, id: 3 });
    raw.frames();
    assert_eq!(raw.headers(3, &GET, true).unwrap_err().code, Code::STREAM_CLOSED);
}

#[test]
fn frames_on_a_stream_that_the_client_has_closed_are_wrong() {
    for is_held in [true, false] {
        let key = StreamKey { slot: 0, id: 1 };
        let release = |raw: &mut Raw| if is_held { drop(raw.frames()) } else { raw.server.release(key) };
        // By its reset: an error of the stream, once.
        let mut raw = Raw::new();
        raw.headers(1, &GET, false).unwrap();
        raw.frame(Kind::Reset, 0, 1, &[0, 0, 0, 8]).unwrap();
        release(&mut raw);
        raw.frames();
        raw.frame(Kind::Data, 0, 1, b"wrong").unwrap();
        assert_eq!(raw.reset(1), Some(Code::STREAM_CLOSED));
        raw.frame(Kind::Data, 0, 1, b"wrong").unwrap();
        assert_eq!(raw.frames(), []);
        // By both ends: an error of the connection.
        let mut raw = Raw::new();
        raw.headers(1, &GET, true).unwrap();
        raw.server.respond(key, StatusCode::OK, &Fields::new(), None, true);
        release(&mut raw);
        assert_eq!(raw.frame(Kind::Data, 0, 1, b"wrong").unwrap_err().code, Code::STREAM_CLOSED);
    }
}

#[test]
fn skipped_and_smaller_streams_cannot_be_opened() {
    let mut raw = Raw::new();
    raw.headers(5, &GET, true).unwrap();
    assert_eq!(raw.headers(3, &GET, true).unwrap_err().code, Code::PROTOCOL_ERROR);
}

/// RFC 9113 §5.1: a server that pushes nothing leaves its streams idle, whatever the largest number of the client's.
#[test]
fn streams_of_a_server_are_idle_for_ever() {
    for (kind, payload) in [
        (Kind::Data, &b"a"[..]),
        (Kind::Headers, b"\x88"),
        (Kind::Reset, &[0; 4]),
        (Kind::WindowUpdate, &[0, 0, 0, 1]),
    ] {
        let mut raw = Raw::new();
        raw.headers(3, &GET, true).unwrap();
        let error = raw.frame(kind, flag::END_HEADERS, 2, payload).unwrap_err();
        assert_eq!(error.code, Code::PROTOCOL_ERROR, "{kind:?}");

        let mut pair = Pair::new();
        pair.send(&Method::GET, &Fields::new(), true);
        pair.send(&Method::GET, &Fields::new(), true);
        let mut out = BytesMut::new();
        put_header(&mut out, kind, flag::END_HEADERS, 2, payload.len());
        out.extend_from_slice(payload);
        let error = pair.client.receive(out.freeze(), Instant::now()).unwrap_err();
        assert_eq!(error.code, Code::PROTOCOL_ERROR, "{kind:?}");
    }
}

#[test]
fn only_the_echo_of_our_ping_is_its_answer() {
    let mut raw = Raw::new();
    raw.server.ping();
    let sent = raw.frames().pop().unwrap().3;
    raw.frame(Kind::Ping, flag::ACK, 0, &[0; 8]).unwrap();
    assert!(raw.server.event().is_none_or(|event| !matches!(event, Event::Pong)));
    raw.frame(Kind::Ping, flag::ACK, 0, &sent).unwrap();
    assert!(matches!(raw.server.event(), Some(Event::Pong)));
    raw.frame(Kind::Ping, flag::ACK, 0, &sent).unwrap();
    assert!(raw.server.event().is_none(), "one ping has one answer");
}

#[test]
fn only_a_client_enables_pushes() {
    let settings = |enable: u8| {
        let mut out = BytesMut::new();
        put_header(&mut out, Kind::Settings, 0, 0, 6);
        out.extend_from_slice(&[0, 2, 0, 0, 0, enable]);
        out.freeze()
    };
    for (enable, expected) in [(0, Ok(())), (1, Err(Code::PROTOCOL_ERROR))] {
        let now = Instant::now();
        let received = Connection::client(LIMITS, now).receive(settings(enable), now);
        assert_eq!(received.map_err(|error| error.code), expected, "{enable}");
    }
    let mut raw = Raw::new();
    assert_eq!(raw.server.receive(settings(1), raw.now), Ok(()));
}
