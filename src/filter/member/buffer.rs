//! What a filter has of a body.

use bytes::{Bytes, BytesMut};

/// Bytes that are mostly one piece as it came, and sometimes gathered or changed.
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

    /// Adds a piece at the end.
    pub(super) fn append(&mut self, piece: Bytes) {
        if self.len() == 0 {
            *self = Buffer::Piece(piece);
        } else if !piece.is_empty() {
            self.gather(&piece);
        }
    }

    /// All of it; what is left is empty.
    pub(super) fn take(&mut self) -> Bytes {
        match std::mem::take(self) {
            Buffer::Piece(piece) => piece,
            Buffer::Gathered(gathered) => gathered.freeze(),
        }
    }

    /// Replaces `length` bytes from `start` on by `data`: nothing at the very beginning is a prefix, and what begins at or
    /// behind the end is appended. Whether the outcome has at most `bytes_max` bytes; if not, nothing changes.
    pub(super) fn splice(&mut self, start: usize, length: usize, data: &[u8], bytes_max: usize) -> bool {
        let before = self.len();
        let start = start.min(before);
        let end = start.saturating_add(length).min(before);
        if before - (end - start) + data.len() > bytes_max {
            return false;
        }
        if start == 0 && end == before {
            *self = Buffer::Piece(Bytes::copy_from_slice(data));
            return true;
        }
        if start == before {
            self.gather(data);
            return true;
        }
        let mut spliced = BytesMut::with_capacity(before - (end - start) + data.len());
        let old = self.as_slice();
        spliced.extend_from_slice(old.get(..start).unwrap_or_default());
        spliced.extend_from_slice(data);
        spliced.extend_from_slice(old.get(end..).unwrap_or_default());
        *self = Buffer::Gathered(spliced);
        true
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
                assert!(buffer.splice(start, length, data.as_bytes(), 100));
                assert_eq!(buffer.take(), expected, "{start} {length}");
                drop(also);
            }
        }
    }

    #[test]
    fn what_would_be_too_much_changes_nothing() {
        let mut buffer = Buffer::default();
        buffer.append(Bytes::from_static(b"abc"));
        assert!(!buffer.splice(1, 1, b"12345", 6));
        assert!(buffer.splice(1, 1, b"1234", 6));
        assert_eq!(buffer.as_slice(), b"a1234c");
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
