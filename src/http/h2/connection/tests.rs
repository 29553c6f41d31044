use http::{Method, StatusCode};
use proptest::prelude::*;

use super::send::OutgoingRequest;
use super::*;
use crate::http::fields::Fields;
use crate::http::h2::frame::{FrameHeader, HEADER_BYTES, Kind, flag, put_block, put_header};
use crate::http::h2::reader::PREFACE;

const LIMITS: Limits = Limits {
    head: HeadLimits { headers: 20, header_bytes: 4096, target_bytes: 200 },
    max_streams: 5,
    stream_window: 100_000,
    connection_window: 200_000,
    header_table: 4096,
    connect_protocol: true,
};

/// Takes what a connection has to write.
fn written(connection: &mut Connection) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        connection.schedule();
        let mut slices = [std::io::IoSlice::new(&[]); 4];
        let filled = connection.output(&mut slices);
        let before = all.len();
        slices[..filled].iter().for_each(|slice| all.extend_from_slice(slice));
        if all.len() == before {
            return all;
        }
        connection.written(all.len() - before);
    }
}

/// A client and a server that talk to each other.
struct Pair {
    client: Connection,
    server: Connection,
}

impl Pair {
    fn new() -> Self {
        let now = Instant::now();
        let mut pair =
            Self { client: Connection::client(LIMITS, now), server: Connection::server(LIMITS, now) };
        pair.talk(usize::MAX);
        while pair.client.event().is_some() || pair.server.event().is_some() {}
        pair
    }

    /// Moves bytes in both directions, at most `step` at a time, until there are no more.
    fn talk(&mut self, step: usize) {
        let now = Instant::now();
        loop {
            let (up, down) = (written(&mut self.client), written(&mut self.server));
            if up.is_empty() && down.is_empty() {
                return;
            }
            for piece in up.chunks(step) {
                self.server.receive(Bytes::copy_from_slice(piece), now).unwrap();
            }
            for piece in down.chunks(step) {
                self.client.receive(Bytes::copy_from_slice(piece), now).unwrap();
            }
        }
    }

    fn send(&mut self, method: &Method, headers: &Fields, end: bool) -> StreamKey {
        let request = OutgoingRequest {
            method,
            scheme: "https",
            authority: b"example.com",
            path: "/a?b=c",
            protocol: None,
            headers,
            length: None,
        };
        self.client.request(&request, end).unwrap()
    }

    fn request(&mut self) -> (StreamKey, Box<RequestHead>) {
        loop {
            match self.server.event() {
                Some(Event::Request(key, head)) => return (key, head),
                Some(_) => {}
                None => panic!("no request"),
            }
        }
    }

    fn response(&mut self) -> (StreamKey, Box<ResponseHead>) {
        loop {
            match self.client.event() {
                Some(Event::Response(key, head)) => return (key, head),
                Some(_) => {}
                None => panic!("no response"),
            }
        }
    }
}

fn all(connection: &mut Connection, key: StreamKey) -> (Vec<u8>, Option<Fields>, Option<Part>) {
    let (mut data, mut trailers) = (Vec::new(), None);
    loop {
        match connection.take(key) {
            Some(Part::Data(bytes)) => data.extend_from_slice(&bytes),
            Some(Part::Trailers(fields)) => trailers = Some(fields),
            end => return (data, trailers, end),
        }
    }
}

/// A client of raw frames, and a server.
struct Raw {
    server: Connection,
    encoder: Encoder,
    now: Instant,
}

impl Raw {
    fn new() -> Self {
        let now = Instant::now();
        let mut raw = Self { server: Connection::server(LIMITS, now), encoder: Encoder::new(), now };
        raw.receive(PREFACE).unwrap();
        raw.frame(Kind::Settings, 0, 0, &[]).unwrap();
        raw.frames();
        raw
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        self.server.receive(Bytes::copy_from_slice(bytes), self.now)
    }

