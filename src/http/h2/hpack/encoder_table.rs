//! The dynamic table of an encoder, which finds entries by name and value.

use std::collections::VecDeque;

use super::dynamic_table::{DynamicTable, ENTRY_OVERHEAD_BYTES, field_size};

/// The length up to which the buffer of contents keeps what is evicted.
const CONTENTS_BYTES_MIN: usize = 512;

/// A dynamic table with the contents of its entries in one buffer, so that an insertion copies them and allocates
/// nothing for them.
///
/// A lookup compares the hashes of all entries, at most a 32nd of the maximum, and then the contents of those with an
/// equal hash. Equal hashes by an attacker's choice make it compare at most all contents.
#[derive(Debug)]
pub(super) struct EncoderTable {
    table: DynamicTable<Entry>,
    /// The hash of each entry's name and value, the newest first. They have a queue of their own, because all of them
    /// are read for each field.
    hashes: VecDeque<u32>,
    /// The names and values of all entries and of some evicted ones, the oldest first.
    contents: Vec<u8>,
}

/// An entry: the place of its name, with its value behind it.
#[derive(Debug)]
struct Entry {
    start: u32,
    name_bytes: u32,
    value_bytes: u32,
    name_hash: u32,
}

/// A field to find or to insert, with the hashes that both need.
#[derive(Debug, Clone, Copy)]
pub(super) struct HashedField<'a> {
    name: &'a [u8],
    value: &'a [u8],
    name_hash: u32,
    hash: u32,
}

impl<'a> HashedField<'a> {
    pub(super) fn new(name: &'a [u8], value: &'a [u8]) -> Self {
        let name_state = hash(name, 0);
        Self { name, value, name_hash: fold(name_state), hash: fold(hash(value, name_state)) }
    }

    /// Returns the size that the table counts (RFC 7541 §4.1).
    pub(super) fn size(&self) -> usize {
        field_size(self.name.len(), self.value.len())
    }
}

impl EncoderTable {
    pub(super) const fn new(size_max: usize) -> Self {
        Self { table: DynamicTable::new(size_max), hashes: VecDeque::new(), contents: Vec::new() }
    }

    pub(super) fn size_max(&self) -> usize {
        self.table.size_max()
    }

    /// Changes the maximum, and evicts entries that exceed it.
    pub(super) fn set_size_max(&mut self, size_max: usize) {
        self.table.set_size_max(size_max);
        self.hashes.truncate(self.table.len());
        if size_max == 0 {
            (self.hashes, self.contents) = (VecDeque::new(), Vec::new());
        }
    }

    /// Returns the position of the newest entry that is equal to the field. 0 is the newest of all.
    pub(super) fn find(&self, field: &HashedField<'_>) -> Option<usize> {
        let equal = |(_, hash): &(usize, &u32)| **hash == field.hash;
        self.hashes.iter().enumerate().filter(equal).map(|(index, _)| index).find(|index| {
            self.table.get(*index).is_some_and(|(entry, _)| self.contents(entry) == (field.name, field.value))
        })
    }

    /// Returns the position of the newest entry with the field's name.
    pub(super) fn find_name(&self, field: &HashedField<'_>) -> Option<usize> {
        self.table
            .iter()
            .position(|entry| entry.name_hash == field.name_hash && self.contents(entry).0 == field.name)
    }

    /// Returns the name and the value of an entry.
    fn contents(&self, entry: &Entry) -> (&[u8], &[u8]) {
        let from_name = self.contents.get(entry.start as usize..).unwrap_or_default();
        let (name, from_value) = from_name.split_at_checked(entry.name_bytes as usize).unwrap_or_default();
        (name, from_value.get(..entry.value_bytes as usize).unwrap_or_default())
    }

    /// Inserts a field as the newest entry, and evicts older ones as the decoder does.
    pub(super) fn insert(&mut self, field: &HashedField<'_>) {
        if !self.table.make_room(field.size()) {
            self.hashes.clear();
            return;
        }
        self.hashes.truncate(self.table.len());
        let bytes = field.name.len() + field.value.len();
        if self.contents.len() + bytes > self.contents_max() {
            self.drop_evicted_contents();
        }
        let entry = Entry {
            start: self.contents.len() as u32,
            name_bytes: field.name.len() as u32,
            value_bytes: field.value.len() as u32,
            name_hash: field.name_hash,
        };
        self.contents.extend_from_slice(field.name);
        self.contents.extend_from_slice(field.value);
        self.table.insert(entry, field.size());
        self.hashes.push_front(field.hash);
    }

