//! A search for bytes that a text must not have as they are.

/// Returns true if any byte of the text matches.
///
/// Write `is_match` without branches (`|`, not `||`): the compiler then compares a block of bytes in a few instructions. Most texts have no
/// such byte, and a line has many texts.
#[inline]
pub(super) fn any(text: &[u8], is_match: impl Fn(u8) -> bool + Copy) -> bool {
    // The last block may overlap the one before it, so that no byte needs a loop of its own.
    if let Some(end) = text.last_chunk::<16>() {
        return text.as_chunks::<16>().0.iter().any(|block| in_block(block, is_match))
            || in_block(end, is_match);
    }
    if let (Some(start), Some(end)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        return in_block(start, is_match) || in_block(end, is_match);
    }
    if let (Some(start), Some(end)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        return in_block(start, is_match) || in_block(end, is_match);
    }
    if let (Some(start), Some(end)) = (text.first_chunk::<2>(), text.last_chunk::<2>()) {
        return in_block(start, is_match) || in_block(end, is_match);
    }
    text.first().is_some_and(|byte| is_match(*byte))
}

// Only where the comparison is known can the compiler do it for a whole block.
#[inline(always)]
fn in_block<const BYTES: usize>(block: &[u8; BYTES], is_match: impl Fn(u8) -> bool) -> bool {
    block.iter().fold(false, |found, byte| found | is_match(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_is_found_wherever_it_is_and_no_other() {
        for length in 0..40 {
            let mut text = vec![b'a'; length];
            assert!(!any(&text, |byte| byte == b'b'), "{length}");
            for at in 0..length {
                text[at] = b'b';
                assert!(any(&text, |byte| byte == b'b'), "at {at} of {length}");
                text[at] = b'a';
            }
        }
    }
}
