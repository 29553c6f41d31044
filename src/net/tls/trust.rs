//! The uses of a certificate that a `ca` file names: it may sign others, and a server may show it itself.

use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor};
use webpki::{EndEntityCert, anchor_from_trusted_cert};

use super::certificate_flaw;
use super::der::{Certificate, Malformed};

const NO_AUTHORITY: &str =
    "it may not sign others (its basicConstraints lack CA:TRUE); name that of its authority";
const KEY_SIGNS_NO_CERTIFICATES: &str =
    "it may not sign others (its keyUsage lacks keyCertSign); issue it again with that";
const NOT_SELF_ISSUED: &str = "it may not sign others (it is of version 1, which cannot say so, and not a root); name that of its authority";
const UNREADABLE_DATES: &str = "its dates cannot be read; issue it again";
const NAMES_NO_SERVER: &str =
    "its subjectAltName has neither a DNS name nor an IP address; issue it again for the name of the server";

/// Converts a certificate into a trust anchor, or returns the flaw that prevents it.
///
/// The basic constraints must include CA:TRUE, and a key usage must include `keyCertSign` (RFC 5280 §4.2.1.3,
/// §4.2.1.9). A certificate of version 1 has neither, so it must be a root, as in OpenSSL. Without these rules the key
/// of one server or client could vouch for all others.
pub(super) fn anchor(certificate: &CertificateDer<'_>) -> Result<TrustAnchor<'static>, String> {
    let parts = parts(certificate)?;
    if parts.is_version_1 {
        if !parts.is_self_issued {
            return Err(NOT_SELF_ISSUED.to_owned());
        }
    } else if !parts.is_authority().map_err(malformed)? {
        return Err(NO_AUTHORITY.to_owned());
    } else if !parts.key_may_sign_certificates().map_err(malformed)? {
        return Err(KEY_SIGNS_NO_CERTIFICATES.to_owned());
    }
    let anchor = anchor_from_trusted_cert(certificate).map_err(|error| flaw(&parts, &error))?;
    Ok(anchor.to_owned())
}

/// Checks that a server can be trusted for showing exactly this certificate: a subjectAltName, if there is one, must
/// have a name that a server can have. It must be called after [`check_encoding`].
pub(super) fn check_for_server(certificate: &CertificateDer<'_>) -> Result<(), String> {
    let parts = parts(certificate)?;
    // Without a name to check, nothing else of the certificate is read. It may be of any version and have any extension.
    if !parts.has_subject_alt_name().map_err(malformed)? {
        return Ok(());
    }
    let parsed = parse(&parts, certificate)?;
    if names_a_server(&parsed) { Ok(()) } else { Err(NAMES_NO_SERVER.to_owned()) }
}

/// Checks the requirements of every use: extensions and dates that can be read.
pub(super) fn check_encoding(certificate: &CertificateDer<'_>) -> Result<(), String> {
    let parts = parts(certificate)?;
    parts.has_subject_alt_name().map_err(malformed)?;
    if parts.validity().is_none() {
        return Err(UNREADABLE_DATES.to_owned());
    }
    Ok(())
}

/// Checks that a certificate can be the first of a chain.
pub(super) fn check_end_entity(certificate: &CertificateDer<'_>) -> Result<(), String> {
    parse(&parts(certificate)?, certificate).map(drop)
}

fn parse<'a>(
    parts: &Certificate<'_>,
    certificate: &'a CertificateDer<'_>,
) -> Result<EndEntityCert<'a>, String> {
    EndEntityCert::try_from(certificate).map_err(|error| flaw(parts, &error))
}

fn parts<'a>(certificate: &'a CertificateDer<'_>) -> Result<Certificate<'a>, String> {
    Certificate::parse(certificate).ok_or_else(|| certificate_flaw(&webpki::Error::BadDer))
}

fn malformed(_: Malformed) -> String {
    certificate_flaw(&webpki::Error::MalformedExtensions)
}

/// Describes the flaw that webpki found.
fn flaw(parts: &Certificate<'_>, error: &webpki::Error) -> String {
    // webpki mistakes the missing version for damage.
    certificate_flaw(if parts.is_version_1 { &webpki::Error::UnsupportedCertVersion } else { error })
}

/// Returns true if a server may have one of the certificate's names.
fn names_a_server(certificate: &EndEntityCert<'_>) -> bool {
    if certificate.valid_dns_names().next().is_some() {
        return true;
    }
    // Addresses are listed only in the error for a name that is missing.
    let Ok(absent) = ServerName::try_from("absent.invalid") else { return false };
    match certificate.verify_is_valid_for_subject_name(&absent) {
        Ok(()) => true,
        Err(webpki::Error::CertNotValidForName(context)) => {
            context.presented.iter().any(|name| name.starts_with("IpAddress("))
        }
        Err(_) => false,
    }
}