    fn frame(&mut self, kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Result<(), ConnectionError> {
        let mut out = BytesMut::new();
        put_header(&mut out, kind, flags, stream, payload.len());
        out.extend_from_slice(payload);
        self.receive(&out)
    }

    fn block(&mut self, fields: &[(&str, &str)]) -> BytesMut {
        let mut block = BytesMut::new();
        self.encoder.begin(&mut block);
        for (name, value) in fields {
            // A literal that no encoder of ours would send.
            block.extend_from_slice(&[0, u8::try_from(name.len()).unwrap()]);
            block.extend_from_slice(name.as_bytes());
            assert!(value.len() < 127);
            block.extend_from_slice(&[u8::try_from(value.len()).unwrap()]);
            block.extend_from_slice(value.as_bytes());
        }
        block
    }

    fn headers(&mut self, stream: u32, fields: &[(&str, &str)], end: bool) -> Result<(), ConnectionError> {
        let block = self.block(fields);
        let mut out = BytesMut::new();
        put_block(&mut out, stream, &block, PAYLOAD_MAX, end);
        self.receive(&out)
    }

    /// Returns the frames that the server has sent.
    fn frames(&mut self) -> Vec<(Kind, u8, u32, Vec<u8>)> {
        let bytes = written(&mut self.server);
        let mut rest = &bytes[..];
        let mut frames = Vec::new();
        while !rest.is_empty() {
            let header = FrameHeader::parse(*rest.first_chunk::<HEADER_BYTES>().unwrap());
            let end = HEADER_BYTES + header.length as usize;
            frames.push((header.kind, header.flags, header.stream, rest[HEADER_BYTES..end].to_vec()));
            rest = &rest[end..];
        }
        frames
    }

    /// Returns the code with which the server has reset a stream.
    fn reset(&mut self, stream: u32) -> Option<Code> {
        let frames = self.frames();
        let reset = frames.iter().find(|frame| frame.0 == Kind::Reset && frame.2 == stream)?;
        Some(Code(u32::from_be_bytes(reset.3[..4].try_into().unwrap())))
    }
}

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/")];

fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    GET.iter().copied().chain(more.iter().copied()).collect()
}

#[test]
fn a_request_and_its_response_pass_with_data_and_trailers() {
    for step in [1, 2, 3, 10, 1000, usize::MAX] {
        let mut pair = Pair::new();
        let fields = Fields::written(&[("cookie", "a=1"), ("cookie", "b=2"), ("x-a", "1")]);
        let key = pair.send(&Method::POST, &fields, false);
        pair.client.data(key, Bytes::from(vec![7; 40_000]), false);
        pair.talk(step);
        let (served, head) = pair.request();
        assert_eq!(
            (head.method, head.target.to_string()),
            (Method::POST, "https://example.com/a?b=c".into())
        );
        assert_eq!(head.headers, Fields::written(&[("x-a", "1"), ("cookie", "a=1; b=2")]));
        assert!(pair.client.takes_data(key));
        pair.client.trailers(key, Fields::written(&[("x-end", "2")]));
        pair.talk(step);
        let (data, trailers, end) = all(&mut pair.server, served);
        assert_eq!((data, end), (vec![7; 40_000], Some(Part::End)));
        assert_eq!(trailers, Some(Fields::written(&[("x-end", "2")])));
        pair.server.interim(served, StatusCode::EARLY_HINTS, &Fields::written(&[("link", "x")]));
        pair.server.respond(served, StatusCode::OK, &Fields::written(&[("x-b", "3")]), Some(5), false);
        pair.server.data(served, Bytes::from_static(b"hello"), true);
        pair.talk(step);
        assert_eq!(pair.response().1.status, StatusCode::EARLY_HINTS);
        let (_, head) = pair.response();
        assert_eq!((head.status, head.length), (StatusCode::OK, Some(5)));
        assert_eq!(all(&mut pair.client, key), (b"hello".to_vec(), None, Some(Part::End)));
        pair.client.release(key);
        pair.server.release(served);
        assert_eq!((pair.client.open(), pair.server.open()), (0, 0));
        pair.talk(step);
    }
}

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
fn a_header_block_without_end_ends_the_connection() {
    let mut raw = Raw::new();
    raw.frame(Kind::Headers, 0, 1, &[0x40; 1000]).unwrap();
    let error = (0..100).find_map(|_| raw.frame(Kind::Continuation, 0, 1, &[0x40; 1000]).err());
    assert_eq!(error.unwrap().code, Code::ENHANCE_YOUR_CALM);
    let mut raw = Raw::new();
    raw.frame(Kind::Headers, 0, 1, b"").unwrap();
    let sent = (0..10_000).take_while(|_| raw.frame(Kind::Continuation, 0, 1, b"").is_ok()).count();
    assert!(sent < 1000, "{sent}");
}

