//! The parts of a certificate that determine its permitted uses (RFC 5280 §4.1).

use rustls::pki_types::UnixTime;

use super::name::{self, AltName};
use super::reader::{BIT_STRING, BOOLEAN, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, Reader, SEQUENCE, time};

/// `[0]` and `[3]` of a TBSCertificate.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// 2.5.29.17 (RFC 5280 §4.2.1.6).
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// 2.5.29.19 (RFC 5280 §4.2.1.9).
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
/// 2.5.29.15 (RFC 5280 §4.2.1.3).
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
/// The bit `keyCertSign` in the first byte of a key usage.
const KEY_CERT_SIGN: u8 = 0x04;
/// `[1]` and `[2]` of a TBSCertificate: the unique identifiers, which nothing here uses (RFC 5280 §4.1.2.8).
const UNIQUE_IDENTIFIERS: [u8; 2] = [0x81, 0x82];

/// A certificate whose extensions break the encoding rules, so that none of them can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net::tls) struct Malformed;

/// The parts of a certificate of any version.
#[derive(Debug, Clone, Copy)]
pub(in crate::net::tls) struct Certificate<'a> {
    /// The SubjectPublicKeyInfo, whole.
    pub(in crate::net::tls) key: &'a [u8],
    /// True for version 1, the only version that a certificate does not name.
    pub(in crate::net::tls) is_version_1: bool,
    /// True if its issuer has the name of its subject.
    pub(in crate::net::tls) is_self_issued: bool,
    /// The bytes of the serial number.
    pub(in crate::net::tls) serial_number: &'a [u8],
    issuer: &'a [u8],
    subject: &'a [u8],
    validity: &'a [u8],
    /// The fields behind the key.
    optional: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// Finds the parts of a certificate. It does not read what is in them, because `verify: false` needs the key alone.
    pub(in crate::net::tls) fn parse(der: &'a [u8]) -> Option<Self> {
        let mut tbs = Reader(Reader(Reader(der).expect(SEQUENCE)?.content).expect(SEQUENCE)?.content);
        let is_version_1 = tbs.0.first() != Some(&VERSION);
        tbs.skip(VERSION)?;
        let serial_number = tbs.next()?.content;
        let _signature_algorithm = tbs.expect(SEQUENCE)?;
        let issuer = tbs.expect(SEQUENCE)?.content;
        let validity = tbs.expect(SEQUENCE)?.content;
        let subject = tbs.expect(SEQUENCE)?.content;
        let key = tbs.expect(SEQUENCE)?.whole;
        let is_self_issued = issuer == subject;
        let optional = tbs.0;
        Some(Self { key, is_version_1, is_self_issued, serial_number, issuer, subject, validity, optional })
    }

    /// Returns the name of the issuer as text (RFC 4514).
    pub(in crate::net::tls) fn issuer(&self) -> Option<String> {
        name::text_of(self.issuer)
    }

    /// Returns the name of the subject as text (RFC 4514), which is empty if all its names are in the subjectAltName.
    pub(in crate::net::tls) fn subject(&self) -> Option<String> {
        name::text_of(self.subject)
    }

    /// Returns the common name of the issuer.
    pub(in crate::net::tls) fn issuer_common_name(&self) -> Option<String> {
        name::common_name(self.issuer)
    }

    /// Returns the common name of the subject.
    pub(in crate::net::tls) fn subject_common_name(&self) -> Option<String> {
        name::common_name(self.subject)
    }

    /// Returns the names of the subjectAltName.
    ///
    /// # Errors
    /// If any extension is malformed.
    pub(in crate::net::tls) fn alt_names(&self) -> Result<Vec<AltName>, Malformed> {
        let Some(value) = self.extension(SUBJECT_ALT_NAME)? else { return Ok(Vec::new()) };
        name::alt_names(value).ok_or(Malformed)
    }

    /// Returns the first and the last second in which the certificate is valid.
    pub(in crate::net::tls) fn validity(&self) -> Option<[UnixTime; 2]> {
        let mut times = Reader(self.validity);
        Some([time(times.next()?)?, time(times.next()?)?])
    }

    /// Returns true if the certificate names its subjects in the way of TLS (RFC 9525 §2).
    ///
    /// # Errors
    /// If any extension is malformed. To find no names instead would switch the check of the name off.
    pub(in crate::net::tls) fn has_subject_alt_name(&self) -> Result<bool, Malformed> {
        Ok(self.extension(SUBJECT_ALT_NAME)?.is_some())
    }

    /// Returns true if the basic constraints make the certificate an authority's (RFC 5280 §4.2.1.9).
    pub(in crate::net::tls) fn is_authority(&self) -> Result<bool, Malformed> {
        let Some(value) = self.extension(BASIC_CONSTRAINTS)? else { return Ok(false) };
        let content = Reader(value).expect(SEQUENCE).ok_or(Malformed)?.content;
        // DER omits FALSE and encodes TRUE as all ones. Other encoders write FALSE as well.
        match content {
            [BOOLEAN, 1, 0xff, ..] => Ok(true),
            [] | [INTEGER, ..] | [BOOLEAN, 1, 0, ..] => Ok(false),
            _ => Err(Malformed),
        }
    }

    /// Returns true unless a key usage forbids the key to sign certificates (RFC 5280 §4.2.1.3).
    pub(in crate::net::tls) fn key_may_sign_certificates(&self) -> Result<bool, Malformed> {
        let Some(value) = self.extension(KEY_USAGE)? else { return Ok(true) };
        match Reader(value).expect(BIT_STRING).ok_or(Malformed)?.content {
            [_unused_bits, first, ..] => Ok(first & KEY_CERT_SIGN != 0),
            [_no_bits] => Ok(false),
            [] => Err(Malformed),
        }
    }

    /// Returns the value of an extension. It reads all extensions, so that damage in front of one does not hide it.
    fn extension(&self, identifier: &[u8]) -> Result<Option<&'a [u8]>, Malformed> {
        let mut extensions = self.extensions().ok_or(Malformed)?;
        let mut found = None;
        while !extensions.0.is_empty() {
            let (name, value) = next_extension(&mut extensions).ok_or(Malformed)?;
            // A second extension of a kind could contradict the first (RFC 5280 §4.2).
            if name == identifier && found.replace(value).is_some() {
                return Err(Malformed);
            }
        }
        Ok(found)
    }

    fn extensions(&self) -> Option<Reader<'a>> {
        let mut optional = Reader(self.optional);
        for identifier in UNIQUE_IDENTIFIERS {
            optional.skip(identifier)?;
        }
        if optional.0.is_empty() {
            return Some(optional);
        }
        optional.only(EXTENSIONS)?.only(SEQUENCE)
    }
}

