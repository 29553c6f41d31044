//! TLS on both sides: the certificates that listeners show and require, and those of upstreams.
//!
//! The input is files, through [`Files`](crate::config::load::files::Files), and the output is rustls configurations.
//! A configuration is built on the control plane, once for each listener or upstream and reload, and then shared by all
//! workers.

mod client;
mod client_certificate;
mod dates;
mod der;
mod error;
mod pem;
mod server;
mod sessions;
mod signature;
#[cfg(test)]
mod tests;
mod trust;
mod verify;
mod words;

use std::sync::{Arc, LazyLock};

pub(crate) use client::{ClientTls, client_config, server_name, with_own_sessions};
pub(crate) use client_certificate::{CertificateNames, ClientCertificate};
pub(crate) use dates::{
    Dates, EXPIRES_SOON, LeafCertificate, certificate_dates, expiry, leaf_certificate, revocation_list_dates,
};
pub(crate) use der::AltName;
pub(crate) use error::TlsError;
use error::{certificate_flaw, revocation_list_flaw};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
pub(crate) use server::{ServerTls, server_config};
pub(crate) use words::{client_failure, is_about_revocation_lists, is_about_tls, server_failure};

/// HTTP/1.1 in ALPN (RFC 7301 §6).
pub(crate) const ALPN_H1: &[u8] = b"http/1.1";

/// HTTP/1.0 in ALPN (RFC 7301 §6). Old clients offer it alone.
pub(crate) const ALPN_H1_0: &[u8] = b"http/1.0";

/// HTTP/2 over TLS in ALPN (RFC 9113 §3.1).
pub(crate) const ALPN_H2: &[u8] = b"h2";

/// Returns the cryptography of every configuration. It is named here instead of installed for the process, so that a
/// library that installs another one changes nothing.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}

/// Parses bytes as an unverified certificate, and as a PEM file.
#[cfg(fuzzing)]
pub(crate) fn fuzz(data: &[u8]) {
    pem::fuzz(data);
    if let Some(certificate) = der::Certificate::parse(data) {
        let _parts = (certificate.validity(), certificate.has_subject_alt_name());
        let _names = (certificate.subject(), certificate.issuer(), certificate.alt_names());
        let _common_names = (certificate.subject_common_name(), certificate.issuer_common_name());
        let _rights = (certificate.is_authority(), certificate.key_may_sign_certificates());
        let _key = der::subject_public_key(certificate.key);
    }
    let whole = data.into();
    if trust::check_encoding(&whole).is_ok() {
        let _uses = (trust::anchor(&whole).is_ok(), trust::check_for_server(&whole));
    }
    let _list = (der::inside_sequence(data), der::next_update(data));
}
