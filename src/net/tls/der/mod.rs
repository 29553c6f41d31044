//! The small part of DER (X.690 §10) that is parsed here: enough to find a certificate's key, dates, names and rights.
//!
//! webpki reads only version 3 certificates that follow the rules. A certificate that is trusted byte for byte, and one
//! that is not verified at all, may have any version and break any rule.

mod certificate;
mod name;
mod reader;

use rustls::pki_types::UnixTime;

pub(super) use self::certificate::{Certificate, Malformed};
pub(crate) use self::name::AltName;
use self::reader::{BIT_STRING, INTEGER, OBJECT_IDENTIFIER, Reader, SEQUENCE, time};

/// Returns true if `der` is one SEQUENCE and nothing else, as certificates, keys and revocation lists are.
pub(super) fn is_whole_sequence(der: &[u8]) -> bool {
    let mut reader = Reader(der);
    reader.expect(SEQUENCE).is_some() && reader.0.is_empty()
}

/// Returns the contents of a SEQUENCE that takes up the whole of `der`, or would if `der` were not cut off.
pub(super) fn inside_sequence(der: &[u8]) -> Option<&[u8]> {
    if is_whole_sequence(der) {
        return Reader(der).next().map(|element| element.content);
    }
    // Text may begin with the digit 0, which has the tag's code, but no text continues with a length of two bytes.
    match der {
        [SEQUENCE, 0x82, _, _, inside @ ..] => Some(inside),
        _ => None,
    }
}

/// Returns true if the contents of a SEQUENCE are an encrypted key in PKCS #8: an EncryptedPrivateKeyInfo (RFC 5958
/// §3), which begins with a password-based algorithm.
pub(super) fn is_encrypted_key(inside: &[u8]) -> bool {
    /// The algorithms of PKCS #5, PBES2 among them (RFC 8018 appendix C).
    const PKCS5: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05];
    /// The algorithms of PKCS #12, such as PBE-SHA1-3DES (RFC 7292 appendix C).
    const PKCS12: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x01];
    let algorithm = Reader(inside).expect(SEQUENCE).and_then(|algorithm| {
        let identifier = Reader(algorithm.content).expect(OBJECT_IDENTIFIER)?;
        Some(identifier.content)
    });
    algorithm.is_some_and(|identifier| [PKCS5, PKCS12].iter().any(|family| identifier.starts_with(family)))
}

/// Returns true if `der` may be a certificate revocation list.
pub(super) fn is_revocation_list(der: &[u8]) -> bool {
    updates(der).is_some()
}

/// Returns the time at which the next version of a revocation list is due, if the list names one.
pub(super) fn next_update(der: &[u8]) -> Option<UnixTime> {
    time(updates(der)?.next()?)
}

/// Returns the encoded name of a revocation list's issuer (RFC 5280 §5.1).
pub(super) fn issuer_of_list(der: &[u8]) -> Option<&[u8]> {
    Some(names_and_times(der)?.expect(SEQUENCE)?.content)
}

/// Returns true if `der` is a revocation list of version 1, the only version that a list does not name.
pub(super) fn is_revocation_list_of_version_1(der: &[u8]) -> bool {
    is_revocation_list(der) && revocation_list(der).is_some_and(|list| list.0.first() == Some(&SEQUENCE))
}

fn revocation_list(der: &[u8]) -> Option<Reader<'_>> {
    Some(Reader(Reader(Reader(der).expect(SEQUENCE)?.content).expect(SEQUENCE)?.content))
}

/// Returns a reader of a revocation list from its issuer on.
fn names_and_times(der: &[u8]) -> Option<Reader<'_>> {
    let mut list = revocation_list(der)?;
    list.skip(INTEGER)?;
    let _signature_algorithm = list.expect(SEQUENCE)?;
    Some(list)
}

/// Returns a reader of the part behind the time of a revocation list (RFC 5280 §5.1).
fn updates(der: &[u8]) -> Option<Reader<'_>> {
    let mut list = names_and_times(der)?;
    let _issuer = list.expect(SEQUENCE)?;
    let _this_update = time(list.next()?)?;
    Some(list)
}

/// Returns the key of a SubjectPublicKeyInfo as its algorithm encodes it: for RSA an RSAPublicKey.
pub(super) fn subject_public_key(info: &[u8]) -> Option<&[u8]> {
    let mut info = Reader(Reader(info).expect(SEQUENCE)?.content);
    let _algorithm = info.expect(SEQUENCE)?;
    match info.expect(BIT_STRING)?.content.split_first()? {
        (0, key) => Some(key),
        _unused_bits => None,
    }
}

#[cfg(test)]
mod tests {
    use support::Certificates;

    use super::reader::{Element, GENERALIZED_TIME, OCTET_STRING, UTC_TIME};
    use super::*;

    #[test]
    fn times_of_certificates_are_seconds_since_1970() {
        for (tag, text, seconds) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (UTC_TIME, "500101000000Z", Some(0)),
            (GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000)),
            (GENERALIZED_TIME, "20000229120000Z", Some(951_825_600)),
            (GENERALIZED_TIME, "20000301000000Z", Some(951_868_800)),
            (GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799)),
            (GENERALIZED_TIME, "20001301000000Z", None),
            (GENERALIZED_TIME, "20000100000000Z", None),
            (GENERALIZED_TIME, "200001010000Z", None),
            (GENERALIZED_TIME, "20000101000000.5Z", None),
            (UTC_TIME, "7001010000+1Z", None),
            (UTC_TIME, "700101000000+0100", None),
            (OCTET_STRING, "700101000000Z", None),
        ] {
            let element = Element { tag, content: text.as_bytes(), whole: &[] };
            assert_eq!(time(element).map(|time| time.as_secs()), seconds, "{text}");
        }
    }

    #[test]
    fn a_certificate_that_is_cut_off_anywhere_is_none() {
        let certificates = Certificates::new();
        let whole = certificates.server(&["a.test"]).certificate().to_vec();
        assert!(is_whole_sequence(&whole));
        for length in 0..whole.len() {
            assert!(Certificate::parse(&whole[..length]).is_none() && !is_whole_sequence(&whole[..length]));
        }
        assert!(!is_whole_sequence(&[&whole[..], &[0]].concat()));
        for broken in [&[0x30, 0x80, 0, 0][..], &[0x30, 0x85, 0, 0, 0, 0, 1, 0], &[0x30, 0xff]] {
            assert!(!is_whole_sequence(broken));
        }
    }
}