#[test]
fn floods_end_the_connection_with_their_name() {
    type Flood = fn(&mut Raw, u32) -> Result<(), ConnectionError>;
    let floods: [(&str, Flood); 8] = [
        ("pings", |raw, _| raw.frame(Kind::Ping, flag::ACK, 0, &[0; 8])),
        ("settings", |raw, _| {
            let result = raw.frame(Kind::Settings, 0, 0, &[]);
            raw.frames();
            result
        }),
        ("unread_answers", |raw, _| {
            (0..20).try_for_each(|_| raw.frame(Kind::Ping, 0, 0, &[0; 8])).and(Ok(()))
        }),
        ("useless_frames", |raw, _| raw.frame(Kind::Priority, 0, 1, &[0, 0, 0, 9, 0])),
        ("useless_frames", |raw, _| raw.frame(Kind::Unknown(77), 0, 1, &[0; 5])),
        ("window_updates", |raw, _| raw.frame(Kind::WindowUpdate, 0, 0, &[0, 0, 0, 1])),
        ("resets", |raw, turn| {
            let id = turn * 2 + 1;
            raw.headers(id, &GET, true)?;
            raw.frame(Kind::Reset, 0, id, &[0, 0, 0, 8])?;
            while let Some(event) = raw.server.event() {
                if let Event::Reset { stream, .. } = event {
                    raw.server.release(stream);
                }
            }
            Ok(())
        }),
        ("resets", |raw, turn| {
            let id = turn * 2 + 1;
            raw.headers(id, &GET, true)?;
            raw.frame(Kind::WindowUpdate, 0, id, &[0; 4])?;
            while let Some(event) = raw.server.event() {
                if let Event::Reset { stream, .. } = event {
                    raw.server.release(stream);
                }
            }
            Ok(())
        }),
    ];
    for (name, flood) in floods {
        let mut raw = Raw::new();
        let error = (0..100_000).find_map(|turn| flood(&mut raw, turn).err()).unwrap();
        // A flood of unread answers may end by its frames first.
        let is_named = error.reason.strip_prefix("http2.") == Some(name)
            || (name == "unread_answers" && error.reason == "http2.pings");
        assert!(is_named, "{name} {error}");
        assert_eq!(error.code, Code::ENHANCE_YOUR_CALM);
        assert!(error.abuse.is_some());
    }
}

#[test]
fn data_is_sent_in_turns_and_within_windows() {
    let mut pair = Pair::new();
    let keys: Vec<_> = (0..3).map(|_| pair.send(&Method::GET, &Fields::new(), true)).collect();
    pair.talk(usize::MAX);
    let served: Vec<_> = (0..3).map(|_| pair.request().0).collect();
    for key in &served {
        pair.server.respond(*key, StatusCode::OK, &Fields::new(), None, false);
        pair.server.data(*key, Bytes::from(vec![1; 150_000]), true);
    }
    pair.talk(usize::MAX);
    // A stream may send 100,000 bytes and the connection 200,000; each has had its share.
    let waiting: Vec<usize> =
        keys.iter().map(|key| pair.client.streams.get(*key).unwrap().arrived.waiting()).collect();
    assert_eq!(waiting.iter().sum::<usize>(), 200_000);
    assert!(waiting.iter().all(|waiting| (60_000..=80_000).contains(waiting)), "{waiting:?}");
    let mut received = vec![0; 3];
    for _ in 0..100 {
        for (key, received) in keys.iter().zip(&mut received) {
            let (data, _, _) = all(&mut pair.client, *key);
            *received += data.len();
        }
        pair.talk(usize::MAX);
    }
    assert_eq!(received, [150_000; 3]);
}

#[test]
fn more_data_than_a_window_is_an_error() {
    let mut raw = Raw::new();
    raw.headers(1, &GET, false).unwrap();
    for _ in 0..6 {
        raw.frame(Kind::Data, 0, 1, &[0; 16_384]).unwrap();
    }
    assert_eq!(raw.reset(1), None);
    raw.frame(Kind::Data, 0, 1, &[0; 16_384]).unwrap();
    assert_eq!(raw.reset(1), Some(Code::FLOW_CONTROL_ERROR));
}

#[test]
fn streams_beyond_the_limit_are_refused() {
    let mut raw = Raw::new();
    for id in [1, 3, 5, 7, 9] {
        raw.headers(id, &GET, true).unwrap();
    }
    raw.headers(11, &GET, true).unwrap();
    assert_eq!(raw.reset(11), Some(Code::REFUSED_STREAM));
    // Resets make room, but at most once as long as the requests are being served.
    let opened = (0..20u32).take_while(|turn| {
        let id = 13 + 2 * turn;
        raw.frame(Kind::Reset, 0, if *turn == 0 { 1 } else { id - 2 }, &[0, 0, 0, 8]).unwrap();
        raw.headers(id, &GET, true).unwrap();
        raw.reset(id).is_none()
    });
    assert_eq!(opened.count(), 5);
    raw.server.release(StreamKey { slot: 0, id: 1 });
    raw.headers(99, &GET, true).unwrap();
    assert_eq!(raw.reset(99), None);
}

