//! Names in certificates as text: distinguished names (RFC 4514) and the kinds of a subjectAltName (RFC 5280 §4.2.1.6).

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::reader::{OBJECT_IDENTIFIER, Reader, SEQUENCE, SET};

/// The short names of attributes, by the content of their identifiers: those of RFC 4514 §3, and those that OpenSSL shows.
const ATTRIBUTES: &[(&[u8], &str)] = &[
    (COMMON_NAME, "CN"),
    (&[0x55, 0x04, 0x04], "SN"),
    (&[0x55, 0x04, 0x05], "serialNumber"),
    (&[0x55, 0x04, 0x06], "C"),
    (&[0x55, 0x04, 0x07], "L"),
    (&[0x55, 0x04, 0x08], "ST"),
    (&[0x55, 0x04, 0x09], "street"),
    (&[0x55, 0x04, 0x0a], "O"),
    (&[0x55, 0x04, 0x0b], "OU"),
    (&[0x55, 0x04, 0x0c], "title"),
    (&[0x55, 0x04, 0x2a], "GN"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x01], "UID"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19], "DC"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01], "emailAddress"),
];

/// 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

const UTF8_STRING: u8 = 0x0c;
const NUMERIC_STRING: u8 = 0x12;
const PRINTABLE_STRING: u8 = 0x13;
const TELETEX_STRING: u8 = 0x14;
const IA5_STRING: u8 = 0x16;
const VISIBLE_STRING: u8 = 0x1a;
const UNIVERSAL_STRING: u8 = 0x1c;
const BMP_STRING: u8 = 0x1e;

/// A name of a subjectAltName, of the kinds that clients are known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AltName {
    Email(String),
    /// A DNS name, in lower case.
    Dns(String),
    Uri(String),
    Ip(IpAddr),
}

impl std::fmt::Display for AltName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Email(text) | Self::Dns(text) | Self::Uri(text) => f.write_str(text),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

/// Parses the value of a subjectAltName. Returns `None` if it is malformed. Names of other kinds, and those that are not visible
/// ASCII, are left out.
pub(super) fn alt_names(value: &[u8]) -> Option<Vec<AltName>> {
    let mut names = Vec::new();
    let mut reader = Reader(value).only(SEQUENCE)?;
    while !reader.0.is_empty() {
        let element = reader.next()?;
        // IA5String of visible letters. A NUL would end the name for a program in C, and not for another one.
        let is_visible = !element.content.is_empty() && element.content.iter().all(u8::is_ascii_graphic);
        let text = || std::str::from_utf8(element.content).ok().filter(|_| is_visible).map(str::to_owned);
        names.extend(match element.tag {
            0x81 => text().map(AltName::Email),
            0x82 => text().map(|name| AltName::Dns(name.to_ascii_lowercase())),
            0x86 => text().map(AltName::Uri),
            0x87 => ip(element.content).map(AltName::Ip),
            _ => None,
        });
    }
    Some(names)
}

fn ip(content: &[u8]) -> Option<IpAddr> {
    match content.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(content).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(content).ok()?).into()),
        _ => None,
    }
}

/// Returns a distinguished name as text, the last part first (RFC 4514 §2.1). `name` is the content of its SEQUENCE. Returns `None`
/// if it is malformed.
pub(super) fn text_of(name: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    let mut sets = Reader(name);
    while !sets.0.is_empty() {
        let mut part = String::new();
        let mut set = Reader(sets.expect(SET)?.content);
        while !set.0.is_empty() {
            if !part.is_empty() {
                part.push('+');
            }
            push_attribute(&mut set, &mut part)?;
        }
        parts.push(part);
    }
    parts.reverse();
    Some(parts.join(","))
}

/// Returns the most specific common name: the last one of a distinguished name that has one.
pub(super) fn common_name(name: &[u8]) -> Option<String> {
    let mut found = None;
    let mut sets = Reader(name);
    while !sets.0.is_empty() {
        let mut set = Reader(sets.expect(SET)?.content);
        while !set.0.is_empty() {
            let mut attribute = Reader(set.expect(SEQUENCE)?.content);
            if attribute.expect(OBJECT_IDENTIFIER)?.content == COMMON_NAME {
                let value = attribute.next()?;
                found = string(value.tag, value.content);
            }
        }
    }
    found
}

/// Reads an attribute and appends `TYPE=VALUE`.
fn push_attribute(set: &mut Reader<'_>, text: &mut String) -> Option<()> {
    let mut attribute = Reader(set.expect(SEQUENCE)?.content);
    let identifier = attribute.expect(OBJECT_IDENTIFIER)?.content;
    let value = attribute.next()?;
    let known = ATTRIBUTES.iter().find(|(known, _)| *known == identifier);
    match (known, string(value.tag, value.content)) {
        (Some((_, name)), Some(value)) => {
            text.push_str(name);
            text.push('=');
            push_escaped(&value, text);
        }
        // A value without a known form is shown by its bytes (RFC 4514 §2.4).
        (known, _) => {
            match known {
                Some((_, name)) => text.push_str(name),
                None => push_identifier(identifier, text)?,
            }
            text.push_str("=#");
            value.whole.iter().for_each(|byte| push_hex(*byte, text));
        }
    }
    Some(())
}

