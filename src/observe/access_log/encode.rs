//! The parts of a line: numbers, addresses and texts, in the notation of each format.

use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use super::scan::any;
use crate::observe::hex;

/// The client on a Unix socket, which has no address; as in nginx.
const UNIX: &str = "unix:";

/// The first number with more than eight digits.
const NINE_DIGITS: u64 = 100_000_000;

/// Appends a number.
pub(super) fn number(line: &mut Vec<u8>, number: u64) {
    match u32::try_from(number) {
        // Zero has one digit, and none that is not zero.
        Ok(digit @ 0..10) => line.push(b'0' + digit as u8),
        Ok(number @ 10..100_000_000) => {
            let digits = eight_digits(number);
            let zeros = (digits ^ ZEROS).trailing_zeros() / 8;
            append_low_bytes(line, digits >> (8 * zeros), 8 - zeros as usize);
        }
        _ => large_number(line, number),
    }
}

#[cold]
#[inline(never)]
fn large_number(line: &mut Vec<u8>, large: u64) {
    number(line, large / NINE_DIGITS);
    append_low_bytes(line, eight_digits((large % NINE_DIGITS) as u32), 8);
}

/// The digit zero in each byte.
const ZEROS: u64 = u64::from_ne_bytes([b'0'; 8]);

/// Returns the digits of a number of at most eight, the first one in the lowest byte. It computes all of them at once, as a line has many
/// numbers.
fn eight_digits(number: u32) -> u64 {
    let number = u64::from(number);
    // The word is split into two groups of four digits, then four of two, then eight of one. A product and a shift divide each group by a
    // hundred or by ten, and are exact for groups of four and of two digits.
    let (high, low) = (number / 10_000, number % 10_000);
    let fours = high | low << 32;
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let twos = hundreds | (fours - hundreds * 100) << 16;
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    ZEROS | tens | (twos - tens * 10) << 8
}

/// Appends the lowest bytes of a word. It copies the word whole and takes off the rest, which needs no call of a function that copies.
fn append_low_bytes(line: &mut Vec<u8>, word: u64, length: usize) {
    let end = line.len() + length;
    line.extend_from_slice(&word.to_le_bytes());
    line.truncate(end);
}

/// Appends millionths as six digits behind a point.
pub(super) fn millionths(line: &mut Vec<u8>, number: u32) {
    let six = eight_digits(number) >> 16;
    append_low_bytes(line, six << 8 | u64::from(b'.'), 7);
}

/// Appends milliseconds, with three digits behind the point.
pub(super) fn millis(line: &mut Vec<u8>, duration: Duration) {
    let micros = duration.subsec_micros();
    // There are less than a million of them, so the first two of the eight digits are zero.
    let six = eight_digits(micros) >> 16;
    let fraction = six >> 24 << 8 | u64::from(b'.');
    if duration.as_secs() > 0 {
        number(line, duration.as_secs().saturating_mul(1000).saturating_add((micros / 1000).into()));
        return append_low_bytes(line, fraction, 4);
    }
    let word = six & 0x00ff_ffff | fraction << 24;
    let zeros = usize::from(micros < 100_000) + usize::from(micros < 10_000);
    append_low_bytes(line, word >> (8 * zeros), 7 - zeros);
}

/// Appends the address of a client, or `unix:`.
pub(super) fn address(line: &mut Vec<u8>, client: Option<IpAddr>) {
    match client {
        Some(IpAddr::V4(address)) => {
            for (index, octet) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    line.push(b'.');
                }
                number(line, octet.into());
            }
        }
        // Writing to a vector does not fail.
        Some(IpAddr::V6(address)) => drop(write!(line, "{address}")),
        None => line.extend_from_slice(UNIX.as_bytes()),
    }
}

/// Appends a text as JSON writes it, in quotes. Of a longer text it takes no more than `bytes_max` bytes.
pub(super) fn json(line: &mut Vec<u8>, text: &[u8], bytes_max: usize) {
    line.push(b'"');
    json_unquoted(line, text, bytes_max);
    line.push(b'"');
}

