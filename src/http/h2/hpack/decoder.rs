//! Decoding of header blocks (RFC 7541 §3, §6).

use bytes::Bytes;
use http::HeaderValue;

use super::block::{Block, ParsedName};
use super::dynamic_table::{DynamicTable, field_size};
use super::{HpackError, Name, TABLE_BYTES_DEFAULT, static_table};

/// The decoder of a connection's incoming header blocks.
///
/// It allocates with the first field that goes into its dynamic table. With a limit of 4096 bytes, the table has at
/// most 128 entries of 96 bytes, and 4096 bytes of names and values, each with up to 64 bytes around it: together at
/// most 32 KiB, and 5 KiB with the 20 entries of a browser.
///
/// The fields that it returns are the receiver's to bound by [`DecodedField::size`]. A block of one byte can refer to
/// a field of 4096 bytes, although that shares the memory of the table's entry.
#[derive(Debug)]
pub(crate) struct Decoder {
    table: DynamicTable<Entry>,
    /// The announced limit: the largest maximum that the peer may give the table.
    limit: usize,
    /// The lowest limit since the last block, if the table's maximum exceeds it. The next block has to begin with an
    /// update to that much, or less.
    awaited: Option<usize>,
}

/// A field as it comes out of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DecodedField {
    /// The name, or `None` if it is malformed (RFC 9113 §8.2.1) or an unknown pseudo-header field.
    pub(crate) name: Option<Name>,
    /// The value, or `None` if it is malformed (RFC 9113 §8.2.1): it has a control character, or a blank at an end. A
    /// value whose representation is never indexed is sensitive ([`HeaderValue::is_sensitive`]), so that an encoder
    /// keeps it so (RFC 7541 §6.2.3).
    pub(crate) value: Option<HeaderValue>,
    /// The size that SETTINGS_MAX_HEADER_LIST_SIZE counts: the lengths of name and value, and 32 (RFC 9113 §6.5.2).
    pub(crate) size: usize,
}

/// An entry of the dynamic table. Malformed parts are gone, but for their lengths.
#[derive(Debug)]
struct Entry {
    name: Option<Name>,
    value: Option<HeaderValue>,
    name_bytes: usize,
}

/// The representations of a field or an instruction (RFC 7541 §6), by the first bits of their first octet.
enum Representation {
    /// `1`: an indexed field (§6.1).
    Indexed,
    /// `01`: a literal that goes into the dynamic table (§6.2.1).
    Incremental,
    /// `001`: a new maximum of the dynamic table (§6.3).
    SizeUpdate,
    /// `0001`: a literal that no encoder may ever put into a table (§6.2.3).
    NeverIndexed,
    /// `0000`: a literal that stays out of the table (§6.2.2).
    NotIndexed,
}

impl Representation {
    fn of(first: u8) -> Self {
        match first.leading_zeros() {
            0 => Self::Indexed,
            1 => Self::Incremental,
            2 => Self::SizeUpdate,
            3 => Self::NeverIndexed,
            _ => Self::NotIndexed,
        }
    }
}

impl Decoder {
    /// Creates a decoder whose peer knows `table_bytes` as the limit of the dynamic table. A peer that has not
    /// acknowledged any SETTINGS_HEADER_TABLE_SIZE yet takes it for 4096 (RFC 9113 §6.5.2).
    pub(crate) const fn new(table_bytes: usize) -> Self {
        // A larger limit permits the peer to raise the maximum, which it does with an update (RFC 7541 §4.2).
        let size_max = if table_bytes < TABLE_BYTES_DEFAULT { table_bytes } else { TABLE_BYTES_DEFAULT };
        Self { table: DynamicTable::new(size_max), limit: table_bytes, awaited: None }
    }

    /// Changes the limit of the dynamic table, as soon as the peer has acknowledged the SETTINGS_HEADER_TABLE_SIZE
    /// that announced it. If the table's maximum exceeds it, the next block has to begin with a size update (RFC 7541
    /// §4.2, RFC 9113 §4.3.1).
    pub(crate) fn set_limit(&mut self, table_bytes: usize) {
        self.limit = table_bytes;
        if table_bytes < self.table.size_max() {
            self.awaited = Some(self.awaited.map_or(table_bytes, |awaited| awaited.min(table_bytes)));
        }
    }

