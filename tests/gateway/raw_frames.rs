//! Frames of HTTP/2 that a test writes and reads by hand.

use support::{Client, Gateway};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
/// The flag of HEADERS that begin with a priority.
pub(crate) const WITH_PRIORITY: u8 = 0x20;

pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
pub(crate) const STREAM_CLOSED: u32 = 5;
pub(crate) const FRAME_SIZE_ERROR: u32 = 6;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const COMPRESSION_ERROR: u32 = 9;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// The first bytes of a client's connection (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The first byte of a head with the status 200: an index of the static table (RFC 7541 §6.1, A).
pub(crate) const STATUS_200: u8 = 0x88;

pub(crate) const GET: &[(&str, &str)] =
    &[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
pub(crate) const POST: &[(&str, &str)] =
    &[(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")];

/// The size of a frame's header (RFC 9113 §4.1).
pub(crate) const HEADER_BYTES: usize = 9;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// Takes the next frame off the bytes that have arrived. Returns `None` if it is not whole.
    pub(crate) fn take(arrived: &mut Vec<u8>) -> Option<Self> {
        let head: [u8; HEADER_BYTES] = *arrived.first_chunk()?;
        let end = HEADER_BYTES + payload_length(&head);
        let payload = arrived.get(HEADER_BYTES..end)?.to_vec();
        let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
        arrived.drain(..end);
        Some(Self { kind: head[3], flags: head[4], stream, payload })
    }

    /// Returns the 32 bits of the payload at `at`.
    pub(crate) fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// A connection of which a test writes the frames.
pub(crate) struct Frames {
    pub(crate) client: Client,
}

impl Frames {
    pub(crate) async fn connect(gateway: &Gateway) -> Self {
        let mut client = gateway.client("web").await;
        client.send_raw(PREFACE).await;
        let mut frames = Self { client };
        frames.send(SETTINGS, 0, 0, &[]).await;
        frames
    }

    pub(crate) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.client.send_raw(frame(kind, flags, stream, payload)).await;
    }

    pub(crate) async fn headers(&mut self, stream: u32, flags: u8, fields: &[(&str, &str)]) {
        self.send(HEADERS, flags | END_HEADERS, stream, &block(fields)).await;
    }

    pub(crate) async fn next(&mut self) -> Frame {
        let mut bytes = self.client.read_exact(HEADER_BYTES).await;
        let payload = self.client.read_exact(payload_length(&bytes)).await;
        bytes.extend(payload);
        Frame::take(&mut bytes).unwrap()
    }

    /// Returns the next frame of this kind.
    pub(crate) async fn next_of(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.next().await;
            if frame.kind == kind {
                return frame;
            }
        }
    }
}

/// Returns the length of the payload behind the header of a frame.
pub(crate) fn payload_length(head: &[u8]) -> usize {
    usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header block of literals (RFC 7541 §6.2.2).
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&integer(0, 7, text.len())[..], text.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// An integer behind the high bits of its first byte, of which it has the lower `prefix` (RFC 7541 §5.1).
pub(crate) fn integer(high: u8, prefix: u32, value: usize) -> Vec<u8> {
    let max = (1 << prefix) - 1;
    if value < max {
        return vec![high | u8::try_from(value).unwrap()];
    }
    let mut bytes = vec![high | u8::try_from(max).unwrap()];
    let mut rest = value - max;
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).unwrap() | 0x80);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap());
    bytes
}
