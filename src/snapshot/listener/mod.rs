//! The running form of a listener's settings: all that its connections and their requests read.
//!
//! Settings and identity are separate. A listener lives as long as its sockets. Its settings are part of a snapshot,
//! and the next snapshot may have others for it.

mod tls;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

pub(crate) use tls::Tls;

use crate::config::load::files::Files;
use crate::config::{
    self, HalfClose, HeaderCase, KeepaliveSettings, Protocol, ProxyProtocol, TcpKeepalive, Underscores,
};
use crate::http::message::HeadLimits;
use crate::net::tls::TlsError;
use crate::observe::metrics::ListenerStats;

/// The identity of a listener. It is stable for as long as the listener listens, and is never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListenerId(usize);

impl ListenerId {
    /// Returns an id that no listener has had.
    pub(crate) fn next() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns the number by which the router identifies the listener.
    pub(crate) fn number(self) -> usize {
        self.0
    }
}

/// The settings of a listener in one snapshot. Each request uses the present ones; TLS, protocols and the PROXY
/// protocol are fixed when a connection is accepted.
pub(crate) struct ListenerSettings {
    pub(crate) id: ListenerId,
    /// The name in logs and metrics.
    pub(crate) name: Arc<str>,
    /// The listener's counters, which outlive its settings.
    pub(crate) stats: Arc<ListenerStats>,
    /// Limits and timeouts of connections, HTTP/1 and HTTP/2.
    pub(crate) options: Arc<ConnectionLimits>,
    /// `limits.body`, which applies unless a route sets its own limit.
    pub(crate) body_bytes_max: Option<u64>,
    pub(crate) tls: Option<Tls>,
    pub(crate) tls_handshake: Option<Duration>,
    pub(crate) protocols: Protocols,
    /// The TCP keepalive of its connections.
    pub(crate) tcp_keepalive: Option<KeepaliveSettings>,
    /// True if connections from trusted proxies begin with a PROXY header.
    pub(crate) proxy_protocol: bool,
    /// `limits.connections`.
    pub(crate) connections: Option<NonZeroU32>,
    /// `limits.connections_per_client`.
    pub(crate) connections_per_client: Option<NonZeroU32>,
}

/// The limits and timeouts of a connection and its requests. `None` is off.
#[derive(Debug)]
pub(crate) struct ConnectionLimits {
    pub(crate) limits: HeadLimits,
    /// The limits of HTTP/2, which hold for a connection from its beginning to its end.
    pub(crate) http2: Http2Limits,
    /// The letter case of field names in requests: with `preserve`, their fields remember the head that they were read from.
    pub(crate) case: HeaderCase,
    /// True if fields with other characters than letters, digits and dashes in their names are dropped
    /// (`headers.underscores`).
    pub(crate) drops_unusual_fields: bool,
    /// True if a client that has closed its sending half still gets a response (`half_close`).
    pub(crate) allows_half_close: bool,
    pub(crate) request_header: Option<Duration>,
    pub(crate) request_body: Option<Duration>,
    pub(crate) response_write: Option<Duration>,
    pub(crate) keep_alive: Option<Duration>,
    pub(crate) requests: Option<u64>,
}

/// The section `http2` of a listener.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Http2Limits {
    pub(crate) max_streams: u32,
    pub(crate) stream_window: u32,
    pub(crate) connection_window: u32,
    pub(crate) header_table: u32,
}

/// The HTTP versions that a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Protocols {
    pub(crate) h1: bool,
    pub(crate) h2: bool,
}

impl ListenerSettings {
    /// Builds the settings of a new listener, or of the listener that has the settings `running`. An unchanged TLS
    /// configuration is reused, together with its sessions.
    pub(crate) fn build(
        config: &config::Listener,
        running: Option<&ListenerSettings>,
        case: HeaderCase,
        workers: usize,
        files: &Files,
    ) -> Result<Self, TlsError> {
        let (limits, timeouts) = (&config.limits, &config.timeouts);
        let protocols = Protocols {
            h1: config.protocols.contains(&Protocol::H1),
            h2: config.protocols.contains(&Protocol::H2),
        };
        let tls = match &config.tls {
            None => None,
            Some(settings) => Some(Tls::build(
                settings,
                protocols,
                running.and_then(|running| running.tls.as_ref()),
                files,
            )?),
        };
        Ok(Self {
            id: running.map_or_else(ListenerId::next, |running| running.id),
            name: config.name().into(),
            stats: running
                .map_or_else(|| Arc::new(ListenerStats::new(workers)), |running| running.stats.clone()),
            options: Arc::new(ConnectionLimits {
                limits: HeadLimits {
                    headers: length(limits.headers),
                    header_bytes: limits.header_bytes.length(),
                    target_bytes: limits.target_bytes.length(),
                },
                http2: Http2Limits::new(&config.http2),
                case,
                request_header: timeouts.request_header.duration(),
                request_body: timeouts.request_body.duration(),
                response_write: timeouts.response_write.duration(),
                keep_alive: timeouts.keep_alive.duration(),
                drops_unusual_fields: config.headers.underscores == Underscores::Drop,
                allows_half_close: config.half_close == HalfClose::Allow,
                requests: limits.requests_per_connection.on().map(|count| count.get().into()),
            }),
            body_bytes_max: limits.body.bytes(),
            tls,
            tls_handshake: timeouts.tls_handshake.duration(),
            protocols,
            tcp_keepalive: config.tcp_keepalive.on().map(TcpKeepalive::settings),
            proxy_protocol: config.proxy_protocol == ProxyProtocol::Accept,
            connections: limits.connections.on(),
            connections_per_client: limits.connections_per_client.on(),
        })
    }

    /// Returns true if TLS is off in both, or if its settings, certificates and keys are the same.
    pub(crate) fn has_same_tls(&self, other: &ListenerSettings) -> bool {
        match (&self.tls, &other.tls) {
            (None, None) => true,
            (Some(tls), Some(other)) => tls.is_same(other),
            _ => false,
        }
    }
}

impl Http2Limits {
    fn new(written: &config::ListenerHttp2) -> Self {
        // The configuration's bounds are below 4 GiB.
        let number = |size: config::ByteSize| u32::try_from(size.bytes()).unwrap_or(u32::MAX);
        Self {
            max_streams: written.max_streams.get(),
            stream_window: number(written.stream_window),
            connection_window: number(written.connection_window),
            header_table: number(written.header_table),
        }
    }
}

fn length(count: NonZeroU32) -> usize {
    usize::try_from(count.get()).unwrap_or(usize::MAX)
}