/// Decodes a string.
fn string(tag: u8, content: &[u8]) -> Option<String> {
    match tag {
        UTF8_STRING | NUMERIC_STRING | PRINTABLE_STRING | IA5_STRING | VISIBLE_STRING => {
            String::from_utf8(content.to_vec()).ok()
        }
        // In practice Latin-1.
        TELETEX_STRING => Some(content.iter().map(|byte| char::from(*byte)).collect()),
        BMP_STRING => {
            let (units, []) = content.as_chunks::<2>() else { return None };
            String::from_utf16(&units.iter().map(|unit| u16::from_be_bytes(*unit)).collect::<Vec<_>>()).ok()
        }
        UNIVERSAL_STRING => {
            let (units, []) = content.as_chunks::<4>() else { return None };
            units.iter().map(|unit| char::from_u32(u32::from_be_bytes(*unit))).collect()
        }
        _ => None,
    }
}

/// Appends a value with its special characters escaped (RFC 4514 §2.4). Control characters are escaped, too, as OpenSSL does.
fn push_escaped(value: &str, text: &mut String) {
    let last = value.chars().count().saturating_sub(1);
    for (at, char) in value.chars().enumerate() {
        match char {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', char]),
            '#' if at == 0 => text.push_str("\\#"),
            ' ' if at == 0 || at == last => text.push_str("\\ "),
            _ if char.is_control() => {
                for byte in char.encode_utf8(&mut [0; 4]).bytes() {
                    text.push('\\');
                    push_hex(byte, text);
                }
            }
            _ => text.push(char),
        }
    }
}

fn push_hex(byte: u8, text: &mut String) {
    // A string takes whatever is written to it.
    let _infallible = write!(text, "{byte:02X}");
}

/// Appends an identifier as numbers with dots between them (X.690 §8.19).
fn push_identifier(content: &[u8], text: &mut String) -> Option<()> {
    let mut number = 0_u64;
    let mut is_first = true;
    for byte in content {
        number = number.checked_mul(128)? | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            let _infallible = match is_first {
                true => {
                    let first = (number / 40).min(2);
                    write!(text, "{first}.{}", number - first * 40)
                }
                false => write!(text, ".{number}"),
            };
            (number, is_first) = (0, false);
        }
    }
    (!is_first).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        [&[tag, u8::try_from(content.len()).unwrap()], &content[..]].concat()
    }

    fn attribute(identifier: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
        element(SEQUENCE, &[&element(OBJECT_IDENTIFIER, &[identifier]), &element(tag, &[value])])
    }

    fn common(value: &str) -> Vec<u8> {
        attribute(COMMON_NAME, UTF8_STRING, value.as_bytes())
    }

    #[test]
    fn name_is_text_as_the_rfc_and_openssl_have_it() {
        let set = |attributes: &[&[u8]]| element(SET, attributes);
        let organisation = attribute(&[0x55, 4, 0x0a], PRINTABLE_STRING, b"Sue, Grabbit and Runn");
        for (name, expected) in [
            (
                vec![set(&[&organisation]), set(&[&common("L. Eagle")])],
                "CN=L. Eagle,O=Sue\\, Grabbit and Runn",
            ),
            (vec![set(&[&common("a"), &organisation])], "CN=a+O=Sue\\, Grabbit and Runn"),
            (vec![set(&[&common(" a#\u{e4}\" ")])], "CN=\\ a#\u{e4}\\\"\\ "),
            (vec![set(&[&common("#a\0\r\u{85}")])], "CN=\\#a\\00\\0D\\C2\\85"),
            (vec![set(&[&common(" ")])], "CN=\\ "),
            (vec![set(&[&attribute(&[0x55, 4, 3], BMP_STRING, &[0, b'x', 0x20, 0xac])])], "CN=x\u{20ac}"),
            (vec![set(&[&attribute(&[0x55, 4, 3], TELETEX_STRING, &[b'x', 0xe4])])], "CN=x\u{e4}"),
            (vec![set(&[&attribute(&[0x55, 4, 3], UNIVERSAL_STRING, &[0, 1, 0xf5, 0x12])])], "CN=\u{1f512}"),
            (vec![set(&[&attribute(&[0x55, 4, 3], UTF8_STRING, &[0xff])])], "CN=#0C01FF"),
            (vec![set(&[&attribute(&[0x2a, 0x03, 0x84, 0x10], UTF8_STRING, b"x")])], "1.2.3.528=#0C0178"),
            (vec![set(&[&attribute(&[0x88, 0x37], 0x04, b"x")])], "2.999=#040178"),
            (vec![], ""),
        ] {
            assert_eq!(text_of(&name.concat()).unwrap(), expected);
        }
        let two = [set(&[&common("outer")]), set(&[&organisation, &common("inner")])].concat();
        assert_eq!(common_name(&two).unwrap(), "inner");
        assert_eq!(common_name(&set(&[&organisation])), None);
        for cut in 1..two.len() {
            let _never_panics = (text_of(two.get(..cut).unwrap()), common_name(two.get(..cut).unwrap()));
        }
    }

    #[test]
    fn alternative_names_are_those_of_visible_letters() {
        let value = element(
            SEQUENCE,
            &[
                &element(0x82, &[b"A.Internal"]),
                &element(0x82, &[b"a.internal\0.evil"]),
                &element(0x82, &[b""]),
                &element(0x81, &[b"a@b.test"]),
                &element(0x86, &[b"spiffe://x/y"]),
                &element(0x87, &[&[10, 0, 0, 1]]),
                &element(0x87, &[&[10, 0, 0]]),
                &element(0x87, &[&Ipv6Addr::LOCALHOST.octets()]),
                &element(0xa4, &[&element(SEQUENCE, &[])]),
            ],
        );
        let names: Vec<String> = alt_names(&value).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["a.internal", "a@b.test", "spiffe://x/y", "10.0.0.1", "::1"]);
        assert_eq!(alt_names(&value[..value.len() - 1]), None);
        assert_eq!(alt_names(&[SEQUENCE, 2, 0x82, 5]), None);
    }
}
