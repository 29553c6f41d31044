//! Where requests come in: binding, accepting within limits, and what is settled before HTTP begins.

mod accept;
mod bind;
mod per_client;
mod proxy_protocol;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::config::{self, Protocol, ProxyProtocol, TlsVersion};
use crate::downstream::Entrance;
use crate::files::Files;
use crate::http1::{HeadLimits, ServerOptions};
use crate::metrics::ListenerStats;
use crate::tls::{self, ServerTls, TlsError};
use crate::warn_limit::OccasionalByReason;

pub(crate) use accept::accept;
pub(crate) use bind::bind;
use per_client::PerClient;

/// A listener as it runs, shared by the workers: its limits hold for the whole process.
pub(crate) struct Listener {
    pub(crate) entrance: Arc<Entrance>,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) h1: bool,
    pub(crate) h2: bool,
    /// Limits and timeouts of connections, HTTP/1 and HTTP/2.
    pub(crate) options: ServerOptions,
    pub(crate) stats: Arc<ListenerStats>,
    tls_handshake: Option<Duration>,
    proxy_protocol: bool,
    connections: Option<Arc<Semaphore>>,
    per_client: Option<PerClient>,
    warned: OccasionalByReason,
}

impl Listener {
    /// A listener as the configuration has it at `index`.
    ///
    /// # Errors
    /// What is wrong with its certificates.
    pub(crate) fn build(
        index: usize,
        config: &config::Listener,
        workers: usize,
        files: &Files,
    ) -> Result<Self, TlsError> {
        let name = config.name();
        let (limits, timeouts) = (&config.limits, &config.timeouts);
        let h1 = config.protocols.contains(&Protocol::H1);
        let h2 = config.protocols.contains(&Protocol::H2);
        let tls = match &config.tls {
            None => None,
            Some(settings) => {
                let settings = server_tls(settings, h1, h2);
                Some(TlsAcceptor::from(tls::server_config(&settings, files, None)?))
            }
        };
        let length = |count: std::num::NonZeroU32| usize::try_from(count.get()).unwrap_or(usize::MAX);
        Ok(Self {
            tls,
            h1,
            h2,
            options: ServerOptions {
                limits: HeadLimits {
                    headers: length(limits.headers),
                    header_bytes: limits.header_bytes.length(),
                    target_bytes: limits.target_bytes.length(),
                },
                request_header: timeouts.request_header.duration(),
                request_body: timeouts.request_body.duration(),
                response_write: timeouts.response_write.duration(),
                keep_alive: timeouts.keep_alive.duration(),
                requests: limits.requests_per_connection.on().map(|count| count.get().into()),
            },
            stats: Arc::new(ListenerStats::new(&name, workers)),
            tls_handshake: timeouts.tls_handshake.duration(),
            proxy_protocol: config.proxy_protocol == ProxyProtocol::Accept,
            connections: limits
                .connections
                .on()
                .map(|count| Arc::new(Semaphore::new(length(count).min(Semaphore::MAX_PERMITS)))),
            per_client: limits.connections_per_client.on().map(|count| PerClient::new(count.get())),
            warned: OccasionalByReason::every(Duration::from_secs(10)),
            entrance: Arc::new(Entrance { index, name: name.into(), body_bytes_max: limits.body.bytes() }),
        })
    }

    /// The name, as it shows in logs and metrics.
    pub(crate) fn name(&self) -> &str {
        &self.entrance.name
    }

    /// Says in the log, now and then, that connections are refused or kept waiting.
    fn warn(&self, limit: &'static str, what: &str) {
        if let Some(held_back) = self.warned.passes(limit) {
            tracing::warn!(listener = self.name(), limit, held_back, "{what}");
        }
    }
}

fn server_tls(settings: &config::ListenerTls, h1: bool, h2: bool) -> ServerTls {
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
        alpn: [h2.then_some(tls::ALPN_H2), h1.then_some(tls::ALPN_H1)].into_iter().flatten().collect(),
    }
}
