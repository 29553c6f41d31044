//! The dynamic table (RFC 7541 §2.3.2, §4).

use std::collections::VecDeque;

/// The bytes that an entry counts beyond its name and value (RFC 7541 §4.1).
pub(super) const ENTRY_OVERHEAD_BYTES: usize = 32;

/// Returns the size of a field, by which tables and SETTINGS_MAX_HEADER_LIST_SIZE count it (RFC 7541 §4.1, RFC 9113
/// §6.5.2).
pub(super) const fn field_size(name_bytes: usize, value_bytes: usize) -> usize {
    name_bytes.saturating_add(value_bytes).saturating_add(ENTRY_OVERHEAD_BYTES)
}

/// A dynamic table: a queue of entries from which the oldest leave as soon as the sum of their sizes exceeds a
/// maximum.
///
/// The table has at most a 32nd of its maximum in entries, since none is smaller than 32 bytes. It allocates with the
/// first entry, and frees everything when its maximum becomes 0.
#[derive(Debug)]
pub(super) struct DynamicTable<T> {
    /// The entries and their sizes, the newest first.
    entries: VecDeque<(T, usize)>,
    size: usize,
    size_max: usize,
}

impl<T> DynamicTable<T> {
    pub(super) const fn new(size_max: usize) -> Self {
        Self { entries: VecDeque::new(), size: 0, size_max }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the maximum of the sum of all entries' sizes.
    pub(super) fn size_max(&self) -> usize {
        self.size_max
    }

    /// Returns the sum of all entries' sizes.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Returns an entry and its size. 0 is the newest.
    pub(super) fn get(&self, index: usize) -> Option<(&T, usize)> {
        self.entries.get(index).map(|(entry, size)| (entry, *size))
    }

    /// Returns the entry that leaves next.
    pub(super) fn oldest(&self) -> Option<&T> {
        self.entries.back().map(|(entry, _)| entry)
    }

    /// Returns all entries, the newest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().map(|(entry, _)| entry)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut().map(|(entry, _)| entry)
    }

    /// Changes the maximum, and evicts entries that exceed it (RFC 7541 §4.3).
    pub(super) fn set_size_max(&mut self, size_max: usize) {
        self.size_max = size_max;
        self.evict_beyond(size_max);
        if size_max == 0 {
            self.entries = VecDeque::new();
        }
    }

    /// Evicts entries until one of `size` bytes has room. Returns false if it never has: then the table is empty,
    /// which is no error (RFC 7541 §4.4).
    pub(super) fn make_room(&mut self, size: usize) -> bool {
        self.evict_beyond(self.size_max.saturating_sub(size));
        size <= self.size_max
    }

    /// Inserts the newest entry, for which [`Self::make_room`] has returned true.
    pub(super) fn insert(&mut self, entry: T, size: usize) {
        self.entries.push_front((entry, size));
        self.size += size;
    }

    fn evict_beyond(&mut self, size_max: usize) {
        while self.size > size_max
            && let Some((_, size)) = self.entries.pop_back()
        {
            self.size -= size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(table: &mut DynamicTable<u8>, entry: u8, size: usize) {
        if table.make_room(size) {
            table.insert(entry, size);
        }
    }

    fn entries(table: &DynamicTable<u8>) -> Vec<u8> {
        table.iter().copied().collect()
    }

    #[test]
    fn entries_leave_in_the_order_of_their_insertion() {
        let mut table = DynamicTable::new(100);
        for entry in 1..=5 {
            insert(&mut table, entry, 33);
        }
        assert_eq!((entries(&table), table.size()), (vec![5, 4, 3], 99));
        insert(&mut table, 6, 60);
        assert_eq!((entries(&table), table.size()), (vec![6, 5], 93));
        assert_eq!((table.get(0), table.get(1), table.get(2)), (Some((&6, 60)), Some((&5, 33)), None));
        assert_eq!(table.oldest(), Some(&5));
        table.set_size_max(92);
        assert_eq!((entries(&table), table.size()), (vec![6], 60));
        table.set_size_max(200);
        insert(&mut table, 7, 140);
        assert_eq!((entries(&table), table.size()), (vec![7, 6], 200));
    }

    #[test]
    fn an_entry_larger_than_the_table_empties_it() {
        let mut table = DynamicTable::new(100);
        insert(&mut table, 1, 40);
        insert(&mut table, 2, 101);
        assert_eq!((entries(&table), table.size()), (vec![], 0));
        insert(&mut table, 3, 100);
        assert_eq!((entries(&table), table.size()), (vec![3], 100));
        table.set_size_max(0);
        assert_eq!((table.len(), table.size(), table.entries.capacity()), (0, 0, 0));
        insert(&mut table, 4, 32);
        assert_eq!(table.len(), 0);
    }
}
