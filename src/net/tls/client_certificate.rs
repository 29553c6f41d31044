//! The certificate that a client has shown and a listener has verified.

use std::cell::OnceCell;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;

use super::der::{self, AltName};

/// A client's certificate with the chain that came with it. A connection has one, which its requests share.
#[derive(Debug)]
pub(crate) struct ClientCertificate {
    /// The client's own certificate first.
    chain: Box<[CertificateDer<'static>]>,
    /// Parsed when a policy or filter first asks for them.
    names: OnceCell<CertificateNames>,
}

/// The names in a certificate.
#[derive(Debug, Default)]
pub(crate) struct CertificateNames {
    /// The subject as text (RFC 4514), which may be empty.
    pub(crate) subject: String,
    pub(crate) subject_common_name: Option<String>,
    /// The issuer as text (RFC 4514).
    pub(crate) issuer: String,
    pub(crate) issuer_common_name: Option<String>,
    /// The names of the subjectAltName, in order.
    pub(crate) alt_names: Vec<AltName>,
    /// The serial number in hexadecimal digits, without leading zeros.
    pub(crate) serial_number: String,
    /// The SHA-256 digest of the certificate in hexadecimal digits.
    pub(crate) fingerprint: String,
}

impl ClientCertificate {
    /// Returns the certificate that a client has shown on a connection, in its handshake or in that of the session that it resumes.
    pub(crate) fn of(connection: &rustls::ServerConnection) -> Option<Self> {
        let chain = connection.peer_certificates().filter(|chain| !chain.is_empty())?;
        Some(Self::new(chain.iter().map(|certificate| certificate.clone().into_owned()).collect()))
    }

    fn new(chain: Box<[CertificateDer<'static>]>) -> Self {
        Self { chain, names: OnceCell::new() }
    }

    /// Returns the certificate's bytes.
    pub(crate) fn der(&self) -> &[u8] {
        self.chain.first().map(|certificate| &**certificate).unwrap_or_default()
    }

    /// Returns the bytes of the certificates behind the client's own, as the client has sent them.
    pub(crate) fn issuers(&self) -> impl Iterator<Item = &[u8]> {
        self.chain.iter().skip(1).map(|certificate| &**certificate)
    }

    /// Returns the names in the certificate. One that is malformed has none; verification rejects it before.
    pub(crate) fn names(&self) -> &CertificateNames {
        self.names.get_or_init(|| CertificateNames::parse(self.der()).unwrap_or_default())
    }
}

impl CertificateNames {
    fn parse(der: &[u8]) -> Option<Self> {
        let certificate = der::Certificate::parse(der)?;
        Some(Self {
            subject: certificate.subject()?,
            subject_common_name: certificate.subject_common_name(),
            issuer: certificate.issuer()?,
            issuer_common_name: certificate.issuer_common_name(),
            alt_names: certificate.alt_names().ok()?,
            serial_number: hex(certificate.serial_number).trim_start_matches('0').to_owned(),
            fingerprint: hex(digest(&SHA256, der).as_ref()),
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    #[test]
    fn names_are_those_that_the_certificate_was_issued_for() {
        let mut params =
            CertificateParams::new(vec!["A.internal".to_owned(), "10.0.0.1".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CountryName, "DE");
        params.distinguished_name.push(DnType::OrganizationName, "Ex, Inc");
        params.distinguished_name.push(DnType::CommonName, "worker");
        params.subject_alt_names.push(SanType::URI("spiffe://example.org/worker".try_into().unwrap()));
        params.subject_alt_names.push(SanType::Rfc822Name("a@b.test".try_into().unwrap()));
        params.serial_number = Some(0x0abc_u64.into());
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let certificate = ClientCertificate::new(vec![certificate.der().clone()].into());
        let names = certificate.names();
        assert_eq!(names.subject, "CN=worker,O=Ex\\, Inc,C=DE");
        assert_eq!(names.issuer, names.subject);
        assert_eq!(names.subject_common_name.as_deref(), Some("worker"));
        let alt_names: Vec<String> = names.alt_names.iter().map(ToString::to_string).collect();
        assert_eq!(alt_names, ["a.internal", "10.0.0.1", "spiffe://example.org/worker", "a@b.test"]);
        assert_eq!((names.serial_number.as_str(), names.fingerprint.len()), ("abc", 64));
        assert_eq!(certificate.issuers().count(), 0);
    }

    #[test]
    fn malformed_certificate_has_no_names() {
        let certificate = ClientCertificate::new(vec![CertificateDer::from(vec![0x30, 1])].into());
        assert!(certificate.names().subject.is_empty() && certificate.names().alt_names.is_empty());
    }
}
