//! The framing of messages: a flag of one byte, a length of four, and the message.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The length of what precedes a message.
const PREFIX_BYTES: usize = 5;

/// The flag of a message that is not compressed.
const PLAIN: u8 = 0;

/// Returns a message behind its prefix.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    frame.put_u8(PLAIN);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message);
    frame.freeze()
}

/// The messages of a body that arrives in pieces.
#[derive(Debug)]
pub(crate) struct Deframer {
    bytes: BytesMut,
    message_bytes_max: usize,
}

/// The reason why a message cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FramingError {
    #[error("a message is too large")]
    TooLarge,
    #[error("a message is compressed, and no compression was offered")]
    Compressed,
}

impl Deframer {
    /// Creates a deframer for messages of at most `message_bytes_max` bytes.
    pub(crate) fn new(message_bytes_max: usize) -> Self {
        Self { bytes: BytesMut::new(), message_bytes_max }
    }

    /// Adds a piece of the body. The buffer is bounded if the caller takes all messages before it adds another piece.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
    }

    /// Returns true if the body ends in the middle of a message.
    pub(crate) fn is_partial(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Takes the next whole message.
    ///
    /// # Errors
    /// Fails as soon as a prefix announces a message that is too large or compressed.
    pub(crate) fn take(&mut self) -> Result<Option<Bytes>, FramingError> {
        let Some((prefix, _)) = self.bytes.split_first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let &[flag, a, b, c, d] = prefix;
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if length > self.message_bytes_max {
            return Err(FramingError::TooLarge);
        }
        if flag != PLAIN {
            return Err(FramingError::Compressed);
        }
        if self.bytes.len() - PREFIX_BYTES < length {
            return Ok(None);
        }
        self.bytes.advance(PREFIX_BYTES);
        Ok(Some(self.bytes.split_to(length).freeze()))
    }
}

/// Reads a body in pieces, for tests and fuzzing. Returns its messages, and true if it ends in the middle of one.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_messages<'p>(
    pieces: impl Iterator<Item = &'p [u8]>,
    bytes_max: usize,
) -> (Vec<Bytes>, Result<bool, FramingError>) {
    let (mut deframer, mut messages) = (Deframer::new(bytes_max), Vec::new());
    for piece in pieces {
        deframer.push(piece);
        loop {
            match deframer.take() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Err(error)),
            }
        }
    }
    (messages, Ok(deframer.is_partial()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framed_messages_are_read_from_any_pieces() {
        let written = [&b"hello"[..], b"", &[7; 300]];
        let body: Vec<u8> = written.iter().flat_map(|message| framed(message)).collect();
        for piece_bytes in 1..=body.len() {
            let (read, is_partial) = read_messages(body.chunks(piece_bytes), 300);
            assert_eq!((read, is_partial), (written.map(Bytes::copy_from_slice).to_vec(), Ok(false)));
        }
        let (read, is_partial) = read_messages(body[..body.len() - 1].chunks(8), 300);
        assert_eq!((read.len(), is_partial), (2, Ok(true)));
    }

    #[test]
    fn message_beyond_the_limit_or_compressed_is_an_error() {
        let body = [framed(b"four"), framed(b"fives")].concat();
        assert_eq!(
            read_messages(body.chunks(1), 4),
            (vec![Bytes::from("four")], Err(FramingError::TooLarge))
        );
        assert_eq!(read_messages(b"\x01\0\0\0\x01a".chunks(6), 4), (vec![], Err(FramingError::Compressed)));
        assert_eq!(
            read_messages(b"\0\xff\xff\xff\xff".chunks(5), 4).1,
            Err(FramingError::TooLarge),
            "before it arrives"
        );
    }
}
