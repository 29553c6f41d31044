//! Bytes as hexadecimal digits, for the identifiers that requests carry and lines show.

/// Returns the digits of four bytes, in lower case. It computes all of them at once.
pub(super) fn digits(bytes: [u8; 4]) -> [u8; 8] {
    // Each half of a byte in a byte of its own.
    let number = u64::from(u32::from_be_bytes(bytes));
    let halves = number << 16 & 0x0000_ffff_0000_0000 | number & 0xffff;
    let halves = halves << 8 & 0x00ff_0000_00ff_0000 | halves & 0x0000_00ff_0000_00ff;
    let halves = halves << 4 & 0x0f00_0f00_0f00_0f00 | halves & 0x000f_000f_000f_000f;
    // Each byte is one if its digit is a letter: six and ten or more carry into the high half.
    let letters = (halves + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    let to_letter = u64::from(b'a' - 10 - b'0');
    (halves + u64::from_ne_bytes([b'0'; 8]) + letters * to_letter).to_be_bytes()
}

/// Returns the digits of a byte, in lower case.
pub(super) fn two_digits(byte: u8) -> [u8; 2] {
    let [.., high, low] = digits([0, 0, 0, byte]);
    [high, low]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_each_byte_in_order() {
        for byte in 0..=u8::MAX {
            let bytes = [byte, !byte, byte.rotate_left(4), byte.wrapping_mul(7)];
            let expected: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(digits(bytes).as_slice(), expected.as_bytes());
            assert_eq!(two_digits(byte).as_slice(), &expected.as_bytes()[..2]);
        }
    }
}
