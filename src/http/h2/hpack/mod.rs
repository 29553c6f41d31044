//! HPACK, the compression of HTTP/2's header blocks (RFC 7541).
//!
//! A [`Decoder`] reads the blocks of a peer, an [`Encoder`] writes ours. Each direction of a connection has one,
//! because both ends of a direction keep the same dynamic table and must see every block, in order.
//!
//! Errors of the codec and malformed fields are different things. A block that cannot be decoded puts the tables of
//! the two ends out of step, so an [`HpackError`] ends the connection. A field that RFC 9113 §8.2.1 forbids is only
//! malformed: it passes through the tables like any other, and its message alone fails.
//!
//! | file | subject |
//! |---|---|
//! | `integer` | integers with a prefix (§5.1) |
//! | `huffman` | the Huffman code (§5.2, Appendix B) |
//! | `static_table` | the static table (Appendix A) |
//! | `dynamic_table` | the dynamic table and its eviction (§4) |
//! | `name` | names of fields |
//! | `decoder`, `block` | decoding of header blocks |
//! | `encoder`, `encoder_table`, `policy` | encoding of header blocks |
//!
//! A new decoder or encoder has no memory on the heap. With tables of 4096 bytes, a decoder has at most 32 KiB and an
//! encoder at most 21 KiB; usual traffic takes 5 KiB and 3 KiB. Their documentation has the sums.

mod block;
mod decoder;
mod dynamic_table;
mod encoder;
mod encoder_table;
mod huffman;
mod integer;
mod name;
mod policy;
mod static_table;
#[cfg(test)]
mod tests;

pub(crate) use decoder::{DecodedField, Decoder};
pub(crate) use encoder::Encoder;
pub(crate) use name::{Name, Pseudo};

/// The size of a dynamic table until the decoding end announces another one: the initial value of
/// SETTINGS_HEADER_TABLE_SIZE (RFC 9113 §6.5.2).
pub(crate) const TABLE_BYTES_DEFAULT: usize = 4096;

/// The reason for which a header block cannot be decoded. Each is a connection error of the type COMPRESSION_ERROR
/// (RFC 9113 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HpackError {
    /// The block ends within a field or an integer.
    #[error("the header block ends within a field")]
    Truncated,
    /// An integer above 2³² − 1, or with more than five octets after its prefix (RFC 7541 §5.1).
    #[error("an integer of the header block is too large")]
    IntegerOverflow,
    /// The EOS symbol within a string (RFC 7541 §5.2).
    #[error("a Huffman-coded string has the EOS symbol")]
    HuffmanEos,
    /// A string whose padding is longer than 7 bits or has other bits than ones (RFC 7541 §5.2).
    #[error("a Huffman-coded string has invalid padding")]
    HuffmanPadding,
    /// The index 0 of an indexed field, or an index beyond both tables (RFC 7541 §2.3.3, §6.1).
    #[error("the header block refers to an entry that does not exist")]
    InvalidIndex,
    /// A table size above the announced limit (RFC 7541 §6.3).
    #[error("a table size update exceeds the announced limit")]
    SizeUpdateAboveLimit,
    /// A table size update after a field (RFC 7541 §4.2).
    #[error("a table size update follows a field")]
    SizeUpdateAfterField,
    /// More than two table size updates in a block (RFC 7541 §4.2).
    #[error("the header block has more than two table size updates")]
    TooManySizeUpdates,
    /// A block that does not acknowledge a lower limit (RFC 7541 §4.2, RFC 9113 §4.3.1).
    #[error("the header block does not acknowledge the lower table size")]
    MissingSizeUpdate,
}
