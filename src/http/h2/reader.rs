//! Frames out of the bytes of a connection, whatever the pieces in which they arrive.

use bytes::{Buf, Bytes, BytesMut};

use super::frame::{Code, FrameHeader, HEADER_BYTES, Kind, flag};

/// The first bytes of a client's connection (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The size of a buffer of which a head should not be kept as a slice.
const LARGE_BYTES: usize = 8 * 1024;

/// A whole frame, or a piece of the data of one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// A frame with its whole payload. A DATA frame comes like this only if it is padded.
    Frame(FrameHeader, Bytes),
    /// A piece of an unpadded DATA frame, as soon as it is there. `header` is that of the frame, with the flag END_STREAM for
    /// the last piece only. `length` is that of the piece.
    Piece { header: FrameHeader, data: Bytes },
}

/// A reader of frames. Data is passed on in slices of the input; anything else is gathered until it is whole, which takes at
/// most one payload.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// The bytes that have arrived and are not read yet.
    input: Bytes,
    /// True if `input` is a part of a large buffer.
    is_large: bool,
    /// The beginning of a frame whose rest has not arrived.
    partial: BytesMut,
    /// The rest of a DATA frame that is passed on in pieces.
    data: Option<(FrameHeader, u32)>,
}

impl Reader {
    /// Returns true if small slices of what is read now should be copied, because they would keep a large buffer alive.
    pub(crate) fn is_large(&self) -> bool {
        self.is_large
    }

    /// Returns true if a part of a frame is kept that is not whole.
    pub(crate) fn is_within_frame(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Takes bytes that have arrived. The ones before must have been read.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        self.is_large = bytes.len() > LARGE_BYTES;
        if self.input.is_empty() {
            self.input = bytes;
            return;
        }
        let mut whole = BytesMut::from(&*self.input);
        whole.extend_from_slice(&bytes);
        self.input = whole.freeze();
    }

    /// Takes the client's preface. Returns false if it has not arrived yet.
    ///
    /// # Errors
    /// Returns an error if the bytes so far do not begin a preface.
    pub(crate) fn preface(&mut self) -> Result<bool, Code> {
        if !self.gather(PREFACE.len()) {
            let arrived = if self.partial.is_empty() { &self.input[..] } else { &self.partial[..] };
            return if PREFACE.starts_with(arrived) { Ok(false) } else { Err(Code::PROTOCOL_ERROR) };
        }
        if self.take(PREFACE.len()) == PREFACE[..] { Ok(true) } else { Err(Code::PROTOCOL_ERROR) }
    }

    /// Returns the next frame or piece of data, or `None` if more bytes are needed.
    ///
    /// # Errors
    /// A payload is larger than `payload_max`.
    pub(crate) fn next(&mut self, payload_max: u32) -> Result<Option<Read>, Code> {
        if let Some((header, left)) = self.data {
            return Ok(self.piece(header, left));
        }
        if !self.gather(HEADER_BYTES) {
            return Ok(None);
        }
        let Some(header) = self.header() else { return Ok(None) };
        if header.length > payload_max {
            return Err(Code::FRAME_SIZE_ERROR);
        }
        if header.kind == Kind::Data && !header.has(flag::PADDED) {
            drop(self.take(HEADER_BYTES));
            return Ok(match header.length {
                0 => Some(Read::Piece { header, data: Bytes::new() }),
                left => self.piece(header, left),
            });
        }
        let whole = HEADER_BYTES + usize::try_from(header.length).unwrap_or(usize::MAX);
        if !self.gather(whole) {
            return Ok(None);
        }
        let mut payload = self.take(whole);
        payload.advance(HEADER_BYTES);
        Ok(Some(Read::Frame(header, payload)))
    }

    fn header(&self) -> Option<FrameHeader> {
        let bytes = if self.partial.is_empty() { &self.input[..] } else { &self.partial[..] };
        bytes.first_chunk().copied().map(FrameHeader::parse)
    }

    /// Returns what has arrived of a DATA frame, of which `left` bytes have yet to come.
    fn piece(&mut self, mut header: FrameHeader, left: u32) -> Option<Read> {
        if self.input.is_empty() {
            self.data = Some((header, left));
            return None;
        }
        let length = u32::try_from(self.input.len()).unwrap_or(u32::MAX).min(left);
        let data = self.input.split_to(usize::try_from(length).unwrap_or_default());
        self.data = Some((header, left - length)).filter(|_| left > length);
        if self.data.is_some() {
            header.flags &= !flag::END_STREAM;
        }
        header.length = length;
        Some(Read::Piece { header, data })
    }

    /// Returns true if `length` bytes are there, and makes them follow one another.
    fn gather(&mut self, length: usize) -> bool {
        if self.partial.is_empty() {
            if self.input.len() >= length {
                return true;
            }
            // A frame that waits for its rest must not keep a large buffer alive.
            self.partial.extend_from_slice(&std::mem::take(&mut self.input));
            return false;
        }
        let missing = length.saturating_sub(self.partial.len()).min(self.input.len());
        self.partial.extend_from_slice(&self.input.split_to(missing));
        self.partial.len() >= length
    }

    /// Takes bytes that [`Reader::gather`] has found.
    fn take(&mut self, length: usize) -> Bytes {
        if self.partial.is_empty() {
            return self.input.split_to(length.min(self.input.len()));
        }
        // `gather` takes no more than was asked for.
        std::mem::take(&mut self.partial).freeze()
    }
}