/// Reads the next extension. Returns its identifier and its value.
fn next_extension<'a>(extensions: &mut Reader<'a>) -> Option<(&'a [u8], &'a [u8])> {
    let mut parts = Reader(extensions.expect(SEQUENCE)?.content);
    let identifier = parts.expect(OBJECT_IDENTIFIER)?.content;
    parts.skip(BOOLEAN)?;
    Some((identifier, parts.only(OCTET_STRING)?.0))
}

#[cfg(test)]
mod tests {
    use support::Certificates;

    use super::*;

    #[test]
    fn the_parts_of_a_certificate_are_those_that_webpki_finds() {
        let certificates = Certificates::new();
        for (identity, has_names) in
            [(certificates.server(&["a.test"]), true), (certificates.client("a"), false)]
        {
            let der = identity.certificate().to_vec().into();
            let parsed = webpki::EndEntityCert::try_from(&der).unwrap();
            let certificate = Certificate::parse(&der).unwrap();
            assert_eq!(certificate.key, &*parsed.subject_public_key_info());
            assert_eq!(certificate.has_subject_alt_name(), Ok(has_names));
            assert!(!certificate.is_version_1);
            let old = support::as_version_1(&der);
            let old = Certificate::parse(&old).unwrap();
            assert!(old.is_version_1 && old.key == certificate.key);
            assert_eq!(old.has_subject_alt_name(), Ok(false));
        }
        let expired = certificates.expired(&["a.test"]);
        let validity = Certificate::parse(expired.certificate()).unwrap().validity().unwrap();
        assert_eq!(validity.map(|time| time.as_secs()), [946_684_800, 978_307_200]);
    }