    /// Decodes a whole header block: the payload of HEADERS or PUSH_PROMISE and of all CONTINUATION frames behind it.
    /// Passes each field to `sink`, in order. A block of `n` bytes has at most `n` fields.
    ///
    /// Values may be slices of `block`, or share one allocation of at most 8/5 its size. The dynamic table has
    /// copies, and keeps neither alive.
    ///
    /// Every error is a connection error COMPRESSION_ERROR, after which the decoder is useless.
    pub(crate) fn decode(
        &mut self,
        block: &Bytes,
        sink: &mut impl FnMut(DecodedField),
    ) -> Result<(), HpackError> {
        let mut block = Block::new(block);
        self.size_updates(&mut block)?;
        while let Some(first) = block.peek() {
            match Representation::of(first) {
                Representation::Indexed => sink(self.indexed(block.integer(7)?)?),
                Representation::Incremental => sink(self.incremental(&mut block)?),
                Representation::NotIndexed => sink(self.literal(&mut block, 4)?.field),
                Representation::NeverIndexed => {
                    let mut field = self.literal(&mut block, 4)?.field;
                    field.value.iter_mut().for_each(|value| value.set_sensitive(true));
                    sink(field);
                }
                Representation::SizeUpdate => return Err(HpackError::SizeUpdateAfterField),
            }
        }
        Ok(())
    }

    /// Reads the size updates at the begin of a block: one, or the smallest maximum since the last block and the
    /// final one (RFC 7541 §4.2).
    fn size_updates(&mut self, block: &mut Block<'_>) -> Result<(), HpackError> {
        let mut count = 0;
        while let Some(first) = block.peek()
            && matches!(Representation::of(first), Representation::SizeUpdate)
        {
            let size_max = block.integer(5)?;
            count += 1;
            if count > 2 {
                return Err(HpackError::TooManySizeUpdates);
            }
            if size_max > self.limit {
                return Err(HpackError::SizeUpdateAboveLimit);
            }
            self.awaited = self.awaited.filter(|awaited| size_max > *awaited);
            self.table.set_size_max(size_max);
        }
        if self.awaited.is_some() { Err(HpackError::MissingSizeUpdate) } else { Ok(()) }
    }

    fn indexed(&self, index: usize) -> Result<DecodedField, HpackError> {
        if let Some(entry) = static_table::get(index) {
            let size = field_size(entry.name.as_str().len(), entry.value.len());
            return Ok(DecodedField {
                name: Some(entry.name.clone()),
                value: Some(entry.value.clone()),
                size,
            });
        }
        let (entry, size) = self.entry(index)?;
        Ok(DecodedField { name: entry.name.clone(), value: entry.value.clone(), size })
    }

    /// Returns an entry of the dynamic table, whose indices begin behind those of the static one (RFC 7541 §2.3.3).
    fn entry(&self, index: usize) -> Result<(&Entry, usize), HpackError> {
        let index = index.checked_sub(static_table::LEN + 1).ok_or(HpackError::InvalidIndex)?;
        self.table.get(index).ok_or(HpackError::InvalidIndex)
    }

    fn incremental(&mut self, block: &mut Block<'_>) -> Result<DecodedField, HpackError> {
        let Literal { field, name_bytes } = self.literal(block, 6)?;
        if self.table.make_room(field.size) {
            // A copy, so that an entry keeps no more memory than it counts. It has been valid, and still is.
            let copy = |value: &HeaderValue| HeaderValue::from_bytes(value.as_bytes()).ok();
            let value = field.value.as_ref().and_then(copy);
            let entry = Entry { name: field.name.clone(), value, name_bytes };
            self.table.insert(entry, field.size);
        }
        Ok(field)
    }

    /// Reads a literal field, whose name is a string or an index with this prefix (RFC 7541 §6.2).
    fn literal(&self, block: &mut Block<'_>, prefix_bits: u32) -> Result<Literal, HpackError> {
        let ParsedName { name, bytes: name_bytes } = match block.integer(prefix_bits)? {
            0 => block.name()?,
            index => self.name(index)?,
        };
        let value = block.value()?;
        let size = field_size(name_bytes, value.len());
        Ok(Literal { field: DecodedField { name, value: parse_value(value), size }, name_bytes })
    }

    /// Returns the name of an entry.
    fn name(&self, index: usize) -> Result<ParsedName, HpackError> {
        if let Some(entry) = static_table::get(index) {
            return Ok(ParsedName { bytes: entry.name.as_str().len(), name: Some(entry.name.clone()) });
        }
        let (entry, _) = self.entry(index)?;
        Ok(ParsedName { name: entry.name.clone(), bytes: entry.name_bytes })
    }

    #[cfg(test)]
    pub(super) fn table_size(&self) -> (usize, usize) {
        (self.table.len(), self.table.size())
    }
}

/// A literal field with the length of its name, which a malformed name no longer tells.
struct Literal {
    field: DecodedField,
    name_bytes: usize,
}

/// Returns the value unless it is malformed: blanks at its ends (RFC 9113 §8.2.1) and, as in HTTP/1.1, control
/// characters other than HTAB (RFC 9110 §5.5).
fn parse_value(value: Bytes) -> Option<HeaderValue> {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    if is_blank(value.first()) || is_blank(value.last()) {
        return None;
    }
    HeaderValue::from_maybe_shared(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The documentation of [`Decoder`] has the sum.
    #[test]
    fn entries_of_the_table_have_the_documented_size() {
        assert_eq!(size_of::<(Entry, usize)>(), 96);
    }
}
