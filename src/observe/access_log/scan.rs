//! A search for bytes that a text must not have as they are.

/// Returns true if a byte of the text is of a kind. Write the kind without branches (`|` in place of `||`): the compiler then compares
/// blocks of bytes in a few instructions. Most texts have no such byte, and a line has many texts.
#[inline]
pub(super) fn any(text: &[u8], is_it: impl Fn(u8) -> bool + Copy) -> bool {
    // What is left behind the last whole block, or of a short text, are two blocks that overlap.
    if let Some(end) = text.last_chunk::<16>() {
        return text.as_chunks::<16>().0.iter().any(|block| in_block(block, is_it)) || in_block(end, is_it);
    }
    if let (Some(start), Some(end)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        return in_block(start, is_it) || in_block(end, is_it);
    }
    if let (Some(start), Some(end)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        return in_block(start, is_it) || in_block(end, is_it);
    }
    if let (Some(start), Some(end)) = (text.first_chunk::<2>(), text.last_chunk::<2>()) {
        return in_block(start, is_it) || in_block(end, is_it);
    }
    text.first().is_some_and(|byte| is_it(*byte))
}

#[inline]
fn in_block<const BYTES: usize>(block: &[u8; BYTES], is_it: impl Fn(u8) -> bool) -> bool {
    block.iter().fold(false, |found, byte| found | is_it(*byte))
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
