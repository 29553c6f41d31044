//! Frames on their way out, in as few writes as possible.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// The size below which data is copied next to its frame header: one slice is cheaper to write than two.
const COPY_BELOW: usize = 2 * 1024;

/// The room that an idle connection keeps.
const KEPT_BYTES: usize = 512;

/// The frames that wait to be written. Data of [`COPY_BELOW`] bytes and more is not copied.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// The bytes that go out before `tail`.
    pieces: VecDeque<Bytes>,
    tail: BytesMut,
    waiting: usize,
}

impl Output {
    /// Returns the number of bytes that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Calls `put` to append frames.
    pub(crate) fn put<T>(&mut self, put: impl FnOnce(&mut BytesMut) -> T) -> T {
        let before = self.tail.len();
        let returned = put(&mut self.tail);
        self.waiting += self.tail.len().saturating_sub(before);
        returned
    }

    /// Appends data behind the frame header that was put last.
    pub(crate) fn push(&mut self, data: Bytes) {
        self.waiting += data.len();
        if data.len() < COPY_BELOW {
            self.tail.extend_from_slice(&data);
            return;
        }
        if !self.tail.is_empty() {
            self.pieces.push_back(self.tail.split().freeze());
        }
        self.pieces.push_back(data);
    }

    /// Fills `slices` with what goes out next, and returns how many it filled.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pieces = self.pieces.iter().map(|piece| &**piece).chain([&*self.tail]);
        let mut filled = 0;
        for (slice, piece) in slices.iter_mut().zip(pieces.filter(|piece| !piece.is_empty())) {
            *slice = IoSlice::new(piece);
            filled += 1;
        }
        filled
    }

    /// Drops bytes that were written.
    pub(crate) fn written(&mut self, mut count: usize) {
        self.waiting = self.waiting.saturating_sub(count);
        while let Some(piece) = self.pieces.front_mut() {
            if count < piece.len() {
                piece.advance(count);
                return;
            }
            count -= piece.len();
            self.pieces.pop_front();
        }
        self.tail.advance(count.min(self.tail.len()));
    }

    /// Frees the memory of a connection that has nothing to write, but for what a small head needs.
    pub(crate) fn release(&mut self) {
        if self.is_empty() {
            self.pieces = VecDeque::new();
            self.tail.clear();
            if self.tail.capacity() > KEPT_BYTES {
                self.tail = BytesMut::new();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;

    use super::*;

    fn written(output: &mut Output, step: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while !output.is_empty() {
            let mut slices = [IoSlice::new(&[]); 3];
            let filled = output.slices(&mut slices);
            let now: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.iter().copied()).collect();
            let count = now.len().min(step);
            all.extend_from_slice(&now[..count]);
            output.written(count);
        }
        all
    }

    #[test]
    fn small_and_large_pieces_keep_their_order_whatever_a_write_takes() {
        for step in [1, 7, 5000, usize::MAX] {
            let mut output = Output::default();
            let mut expected = Vec::new();
            for length in [3, COPY_BELOW, 0, 5, COPY_BELOW - 1, COPY_BELOW + 1, 1] {
                let data = vec![u8::try_from(length % 251).unwrap(); length];
                output.put(|out| out.put_u8(9));
                output.push(data.clone().into());
                expected.push(9);
                expected.extend(data);
            }
            assert_eq!(output.waiting(), expected.len());
            assert_eq!(written(&mut output, step), expected);
        }
    }
}
