//! The part of a body that a filter holds.

use bytes::{Bytes, BytesMut};

/// Bytes that are usually one piece as received, and sometimes gathered or changed.
pub(crate) enum Buffer {
    Piece(Bytes),
    Gathered(BytesMut),
}

impl Default for Buffer {
    fn default() -> Self {
        Buffer::Piece(Bytes::new())
    }
}

impl Buffer {
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Buffer::Piece(piece) => piece,
            Buffer::Gathered(gathered) => gathered,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.as_slice().len()
    }

    pub(super) fn append(&mut self, piece: Bytes) {
        if self.len() == 0 {
            *self = Buffer::Piece(piece);
        } else if !piece.is_empty() {
            self.gather(&piece);
        }
    }

    /// Takes all bytes and leaves the buffer empty.
    pub(super) fn take(&mut self) -> Bytes {
        match std::mem::take(self) {
            Buffer::Piece(piece) => piece,
            Buffer::Gathered(gathered) => gathered.freeze(),
        }
    }

    /// Returns the length that a [`splice`](Self::splice) would lead to.
    pub(super) fn length_after(&self, start: usize, length: usize, data: &[u8]) -> usize {
        let (start, end) = self.range(start, length);
        (self.len() - (end - start)).saturating_add(data.len())
    }

    /// Returns the range for a start and a length, both clamped to the length of the buffer.
    fn range(&self, start: usize, length: usize) -> (usize, usize) {
        let start = start.min(self.len());
        (start, start.saturating_add(length).min(self.len()))
    }

    /// Replaces `length` bytes from `start` on with `data`. An empty range at the beginning prepends, and a range that
    /// begins at or behind the end appends.
    pub(super) fn splice(&mut self, start: usize, length: usize, data: &[u8]) {
        let before = self.len();
        let (start, end) = self.range(start, length);
        if start == 0 && end == before {
            *self = Buffer::Piece(Bytes::copy_from_slice(data));
            return;
        }
        if start == before {
            self.gather(data);
            return;
        }
        let mut spliced = BytesMut::with_capacity(before - (end - start) + data.len());
        let old = self.as_slice();
        spliced.extend_from_slice(old.get(..start).unwrap_or_default());
        spliced.extend_from_slice(data);
        spliced.extend_from_slice(old.get(end..).unwrap_or_default());
        *self = Buffer::Gathered(spliced);
    }

    fn gather(&mut self, data: &[u8]) {
        let mut gathered = match std::mem::take(self) {
            Buffer::Gathered(gathered) => gathered,
            Buffer::Piece(piece) => piece.try_into_mut().unwrap_or_else(|shared| {
                let mut copy = BytesMut::with_capacity(shared.len().saturating_add(data.len()));
                copy.extend_from_slice(&shared);
                copy
            }),
        };
        gathered.extend_from_slice(data);
        *self = Buffer::Gathered(gathered);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_splice_puts_data_before_behind_or_in_place_of_what_there_is() {
        for (start, length, data, expected) in [
            (0, 0, "x", "xabcdef"),
            (0, 6, "x", "x"),
            (0, 99, "", ""),
            (0, 2, "xyz", "xyzcdef"),
            (2, 2, "x", "abxef"),
            (2, 0, "x", "abxcdef"),
            (3, usize::MAX, "x", "abcx"),
            (6, 0, "x", "abcdefx"),
            (usize::MAX, 0, "x", "abcdefx"),
            (usize::MAX, usize::MAX, "x", "abcdefx"),
        ] {
            for shared in [false, true] {
                let piece = Bytes::from(b"abcdef".to_vec());
                let also = shared.then(|| piece.clone());
                let mut buffer = Buffer::default();
                buffer.append(piece);
                assert_eq!(buffer.length_after(start, length, data.as_bytes()), expected.len());
                buffer.splice(start, length, data.as_bytes());
                assert_eq!(buffer.take(), expected, "{start} {length}");
                drop(also);
            }
        }
    }

    #[test]
    fn pieces_are_gathered_in_order() {
        let mut buffer = Buffer::default();
        for piece in ["", "ab", "", "c", "def"] {
            buffer.append(Bytes::from_static(piece.as_bytes()));
        }
        assert_eq!((buffer.len(), buffer.take()), (6, Bytes::from_static(b"abcdef")));
        assert_eq!(buffer.len(), 0);
    }
}
