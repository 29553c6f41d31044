//! The chunked transfer coding (RFC 9112 §7.1), parsed strictly.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;

use crate::http::error::FramingError;
use crate::http::forward::filter_trailers;

/// The bound on bytes of chunk extensions, and of blanks beyond [`PADDING_BYTES`], in all chunks of one message
/// together. Hardly any sender uses extensions, so a flood of them is an attack (RFC 9112 §7.1.1). The 16 digits of a
/// size already bound its leading zeros.
const EXTENSION_BYTES: usize = 16 * 1024;

/// The number of blanks after the size of each chunk that do not count. Some servers pad sizes to a fixed width of up
/// to eight digits, and their long responses would exceed any bound on the whole message.
const PADDING_BYTES: u8 = 8;

/// The bounds on the fields and bytes of a trailer section.
const TRAILER_FIELDS: usize = 64;
const TRAILER_BYTES: usize = 16 * 1024;

/// A decoder of chunks, in whatever pieces the network delivers them.
#[derive(Debug)]
pub(crate) struct ChunkedDecoder {
    state: State,
    extension_bytes: usize,
    trailers: BytesMut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The hexadecimal digits of the size; `digits` is their number so far.
    Size {
        value: u64,
        digits: u8,
    },
    /// Blanks after the size. Some servers pad it, and blanks may precede an extension (RFC 9112 §7.1.1).
    Padding {
        value: u64,
        blanks: u8,
    },
    /// The text behind a `;` after the size.
    Extension {
        value: u64,
    },
    /// The LF of the size line.
    SizeLf {
        value: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    Trailers,
    Done,
}

impl Default for ChunkedDecoder {
    fn default() -> Self {
        Self { state: State::Size { value: 0, digits: 0 }, extension_bytes: 0, trailers: BytesMut::new() }
    }
}

impl ChunkedDecoder {
    /// Returns true if the last chunk and the trailers have been read.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Returns true if `input` continues with a last chunk that has neither extensions nor trailers.
    pub(crate) fn at_last_chunk(&self, input: &Bytes) -> bool {
        match self.state {
            State::DataCr => input.starts_with(b"\r\n0\r\n\r\n"),
            _ => false,
        }
    }

    /// Decodes the next piece of the body, or the trailers, from `input`. Returns `None` if it needs more input or the
    /// body has ended.
    pub(crate) fn decode(&mut self, input: &mut Bytes) -> Result<Option<Frame<Bytes>>, FramingError> {
        while !input.is_empty() {
            match self.state {
                State::Data { left } => {
                    let take = left.min(input.len() as u64);
                    self.state = if take == left { State::DataCr } else { State::Data { left: left - take } };
                    let take = usize::try_from(take).unwrap_or(usize::MAX);
                    return Ok(Some(Frame::data(input.split_to(take))));
                }
                State::Trailers => {
                    if let Some(trailers) = self.decode_trailers(input)? {
                        return Ok((!trailers.is_empty()).then(|| Frame::trailers(trailers)));
                    }
                }
                State::Done => return Ok(None),
                state => {
                    let byte = input.split_to(1).first().copied().unwrap_or_default();
                    self.state = self.step(state, byte)?;
                }
            }
        }
        Ok(None)
    }

