//! A header block while it is decoded: its integers and strings (RFC 7541 §5).

use bytes::{Bytes, BytesMut};

use super::{HpackError, Name, huffman, integer};

/// The bit of a string's first octet that says that the string is Huffman-coded (RFC 7541 §5.2).
const HUFFMAN: u8 = 0x80;

/// A reader of a header block.
pub(super) struct Block<'a> {
    bytes: &'a Bytes,
    rest: &'a [u8],
    /// The Huffman-coded strings, decoded. The values are slices of it, so that a block allocates once for all of
    /// them. It is not larger than the block with all its strings coded as short as possible: 8/5 of its length.
    decoded: BytesMut,
}

/// A name as a block has it.
pub(super) struct ParsedName {
    /// The name, or `None` if it is malformed.
    pub(super) name: Option<Name>,
    /// The length that the size of the field counts.
    pub(super) bytes: usize,
}

impl<'a> Block<'a> {
    pub(super) fn new(bytes: &'a Bytes) -> Self {
        Self { bytes, rest: bytes, decoded: BytesMut::new() }
    }

    /// Returns the next octet, without reading it.
    pub(super) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Reads an integer (RFC 7541 §5.1).
    pub(super) fn integer(&mut self, prefix_bits: u32) -> Result<usize, HpackError> {
        let (&first, rest) = self.rest.split_first().ok_or(HpackError::Truncated)?;
        self.rest = rest;
        integer::decode(first, prefix_bits, &mut self.rest)
    }

    /// Reads a string and parses it as a name.
    pub(super) fn name(&mut self) -> Result<ParsedName, HpackError> {
        let (text, is_coded) = self.string()?;
        if !is_coded {
            return Ok(ParsedName { name: Name::parse(text), bytes: text.len() });
        }
        self.decode(text)?;
        let parsed = ParsedName { name: Name::parse(&self.decoded), bytes: self.decoded.len() };
        self.decoded.clear();
        Ok(parsed)
    }

    /// Reads a string as a value: a slice of the block, or of all decoded strings.
    pub(super) fn value(&mut self) -> Result<Bytes, HpackError> {
        let (text, is_coded) = self.string()?;
        if !is_coded {
            return Ok(self.bytes.slice_ref(text));
        }
        self.decode(text)?;
        Ok(self.decoded.split().freeze())
    }

    /// Reads a string. Returns true with it if it is Huffman-coded.
    fn string(&mut self) -> Result<(&'a [u8], bool), HpackError> {
        let is_coded = self.peek().is_some_and(|first| first & HUFFMAN != 0);
        let length = self.integer(7)?;
        let (text, rest) = self.rest.split_at_checked(length).ok_or(HpackError::Truncated)?;
        self.rest = rest;
        Ok((text, is_coded))
    }

    /// Decodes a string to the end of `decoded`, which is otherwise empty: names and values leave it at once.
    fn decode(&mut self, text: &[u8]) -> Result<(), HpackError> {
        if self.decoded.capacity() == 0 {
            // All strings from here to the end of the block have room in it.
            self.decoded.reserve(huffman::decoded_len_max(text.len() + self.rest.len()) + 1);
        }
        huffman::decode(text, &mut self.decoded)
    }
}