    /// Returns a certificate with these bytes behind its key, whose other parts are empty.
    fn with_optional(optional: &[u8]) -> Certificate<'_> {
        let empty: &[u8] = &[];
        Certificate {
            key: empty,
            is_version_1: false,
            is_self_issued: true,
            serial_number: empty,
            issuer: empty,
            subject: empty,
            validity: empty,
            optional,
        }
    }

    fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        [&[tag, u8::try_from(content.len()).unwrap_or_default()], &content[..]].concat()
    }

    fn extension(identifier: &[u8], value: &[u8]) -> Vec<u8> {
        let parts = [element(OBJECT_IDENTIFIER, &[identifier]), element(OCTET_STRING, &[value])];
        element(SEQUENCE, &[&parts.concat()])
    }

    fn extensions(all: &[&[u8]]) -> Vec<u8> {
        element(EXTENSIONS, &[&element(SEQUENCE, all)])
    }

    #[test]
    fn malformed_extensions_never_hide_the_subject_alt_name() {
        let names = extension(SUBJECT_ALT_NAME, &[0x30, 0]);
        let usage = extension(KEY_USAGE, &[BIT_STRING, 2, 0, 0]);
        let critical = [&[SEQUENCE, 12], &usage[2..7], &[BOOLEAN, 1, 0xff], &usage[7..]].concat();
        let critical =
            [&[SEQUENCE, u8::try_from(critical.len() - 2).unwrap_or_default()], &critical[2..]].concat();
        for (name, optional, expected) in [
            ("none", Vec::new(), Ok(false)),
            ("an empty list", extensions(&[]), Ok(false)),
            ("another", extensions(&[&usage]), Ok(false)),
            ("the names", extensions(&[&names]), Ok(true)),
            ("the names behind another", extensions(&[&usage, &names]), Ok(true)),
            ("the names behind a critical one", extensions(&[&critical, &names]), Ok(true)),
            (
                "behind unique identifiers",
                [vec![0x81, 1, 0, 0x82, 1, 0], extensions(&[&names])].concat(),
                Ok(true),
            ),
            ("no SEQUENCE before", extensions(&[&[INTEGER, 1, 0], &names]), Err(Malformed)),
            ("no identifier before", extensions(&[&[SEQUENCE, 0], &names]), Err(Malformed)),
            (
                "no value before",
                extensions(&[&element(SEQUENCE, &[&[OBJECT_IDENTIFIER, 1, 5]]), &names]),
                Err(Malformed),
            ),
            ("no value", extensions(&[&element(SEQUENCE, &[&names[2..7]])]), Err(Malformed)),
            (
                "bytes behind the value",
                extensions(&[&element(SEQUENCE, &[&names[2..], &[0, 0]])]),
                Err(Malformed),
            ),
            ("a length beyond the end before", extensions(&[&[SEQUENCE, 0x7f], &names]), Err(Malformed)),
            ("an indefinite length before", extensions(&[&[SEQUENCE, 0x80, 0, 0], &names]), Err(Malformed)),
            ("damage behind", extensions(&[&names, &[0xff]]), Err(Malformed)),
            ("no list", element(EXTENSIONS, &[&names[2..]]), Err(Malformed)),
            ("two lists", [extensions(&[&usage]), extensions(&[&names])].concat(), Err(Malformed)),
            (
                "two lists in one",
                element(EXTENSIONS, &[&[SEQUENCE, 0], &element(SEQUENCE, &[&names])]),
                Err(Malformed),
            ),
            ("an unknown field before", [vec![0xa4, 0], extensions(&[&names])].concat(), Err(Malformed)),
            ("a cut field before", [vec![0x81, 0x80], extensions(&[&names])].concat(), Err(Malformed)),
        ] {
            let certificate = with_optional(&optional);
            assert_eq!(certificate.has_subject_alt_name(), expected, "{name}");
            if expected.is_err() {
                assert_eq!(certificate.is_authority(), Err(Malformed), "{name}");
                assert_eq!(certificate.key_may_sign_certificates(), Err(Malformed), "{name}");
            }
        }
    }

    #[test]
    fn an_extension_that_occurs_twice_is_malformed() {
        for identifier in [SUBJECT_ALT_NAME, BASIC_CONSTRAINTS, KEY_USAGE] {
            let one = extension(identifier, &[0x30, 0]);
            let optional = extensions(&[&one, &one]);
            assert_eq!(with_optional(&optional).extension(identifier), Err(Malformed), "{identifier:02x?}");
        }
    }

    #[test]
    fn basic_constraints_and_key_usage_decide_whether_a_certificate_may_sign() {
        for (value, expected) in [
            (&[SEQUENCE, 3, BOOLEAN, 1, 0xff][..], Ok(true)),
            (&[SEQUENCE, 6, BOOLEAN, 1, 0xff, INTEGER, 1, 0], Ok(true)),
            (&[SEQUENCE, 0], Ok(false)),
            (&[SEQUENCE, 3, BOOLEAN, 1, 0], Ok(false)),
            (&[SEQUENCE, 3, INTEGER, 1, 0], Ok(false)),
            (&[SEQUENCE, 3, BOOLEAN, 1, 1], Err(Malformed)),
            (&[SEQUENCE, 2, BOOLEAN, 0], Err(Malformed)),
            (&[BOOLEAN, 1, 0xff], Err(Malformed)),
            (&[], Err(Malformed)),
        ] {
            let optional = extensions(&[&extension(BASIC_CONSTRAINTS, value)]);
            assert_eq!(with_optional(&optional).is_authority(), expected, "{value:02x?}");
        }
        assert_eq!(with_optional(&[]).is_authority(), Ok(false));
        for (value, expected) in [
            (&[BIT_STRING, 2, 2, 0x04][..], Ok(true)),
            (&[BIT_STRING, 2, 1, 0x06], Ok(true)),
            (&[BIT_STRING, 3, 7, 0x04, 0x80], Ok(true)),
            (&[BIT_STRING, 2, 5, 0xa0], Ok(false)),
            (&[BIT_STRING, 2, 1, 0x02], Ok(false)),
            (&[BIT_STRING, 1, 0], Ok(false)),
            (&[BIT_STRING, 0], Err(Malformed)),
            (&[OCTET_STRING, 1, 4], Err(Malformed)),
        ] {
            let optional = extensions(&[&extension(KEY_USAGE, value)]);
            assert_eq!(with_optional(&optional).key_may_sign_certificates(), expected, "{value:02x?}");
        }
        assert_eq!(with_optional(&[]).key_may_sign_certificates(), Ok(true));
    }
}
