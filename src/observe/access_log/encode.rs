//! The parts of a line: numbers, addresses and texts, in the notation of each format.

use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

/// The client on a Unix socket, which has no address; as in nginx.
const UNIX: &str = "unix:";

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Marks the bytes that a JSON string does not have as they are, and those with which such a character may begin.
static SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let mut byte = 0;
    while byte < special.len() {
        #[allow(clippy::indexing_slicing, reason = "the loop ends at the length, and the compiler runs it")]
        {
            special[byte] = byte < 0x20 || matches!(byte as u8, b'"' | b'\\' | 0x7f | 0xc2 | 0xe2);
        }
        byte += 1;
    }
    special
};

fn is_special(byte: u8) -> bool {
    SPECIAL.get(usize::from(byte)).is_none_or(|special| *special)
}

/// Appends a number.
pub(super) fn number(line: &mut Vec<u8>, number: u64) {
    // Most numbers of a line are small, and an array of a known length is appended without a call.
    let digit = |number: u64| b'0' + (number % 10) as u8;
    match number {
        0..10 => line.push(digit(number)),
        10..100 => line.extend_from_slice(&[digit(number / 10), digit(number)]),
        100..1000 => line.extend_from_slice(&[digit(number / 100), digit(number / 10), digit(number)]),
        _ => large_number(line, number),
    }
}

