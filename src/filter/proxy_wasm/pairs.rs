//! The encoding of header maps as bytes: a count, then the lengths of each name and value, then the bytes themselves,
//! each followed by a NUL. All numbers are 32 bits, little endian.

/// Returns the encoded length of `pairs`.
pub(crate) fn length<'a>(pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> usize {
    pairs.fold(4, |length, (name, value)| length + 8 + name.len() + 1 + value.len() + 1)
}

/// Writes the `count` pairs that `pairs` yields into a buffer of exactly [`length`] bytes. `pairs` is called twice and
/// must yield the same pairs.
pub(crate) fn write<'a, I: Iterator<Item = (&'a [u8], &'a [u8])>>(
    room: &mut [u8],
    count: usize,
    pairs: impl Fn() -> I,
) {
    let mut room = Room(room);
    room.number(count);
    for (name, value) in pairs() {
        room.number(name.len());
        room.number(value.len());
    }
    for (name, value) in pairs() {
        for bytes in [name, value] {
            room.bytes(bytes);
            room.bytes(&[0]);
        }
    }
}

struct Room<'a>(&'a mut [u8]);

impl Room<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        if let Some((head, rest)) = std::mem::take(&mut self.0).split_at_mut_checked(bytes.len()) {
            head.copy_from_slice(bytes);
            self.0 = rest;
        }
    }

    fn number(&mut self, number: usize) {
        self.bytes(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
    }
}

/// Parses pairs. Input of no bytes, or of a single one, has no pairs.
///
/// Returns `None` for invalid input: lengths beyond the end, or more pairs than bytes.
pub(crate) fn read(bytes: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    if bytes.len() <= 1 {
        return Some(Vec::new());
    }
    let (count, rest) = number(bytes)?;
    let lengths_end = count.checked_mul(8)?;
    let (mut lengths, mut data) = rest.split_at_checked(lengths_end)?;
    let mut pairs = Vec::with_capacity(count);
    for _ in 0..count {
        let (name_length, after) = number(lengths)?;
        let (value_length, after) = number(after)?;
        lengths = after;
        let (name, after) = terminated(data, name_length)?;
        let (value, after) = terminated(after, value_length)?;
        data = after;
        pairs.push((name, value));
    }
    Some(pairs)
}

fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((usize::try_from(u32::from_le_bytes(*number)).ok()?, rest))
}

/// Splits off bytes and the NUL behind them, which some writers omit at the very end.
fn terminated(bytes: &[u8], length: usize) -> Option<(&[u8], &[u8])> {
    let (it, rest) = bytes.split_at_checked(length)?;
    Some((it, rest.split_first().map_or(rest, |(_, rest)| rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut room = vec![0xff; length(pairs.iter().copied())];
        write(&mut room, pairs.len(), || pairs.iter().copied());
        room
    }

    #[test]
    fn written_pairs_are_read_back() {
        let cases: [&[(&[u8], &[u8])]; 3] =
            [&[], &[(b"a", b"")], &[(b":path", b"/x"), (b"", b"\0v"), (b"n", b"v")]];
        for pairs in cases {
            assert_eq!(read(&written(pairs)).unwrap(), pairs);
        }
        assert_eq!(written(&[(b"a", b"bc")]), b"\x01\0\0\0\x01\0\0\0\x02\0\0\0a\0bc\0");
    }

    #[test]
    fn truncated_pairs_and_false_lengths_are_rejected() {
        let whole = written(&[(b"name", b"value"), (b"n", b"v")]);
        // The last NUL may be missing.
        for length in 2..whole.len() - 1 {
            assert!(read(&whole[..length]).is_none(), "{length}");
        }
        for lie in [&b"\xff\xff\xff\xff"[..], b"\x01\0\0\0\xff\xff\xff\xff\0\0\0\0", b"\xff\xff\xff\x1f\0\0"]
        {
            assert!(read(lie).is_none());
        }
        assert_eq!(read(b""), Some(vec![]));
        assert_eq!(read(b"\0"), Some(vec![]));
    }
}