/// Appends a text as JSON writes it, without the quotes around it.
///
/// Bytes that are not UTF-8 become U+FFFD. Besides what JSON requires, it escapes the other control characters and the line separators, so
/// that the line is one line to every reader and controls no terminal.
pub(super) fn json_unquoted(line: &mut Vec<u8>, text: &[u8], bytes_max: usize) {
    let text = cut(text, bytes_max);
    if is_plain(text) { line.extend_from_slice(text) } else { json_escaped(line, text) }
}

/// Returns true for a byte that is not printable ASCII, or is a quote or a backslash.
fn needs_escape(byte: u8) -> bool {
    !(b' '..0x7f).contains(&byte) | (byte == b'"') | (byte == b'\\')
}

/// Returns true for such a byte and for a space, which ends a text without quotes.
fn needs_escape_in_word(byte: u8) -> bool {
    needs_escape(byte) | (byte == b' ')
}

/// Returns true for a text that JSON has as it is.
fn is_plain(text: &[u8]) -> bool {
    !any(text, needs_escape)
}

/// Does so for a text with escapes, away from the code of the many texts that have none.
#[cold]
#[inline(never)]
fn json_escaped(line: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        json_part(line, chunk.valid());
        if !chunk.invalid().is_empty() {
            line.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// Returns true for a byte that a JSON string does not have as it is, or with which such a character may begin.
fn is_special(byte: u8) -> bool {
    matches!(byte, 0..0x20 | b'"' | b'\\' | 0x7f | 0xc2 | 0xe2)
}

fn json_part(line: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| is_special(*byte)) {
        let (plain, special) = rest.split_at_checked(at).unwrap_or_default();
        line.extend_from_slice(plain);
        let length = match special {
            [b'"', ..] => escaped(line, b"\\\"", 1),
            [b'\\', ..] => escaped(line, b"\\\\", 1),
            [b'\n', ..] => escaped(line, b"\\n", 1),
            [b'\r', ..] => escaped(line, b"\\r", 1),
            [b'\t', ..] => escaped(line, b"\\t", 1),
            [byte @ (..0x20 | 0x7f), ..] => {
                line.extend_from_slice(b"\\u00");
                hex_digits(line, &[*byte]);
                1
            }
            // U+0080 to U+009F.
            [0xc2, second @ 0x80..=0x9f, ..] => {
                line.extend_from_slice(b"\\u00");
                hex_digits(line, &[*second]);
                2
            }
            // U+2028 and U+2029.
            [0xe2, 0x80, 0xa8, ..] => escaped(line, b"\\u2028", 3),
            [0xe2, 0x80, 0xa9, ..] => escaped(line, b"\\u2029", 3),
            [first, ..] => escaped(line, &[*first], 1),
            [] => return,
        };
        rest = special.get(length..).unwrap_or_default();
    }
    line.extend_from_slice(rest);
}

/// Appends an escape, and returns the number of bytes that it stands for.
fn escaped(line: &mut Vec<u8>, escape: &[u8], length: usize) -> usize {
    line.extend_from_slice(escape);
    length
}

/// Appends bytes as hexadecimal digits.
pub(super) fn hex_digits(line: &mut Vec<u8>, bytes: &[u8]) {
    let (fours, rest) = bytes.as_chunks::<4>();
    fours.iter().for_each(|bytes| line.extend_from_slice(&hex::digits(*bytes)));
    rest.iter().for_each(|byte| line.extend_from_slice(&hex::two_digits(*byte)));
}

/// Appends a text as a value of logfmt: as it is, or as a JSON string if it has anything but visible ASCII, or a character that has a
/// meaning there.
pub(super) fn logfmt(line: &mut Vec<u8>, text: &[u8], bytes_max: usize) {
    let has_meaning = |byte: u8| needs_escape_in_word(byte) | (byte == b'=');
    if !text.is_empty() && text.len() <= bytes_max && !any(text, has_meaning) {
        line.extend_from_slice(text);
    } else {
        json(line, text, bytes_max);
    }
}

/// Appends a text as Apache and nginx do: quotes, backslashes and everything that is not printable ASCII are `\xHH`, so that nothing a
/// client sends can end the field or the line, or control a terminal.
pub(super) fn apache(line: &mut Vec<u8>, text: &[u8], bytes_max: usize) {
    apache_escaped(line, cut(text, bytes_max), needs_escape);
}

/// Does the same for a text that has no quotes around it, and so can have no spaces.
pub(super) fn apache_word(line: &mut Vec<u8>, text: &[u8], bytes_max: usize) {
    apache_escaped(line, cut(text, bytes_max), needs_escape_in_word);
}

fn apache_escaped(line: &mut Vec<u8>, text: &[u8], has_escape: impl Fn(u8) -> bool + Copy) {
    if !any(text, has_escape) {
        return line.extend_from_slice(text);
    }
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| has_escape(*byte)) {
        let (plain, special) = rest.split_at_checked(at).unwrap_or_default();
        line.extend_from_slice(plain);
        let Some((byte, after)) = special.split_first() else { return };
        // Writing to a vector does not fail.
        drop(write!(line, "\\x{byte:02X}"));
        rest = after;
    }
    line.extend_from_slice(rest);
}

