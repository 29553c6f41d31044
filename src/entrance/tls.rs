//! TLS of a listener, and whether it is the same as before.

use tokio_rustls::TlsAcceptor;

use super::Protocols;
use crate::config::{self, TlsVersion};
use crate::files::{FileMark, Files};
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
    identities: Vec<[FileMark; 2]>,
    authorities: Option<FileMark>,
}

impl Tls {
    /// What the settings say, or what runs where that is the same: sessions stay resumable with it.
    ///
    /// # Errors
    /// What is wrong with the certificates.
    pub(super) fn build(
        settings: &config::ListenerTls,
        protocols: Protocols,
        running: Option<&Tls>,
        files: &Files,
    ) -> Result<Self, TlsError> {
        let identity = Identity::of(server_tls(settings, protocols), files);
        if let Some(running) = running.filter(|running| running.identity == identity) {
            return Ok(Self { acceptor: running.acceptor.clone(), identity });
        }
        let sessions = running.filter(|running| running.identity.admits_the_same(&identity));
        let sessions = sessions.map(|running| &**running.acceptor.config());
        let acceptor = TlsAcceptor::from(tls::server_config(&identity.settings, files, sessions)?);
        Ok(Self { acceptor, identity })
    }

    /// Whether both stand for one configuration.
    pub(crate) fn is_same(&self, other: &Tls) -> bool {
        self.identity == other.identity
    }
}

impl Identity {
    fn of(settings: ServerTls, files: &Files) -> Self {
        let pairs = settings.certificates.iter();
        let identities = pairs.map(|pair| [files.mark(&pair.cert), files.mark(&pair.key)]).collect();
        let authorities = settings.client_auth.as_ref().map(|auth| files.mark(&auth.ca));
        Self { settings, identities, authorities }
    }

    /// Whether who is let in does not differ: then sessions from the one are good for the other.
    fn admits_the_same(&self, other: &Self) -> bool {
        self.settings.client_auth == other.settings.client_auth
            && self.authorities == other.authorities
            && self.settings.min_version == other.settings.min_version
    }
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