#[test]
fn requests_that_a_server_has_not_processed_are_marked() {
    let mut pair = Pair::new();
    let first = pair.send(&Method::POST, &Fields::new(), false);
    pair.talk(usize::MAX);
    pair.server.announce_end();
    pair.server.end(Code::NO_ERROR, "");
    let second = pair.send(&Method::POST, &Fields::new(), false);
    pair.talk(usize::MAX);
    let events: Vec<_> = std::iter::from_fn(|| pair.client.event()).collect();
    let resets: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Reset { stream, unprocessed, .. } => Some((*stream, *unprocessed)),
            _ => None,
        })
        .collect();
    assert_eq!(resets, [(second, true)]);
    assert!(!pair.client.can_open());
    assert!(pair.client.takes_data(first));
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
fn resets_are_counted_whatever_follows_them() {
    let mut raw = Raw::new();
    let error = (0..1000u32).find_map(|turn| {
        let id = turn * 2 + 1;
        let all = raw.headers(id, &GET, false);
        let all = all.and_then(|()| raw.frame(Kind::Reset, 0, id, &[0, 0, 0, 8]));
        let result = all.and_then(|()| raw.headers(id, &[("x-end", "1")], true));
        raw.server.release(StreamKey { slot: 0, id });
        result.err()
    });
    assert_eq!(error.unwrap().abuse, Some(Abuse::Resets));
}

#[test]
fn windows_are_given_back_once_for_each_byte() {
    let mut raw = Raw::new();
    let mut increments = 0;
    for turn in 0..100u32 {
        let id = turn * 2 + 1;
        // Too little data for its length; a stream that ends in order pays for it.
        raw.headers(id, &with(&[("content-length", "20000")]), false).unwrap();
        raw.frame(Kind::Data, flag::END_STREAM, id, &[0; 10_000]).unwrap();
        raw.server.release(StreamKey { slot: 0, id });
        for (kind, _, stream, payload) in raw.frames() {
            if kind == Kind::WindowUpdate && stream == 0 {
                increments += u32::from_be_bytes(payload.try_into().unwrap());
            }
        }
    }
    assert!((900_000..=1_000_000).contains(&increments), "{increments}");
}

#[test]
fn heads_do_not_pile_up_for_a_client_that_reads_nothing() {
    let mut raw = Raw::new();
    let value: String = "v".repeat(120);
    let fields: Fields = (0..30).map(|_| ("x-a".parse().unwrap(), value.parse().unwrap())).collect();
    let mut most = 0;
    for turn in 0..10_000u32 {
        let id = turn * 2 + 1;
        if raw.headers(id, &GET, true).is_err() {
            break;
        }
        while let Some(event) = raw.server.event() {
            if let Event::Request(key, _) = event {
                raw.server.respond(key, StatusCode::OK, &fields, None, true);
                if raw.server.has_sent_all(key) {
                    raw.server.release(key);
                }
            }
        }
        most = most.max(raw.server.waiting());
    }
    assert!(most < 256 * 1024, "{most}");
}

#[test]
fn skipped_and_smaller_streams_cannot_be_opened() {
    let mut raw = Raw::new();
    raw.headers(5, &GET, true).unwrap();
    assert_eq!(raw.headers(3, &GET, true).unwrap_err().code, Code::PROTOCOL_ERROR);
}

#[test]
fn an_idle_connection_holds_no_buffers() {
    let mut pair = Pair::new();
    for _ in 0..10 {
        let key = pair.send(&Method::GET, &Fields::new(), true);
        pair.talk(7);
        let (served, _) = pair.request();
        pair.server.respond(served, StatusCode::OK, &Fields::new(), None, false);
        pair.server.data(served, Bytes::from(vec![0; 10_000]), true);
        pair.talk(7);
        pair.response();
        all(&mut pair.client, key);
        pair.client.release(key);
        pair.server.release(served);
        pair.talk(7);
        while pair.client.event().is_some() || pair.server.event().is_some() {}
    }
    for side in [&pair.client, &pair.server] {
        assert_eq!(side.output.waiting(), 0);
        assert_eq!((side.queue.capacity() * size_of::<StreamKey>()) / 256, 0);
        assert!(side.events.capacity() <= EVENTS_KEPT);
        assert!(size_of::<Connection>() < 1024, "{}", size_of::<Connection>());
    }
}

proptest! {
    #[test]
    fn no_bytes_of_a_peer_can_break_a_connection(
        frames in prop::collection::vec(
            (0u8..11, any::<u8>(), 0u32..8, prop::collection::vec(any::<u8>(), 0..40)), 0..40,
        ),
        step in 1usize..50,
    ) {
        let mut raw = Raw::new();
        let mut out = BytesMut::new();
        for (kind, flags, stream, payload) in frames {
            let header = [0, 0, u8::try_from(payload.len()).unwrap(), kind, flags, 0, 0, 0, u8::try_from(stream).unwrap()];
            out.extend_from_slice(&header);
            out.extend_from_slice(&payload);
        }
        for piece in out.chunks(step) {
            let _ended = raw.receive(piece);
            while let Some(event) = raw.server.event() {
                if let Event::Request(key, _) = event {
                    raw.server.respond(key, StatusCode::OK, &Fields::new(), None, false);
                    raw.server.data(key, Bytes::from_static(b"data"), true);
                    raw.server.release(key);
                }
            }
            raw.frames();
        }
    }
}
