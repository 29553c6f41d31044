//! Certificates that no library makes: rewritten ones. None matches a signature any more but that of its own key.

/// A critical extension that no reader knows: 1.3.6.1.4.1.99999.1.
pub const UNKNOWN_CRITICAL_EXTENSION: &[u8] =
    b"\x30\x13\x06\x09\x2b\x06\x01\x04\x01\x86\x8d\x1f\x01\x01\x01\xff\x04\x03\x02\x01\x00";
/// An extension without a value.
pub const MALFORMED_EXTENSION: &[u8] = b"\x30\x05\x06\x03\x55\x1d\x63";
/// A subjectAltName with only a mail address.
pub const MAIL_ADDRESS: &[u8] = b"\x30\x0f\x06\x03\x55\x1d\x11\x04\x08\x30\x06\x81\x04a@b.";

/// Returns a certificate like that of `openssl x509 -req` without an extensions file: of version 1, which has no
/// extensions.
///
/// # Panics
/// Panics if `der` is not a certificate made by rcgen.
#[must_use]
pub fn as_version_1(der: &[u8]) -> Vec<u8> {
    let [to_be_signed, algorithm, signature] = elements(content(der)).try_into().expect("three parts");
    let parts = elements(content(to_be_signed));
    let kept = parts.iter().filter(|part| !matches!(part[0], 0xa0 | 0xa3)).copied().collect::<Vec<_>>();
    sequence(&[&sequence(&kept), algorithm, signature])
}

/// Returns a certificate that claims to be signed with MD5 and RSA.
///
/// # Panics
/// Panics if `der` is not a certificate made by rcgen.
#[must_use]
pub fn as_signed_with_md5(der: &[u8]) -> Vec<u8> {
    const MD5_WITH_RSA: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04\x05\x00";
    let [to_be_signed, _algorithm, signature] = elements(content(der)).try_into().expect("three parts");
    let mut parts = elements(content(to_be_signed));
    parts[2] = MD5_WITH_RSA;
    sequence(&[&sequence(&parts), MD5_WITH_RSA, signature])
}

/// Returns the consecutive DER elements, each with its tag and length.
fn elements(mut der: &[u8]) -> Vec<&[u8]> {
    let mut elements = Vec::new();
    while !der.is_empty() {
        let (header, length) = header(der);
        let (element, rest) = der.split_at(header + length);
        elements.push(element);
        der = rest;
    }
    elements
}

fn content(element: &[u8]) -> &[u8] {
    &element[header(element).0..]
}

/// Returns the length of an element's tag and length, and that of its content.
fn header(der: &[u8]) -> (usize, usize) {
    match der[1] {
        length @ 0..=0x7f => (2, length.into()),
        long => {
            let count = usize::from(long & 0x7f);
            (2 + count, der[2..2 + count].iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
        }
    }
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(0x30, parts)
}

fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u16::try_from(content.len()).expect("a small certificate").to_be_bytes();
    // DER takes the shortest form (X.690 §10.1).
    let header = match length {
        [0, length @ ..=0x7f] => vec![tag, length],
        [0, length] => vec![tag, 0x81, length],
        [high, low] => vec![tag, 0x82, high, low],
    };
    [header, content].concat()
}

/// Returns a certificate with another extension before its own.
///
/// # Panics
/// Panics if `der` is not a certificate made by rcgen.
#[must_use]
pub fn with_extension(der: &[u8], extension: &[u8]) -> Vec<u8> {
    rewritten(der, |parts| {
        let own = parts.iter().position(|part| part[0] == 0xa3);
        let own = own.map(|at| parts.remove(at)).unwrap_or_default();
        let own = if own.is_empty() { &[][..] } else { content(content(&own)) };
        parts.push(element(0xa3, &[&sequence(&[extension, own])]));
    })
}

/// Returns a certificate whose dates have no time zone.
///
/// # Panics
/// Panics if `der` is not a certificate made by rcgen.
#[must_use]
pub fn with_unreadable_dates(der: &[u8]) -> Vec<u8> {
    let date = element(0x17, &[b"250101000000"]);
    rewritten(der, |parts| parts[4] = sequence(&[&date, &date]))
}

/// Rewrites the fields of the signed part of a certificate.
fn rewritten(der: &[u8], rewrite: impl FnOnce(&mut Vec<Vec<u8>>)) -> Vec<u8> {
    let [to_be_signed, algorithm, signature] = elements(content(der)).try_into().expect("three parts");
    let mut parts = elements(content(to_be_signed)).into_iter().map(<[u8]>::to_vec).collect();
    rewrite(&mut parts);
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    sequence(&[&sequence(&parts), algorithm, signature])
}
