//! A client's bytes as a server of HTTP/2 reads them, whole or in pieces.

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::time::Instant;

use crate::http::h2::{Connection, Event, Limits, Part, StreamKey};
use crate::http::message::HeadLimits;

/// The preface and empty settings (RFC 9113 §3.4).
pub(crate) const OPENING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

const LIMITS: Limits = Limits {
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

/// Reads pieces, and takes all that has arrived when the last one is read.
pub(crate) fn read<'d>(pieces: impl Iterator<Item = &'d [u8]>) -> Reading {
    let now = Instant::now();
    let mut server = Connection::server(LIMITS, now);
    let mut reading = Reading::default();
    let mut streams: Vec<StreamKey> = Vec::new();
    for piece in pieces {
        let received = server.receive(Bytes::copy_from_slice(piece), now);
        while let Some(event) = server.event() {
            match event {
                Event::Request(key, head) => {
                    reading.events.push(format!("{} {head:?}", key.id));
                    streams.push(key);
                }
                Event::Reset { stream, code, .. } => reading.events.push(format!("{} {code:?}", stream.id)),
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
        while let Some(part) = server.take(key) {
            match part {
                Part::Data(bytes) => data.extend_from_slice(&bytes),
                Part::Trailers(trailers) => reading.events.push(format!("{} {trailers:?}", key.id)),
                end => {
                    reading.events.push(format!("{} {end:?}", key.id));
                    break;
                }
            }
        }
    }
    reading
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BLOCKS: &[&[u8]] = &[
        b"\x82\x87\x84\x41\x01a",
        b"\x83\x87\x84\x41\x01a\x0f\x0d\x015",
        b"\x00\x03x-a\x011",
        b"\x40\x03x-b\x0212\xbe",
        b"\x82\x87\x84\x00\x03X-A\x011",
    ];

    /// Frames that are often right: few streams, and blocks of literals.
    fn frame() -> impl Strategy<Value = Vec<u8>> {
        let block = prop::sample::select(BLOCKS);
        let payload = prop_oneof![
            block.prop_map(<[u8]>::to_vec),
            prop::collection::vec(any::<u8>(), 0..12),
            Just(b"12345".to_vec()),
        ];
        let kind = prop_oneof![4 => Just(1u8), 4 => Just(0u8), 1 => 0u8..11];
        let flags = prop_oneof![Just(4u8), Just(5u8), Just(1u8), Just(0u8), any::<u8>()];
        let stream = prop_oneof![6 => prop::sample::select(&[1u8, 3, 5]), 1 => 0u8..9];
        (kind, flags, stream, payload).prop_map(|(kind, flags, stream, payload)| {
            let length = u8::try_from(payload.len()).unwrap();
            [&[0, 0, length, kind, flags, 0, 0, 0, stream], &*payload].concat()
        })
    }

    proptest! {
        #[test]
        fn http2_messages_mean_the_same_however_they_are_cut(
            frames in prop::collection::vec(frame(), 0..20),
            size in 1usize..40,
        ) {
            let bytes = [OPENING, &frames.concat()].concat();
            let whole = read(std::iter::once(&*bytes));
            prop_assert_eq!(&read(bytes.chunks(size)), &whole);
            prop_assert_eq!(&read(bytes.chunks(1)), &whole);
        }
    }
}
