//! A peer's bytes as HTTP/2 reads them, on either side, whole or in pieces.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Method;
use tokio::time::Instant;

use crate::http::fields::Fields;
use crate::http::h2::{Connection, Event, Limits, OutgoingRequest, Part, StreamKey};
use crate::http::message::HeadLimits;

/// The preface and empty settings (RFC 9113 §3.4).
pub(crate) const OPENING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Empty settings, with which a server begins.
pub(crate) const SERVER_OPENING: &[u8] = b"\0\0\0\x04\0\0\0\0\0";

/// The data of a request that waits for windows.
const UPLOAD_BYTES: usize = 100_000;

pub(super) const LIMITS: Limits = Limits {
    head: HeadLimits { headers: 20, header_bytes: 4096, target_bytes: 256 },
    max_streams: 8,
    stream_window: 65_535,
    stream_window_max: 65_535,
    connection_window: 100_000,
    header_table: 4096,
    connect_protocol: true,
};

/// The messages that were read, and the error that ended the connection.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Heads and ends of streams, in order.
    events: Vec<String>,
    data: BTreeMap<u32, Vec<u8>>,
    error: Option<String>,
}

/// Reads a client's pieces, and takes all that has arrived when the last one is read.
pub(crate) fn read<'d>(pieces: impl Iterator<Item = &'d [u8]>) -> Reading {
    let server = Connection::server(LIMITS, Instant::now());
    read_by(server, Vec::new(), pieces)
}

/// Reads a server's pieces as the client that has opened [`requests`].
pub(crate) fn read_responses<'d>(pieces: impl Iterator<Item = &'d [u8]>) -> Reading {
    let mut client = Connection::client(LIMITS, Instant::now());
    let streams = requests(&mut client);
    read_by(client, streams, pieces)
}

/// Opens streams: of a request that has ended, of one whose data waits, of one that has sent nothing but its head, and of a HEAD.
pub(super) fn requests(client: &mut Connection) -> Vec<StreamKey> {
    let headers = Fields::new();
    let requests = [(Method::GET, true), (Method::POST, false), (Method::PUT, false), (Method::HEAD, true)];
    let opened = requests.iter().filter_map(|(method, end_stream)| {
        let request = OutgoingRequest {
            method,
            scheme: "http",
            authority: b"a",
            path: "/",
            protocol: None,
            headers: &headers,
            length: None,
        };
        client.request(&request, *end_stream)
    });
    let opened: Vec<StreamKey> = opened.collect();
    if let Some(post) = opened.get(1) {
        client.data(*post, Bytes::from_static(&[7; UPLOAD_BYTES]), true);
    }
    client.schedule();
    opened
}

