use proptest::prelude::*;

use super::*;

fn encoded(text: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    encode(text, &mut out);
    out
}

fn decoded(coded: &[u8]) -> Result<Vec<u8>, HpackError> {
    let mut out = BytesMut::from(&b"begin"[..]);
    decode(coded, &mut out)?;
    Ok(out.strip_prefix(b"begin").unwrap().to_vec())
}

/// Decodes bit by bit: a code is complete as soon as it is equal to one of the table.
fn decoded_bitwise(coded: &[u8]) -> Result<Vec<u8>, HpackError> {
    let bits = coded.iter().flat_map(|byte| (0..8).rev().map(move |shift| byte >> shift & 1));
    let (mut text, mut code, mut length, mut ones) = (Vec::new(), 0u32, 0u8, true);
    for bit in bits {
        (code, length, ones) = (code << 1 | u32::from(bit), length + 1, ones && bit == 1);
        if let Some(symbol) = CODES.iter().position(|known| *known == (code, length)) {
            text.push(symbol as u8);
            (code, length, ones) = (0, 0, true);
        } else if length == 30 {
            return Err(HpackError::HuffmanEos);
        }
    }
    if length < 8 && ones { Ok(text) } else { Err(HpackError::HuffmanPadding) }
}

/// Codes that RFC 7541 Appendix B lists: the first and the last of each length that has several.
#[test]
fn codes_are_those_of_appendix_b() {
    for (symbol, code, length) in [
        (b'0', 0x0, 5),
        (b't', 0x9, 5),
        (b' ', 0x14, 6),
        (b'u', 0x2d, 6),
        (b':', 0x5c, 7),
        (b'z', 0x7b, 7),
        (b'&', 0xf8, 8),
        (b'Z', 0xfd, 8),
        (b'!', 0x3f8, 10),
        (b'?', 0x3fc, 10),
        (b'\'', 0x7fa, 11),
        (b'#', 0xffa, 12),
        (0, 0x1ff8, 13),
        (b'~', 0x1ffd, 13),
        (b'^', 0x3ffc, 14),
        (b'<', 0x7ffc, 15),
        (b'{', 0x7ffe, 15),
        (b'\\', 0x7fff0, 19),
        (0x80, 0xfffe6, 20),
        (0x99, 0x1fffdc, 21),
        (1, 0x7fffd8, 23),
        (9, 0xffffea, 24),
        (199, 0x1ffffec, 25),
        (255, 0x3ffffee, 26),
        (254, 0x7fffff0, 27),
        (2, 0xfffffe2, 28),
        (249, 0xffffffe, 28),
        (10, 0x3ffffffc, 30),
        (22, 0x3ffffffe, 30),
    ] {
        assert_eq!(CODES[usize::from(symbol)], (code, length), "{symbol}");
    }
}

#[test]
fn every_octet_survives_a_round_trip() {
    let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
    for end in 0..=all.len() {
        let text = &all[..end];
        let coded = encoded(text);
        assert_eq!(coded.len(), encoded_len(text));
        assert_eq!(decoded(&coded).as_deref(), Ok(text));
    }
}

#[test]
fn malformed_strings_are_rejected() {
    use HpackError::*;
    for (coded, expected) in [
        (&b""[..], Ok(&b""[..])),
        // `a` is 00011.
        (&[0b0001_1111], Ok(b"a")),
        (&[0b0001_1110], Err(HuffmanPadding)),
        (&[0b0001_1000], Err(HuffmanPadding)),
        // `&` is 11111000; the padding has 8 bits.
        (&[0b1111_1000, 0xff], Err(HuffmanPadding)),
        (&[0xff], Err(HuffmanPadding)),
        (&[0b0001_1111, 0xff], Err(HuffmanPadding)),
        (&[0b0001_1111, 0xff, 0xff, 0xff], Err(HuffmanPadding)),
        // A code that is cut, if the rest of it was zeros.
        (&[0b1111_1110], Err(HuffmanPadding)),
        (&[0xff, 0xff, 0xff, 0xfc], Err(HuffmanEos)),
        (&[0xff, 0xff, 0xff, 0xff], Err(HuffmanEos)),
        (&[0b0001_1111, 0xff, 0xff, 0xff, 0xff], Err(HuffmanEos)),
        // `\n` is the first code of 30 bits.
        (&[0xff, 0xff, 0xff, 0xf3], Ok(b"\n")),
        (&[0xff, 0xff, 0xff, 0xf0], Err(HuffmanPadding)),
    ] {
        assert_eq!(decoded(coded).as_deref(), expected.as_ref().map(|text| *text), "{coded:x?}");
        assert_eq!(decoded_bitwise(coded).as_deref(), expected.as_ref().map(|text| *text), "{coded:x?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_survive_a_round_trip(text: Vec<u8>) {
        let coded = encoded(&text);
        prop_assert_eq!(coded.len(), encoded_len(&text));
        prop_assert_eq!(decoded(&coded), Ok(text));
    }

    #[test]
    fn text_survives_a_round_trip(text in "[ -~]{0,300}") {
        prop_assert_eq!(decoded(&encoded(text.as_bytes())), Ok(text.into_bytes()));
    }

    #[test]
    fn decoding_agrees_with_a_bitwise_decoder(coded: Vec<u8>) {
        prop_assert_eq!(decoded(&coded), decoded_bitwise(&coded));
    }

    /// Random bytes rarely end validly. These are valid strings of which the end is changed.
    #[test]
    fn decoding_agrees_with_a_bitwise_decoder_about_ends(text in "[ -~]{0,30}", cut in 0..3usize, end: Vec<u8>, ones in 0..5usize) {
        let mut coded = encoded(text.as_bytes()).to_vec();
        coded.truncate(coded.len().saturating_sub(cut));
        coded.extend(end.into_iter().take(2));
        coded.resize(coded.len() + ones, 0xff);
        prop_assert_eq!(decoded(&coded), decoded_bitwise(&coded));
    }
}
