//! Integers that begin within an octet (RFC 7541 §5.1).

use bytes::{BufMut, BytesMut};

use super::HpackError;

/// The number of octets after the prefix: five have 35 bits. RFC 7541 §5.1 has decoders bound it, because any number
/// of zeros can precede a value.
const OCTETS_MAX: u32 = 5;

/// Decodes an integer whose first octet, `first`, has been read from `rest`. The integer has its `prefix_bits` low
/// bits (1 to 8), and continues in `rest` if all of them are set.
///
/// Fails if the value exceeds 32 bits, has more than five octets after the prefix, or continues beyond `rest`.
pub(super) fn decode(first: u8, prefix_bits: u32, rest: &mut &[u8]) -> Result<usize, HpackError> {
    let prefix_max = u8::MAX >> (8 - prefix_bits);
    let prefix = first & prefix_max;
    if prefix < prefix_max { Ok(usize::from(prefix)) } else { decode_octets(prefix, rest) }
}

fn decode_octets(prefix: u8, rest: &mut &[u8]) -> Result<usize, HpackError> {
    let mut value = u64::from(prefix);
    for octet in 0..OCTETS_MAX {
        let (&byte, after) = rest.split_first().ok_or(HpackError::Truncated)?;
        *rest = after;
        value += u64::from(byte & 0x7f) << (octet * 7);
        if byte & 0x80 == 0 {
            let value = u32::try_from(value).map_err(|_| HpackError::IntegerOverflow)?;
            return usize::try_from(value).map_err(|_| HpackError::IntegerOverflow);
        }
    }
    Err(HpackError::IntegerOverflow)
}

/// Appends an integer with a prefix of `prefix_bits` bits (1 to 8). `pattern` has the bits before the prefix.
pub(super) fn encode(value: usize, pattern: u8, prefix_bits: u32, out: &mut BytesMut) {
    let prefix_max = u8::MAX >> (8 - prefix_bits);
    match u8::try_from(value) {
        Ok(small) if small < prefix_max => out.put_u8(pattern | small),
        _ => {
            out.put_u8(pattern | prefix_max);
            encode_octets(value - usize::from(prefix_max), out);
        }
    }
}

fn encode_octets(mut value: usize, out: &mut BytesMut) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(value: usize, pattern: u8, prefix_bits: u32) -> BytesMut {
        let mut out = BytesMut::new();
        encode(value, pattern, prefix_bits, &mut out);
        out
    }

    fn decoded(bytes: &[u8], prefix_bits: u32) -> Result<(usize, usize), HpackError> {
        let (&first, mut rest) = bytes.split_first().unwrap();
        decode(first, prefix_bits, &mut rest).map(|value| (value, rest.len()))
    }

    /// RFC 7541 Appendix C.1.
    #[test]
    fn integers_of_appendix_c_are_coded() {
        for (value, pattern, prefix_bits, bytes) in [
            (10, 0xe0, 5, &[0xea][..]),
            (10, 0, 5, &[0x0a]),
            (1337, 0, 5, &[0x1f, 0x9a, 0x0a]),
            (42, 0, 8, &[0x2a]),
        ] {
            assert_eq!(encoded(value, pattern, prefix_bits), bytes);
            assert_eq!(decoded(bytes, prefix_bits), Ok((value, 0)));
        }
    }

    #[test]
    fn integers_that_are_cut_or_too_large_are_rejected() {
        use HpackError::*;
        for (bytes, expected) in [
            (&[0x7f][..], Err(Truncated)),
            (&[0x7f, 0x80], Err(Truncated)),
            (&[0x7f, 0xff, 0xff, 0xff, 0xff], Err(Truncated)),
            (&[0x7f, 0x80, 0x80, 0x80, 0x80, 0x00], Ok((127, 0))),
            (&[0x7f, 0x80, 0x80, 0x80, 0x80, 0x80], Err(IntegerOverflow)),
            (&[0x7f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00], Err(IntegerOverflow)),
            (&[0x7f, 0x80, 0xff, 0xff, 0xff, 0x0f], Ok((u32::MAX as usize, 0))),
            (&[0x7f, 0x81, 0xff, 0xff, 0xff, 0x0f], Err(IntegerOverflow)),
            (&[0x7f, 0xff, 0xff, 0xff, 0xff, 0x7f], Err(IntegerOverflow)),
        ] {
            assert_eq!(decoded(bytes, 7), expected, "{bytes:x?}");
        }
    }

    proptest! {
        #[test]
        fn integers_survive_a_round_trip(value: u32, small in 0..300u32, prefix_bits in 1..=8u32) {
            for value in [value as usize, small as usize] {
                let mut bytes = encoded(value, 0, prefix_bits);
                bytes.put_u8(0x55);
                prop_assert_eq!(decoded(&bytes, prefix_bits), Ok((value, 1)));
            }
        }
    }
}
