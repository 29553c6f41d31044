//! The upstream side: trusted certificates, the gateway's own certificate, and sessions to resume.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};

use super::sessions::Sessions;
use super::verify::{Verified, Verifier};
use super::{TlsError, pem, provider};
use crate::config::CertificateFiles;
use crate::config::load::files::Files;

/// The TLS of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ClientTls {
    /// The file of the certificates that are trusted instead of the system's: those of authorities, and those that
    /// servers show themselves, each of which is trusted for itself alone. `None` means the system's.
    pub(crate) ca: Option<PathBuf>,
    /// The certificate for servers that request one. `None` means that no certificate is shown.
    pub(crate) identity: Option<CertificateFiles>,
    /// True if the server's certificate must be valid for its name. If false, anyone on the path can read and change
    /// the traffic, but the server must still have the certificate's key. Default: true.
    pub(crate) verify: bool,
}

impl Default for ClientTls {
    fn default() -> Self {
        Self { ca: None, identity: None, verify: true }
    }
}

/// Builds the configuration of connections to an upstream. Each of its endpoints gets one [`with_own_sessions`]. It reads `files`, so it belongs to the control plane.
///
/// # Errors
/// A file cannot be used. This includes the `ca` of an upstream that does not verify.
pub(crate) fn client_config(tls: &ClientTls, files: &Files) -> Result<Arc<ClientConfig>, TlsError> {
    let authorities = match &tls.ca {
        Some(path) => pem::trusted(path, files)?,
        None => pem::Authorities { roots: system_roots(), certificates: Vec::new() },
    };
    let verifier =
        if tls.verify { Verifier::Verified(Verified::new(authorities)?) } else { Verifier::Unverified };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some(paths) => {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pem::identity(paths, files)?)))
        }
    };
    config.resumption = own_sessions();
    Ok(Arc::new(config))
}

/// Returns the same configuration with its own memory of sessions, which lets as many connections resume at once as a
/// pool has. Each endpoint has one, since a server rarely accepts the sessions of its neighbours. `alpn` are the protocols to offer.
pub(crate) fn with_own_sessions(config: &ClientConfig, alpn: &[&[u8]]) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config.resumption = own_sessions();
    Arc::new(config)
}

fn own_sessions() -> Resumption {
    Resumption::store(Arc::new(Sessions::default()))
}

/// Returns the name that a server's certificate is checked against and, unless it is an IP address, that is sent as SNI
/// (RFC 6066 §3). It is `sni` if configured, else the endpoint's `host`, which may be an IPv6 address with or without brackets.
///
/// # Errors
/// [`TlsError::InvalidName`] if it is neither a DNS name nor an IP address.
pub(crate) fn server_name(sni: Option<&str>, host: &str) -> Result<ServerName<'static>, TlsError> {
    let name = sni.unwrap_or(host);
    let unbracketed = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    // A DNS name's final dot is not part of the name in TLS.
    let trimmed = unbracketed.strip_suffix('.').unwrap_or(unbracketed);
    ServerName::try_from(trimmed.to_owned()).map_err(|_| TlsError::InvalidName { name: name.to_owned() })
}

/// Returns the system's authorities, or Mozilla's if the system has none, as in a minimal container. They are loaded
/// once, because it is a file of a few hundred certificates, the same for all upstreams.
fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    Arc::clone(ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
            tracing::warn!(
                reasons = reasons.join("; "),
                "the system has no certificate authorities; using the built-in list, which only a new version renews"
            );
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        Arc::new(roots)
    }))
}
