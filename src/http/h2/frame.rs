//! Frames (RFC 9113 §4 and §6): their headers, their kinds, and their encoding.

use bytes::{BufMut, Bytes, BytesMut};

/// The size of a frame's header.
pub(crate) const HEADER_BYTES: usize = 9;

/// The largest payload that may be sent without the peer's permission, and the largest that we accept: the default of
/// SETTINGS_MAX_FRAME_SIZE (RFC 9113 §6.5.2). Larger ones would hold up other streams for longer, and save little.
pub(crate) const PAYLOAD_MAX: u32 = 16 * 1024;

/// The size of the field that HEADERS frames with the flag PRIORITY begin with (RFC 9113 §6.2).
const PRIORITY_BYTES: usize = 5;

/// The largest number that a stream may have.
pub(crate) const STREAM_MAX: u32 = 0x7fff_ffff;

pub(crate) mod flag {
    pub(crate) const ACK: u8 = 0x1;
    pub(crate) const END_STREAM: u8 = 0x1;
    pub(crate) const END_HEADERS: u8 = 0x4;
    pub(crate) const PADDED: u8 = 0x8;
    pub(crate) const PRIORITY: u8 = 0x20;
}

/// The kind of a frame (RFC 9113 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Data,
    Headers,
    Priority,
    Reset,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// A kind of an extension, which is ignored (RFC 9113 §5.5).
    Unknown(u8),
}

impl Kind {
    fn from_number(number: u8) -> Self {
        match number {
            0 => Kind::Data,
            1 => Kind::Headers,
            2 => Kind::Priority,
            3 => Kind::Reset,
            4 => Kind::Settings,
            5 => Kind::PushPromise,
            6 => Kind::Ping,
            7 => Kind::GoAway,
            8 => Kind::WindowUpdate,
            9 => Kind::Continuation,
            number => Kind::Unknown(number),
        }
    }

    fn number(self) -> u8 {
        match self {
            Kind::Data => 0,
            Kind::Headers => 1,
            Kind::Priority => 2,
            Kind::Reset => 3,
            Kind::Settings => 4,
            Kind::PushPromise => 5,
            Kind::Ping => 6,
            Kind::GoAway => 7,
            Kind::WindowUpdate => 8,
            Kind::Continuation => 9,
            Kind::Unknown(number) => number,
        }
    }
}

/// The reason for which a stream or a connection ends (RFC 9113 §7). A code that we do not know is kept as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) u32);

impl Code {
    pub(crate) const NO_ERROR: Code = Code(0x0);
    pub(crate) const PROTOCOL_ERROR: Code = Code(0x1);
    pub(crate) const INTERNAL_ERROR: Code = Code(0x2);
    pub(crate) const FLOW_CONTROL_ERROR: Code = Code(0x3);
    pub(crate) const STREAM_CLOSED: Code = Code(0x5);
    pub(crate) const FRAME_SIZE_ERROR: Code = Code(0x6);
    pub(crate) const REFUSED_STREAM: Code = Code(0x7);
    pub(crate) const CANCEL: Code = Code(0x8);
    pub(crate) const COMPRESSION_ERROR: Code = Code(0x9);
    pub(crate) const ENHANCE_YOUR_CALM: Code = Code(0xb);
}

/// The header of a frame (RFC 9113 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// The length of the payload in bytes.
    pub(crate) length: u32,
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    /// The stream, 0 for the connection. The reserved bit is ignored.
    pub(crate) stream: u32,
}

