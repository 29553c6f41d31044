//! TLS of a listener, and whether it is the same as before.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use tokio_rustls::TlsAcceptor;

use super::Protocols;
use crate::config::{self, TlsVersion};
use crate::tls::{self, ServerTls, TlsError};

/// TLS as a listener runs it.
pub(crate) struct Tls {
    pub(crate) acceptor: TlsAcceptor,
    identity: Identity,
}

/// What makes two configurations the same: the settings, and what is in the files that they name.
#[derive(Clone, PartialEq, Eq)]
struct Identity {
    settings: ServerTls,
    contents: Vec<FileMark>,
}

/// A file's content, as far as it takes to tell that it is another; `None` where it cannot be read.
type FileMark = Option<(usize, u64)>;

impl Tls {
    /// What the settings say, or what runs where that is the same: sessions stay resumable with it.
    ///
    /// # Errors
    /// What is wrong with the certificates.
    pub(super) fn build(
        settings: &config::ListenerTls,
        protocols: Protocols,
        running: Option<&Tls>,
    ) -> Result<Self, TlsError> {
        // Marked before they are read: files that change in between are found to have changed the next time.
        let identity = Identity::of(server_tls(settings, protocols));
        if let Some(running) = running.filter(|running| running.identity == identity) {
            return Ok(Self { acceptor: running.acceptor.clone(), identity });
        }
        let acceptor = TlsAcceptor::from(tls::server_config(&identity.settings)?);
        Ok(Self { acceptor, identity })
    }

    /// Whether both stand for one configuration.
    pub(crate) fn is_same(&self, other: &Tls) -> bool {
        self.identity == other.identity
    }
}

impl Identity {
    fn of(settings: ServerTls) -> Self {
        let own = settings.certificates.iter().flat_map(|files| [&files.cert, &files.key]);
        let clients = settings.client_auth.iter().map(|auth| &auth.ca);
        let contents = own.chain(clients).map(|path| mark(path)).collect();
        Self { settings, contents }
    }
}

fn mark(path: &Path) -> FileMark {
    let content = std::fs::read(path).ok()?;
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    Some((content.len(), hasher.finish()))
}

fn server_tls(settings: &config::ListenerTls, protocols: Protocols) -> ServerTls {
    ServerTls {
        certificates: settings
            .certificates
            .iter()
            .map(|files| tls::IdentityFiles { cert: files.cert.clone(), key: files.key.clone() })
            .collect(),
        min_version: match settings.min_version {
            TlsVersion::Tls12 => tls::MinVersion::Tls12,
            TlsVersion::Tls13 => tls::MinVersion::Tls13,
        },
        client_auth: settings
            .client_auth
            .as_ref()
            .map(|auth| tls::ClientAuth { ca: auth.ca.clone(), required: auth.required }),
        alpn: [protocols.h2.then_some(tls::ALPN_H2), protocols.h1.then_some(tls::ALPN_H1)]
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
        let running = Tls::build(&old, BOTH, None).unwrap();
        let is_same = |settings: &config::ListenerTls, protocols| {
            let built = Tls::build(settings, protocols, Some(&running)).unwrap();
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
