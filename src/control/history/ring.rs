//! The last rows of a series.

/// The samples that are kept: those of fifteen minutes.
const SAMPLES_MAX: usize = 180;

/// The last [`SAMPLES_MAX`] rows. The memory of all is taken with the first.
#[derive(Debug)]
pub(super) struct Ring<T> {
    rows: Vec<T>,
    /// The position of the oldest row, once there are as many as there may be.
    oldest: usize,
}

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), oldest: 0 }
    }
}

impl<T> Ring<T> {
    /// The bytes of a full ring beside its struct.
    #[cfg(test)]
    pub(super) const BYTES: usize = SAMPLES_MAX * size_of::<T>();

    /// Adds a row, in place of the oldest one if there is no room.
    pub(super) fn push(&mut self, row: T) {
        if self.rows.len() < SAMPLES_MAX {
            if self.rows.is_empty() {
                self.rows.reserve_exact(SAMPLES_MAX);
            }
            self.rows.push(row);
        } else if let Some(place) = self.rows.get_mut(self.oldest) {
            *place = row;
            self.oldest = (self.oldest + 1) % SAMPLES_MAX;
        }
    }

    /// Iterates over the rows, the oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        let (newer, older) = self.rows.split_at(self.oldest.min(self.rows.len()));
        older.iter().chain(newer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ring_has_the_last_rows_in_their_order() {
        let mut ring = Ring::default();
        assert_eq!(ring.iter().count(), 0);
        for row in 0..SAMPLES_MAX * 2 + 7 {
            ring.push(row);
            assert_eq!(ring.iter().next_back(), Some(&row));
        }
        let rows: Vec<usize> = ring.iter().copied().collect();
        assert_eq!(rows, (SAMPLES_MAX + 7..SAMPLES_MAX * 2 + 7).collect::<Vec<_>>());
    }
}