fn large_number(line: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut unused = digits.len();
    for digit in digits.iter_mut().rev() {
        // Less than ten.
        *digit = b'0' + (number % 10) as u8;
        unused -= 1;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    line.extend_from_slice(digits.get(unused..).unwrap_or_default());
}

/// Appends a fraction of one as digits behind a point.
pub(super) fn fraction<const DIGITS: usize>(line: &mut Vec<u8>, mut number: u32) {
    let mut digits = [0; DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    line.push(b'.');
    line.extend_from_slice(&digits);
}

/// Appends milliseconds, with three digits behind the point.
pub(super) fn millis(line: &mut Vec<u8>, duration: Duration) {
    let micros = duration.subsec_micros();
    if duration.as_secs() > 0 {
        number(line, duration.as_secs().saturating_mul(1000).saturating_add((micros / 1000).into()));
        return fraction::<3>(line, micros % 1000);
    }
    // Six digits and the point in one word, without the zeros in front.
    let digit = |power: u32| b'0' + (micros / power % 10) as u8;
    let point = b'.';
    let digits = [digit(100_000), digit(10_000), digit(1000), point, digit(100), digit(10), digit(1), point];
    let zeros = usize::from(micros < 100_000) + usize::from(micros < 10_000);
    let end = line.len() + 7 - zeros;
    line.extend_from_slice(&(u64::from_le_bytes(digits) >> (8 * zeros)).to_le_bytes());
    line.truncate(end);
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
    if let Some(padded) = padded(text) {
        if is_plain(&padded) {
            // A copy of 16 bytes is a few instructions, and one of any length a call.
            let end = line.len() + text.len();
            line.extend_from_slice(&padded);
            return line.truncate(end);
        }
    } else if is_plain(text) {
        return line.extend_from_slice(text);
    }
    for chunk in text.utf8_chunks() {
        json_part(line, chunk.valid());
        if !chunk.invalid().is_empty() {
            line.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// Returns a text of at most 16 bytes with spaces behind it. It is put together from its start and its end, which may overlap.
fn padded(text: &[u8]) -> Option<[u8; 16]> {
    let bits = |bytes: usize| u32::try_from(8 * bytes).unwrap_or(u32::MAX);
    let joined = |start: u128, end: u128, end_at: usize| start | end << bits(end_at);
    let word = match text {
        [] => 0,
        [byte] => u128::from(*byte),
        [first, second] => joined((*first).into(), (*second).into(), 1),
        [first, second, third] => joined(joined((*first).into(), (*second).into(), 1), (*third).into(), 2),
        _ => match (text.first_chunk::<8>(), text.last_chunk::<8>()) {
            _ if text.len() > 16 => return None,
            (Some(start), Some(end)) => {
                let [start, end] = [start, end].map(|bytes| u64::from_le_bytes(*bytes).into());
                joined(start, end, text.len() - 8)
            }
            _ => {
                let [start, end] = [text.first_chunk()?, text.last_chunk()?]
                    .map(|bytes: &[u8; 4]| u32::from_le_bytes(*bytes).into());
                joined(start, end, text.len() - 4)
            }
        },
    };
    let spaces = u128::from_le_bytes([b' '; 16]).checked_shl(bits(text.len())).unwrap_or(0);
    Some((word | spaces).to_le_bytes())
}

/// Returns true for printable ASCII without quotes and backslashes, which JSON has as it is. It looks at eight bytes at a time, since most
/// texts are of this kind, and a line has many.
fn is_plain(text: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const TOPS: u64 = ONES << 7;
    /// Marks the bytes that are zero, and perhaps others above one that is.
    const fn zeros(word: u64) -> u64 {
        word.wrapping_sub(ONES) & !word
    }
    let (words, rest) = text.as_chunks();
    let found = words.iter().fold(0, |found, bytes| {
        let word = u64::from_ne_bytes(*bytes);
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let other = |byte: u8| zeros(word ^ (ONES * u64::from(byte)));
        found | word | control | other(b'"') | other(b'\\') | other(0x7f)
    });
    found & TOPS == 0 && !rest.iter().any(|byte| is_special(*byte) || !byte.is_ascii())
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
                hex(line, &[*byte]);
                1
            }
            // U+0080 to U+009F.
            [0xc2, second @ 0x80..=0x9f, ..] => {
                line.extend_from_slice(b"\\u00");
                hex(line, &[*second]);
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
pub(super) fn hex(line: &mut Vec<u8>, bytes: &[u8]) {
    let digit = |value: u8| HEX.get(usize::from(value)).copied().unwrap_or(b'0');
    line.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
}

/// Appends a text as a value of logfmt: as it is, or as a JSON string if it has anything but visible ASCII, or a character that has a
/// meaning there.
pub(super) fn logfmt(line: &mut Vec<u8>, text: &[u8], bytes_max: usize) {
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'=' | b'\\');
    if !text.is_empty() && text.len() <= bytes_max && text.iter().all(is_plain) {
        line.extend_from_slice(text);
    } else {
        json(line, text, bytes_max);
    }
}

/// Appends a text as Apache and nginx do: quotes, backslashes and everything that is not printable ASCII are `\xHH`, so that nothing a
/// client sends can end the field or the line, or control a terminal.
pub(super) fn apache(line: &mut Vec<u8>, text: &[u8], bytes_max: usize) {
    apache_escaped(line, cut(text, bytes_max), |byte| matches!(byte, b'"' | b'\\' | ..b' ' | 0x7f..));
}

/// Does the same for a text that has no quotes around it, and so can have no spaces.
pub(super) fn apache_word(line: &mut Vec<u8>, text: &[u8], bytes_max: usize) {
    apache_escaped(line, cut(text, bytes_max), |byte| matches!(byte, b'"' | b'\\' | ..=b' ' | 0x7f..));
}

fn apache_escaped(line: &mut Vec<u8>, text: &[u8], has_escape: impl Fn(u8) -> bool) {
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
fn cut(text: &[u8], bytes_max: usize) -> &[u8] {
    let Some(cut) = text.get(..bytes_max).filter(|cut| cut.len() < text.len()) else { return text };
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
        for value in [0, 7, 10, 99, 100, 999, 1000, 1024, u64::from(u32::MAX), u64::MAX] {
            assert_eq!(written(|line| number(line, value)), value.to_string());
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
        assert_eq!(written(|line| fraction::<6>(line, 42)), ".000042");
    }

    #[test]
    fn short_text_has_spaces_behind_it_and_a_longer_one_is_none() {
        let text = b"0123456789abcdefg";
        for length in 0..text.len() {
            let expected = format!("{:16}", std::str::from_utf8(&text[..length]).unwrap());
            assert_eq!(padded(&text[..length]).as_ref().map(<[u8; 16]>::as_slice), Some(expected.as_bytes()));
        }
        assert_eq!(padded(text), None);
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
