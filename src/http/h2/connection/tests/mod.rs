//! Both sides of a connection, without sockets.

mod answered;
mod bounds;
mod errors;

use http::{HeaderValue, Method, StatusCode};

use super::send::OutgoingRequest;
use super::*;
use crate::http::fields::Fields;
use crate::http::h2::frame::{FrameHeader, HEADER_BYTES, Kind, flag, put_block, put_header};
use crate::http::h2::reader::PREFACE;

const LIMITS: Limits = Limits {
    head: HeadLimits { headers: 20, header_bytes: 4096, target_bytes: 200 },
    max_streams: 5,
    stream_window: 100_000,
    stream_window_max: 100_000,
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
fn a_cookie_with_a_sensitive_crumb_is_sensitive() {
    for sensitive in [None, Some(0), Some(1)] {
        let mut pair = Pair::new();
        // Longer than those that our encoder always keeps out of tables.
        let crumbs = ["a=11111111111111111111111", "b=22222222222222222222222"];
        let crumbs = crumbs.into_iter().enumerate().map(|(at, crumb)| {
            let mut value = HeaderValue::from_static(crumb);
            value.set_sensitive(sensitive == Some(at));
            (http::header::COOKIE, value)
        });
        pair.send(&Method::GET, &crumbs.collect(), true);
        pair.talk(usize::MAX);
        let (_, head) = pair.request();
        let cookie = head.headers.get(http::header::COOKIE).unwrap();
        assert_eq!(cookie.as_bytes(), b"a=11111111111111111111111; b=22222222222222222222222");
        assert_eq!(cookie.is_sensitive(), sensitive.is_some(), "{sensitive:?}");
    }
}
