//! Encoding of header blocks (RFC 7541 §2.4, §6).

use bytes::{BufMut, BytesMut};
use http::{HeaderName, HeaderValue};

use super::encoder_table::{EncoderTable, HashedField};
use super::policy::Policy;
use super::{Pseudo, TABLE_BYTES_DEFAULT, huffman, integer, static_table};

/// The largest maximum of the table, even if the peer permits more. It bounds the memory of a connection and the time
/// of a lookup.
const TABLE_BYTES_MAX: usize = TABLE_BYTES_DEFAULT;

/// The fraction of the table that one entry may take. A larger field would evict most others.
const ENTRY_FRACTION: usize = 2;

/// The length from which strings are Huffman-coded if that makes them shorter. It saves at most one byte of a shorter
/// string. Longer ones become a quarter shorter at 0.9 ns a character, and most of them are coded once and then
/// indexed.
const HUFFMAN_BYTES_MIN: usize = 4;

/// The first bits of an indexed field (RFC 7541 §6.1), and the length of the index behind them.
const INDEXED: (u8, u32) = (0x80, 7);
/// The first bits of a literal that goes into the dynamic table (§6.2.1).
const INCREMENTAL: (u8, u32) = (0x40, 6);
/// The first bits of a literal that stays out of it (§6.2.2).
const NOT_INDEXED: (u8, u32) = (0x00, 4);
/// The first bits of a literal that no encoder may ever index (§6.2.3).
const NEVER_INDEXED: (u8, u32) = (0x10, 4);
/// The first bits of a new maximum of the dynamic table (§6.3).
const SIZE_UPDATE: (u8, u32) = (0x20, 5);

/// The encoder of a connection's outgoing header blocks.
///
/// A field that is equal to an entry of a table takes one or two bytes. Others become literals, and [`Policy`] says
/// which of them go into the dynamic table.
///
/// The encoder allocates with the first field that goes into its dynamic table. With 4096 bytes, the table has at
/// most 128 entries of 28 bytes, and a buffer of at most 17 KiB for their names and values: together at most 21 KiB,
/// and 3 KiB with 20 usual entries.
#[derive(Debug)]
pub(crate) struct Encoder {
    table: EncoderTable,
    /// The table's maximum from the next block on.
    size_max: usize,
    /// The lowest maximum since the last block, of which the peer has to know (RFC 7541 §4.2).
    size_max_lowest: usize,
}

impl Encoder {
    /// Creates an encoder for a peer that has not sent SETTINGS_HEADER_TABLE_SIZE: the table's maximum is 4096 (RFC
    /// 9113 §6.5.2).
    pub(crate) const fn new() -> Self {
        let size_max = TABLE_BYTES_DEFAULT;
        Self { table: EncoderTable::new(size_max), size_max, size_max_lowest: size_max }
    }

    /// Obeys the peer's SETTINGS_HEADER_TABLE_SIZE. The encoder uses at most 4096 bytes, even if the peer permits
    /// more. The next block tells the peer if the table's maximum changes.
    pub(crate) fn set_limit(&mut self, table_bytes: u32) {
        self.size_max =
            usize::try_from(table_bytes).map_or(TABLE_BYTES_MAX, |bytes| bytes.min(TABLE_BYTES_MAX));
        self.size_max_lowest = self.size_max_lowest.min(self.size_max);
    }

    /// Begins a header block: appends the table size updates that are due, the smallest and the final one (RFC 7541
    /// §4.2).
    pub(crate) fn begin(&mut self, out: &mut BytesMut) {
        for size_max in [self.size_max_lowest, self.size_max] {
            if size_max != self.table.size_max() {
                self.table.set_size_max(size_max);
                put_integer(size_max, SIZE_UPDATE, out);
            }
        }
        self.size_max_lowest = self.size_max;
    }

    /// Appends a pseudo-header field. They precede all others in a block (RFC 9113 §8.3).
    pub(crate) fn pseudo(&mut self, pseudo: Pseudo, value: &[u8], out: &mut BytesMut) {
        if let Some(index) = static_table::pseudo_match(pseudo, value) {
            return put_integer(index, INDEXED, out);
        }
        let policy = Policy::of_pseudo(pseudo, value);
        self.put(pseudo.as_str(), static_table::pseudo_index(pseudo), value, policy, out);
    }

    /// Appends a field. A value that is sensitive stays out of all tables, here and behind the peer (RFC 7541
    /// §7.1.3).
    pub(crate) fn field(&mut self, name: &HeaderName, value: &HeaderValue, out: &mut BytesMut) {
        let static_index = static_table::field_index(name.as_str());
        let policy = Policy::of_field(name, static_index, value);
        if policy != Policy::Never
            && let Some(index) = static_index
            && static_table::get(index).is_some_and(|entry| entry.value == *value)
        {
            return put_integer(index, INDEXED, out);
        }
        self.put(name.as_str(), static_index, value.as_bytes(), policy, out);
    }

    /// Appends a field that is not equal to an entry of the static table.
    fn put(
        &mut self,
        name: &str,
        static_index: Option<usize>,
        value: &[u8],
        policy: Policy,
        out: &mut BytesMut,
    ) {
        let field = HashedField::new(name.as_bytes(), value);
        let representation = match policy {
            Policy::Index => {
                if let Some(position) = self.table.find(&field) {
                    return put_integer(dynamic_index(position), INDEXED, out);
                }
                let is_small = field.size() <= self.table.size_max() / ENTRY_FRACTION;
                if is_small { INCREMENTAL } else { NOT_INDEXED }
            }
            Policy::Omit => NOT_INDEXED,
            Policy::Never => NEVER_INDEXED,
        };
        match static_index.or_else(|| self.table.find_name(&field).map(dynamic_index)) {
            Some(index) => put_integer(index, representation, out),
            None => {
                put_integer(0, representation, out);
                put_string(name.as_bytes(), out);
            }
        }
        put_string(value, out);
        if representation == INCREMENTAL {
            self.table.insert(&field);
        }
    }

    #[cfg(test)]
    pub(super) fn table_size(&self) -> (usize, usize) {
        self.table.table_size()
    }
}

/// Returns the index of the dynamic table's entry at a position (RFC 7541 §2.3.3).
const fn dynamic_index(position: usize) -> usize {
    static_table::LEN + 1 + position
}

fn put_integer(value: usize, (pattern, prefix_bits): (u8, u32), out: &mut BytesMut) {
    integer::encode(value, pattern, prefix_bits, out);
}

/// Appends a string (RFC 7541 §5.2), Huffman-coded if that is shorter.
fn put_string(text: &[u8], out: &mut BytesMut) {
    if text.len() >= HUFFMAN_BYTES_MIN {
        let coded_bytes = huffman::encoded_len(text);
        if coded_bytes < text.len() {
            put_integer(coded_bytes, (0x80, 7), out);
            return huffman::encode(text, out);
        }
    }
    put_integer(text.len(), (0, 7), out);
    out.put_slice(text);
}
