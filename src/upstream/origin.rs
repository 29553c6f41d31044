//! The part that all addresses of an endpoint URL share, and whether it is the same as before a reload.

use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderValue;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::time::Instant;

use crate::config::load::files::{FileMark, Files};
use crate::config::{self, EndpointUrl, Scheme, UpstreamProtocol};
use crate::net::tls;

/// The server that an endpoint URL names, whatever its addresses are.
pub(crate) struct Origin {
    /// Scheme, host, port and base path: `https://api.example.com:8443/v2`. Or a Unix socket: `unix:/run/app.sock`.
    pub(crate) url: Arc<str>,
    /// The base path, empty for none.
    pub(crate) base: Box<str>,
    /// The `Host` that this origin expects.
    pub(crate) host: HeaderValue,
    /// The protocol that its connections speak. [`UpstreamProtocol::Auto`] is for `https` only.
    pub(crate) protocol: UpstreamProtocol,
    pub(crate) tls: Option<OriginTls>,
    /// True if the host of the URL is the name of SRV records.
    is_srv: bool,
    /// The time of the next scheduled resolution of a name. It is kept here so that frequent reloads do not postpone it
    /// for ever.
    next_lookup: Mutex<Option<Instant>>,
}

impl PartialEq for Origin {
    /// Returns true if both are the same server, spoken to in the same way.
    fn eq(&self, other: &Self) -> bool {
        self.url == other.url
            && self.is_srv == other.is_srv
            && self.host == other.host
            && self.protocol == other.protocol
            && self.tls == other.tls
    }
}

/// The TLS settings of an origin.
pub(crate) struct OriginTls {
    shared: SharedTls,
    /// The name that the handshake requests (SNI) and that the certificate must carry.
    pub(crate) server_name: ServerName<'static>,
}

/// The TLS configuration that all origins of an upstream share.
#[derive(Clone)]
pub(super) struct SharedTls {
    config: Arc<ClientConfig>,
    identity: Arc<TlsIdentity>,
}

/// The inputs of a TLS configuration. Equal inputs yield an equal configuration, which can be reused.
#[derive(PartialEq)]
struct TlsIdentity {
    settings: tls::ClientTls,
    authorities: Option<FileMark>,
    identity: Option<[FileMark; 2]>,
}

impl Origin {
    /// Builds the origin of `url`. `shared` is present if any endpoint of the upstream uses `https`.
    pub(super) fn build(
        url: &EndpointUrl,
        upstream: &config::Upstream,
        shared: Option<&SharedTls>,
    ) -> Result<Self, tls::TlsError> {
        let (settings, is_srv) = (&upstream.tls, upstream.srv.is_some());
        let domain = if is_srv { domain_of(url.host()) } else { url.host() };
        let protocol = match upstream.protocol {
            // There is nothing to choose without a TLS handshake.
            UpstreamProtocol::Auto if url.scheme == Scheme::Http => UpstreamProtocol::H1,
            protocol => protocol,
        };
        let tls = match shared {
            Some(shared) if url.scheme == Scheme::Https => {
                let sni = settings.sni.as_ref().map(config::ServerName::as_str);
                let server_name = tls::server_name(sni, domain)?;
                Some(OriginTls { shared: shared.clone(), server_name })
            }
            _ => None,
        };
        let authority = if is_srv { domain.to_owned() } else { url.authority() };
        // A parsed authority contains only what a field value may.
        let host =
            HeaderValue::try_from(authority).unwrap_or(const { HeaderValue::from_static("localhost") });
        let base = url.base.as_str().into();
        Ok(Self {
            url: url.to_string().into(),
            base,
            host,
            protocol,
            tls,
            is_srv,
            next_lookup: Mutex::default(),
        })
    }

    /// Returns the time for which the next resolution of the name is scheduled.
    pub(crate) fn next_lookup(&self) -> Option<Instant> {
        *self.next_lookup.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Schedules the next resolution of the name.
    pub(crate) fn schedule_lookup(&self, at: Instant) {
        *self.next_lookup.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }
}

/// Returns the domain that offers a service: the name of its SRV records without the labels of service and protocol. Servers identify
/// themselves by it, because a forged DNS answer chooses the targets (RFC 6125 §6.2.1).
fn domain_of(srv: &str) -> &str {
    let mut domain = srv;
    while let Some((_, rest)) = domain.split_once('.').filter(|(label, _)| label.starts_with('_')) {
        domain = rest;
    }
    domain
}

impl OriginTls {
    pub(super) fn config(&self) -> &Arc<ClientConfig> {
        &self.shared.config
    }

    pub(super) fn settings(&self) -> &tls::ClientTls {
        &self.shared.identity.settings
    }

    pub(super) fn shared(&self) -> &SharedTls {
        &self.shared
    }
}

impl PartialEq for OriginTls {
    /// Returns true if connections of one can serve the other.
    fn eq(&self, other: &Self) -> bool {
        self.shared.identity == other.shared.identity && self.server_name == other.server_name
    }
}

impl SharedTls {
    /// Builds the TLS configuration of an upstream. It reuses `before` if the inputs are equal, which only spares the
    /// building: sessions belong to each endpoint.
    pub(super) fn build(
        settings: &config::UpstreamTls,
        before: Option<&SharedTls>,
        files: &Files,
    ) -> Result<Self, tls::TlsError> {
        let identity = identity_of(settings, files);
        match before.filter(|before| *before.identity == identity) {
            Some(same) => Ok(same.clone()),
            None => {
                let config = tls::client_config(&identity.settings, files)?;
                Ok(Self { config, identity: Arc::new(identity) })
            }
        }
    }
}

/// Returns everything that determines a TLS configuration, except the server's name.
fn identity_of(settings: &config::UpstreamTls, files: &Files) -> TlsIdentity {
    let pair = settings.client.as_ref();
    TlsIdentity {
        settings: tls::ClientTls {
            ca: settings.ca.clone(),
            identity: settings.client.clone(),
            verify: settings.verify,
        },
        authorities: settings.ca.as_ref().map(|path| files.mark(path)),
        identity: pair.map(|pair| [files.mark(&pair.cert), files.mark(&pair.key)]),
    }
}
