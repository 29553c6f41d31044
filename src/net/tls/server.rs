//! The downstream side: certificates by SNI, client certificates, sessions.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::server::{ClientHello, ResolvesServerCert, ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion, version};
use webpki::EndEntityCert;

use super::{TlsError, der, pem, provider, revocation_list_flaw};
use crate::config::load::files::Files;
use crate::config::{CertificateFiles, ClientAuth, TlsVersion};

/// The number of sessions that a listener remembers for TLS 1.2 clients without tickets. All other sessions carry their
/// state themselves.
const SESSIONS_MAX: usize = 4096;

/// The TLS of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerTls {
    /// The certificates, chosen by the server name that a client requests (SNI, RFC 6066 §3): the first one that has
    /// that name, else the first with a wildcard for it, else the first of all.
    pub(crate) certificates: Vec<CertificateFiles>,
    /// The oldest version accepted. Versions before 1.2 are not supported (RFC 8996).
    pub(crate) min_version: TlsVersion,
    /// The rules for client certificates. `None` means that clients are not asked for any. A certificate that is shown must
    /// be valid even if none is required.
    pub(crate) client_auth: Option<ClientAuth>,
    /// The protocols offered, the preferred one first: [`super::ALPN_H2`], [`super::ALPN_H1`], [`super::ALPN_H1_0`]. A
    /// client that offers ALPN and none of these is rejected (RFC 7301 §3.2).
    pub(crate) alpn: Vec<&'static [u8]>,
}

/// Builds the configuration of a listener. It reads `files`, so it belongs to the control plane.
///
/// With a `previous` configuration it keeps that one's sessions: its ticket keys and its memory. Clients then continue
/// to resume although certificates were renewed. A session resumes in its original version and without the client
/// certificate being shown again. So this is only right if `client_auth`, the contents of its files included, and
/// `min_version` are unchanged. Otherwise a client that the new settings reject could enter with an old session. The
/// caller decides.
///
/// A certificate that has expired, or is not valid yet, is shown all the same. Clients may accept it, and the rest of the
/// listener should not go down with it. A warning of the configuration reports it.
pub(crate) fn server_config(
    tls: &ServerTls,
    files: &Files,
    previous: Option<&ServerConfig>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let certificates = CertificatesByName::load(&tls.certificates, files)?;
    let builder =
        ServerConfig::builder_with_provider(provider()).with_protocol_versions(&versions(tls.min_version))?;
    let builder = match &tls.client_auth {
        None => builder.with_no_client_auth(),
        Some(client_auth) => builder.with_client_cert_verifier(client_verifier(client_auth, files)?),
    };
    let mut config = builder.with_cert_resolver(Arc::new(certificates));
    config.alpn_protocols = tls.alpn.iter().map(|protocol| protocol.to_vec()).collect();
    match previous {
        Some(previous) => {
            config.ticketer = Arc::clone(&previous.ticketer);
            config.session_storage = Arc::clone(&previous.session_storage);
        }
        // Each listener has its own: a session from a listener without `client_auth` must mean nothing to a listener with it.
        None => {
            config.ticketer = Ticketer::new()?;
            config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
        }
    }
    Ok(Arc::new(config))
}

fn versions(min: TlsVersion) -> Vec<&'static SupportedProtocolVersion> {
    match min {
        TlsVersion::Tls12 => vec![&version::TLS13, &version::TLS12],
        TlsVersion::Tls13 => vec![&version::TLS13],
    }
}

fn client_verifier(
    client_auth: &ClientAuth,
    files: &Files,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    let roots = pem::authorities(&client_auth.ca, files)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
    let verifier = if client_auth.required { verifier } else { verifier.allow_unauthenticated() };
    // These are rustls's defaults: the whole chain is checked, and a status that no list decides is a rejection.
    let verifier =
        verifier.with_crls(revocation_lists(&client_auth.crl, files)?).enforce_revocation_expiration();
    Ok(verifier.build().map_err(|error| rustls::Error::General(error.to_string()))?)
}

/// Reads the revocation lists of all files. An expired list is read as well, and a warning of the configuration reports it. It
/// rejects the clients that it covers, and the rest of the listener should not go down with it.
fn revocation_lists(
    paths: &[PathBuf],
    files: &Files,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let (mut lists, mut issuers) = (Vec::new(), HashSet::new());
    for path in paths {
        for (line, list) in pem::revocation_lists(path, files)? {
            let invalid = |error| TlsError::InvalidRevocationList {
                path: path.clone(),
                line,
                reason: revocation_list_flaw(&error),
            };
            // webpki mistakes the missing version for damage.
            if der::is_revocation_list_of_version_1(&list) {
                return Err(invalid(webpki::Error::UnsupportedCrlVersion));
            }
            webpki::OwnedCertRevocationList::from_der(&list).map_err(invalid)?;
            // Only the first list of an issuer would be checked, and a certificate that another one revokes would be accepted.
            if !issuers.insert(der::issuer_of_list(&list).map(<[u8]>::to_vec)) {
                let reason = "there is another list of the same issuer; keep the newest one alone".to_owned();
                return Err(TlsError::InvalidRevocationList { path: path.clone(), line, reason });
            }
            lists.push(list);
        }
    }
    Ok(lists)
}

/// Certificates by the DNS names in them. Each name has its certificates in the order of the configuration, because a
/// name may have an ECDSA and an RSA certificate, and the client chooses.
#[derive(Debug, Default)]
struct CertificatesByName {
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// Certificates by the part of their names behind `*.`.
    wildcard: HashMap<String, Vec<Arc<CertifiedKey>>>,
    all: Vec<Arc<CertifiedKey>>,
}

impl CertificatesByName {
    fn load(identities: &[CertificateFiles], files: &Files) -> Result<Self, TlsError> {
        let mut by_name = Self::default();
        for paths in identities {
            by_name.add(pem::identity(paths, files)?, &paths.cert)?;
        }
        if by_name.all.is_empty() { Err(TlsError::NoIdentity) } else { Ok(by_name) }
    }

    fn add(&mut self, identity: Arc<CertifiedKey>, path: &Path) -> Result<(), TlsError> {
        // It was parsed when the file was read.
        let Some(Ok(certificate)) = identity.cert.first().map(EndEntityCert::try_from) else {
            return Err(TlsError::NoCertificate { path: path.to_owned(), instead: String::new() });
        };
        for name in certificate.valid_dns_names() {
            let name = name.to_ascii_lowercase();
            let (names, name) = match name.strip_prefix("*.") {
                Some(parent) => (&mut self.wildcard, parent.to_owned()),
                None => (&mut self.exact, name),
            };
            names.entry(name).or_default().push(Arc::clone(&identity));
        }
        self.all.push(identity);
        Ok(())
    }

    /// Returns the certificates for a name in lower case. A wildcard matches exactly one label (RFC 9525 §6.3).
    fn candidates(&self, name: Option<&str>) -> &[Arc<CertifiedKey>] {
        let named =
            name.and_then(|name| self.exact.get(name).or_else(|| self.wildcard.get(name.split_once('.')?.1)));
        named.unwrap_or(&self.all)
    }
}

impl ResolvesServerCert for CertificatesByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls has converted the name to lower case.
        let candidates = self.candidates(hello.server_name());
        let usable = candidates
            .iter()
            .find(|identity| identity.key.choose_scheme(hello.signature_schemes()).is_some());
        usable.or(candidates.first()).cloned()
    }
}