/// Cuts a text after at most that many bytes, before a character that would be cut.
#[inline]
fn cut(text: &[u8], bytes_max: usize) -> &[u8] {
    if text.len() <= bytes_max { text } else { cut_off(text, bytes_max) }
}

/// Does so for a text that is longer, away from the code of the many that are not.
#[cold]
#[inline(never)]
fn cut_off(text: &[u8], bytes_max: usize) -> &[u8] {
    let cut = text.get(..bytes_max).unwrap_or(text);
    let is_inside = |at: &usize| text.get(*at).is_some_and(|byte| byte & 0xc0 == 0x80);
    let end = (bytes_max.saturating_sub(3)..=bytes_max).rev().find(|at| !is_inside(at)).unwrap_or(bytes_max);
    cut.get(..end).unwrap_or(cut)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut line = Vec::new();
        write(&mut line);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn numbers_and_times_have_all_their_digits() {
        let powers = (0..20).map(|power| 10u64.pow(power));
        let around = powers.flat_map(|power| [power - 1, power, power + 1, power.saturating_mul(7)]);
        for value in around.chain([0, 1024, 12_345_678, 90_909_090, u64::from(u32::MAX), u64::MAX]) {
            assert_eq!(written(|line| number(line, value)), value.to_string());
        }
        for value in 0..10_000 {
            assert_eq!(
                eight_digits(value * 10_001).to_le_bytes(),
                *format!("{:08}", value * 10_001).as_bytes()
            );
        }
        for (micros, expected) in [
            (0, "0.000"),
            (1, "0.001"),
            (1200, "1.200"),
            (9_999, "9.999"),
            (10_000, "10.000"),
            (99_999, "99.999"),
            (100_000, "100.000"),
            (987_654, "987.654"),
            (999_999, "999.999"),
            (1_000_000, "1000.000"),
            (61_000_001, "61000.001"),
        ] {
            assert_eq!(written(|line| millis(line, Duration::from_micros(micros))), expected);
        }
        for (micros, expected) in [(0, ".000000"), (42, ".000042"), (987_654, ".987654")] {
            assert_eq!(written(|line| millionths(line, micros)), expected);
        }
    }

    #[test]
    fn addresses_are_printed_as_usual() {
        for text in ["127.0.0.1", "255.10.0.9", "::1", "2001:db8::7", "::ffff:1.2.3.4"] {
            assert_eq!(written(|line| address(line, Some(text.parse().unwrap()))), text);
        }
        assert_eq!(written(|line| address(line, None)), "unix:");
    }

    #[test]
    fn text_has_the_escapes_of_its_format() {
        for (text, in_json, in_logfmt, in_apache) in [
            (&b"/a?b"[..], r#""/a?b""#, "/a?b", "/a?b"),
            (b"", r#""""#, r#""""#, ""),
            (b"a b", r#""a b""#, r#""a b""#, "a b"),
            (b"/?a=1", r#""/?a=1""#, r#""/?a=1""#, "/?a=1"),
            (b"\"\\", r#""\"\\""#, r#""\"\\""#, r"\x22\x5C"),
            (
                b"\n\r\t\x1b\0\x7f",
                r#""\n\r\t\u001b\u0000\u007f""#,
                r#""\n\r\t\u001b\u0000\u007f""#,
                r"\x0A\x0D\x09\x1B\x00\x7F",
            ),
            ("é".as_bytes(), "\"é\"", "\"é\"", r"\xC3\xA9"),
            ("\u{85}\u{a0}".as_bytes(), "\"\\u0085\u{a0}\"", "\"\\u0085\u{a0}\"", r"\xC2\x85\xC2\xA0"),
            (
                "\u{2028}\u{2029}\u{2030}".as_bytes(),
                "\"\\u2028\\u2029\u{2030}\"",
                "\"\\u2028\\u2029\u{2030}\"",
                r"\xE2\x80\xA8\xE2\x80\xA9\xE2\x80\xB0",
            ),
            (b"a\xffb", "\"a\u{fffd}b\"", "\"a\u{fffd}b\"", r"a\xFFb"),
        ] {
            assert_eq!(written(|line| json(line, text, 99)), in_json);
            assert_eq!(written(|line| logfmt(line, text, 99)), in_logfmt);
            assert_eq!(written(|line| apache(line, text, 99)), in_apache);
        }
        assert_eq!(written(|line| apache_word(line, b"a b\"", 99)), r"a\x20b\x22");
    }

    #[test]
    fn text_is_plain_unless_a_byte_of_it_is_not_wherever_it_is() {
        for length in 0..20 {
            assert!(
                is_plain(&vec![b'a'; length])
                    && is_plain(&vec![b' '; length])
                    && is_plain(&vec![b'~'; length])
            );
            for at in 0..length {
                for byte in 0..=u8::MAX {
                    let mut text = vec![b'z'; length];
                    text[at] = byte;
                    let expected = matches!(byte, 0x20..0x7f) && !matches!(byte, b'"' | b'\\');
                    assert_eq!(is_plain(&text), expected, "{byte:#x} at {at} of {length}");
                }
            }
        }
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        for (bytes_max, expected) in
            [(11, "aé€𝄞"), (10, "aé€𝄞"), (9, "aé€"), (6, "aé€"), (5, "aé"), (2, "a"), (0, "")]
        {
            assert_eq!(std::str::from_utf8(cut("aé€𝄞".as_bytes(), bytes_max)), Ok(expected), "{bytes_max}");
        }
        assert_eq!(cut(&[0x80; 9], 4), [0x80; 4]);
    }

    proptest! {
        #[test]
        fn ascii_is_what_a_reader_of_json_gets_back(text in "[ -~]{0,8}[\\x00-\\x7f]{0,1}[ -~]{0,16}") {
            let line = written(|line| json(line, text.as_bytes(), usize::MAX));
            prop_assert!(!line.chars().any(char::is_control), "{line:?}");
            prop_assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
        }

        #[test]
        fn any_text_is_one_that_the_readers_of_its_format_get_back(text: Vec<u8>, bytes_max in 0_usize..40) {
            let lossy = String::from_utf8_lossy(&text);
            for write in [json, logfmt] {
                let line = written(|line| write(line, &text, usize::MAX));
                prop_assert!(!line.chars().any(|char| char.is_control() || "\u{2028}\u{2029}".contains(char)), "{line:?}");
                if line.starts_with('"') {
                    prop_assert_eq!(serde_json::from_str::<String>(&line).unwrap(), lossy.as_ref());
                } else {
                    prop_assert_eq!(&line, lossy.as_ref());
                }
                let short = written(|line| write(line, &text, bytes_max));
                prop_assert!(!short.starts_with('"') || serde_json::from_str::<String>(&short).is_ok());
            }
            let line = written(|line| apache(line, &text, usize::MAX));
            prop_assert!(line.bytes().all(|byte| (b' '..0x7f).contains(&byte) && byte != b'"'));
        }
    }
}