    /// Returns the length from which the buffer drops what is evicted. It leaves room for as much as the entries
    /// have, so that their contents move at most once for as many new ones.
    fn contents_max(&self) -> usize {
        let contents = self.table.size().saturating_sub(self.table.len() * ENTRY_OVERHEAD_BYTES);
        contents * 2 + CONTENTS_BYTES_MIN
    }

    /// Moves the contents of all entries to the begin of the buffer.
    fn drop_evicted_contents(&mut self) {
        let evicted = self.table.oldest().map_or(self.contents.len(), |entry| entry.start as usize);
        self.contents.drain(..evicted);
        self.table.iter_mut().for_each(|entry| entry.start -= evicted as u32);
    }

    #[cfg(test)]
    pub(super) fn table_size(&self) -> (usize, usize) {
        (self.table.len(), self.table.size())
    }
}

/// Continues a hash with more bytes, eight at a time. It needs to be fast and to tell fields apart, but not to resist
/// attackers.
fn hash(bytes: &[u8], state: u64) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = bytes.as_chunks::<8>();
    let mix = |state: u64, word: u64| (state ^ word).wrapping_mul(FACTOR).rotate_left(29);
    let state =
        words.iter().fold(state ^ bytes.len() as u64, |state, word| mix(state, u64::from_le_bytes(*word)));
    mix(state, rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)))
}

fn fold(state: u64) -> u32 {
    (state ^ state >> 32) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Inserts a field and returns the position at which it is found.
    fn insert(table: &mut EncoderTable, name: &str, value: &str) -> Option<usize> {
        let field = HashedField::new(name.as_bytes(), value.as_bytes());
        table.insert(&field);
        table.find(&field)
    }

    #[test]
    fn entries_are_found_by_name_and_value_until_evicted() {
        let mut table = EncoderTable::new(110);
        let find = |table: &EncoderTable, name: &str, value: &str| {
            let field = HashedField::new(name.as_bytes(), value.as_bytes());
            (table.find(&field), table.find_name(&field))
        };
        assert_eq!(insert(&mut table, "a", "1"), Some(0));
        assert_eq!(insert(&mut table, "b", "1"), Some(0));
        assert_eq!(insert(&mut table, "a", "2"), Some(0));
        assert_eq!(find(&table, "a", "1"), (Some(2), Some(0)));
        assert_eq!(find(&table, "b", "1"), (Some(1), Some(1)));
        assert_eq!(find(&table, "b", "2"), (None, Some(1)));
        assert_eq!(find(&table, "c", "1"), (None, None));
        assert_eq!(insert(&mut table, "c", "12345678"), Some(0));
        assert_eq!(find(&table, "a", "1"), (None, Some(1)));
        assert_eq!(insert(&mut table, "d", &"1".repeat(100)), None);
        assert_eq!((find(&table, "c", "12345678"), table.table_size()), ((None, None), (0, 0)));
    }

    proptest! {
        /// The buffer drops what is evicted, and entries are found wherever they have moved.
        #[test]
        fn the_table_finds_what_a_list_of_its_entries_has(fields in prop::collection::vec((0..6u8, "[ab]{0,90}"), 0..60)) {
            let mut table = EncoderTable::new(256);
            let mut list: Vec<(String, String)> = Vec::new();
            for (name, value) in fields {
                let name = format!("name-{name}");
                insert(&mut table, &name, &value);
                list.insert(0, (name, value));
                list.truncate(table.table.len());
                for (name, value) in &list {
                    let field = HashedField::new(name.as_bytes(), value.as_bytes());
                    prop_assert_eq!(table.find(&field), list.iter().position(|other| (name, value) == (&other.0, &other.1)));
                    prop_assert_eq!(table.find_name(&field), list.iter().position(|other| *name == other.0));
                }
                prop_assert_eq!(table.hashes.len(), list.len());
                prop_assert!(table.contents.len() <= 2 * 256 + CONTENTS_BYTES_MIN);
            }
        }
    }
}