    fn step(&mut self, state: State, byte: u8) -> Result<State, FramingError> {
        Ok(match (state, byte) {
            (State::Size { value, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                if digits == 16 {
                    return Err(FramingError::ChunkSize);
                }
                let digit = (byte as char).to_digit(16).map_or(0, u64::from);
                State::Size { value: value << 4 | digit, digits: digits + 1 }
            }
            (State::Size { digits: 0, .. }, _) => return Err(FramingError::ChunkSize),
            (
                State::Size { value, .. } | State::Padding { value, .. } | State::Extension { value },
                b'\r',
            ) => State::SizeLf { value },
            (State::Size { value, .. }, b' ' | b'\t') => State::Padding { value, blanks: 1 },
            (State::Padding { value, blanks }, b' ' | b'\t') if blanks < PADDING_BYTES => {
                State::Padding { value, blanks: blanks + 1 }
            }
            (State::Padding { value, blanks }, b' ' | b'\t') => {
                self.extension_byte()?;
                State::Padding { value, blanks }
            }
            (State::Size { value, .. } | State::Padding { value, .. }, b';') => {
                self.extension_byte()?;
                State::Extension { value }
            }
            (State::Size { .. } | State::Padding { .. }, _) => return Err(FramingError::ChunkSize),
            (State::Extension { .. }, b'\n' | 0) => return Err(FramingError::ChunkLineEnd),
            (State::Extension { value }, _) => {
                self.extension_byte()?;
                State::Extension { value }
            }
            (State::SizeLf { value: 0 }, b'\n') => State::Trailers,
            (State::SizeLf { value }, b'\n') => State::Data { left: value },
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { value: 0, digits: 0 },
            _ => return Err(FramingError::ChunkLineEnd),
        })
    }

    fn extension_byte(&mut self) -> Result<(), FramingError> {
        self.extension_bytes += 1;
        if self.extension_bytes > EXTENSION_BYTES { Err(FramingError::ChunkExtension) } else { Ok(()) }
    }

    /// Collects the trailer section line by line until the empty line that ends it.
    fn decode_trailers(&mut self, input: &mut Bytes) -> Result<Option<HeaderMap>, FramingError> {
        while !input.is_empty() {
            let line_end = input.iter().position(|byte| *byte == b'\n');
            let piece = input.split_to(line_end.map_or(input.len(), |end| end + 1));
            self.trailers.extend_from_slice(&piece);
            if self.trailers.len() > TRAILER_BYTES {
                return Err(FramingError::Trailers);
            }
            if line_end.is_some() && (&*self.trailers == b"\r\n" || self.trailers.ends_with(b"\r\n\r\n")) {
                self.state = State::Done;
                return parse_trailers(&self.trailers).map(Some);
            }
        }
        Ok(None)
    }
}

/// Parses a whole trailer section, and drops the fields that must not come in one (RFC 9110 §6.5.1).
fn parse_trailers(bytes: &[u8]) -> Result<HeaderMap, FramingError> {
    let mut fields = [httparse::EMPTY_HEADER; TRAILER_FIELDS];
    let Ok(httparse::Status::Complete((length, fields))) = httparse::parse_headers(bytes, &mut fields) else {
        return Err(FramingError::Trailers);
    };
    if length < bytes.len() {
        // The section ended at an empty line without CR. Other parsers would read the rest as the next message.
        return Err(FramingError::Trailers);
    }
    let mut trailers = HeaderMap::new();
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| FramingError::Trailers)?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| FramingError::Trailers)?;
        trailers.append(name, value);
    }
    filter_trailers(&mut trailers);
    Ok(trailers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes `text` in pieces of `step` bytes. Returns the body, the trailers, the number of bytes left over, and
    /// whether the decoder is done.
    fn decode(text: &[u8], step: usize) -> Result<(Vec<u8>, HeaderMap, usize, bool), FramingError> {
        let mut decoder = ChunkedDecoder::default();
        let (mut body, mut trailers, mut left) = (Vec::new(), HeaderMap::new(), 0);
        for piece in text.chunks(step) {
            let mut input = Bytes::copy_from_slice(piece);
            while let Some(frame) = decoder.decode(&mut input)? {
                match frame.into_data() {
                    Ok(data) => body.extend_from_slice(&data),
                    Err(frame) => trailers = frame.into_trailers().unwrap(),
                }
            }
            left += input.len();
        }
        Ok((body, trailers, left, decoder.is_done()))
    }

    #[test]
    fn chunks_are_joined_however_they_are_cut() {
        let text =
            b"4\r\nWiki\r\n6;ext=\"a\"\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\nX-T: 1\r\n\r\nNEXT";
        for step in 1..=text.len() {
            let (body, trailers, left, done) = decode(text, step).unwrap();
            assert_eq!(body, b"Wikipedia in \r\n\r\nchunks.");
            assert_eq!(trailers.get("x-t").unwrap(), "1");
            assert_eq!((left, done), (4, true), "step {step}");
        }
    }

    #[test]
    fn broken_chunks_are_refused() {
        use FramingError::*;
        for (text, expected) in [
            (&b"x\r\n"[..], ChunkSize),
            (b"-1\r\n", ChunkSize),
            (b"0x5\r\n", ChunkSize),
            (b"\r\n", ChunkSize),
            (b"10000000000000000\r\n", ChunkSize),
            (b"5\nhello\r\n", ChunkSize),
            (b"5 5\r\n", ChunkSize),
            (b"5 x;a\r\n", ChunkSize),
            (b"5;a\nhello\r\n", ChunkLineEnd),
            (b"5\rhello\r\n", ChunkLineEnd),
            (b"5\r\nhelloX\r\n", ChunkLineEnd),
            (b"5\r\nhello\n", ChunkLineEnd),
            (b"0\r\nbad trailer\r\n\r\n", Trailers),
            (b"0\r\n a: b\r\n\r\n", Trailers),
            (b"0\r\na: b\n\nGET / HTTP/1.1\r\nhost: x\r\n\r\n", Trailers),
            (b"0\r\n\nGET / HTTP/1.1\r\nhost: x\r\n\r\n", Trailers),
        ] {
            assert_eq!(decode(text, 1).unwrap_err(), expected, "{text:?}");
        }
        let mut flood = b"1;".to_vec();
        flood.resize(EXTENSION_BYTES + 10, b'a');
        assert_eq!(decode(&flood, 1000).unwrap_err(), ChunkExtension);
        // The bound holds however the bytes are spread over the chunks.
        for (chunk, most) in [
            (&b"1;\r\nx\r\n"[..], EXTENSION_BYTES),
            (b"1;a=\"bcdefghi\"\r\nx\r\n", EXTENSION_BYTES / 13),
            (b"1          \r\nx\r\n", EXTENSION_BYTES / 2),
            (b"1 \t;\r\nx\r\n", EXTENSION_BYTES),
            (b"1        \t;\r\nx\r\n", EXTENSION_BYTES / 2),
            (b"1; \t\r\nx\r\n", EXTENSION_BYTES / 3),
        ] {
            for step in [1, 1000] {
                assert!(decode(&chunk.repeat(most), step).is_ok(), "{chunk:?}");
                assert_eq!(decode(&chunk.repeat(most + 1), step).unwrap_err(), ChunkExtension, "{chunk:?}");
            }
        }
        // Small chunks alone are valid.
        let small = b"0000000000000001\r\nx\r\n".repeat(100_000);
        assert_eq!(decode(&small, 1000).unwrap().0.len(), 100_000);
        // So are sizes that are padded to a fixed width.
        let padded = b"1       \t\r\nx\r\n".repeat(100_000);
        assert_eq!(decode(&padded, 1000).unwrap().0.len(), 100_000);
        let mut flood = b"1".to_vec();
        flood.resize(EXTENSION_BYTES + 10, b' ');
        assert_eq!(decode(&flood, 1000).unwrap_err(), ChunkExtension);
        let mut flood = b"0\r\n".to_vec();
        flood.resize(TRAILER_BYTES + 10, b'a');
        assert_eq!(decode(&flood, 1000).unwrap_err(), Trailers);
    }
}