impl FrameHeader {
    pub(crate) fn parse(bytes: [u8; HEADER_BYTES]) -> Self {
        let [a, b, c, kind, flags, s0, s1, s2, s3] = bytes;
        Self {
            length: u32::from_be_bytes([0, a, b, c]),
            kind: Kind::from_number(kind),
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & STREAM_MAX,
        }
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn put(&self, out: &mut BytesMut) {
        out.put_uint(u64::from(self.length), 3);
        out.put_u8(self.kind.number());
        out.put_u8(self.flags);
        out.put_u32(self.stream);
    }
}

/// Puts the header of a frame whose payload follows, and which has at most [`STREAM_MAX`] bytes.
pub(crate) fn put_header(out: &mut BytesMut, kind: Kind, flags: u8, stream: u32, length: usize) {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    FrameHeader { length, kind, flags, stream }.put(out);
}

/// Puts RST_STREAM (RFC 9113 §6.4).
pub(crate) fn put_reset(out: &mut BytesMut, stream: u32, code: Code) {
    put_header(out, Kind::Reset, 0, stream, 4);
    out.put_u32(code.0);
}

/// Puts WINDOW_UPDATE (RFC 9113 §6.9) for a stream, or for the connection if `stream` is 0.
pub(crate) fn put_window_update(out: &mut BytesMut, stream: u32, increment: u32) {
    put_header(out, Kind::WindowUpdate, 0, stream, 4);
    out.put_u32(increment & STREAM_MAX);
}

/// Puts PING (RFC 9113 §6.7).
pub(crate) fn put_ping(out: &mut BytesMut, payload: [u8; 8], is_ack: bool) {
    put_header(out, Kind::Ping, if is_ack { flag::ACK } else { 0 }, 0, 8);
    out.put_slice(&payload);
}

/// Puts GOAWAY (RFC 9113 §6.8). `last` is the last stream that was or may be processed; `why` is for people who debug.
pub(crate) fn put_goaway(out: &mut BytesMut, last: u32, code: Code, why: &str) {
    put_header(out, Kind::GoAway, 0, 0, 8 + why.len());
    out.put_u32(last);
    out.put_u32(code.0);
    out.put_slice(why.as_bytes());
}

/// Puts a header block as HEADERS and as many CONTINUATION frames as it takes (RFC 9113 §6.2, §6.10).
pub(crate) fn put_block(out: &mut BytesMut, stream: u32, block: &[u8], payload_max: u32, end_stream: bool) {
    let payload_max = usize::try_from(payload_max).unwrap_or(usize::MAX).max(1);
    let mut flags = if end_stream { flag::END_STREAM } else { 0 };
    let mut kind = Kind::Headers;
    let mut rest = block;
    loop {
        let (piece, after) = rest.split_at_checked(payload_max).unwrap_or((rest, &[]));
        if after.is_empty() {
            flags |= flag::END_HEADERS;
        }
        put_header(out, kind, flags, stream, piece.len());
        out.put_slice(piece);
        if after.is_empty() {
            return;
        }
        (kind, flags, rest) = (Kind::Continuation, 0, after);
    }
}

/// Removes the padding (RFC 9113 §6.1), and from HEADERS the field of PRIORITY (§6.2).
///
/// # Errors
/// Returns the connection error for a payload that is too short for its flags, or has more padding than bytes.
pub(crate) fn unpad(header: &FrameHeader, mut payload: Bytes) -> Result<Bytes, Code> {
    let padding = match header.has(flag::PADDED) {
        true => {
            let length = *payload.first().ok_or(Code::FRAME_SIZE_ERROR)?;
            drop(payload.split_to(1));
            usize::from(length)
        }
        false => 0,
    };
    if header.kind == Kind::Headers && header.has(flag::PRIORITY) {
        if payload.len() < PRIORITY_BYTES {
            return Err(Code::FRAME_SIZE_ERROR);
        }
        drop(payload.split_to(PRIORITY_BYTES));
    }
    payload.truncate(payload.len().checked_sub(padding).ok_or(Code::PROTOCOL_ERROR)?);
    Ok(payload)
}

/// Reads 32 bits of a payload at `at`, without the reserved bit of streams and increments.
pub(crate) fn number(payload: &[u8], at: usize) -> Option<u32> {
    let bytes = payload.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*bytes))
}
