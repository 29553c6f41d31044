//! The verification of an upstream's certificate.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use thiserror::Error as ThisError;

use super::signature::{Signed, Version, lenient_schemes, schemes};
use super::{TlsError, der, pem, provider};

/// The rule by which the certificates of an upstream are accepted.
#[derive(Debug)]
pub(super) enum Verifier {
    Verified(Verified),
    /// `verify: false`: any certificate is accepted as long as the server has its key, and nothing else of it is read.
    ///
    /// This is for servers that cannot be repaired, so it accepts the keys and signatures that they have: RSA from 1024
    /// bits, and SHA-1 in TLS 1.2. Neither makes a difference if the key itself is not known to be the server's.
    Unverified,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self {
            Self::Unverified => Ok(ServerCertVerified::assertion()),
            Self::Verified(verified) if verified.names(certificate) => {
                verify_named(certificate, name, now).map_err(|error| OfNamed::wrap(&error))
            }
            Self::Verified(verified) => verified.by_authority()?.verify_server_cert(
                certificate,
                intermediates,
                name,
                ocsp_response,
                now,
            ),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_signature(&Signed { version: Version::Tls12, message, certificate, signature })
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_signature(&Signed { version: Version::Tls13, message, certificate, signature })
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        match self {
            Self::Verified(_) => schemes(),
            Self::Unverified => lenient_schemes(),
        }
    }
}

impl Verifier {
    fn verify_signature(&self, signed: &Signed<'_>) -> Result<HandshakeSignatureValid, Error> {
        match self {
            Self::Unverified => signed.verify_leniently(),
            Self::Verified(verified) if verified.names(signed.certificate) => signed.verify_by_key(),
            Self::Verified(verified) => signed.verify_by(verified.by_authority()?),
        }
    }
}

/// The authorities of an upstream, and the certificates that are trusted if a server shows one of them.
///
/// A certificate that `openssl req -x509` makes for a server is an authority's. webpki rejects it for a server, and for
/// its version if it has no extensions. But a file that names it leaves no doubt about the expected certificate, so the
/// one with the same bytes is trusted while it is in date. Its name is checked if it has a subjectAltName; without one
/// there is no name to check. Every other certificate is verified as usual.
#[derive(Debug)]
pub(super) struct Verified {
    /// The verifier by authorities. `None` if no certificate may have signed others.
    by_authority: Option<Arc<WebPkiServerVerifier>>,
    named: Vec<CertificateDer<'static>>,
}

impl Verified {
    pub(super) fn new(authorities: pem::Authorities) -> Result<Self, TlsError> {
        let pem::Authorities { roots, certificates: named } = authorities;
        if roots.is_empty() {
            return Ok(Self { by_authority: None, named });
        }
        let builder = WebPkiServerVerifier::builder_with_provider(roots, provider());
        let by_authority = builder.build().map_err(|error| Error::General(error.to_string()))?;
        Ok(Self { by_authority: Some(by_authority), named })
    }

    fn by_authority(&self) -> Result<&WebPkiServerVerifier, Error> {
        self.by_authority.as_deref().ok_or_else(|| CertificateError::UnknownIssuer.into())
    }

    fn names(&self, certificate: &CertificateDer<'_>) -> bool {
        self.named.iter().any(|named| named == certificate)
    }
}

/// Verifies a certificate that `ca` names: its dates, and its name if it has one.
fn verify_named(
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, Error> {
    let parts = der::Certificate::parse(certificate).ok_or(CertificateError::BadEncoding)?;
    let [not_before, not_after] = parts.validity().ok_or(CertificateError::BadEncoding)?;
    if now < not_before {
        return Err(CertificateError::NotValidYetContext { time: now, not_before }.into());
    }
    if now > not_after {
        return Err(CertificateError::ExpiredContext { time: now, not_after }.into());
    }
    if parts.has_subject_alt_name().map_err(|der::Malformed| CertificateError::BadEncoding)? {
        verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
    }
    Ok(ServerCertVerified::assertion())
}

/// A flaw of a certificate that `ca` names already, so that naming it there is no advice.
#[derive(Debug, ThisError)]
#[error("the certificate that `ca` names is not valid")]
pub(super) struct OfNamed(pub(super) CertificateError);

impl OfNamed {
    fn wrap(error: &Error) -> Error {
        match error {
            Error::InvalidCertificate(flaw) => {
                CertificateError::Other(OtherError(Arc::new(Self(flaw.clone())))).into()
            }
            other => other.clone(),
        }
    }
}
