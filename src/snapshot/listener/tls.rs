//! The TLS of a listener, and how a reload detects that it is unchanged.

use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;

use super::Protocols;
use crate::config;
use crate::config::load::files::{FileMark, Files};
use crate::net::tls;
use crate::net::tls::{LeafCertificate, ServerTls, TlsError};

/// The running TLS of a listener.
pub(crate) struct Tls {
    pub(crate) acceptor: TlsAcceptor,
    /// The certificates with their files.
    pub(crate) certificates: Arc<[(PathBuf, LeafCertificate)]>,
    identity: Identity,
}

/// The inputs of a TLS configuration: the settings, and the contents of the files that they name. Equal inputs yield an
/// equal configuration.
#[derive(Clone, PartialEq, Eq)]
struct Identity {
    settings: ServerTls,
    identities: Vec<[FileMark; 2]>,
    authorities: Option<FileMark>,
    revocation_lists: Vec<FileMark>,
}

impl Tls {
    /// Builds TLS from the settings, or reuses the running one if its inputs are the same, so that its sessions stay
    /// resumable.
    pub(super) fn build(
        settings: &config::ListenerTls,
        protocols: Protocols,
        running: Option<&Tls>,
        files: &Files,
    ) -> Result<Self, TlsError> {
        let identity = Identity::of(server_tls(settings, protocols), files);
        if let Some(running) = running.filter(|running| running.identity == identity) {
            let Self { acceptor, certificates, .. } = running;
            return Ok(Self { acceptor: acceptor.clone(), certificates: certificates.clone(), identity });
        }
        let pairs = settings.certificates.iter();
        let certificates = pairs.filter_map(|pair| {
            let certificate = tls::leaf_certificate(&pair.cert, files)?;
            Some((pair.cert.clone(), certificate))
        });
        let sessions = running.filter(|running| running.identity.admits_the_same(&identity));
        let sessions = sessions.map(|running| &**running.acceptor.config());
        let acceptor = TlsAcceptor::from(tls::server_config(&identity.settings, files, sessions)?);
        Ok(Self { acceptor, certificates: certificates.collect(), identity })
    }

    /// Returns true if both were built from the same inputs.
    pub(crate) fn is_same(&self, other: &Tls) -> bool {
        self.identity == other.identity
    }
}

impl Identity {
    fn of(settings: ServerTls, files: &Files) -> Self {
        let pairs = settings.certificates.iter();
        let identities = pairs.map(|pair| [files.mark(&pair.cert), files.mark(&pair.key)]).collect();
        let client_auth = settings.client_auth.as_ref();
        let authorities = client_auth.map(|auth| files.mark(&auth.ca));
        let lists = client_auth.map(|auth| &auth.crl).into_iter().flatten();
        let revocation_lists = lists.map(|path| files.mark(path)).collect();
        Self { settings, identities, authorities, revocation_lists }
    }

    /// Returns true if both admit the same clients, so that sessions of one are valid for the other. A session resumes
    /// without its client certificate, so a session from before a revocation would bypass it.
    fn admits_the_same(&self, other: &Self) -> bool {
        self.settings.client_auth == other.settings.client_auth
            && self.authorities == other.authorities
            && self.revocation_lists == other.revocation_lists
            && self.settings.min_version == other.settings.min_version
    }
}

fn server_tls(settings: &config::ListenerTls, protocols: Protocols) -> ServerTls {
    ServerTls {
        certificates: settings.certificates.clone(),
        min_version: settings.min_version,
        client_auth: settings.client_auth.clone(),
        // HTTP/1.0 comes last: the server's order decides, and a client that offers both is better served with 1.1.
        alpn: [
            protocols.h2.then_some(tls::ALPN_H2),
            protocols.h1.then_some(tls::ALPN_H1),
            protocols.h1.then_some(tls::ALPN_H1_0),
        ]
        .into_iter()
        .flatten()
        .collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use support::Certificates;

    use super::*;
    use crate::config::TlsVersion;

    #[test]
    fn tls_stays_the_same_until_a_setting_or_a_file_changes() {
        const BOTH: Protocols = Protocols { h1: true, h2: true };
        let certificates = Certificates::new();
        let [identity, renewed] = [1, 2].map(|_| certificates.server(&["a.test"]));
        let settings = |min_version| config::ListenerTls {
            certificates: vec![config::CertificateFiles {
                cert: identity.cert.clone(),
                key: identity.key.clone(),
            }],
            min_version,
            client_auth: None,
        };
        let old = settings(TlsVersion::Tls12);
        let running = Tls::build(&old, BOTH, None, &Files::new()).unwrap();
        let is_same = |settings: &config::ListenerTls, protocols| {
            let built = Tls::build(settings, protocols, Some(&running), &Files::new()).unwrap();
            let same = built.is_same(&running);
            assert_eq!(same, Arc::ptr_eq(built.acceptor.config(), running.acceptor.config()));
            same
        };
        assert!(is_same(&old, BOTH));
        assert!(!is_same(&settings(TlsVersion::Tls13), BOTH));
        assert!(!is_same(&old, Protocols { h1: true, h2: false }));
        fs::copy(&renewed.cert, &identity.cert).unwrap();
        fs::copy(&renewed.key, &identity.key).unwrap();
        assert!(!is_same(&old, BOTH));
    }
}