fn read_by<'d>(
    mut connection: Connection,
    mut streams: Vec<StreamKey>,
    pieces: impl Iterator<Item = &'d [u8]>,
) -> Reading {
    let now = Instant::now();
    let mut reading = Reading::default();
    for piece in pieces {
        let received = connection.receive(Bytes::copy_from_slice(piece), now);
        while let Some(event) = connection.event() {
            match event {
                Event::Request(key, head) => {
                    reading.events.push(format!("{} {head:?}", key.id));
                    streams.push(key);
                }
                Event::Response(key, head) => reading.events.push(format!("{} {head:?}", key.id)),
                Event::Reset { stream, code, unprocessed } => {
                    reading.events.push(format!("{} {code:?} {unprocessed}", stream.id));
                }
                Event::GoingAway(code) => reading.events.push(format!("{code:?}")),
                _ => {}
            }
        }
        if let Err(error) = received {
            reading.error = Some(format!("{error:?}"));
            break;
        }
    }
    for key in streams {
        let data = reading.data.entry(key.id).or_default();
        while let Some(part) = connection.take(key) {
            match part {
                Part::Data(bytes) => data.extend_from_slice(&bytes),
                Part::Trailers(trailers) => reading.events.push(format!("{} {trailers:?}", key.id)),
                end => {
                    reading.events.push(format!("{} {end:?}", key.id));
                    break;
                }
            }
        }
        connection.release(key);
    }
    assert_eq!((connection.open(), connection.held()), (0, 0), "a stream was not let go");
    reading
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Blocks of responses: heads, interim ones, one with a length, trailers, and bad ones.
    pub(in crate::testing) const RESPONSES: &[&[u8]] = &[
        b"\x88",
        b"\x88\x0f\x0d\x015",
        b"\x89",
        b"\x08\x03103\x40\x03x-b\x0212",
        b"\x88\xbe",
        b"\x00\x03x-a\x011",
        b"\x88\x82",
    ];

    const DATA: &[&[u8]] = &[b"", b"12345", b"1234567890123"];

    pub(in crate::testing) const BLOCKS: &[&[u8]] = &[
        b"\x82\x87\x84\x41\x01a",
        b"\x83\x87\x84\x41\x01a\x0f\x0d\x015",
        b"\x00\x03x-a\x011",
        b"\x40\x03x-b\x0212\xbe",
        b"\x82\x87\x84\x00\x03X-A\x011",
    ];

    /// Frames that are often right: few streams, and blocks of literals.
    pub(in crate::testing) fn frame(blocks: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<u8>> {
        let block = prop::sample::select(blocks);
        let payload = prop_oneof![
            block.prop_map(<[u8]>::to_vec),
            prop::collection::vec(any::<u8>(), 0..12),
            Just(b"12345".to_vec()),
            Just(b"\0\0\0\x01\0\0\0\0".to_vec()),
            Just(b"\0\0\x40\0".to_vec()),
        ];
        let kind = prop_oneof![4 => Just(1u8), 4 => Just(0u8), 1 => 0u8..11];
        let flags = prop_oneof![Just(4u8), Just(5u8), Just(1u8), Just(0u8), any::<u8>()];
        let stream = prop_oneof![6 => prop::sample::select(&[1u8, 3, 5, 7]), 1 => 0u8..9];
        let any = (kind, flags, stream, payload)
            .prop_map(|(kind, flags, stream, payload)| framed(kind, flags, stream, &payload));
        prop_oneof![8 => message(blocks), 1 => any, 2 => control()]
    }

    /// Frames of messages, most of which the connection survives.
    fn message(blocks: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<u8>> {
        let stream = prop::sample::select(&[1u8, 3, 5, 7]);
        let data = prop::sample::select(DATA);
        (stream, prop::sample::select(blocks), data, any::<bool>(), any::<bool>()).prop_map(
            |(stream, block, data, is_head, is_end)| match is_head {
                true => framed(1, 4 + u8::from(is_end), stream, block),
                false => framed(0, u8::from(is_end), stream, data),
            },
        )
    }

    /// Frames of control that are well formed: RST_STREAM, SETTINGS, PING, GOAWAY and WINDOW_UPDATE.
    fn control() -> impl Strategy<Value = Vec<u8>> {
        let (stream, small) = (prop::sample::select(&[1u8, 3, 5, 7]), 0u8..9);
        let kind = prop::sample::select(&[3u8, 4, 6, 7, 8]);
        (kind, stream, small, any::<bool>()).prop_map(|(kind, stream, small, is_of_stream)| match kind {
            3 => framed(kind, 0, stream, &[0, 0, 0, small]),
            4 => framed(kind, 0, 0, &[0, small, 0, 0, stream, 0]),
            6 => framed(kind, 0, 0, &[small; 8]),
            7 => framed(kind, 0, 0, &[0, 0, 0, small, 0, 0, 0, 0]),
            _ => framed(kind, 0, if is_of_stream { stream } else { 0 }, &[0, 0, small * 16, 1]),
        })
    }

    fn framed(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
    }

    proptest! {
        #[test]
        fn http2_messages_mean_the_same_however_they_are_cut(
            frames in prop::collection::vec(frame(BLOCKS), 0..20),
            size in 1usize..40,
        ) {
            let bytes = [OPENING, &frames.concat()].concat();
            let whole = read(std::iter::once(&*bytes));
            prop_assert_eq!(&read(bytes.chunks(size)), &whole);
            prop_assert_eq!(&read(bytes.chunks(1)), &whole);
        }

        #[test]
        fn http2_responses_mean_the_same_however_they_are_cut(
            frames in prop::collection::vec(frame(RESPONSES), 0..20),
            size in 1usize..40,
        ) {
            let bytes = [SERVER_OPENING, &frames.concat()].concat();
            let whole = read_responses(std::iter::once(&*bytes));
            prop_assert_eq!(&read_responses(bytes.chunks(size)), &whole);
            prop_assert_eq!(&read_responses(bytes.chunks(1)), &whole);
        }
    }
}
