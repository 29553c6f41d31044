//! An endpoint: an address with its own pool.

use std::borrow::Cow;
use std::fmt::Display;
use std::hash::BuildHasher as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use foldhash::quality::FixedState;
use http::HeaderValue;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::TlsConnector;

use super::health::{Probed, Standing, SuccessCounts, Troubled};
use super::latency::Latency;
use super::origin::Origin;
use super::pool::Pool;
use super::reachability::Reachability;
use crate::config::{Scheme, SocketAddress, UpstreamProtocol};
use crate::http::error::Error;
use crate::net::clock;
use crate::net::tls;
use crate::observe::metrics::{PoolReport, unix_seconds};
use crate::observe::rate_limited_warning::RateLimitedWarning;

/// An address that requests can be sent to.
pub(crate) struct Endpoint {
    origin: Arc<Origin>,
    /// Has its own session cache, because a server rarely accepts its neighbour's tickets.
    connector: Option<TlsConnector>,
    /// The one for connections that must speak HTTP/1.1, if others need not.
    exclusive_connector: Option<TlsConnector>,
    address: SocketAddress,
    /// Stands for URL and address, the same in each process.
    identity: u64,
    pool: Arc<Pool>,
    standing: Standing,
    probed: Probed,
    success_counts: SuccessCounts,
    latency: Latency,
    reachability: Reachability,
    /// The end of its certificate in seconds of Unix time; 0 if it is not known.
    certificate_expires: AtomicU64,
    warned: RateLimitedWarning,
}

impl Endpoint {
    pub(super) fn new(
        origin: Arc<Origin>,
        address: SocketAddress,
        pool: Arc<Pool>,
        troubled: Arc<Troubled>,
    ) -> Self {
        let connector = |protocols: &[&[u8]]| {
            let tls = origin.tls.as_ref()?;
            Some(TlsConnector::from(tls::with_own_sessions(tls.config(), protocols)))
        };
        let (connector, exclusive_connector) = match origin.protocol {
            UpstreamProtocol::H1 => (connector(&[tls::ALPN_H1]), None),
            UpstreamProtocol::H2 => (connector(&[tls::ALPN_H2]), None),
            UpstreamProtocol::Auto => (connector(&[tls::ALPN_H2, tls::ALPN_H1]), connector(&[tls::ALPN_H1])),
        };
        let warned = RateLimitedWarning::every(Duration::from_secs(10));
        let (standing, latency) = (Standing::new(troubled), Latency::new(pool.workers()));
        let identity = match &address {
            SocketAddress::Inet(address) => FixedState::default().hash_one((&origin.url, address)),
            SocketAddress::Unix(_) => FixedState::default().hash_one(&origin.url),
        };
        let reachability = Reachability::default();
        Self {
            origin,
            connector,
            exclusive_connector,
            address,
            identity,
            pool,
            standing,
            probed: Probed::default(),
            success_counts: SuccessCounts::default(),
            latency,
            reachability,
            certificate_expires: AtomicU64::new(0),
            warned,
        }
    }

    /// Returns a number that stands for URL and address, the same in each process.
    pub(super) fn identity(&self) -> u64 {
        self.identity
    }

    /// Returns the number by which clients know the endpoint as one of a group: the same in each process, and another one in
    /// each group.
    pub(crate) fn alias(&self, group: u64) -> u64 {
        FixedState::with_seed(group).hash_one(self.identity)
    }

    /// Returns its health, as all workers know it.
    pub(super) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Returns the results of its probes.
    pub(super) fn probed(&self) -> &Probed {
        &self.probed
    }

    /// Returns the counts of its requests by success.
    pub(super) fn success_counts(&self) -> &SuccessCounts {
        &self.success_counts
    }

    /// Returns its response times.
    pub(super) fn latency(&self) -> &Latency {
        &self.latency
    }

    /// Returns true if `other` is another address of the same name, or the same one.
    pub(super) fn is_same_origin(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.origin, &other.origin)
    }

    /// Returns true if the last dial failed, or took too long.
    pub(super) fn is_unreachable(&self) -> bool {
        self.reachability.is_unreachable()
    }

    /// Notes that a dial failed, or takes too long.
    pub(super) fn note_unreachable(&self) {
        self.reachability.note(false);
    }

    /// Notes that a connection was opened.
    pub(super) fn note_reached(&self) {
        self.reachability.note(true);
    }

    /// Returns true if an unreachable endpoint should be dialled again now. It does so once in a while.
    pub(super) fn takes_probe(&self) -> bool {
        self.reachability.takes_probe(clock::uptime())
    }

    /// Returns the protocol that its connections speak.
    pub(crate) fn protocol(&self) -> UpstreamProtocol {
        self.origin.protocol
    }

    /// Returns scheme, host, port and base path, or the Unix socket.
    pub(crate) fn url(&self) -> &str {
        &self.origin.url
    }

    /// Returns the same, for a record that outlives the endpoint to keep.
    pub(crate) fn shared_url(&self) -> &Arc<str> {
        &self.origin.url
    }

    /// Returns the `Host` that this endpoint expects.
    pub(crate) fn host(&self) -> &HeaderValue {
        &self.origin.host
    }

    /// Returns path and query as this endpoint receives them: prefixed with its base path.
    pub(crate) fn target<'t>(&self, target: &'t str) -> Cow<'t, str> {
        match &*self.origin.base {
            "" => Cow::Borrowed(target),
            base => Cow::Owned([base, target].concat()),
        }
    }

    pub(crate) fn base_path(&self) -> &str {
        &self.origin.base
    }

    pub(crate) fn scheme(&self) -> Scheme {
        if self.origin.tls.is_some() { Scheme::Https } else { Scheme::Http }
    }

    pub(crate) fn address(&self) -> &SocketAddress {
        &self.address
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Returns the TLS connector and the server name to request, or `None` without TLS. With `exclusive` it is for a connection
    /// that other exchanges cannot share.
    pub(super) fn tls(&self, exclusive: bool) -> Option<(&TlsConnector, &ServerName<'static>)> {
        let exclusive = self.exclusive_connector.as_ref().filter(|_| exclusive);
        exclusive.or(self.connector.as_ref()).zip(self.origin.tls.as_ref().map(|tls| &tls.server_name))
    }

    /// Returns a TLS connector that offers these protocols and has sessions of its own, with the server name to request, or `None`
    /// without TLS.
    pub(crate) fn own_tls(&self, protocols: &[&[u8]]) -> Option<(TlsConnector, ServerName<'static>)> {
        let tls = self.origin.tls.as_ref()?;
        Some((tls::with_own_sessions(tls.config(), protocols).into(), tls.server_name.clone()))
    }

    /// Returns the reason of a failed TLS handshake with the endpoint.
    pub(crate) fn tls_failure(&self, error: &io::Error) -> String {
        match &self.origin.tls {
            Some(tls) => tls::server_failure(error, tls.settings()),
            None => error.to_string(),
        }
    }

    /// Logs a rate-limited warning that the endpoint fails.
    pub(crate) fn warn_failure(&self, why: &dyn Display) {
        if let Some(suppressed) = self.warned.passes() {
            tracing::warn!(endpoint = self.url(), address = %self.address, suppressed, "upstream failed: {why}");
        }
    }

    /// Logs a rate-limited warning with the reason of a failed TLS handshake with the endpoint.
    pub(super) fn warn_tls_failure(&self, error: &io::Error) {
        self.warn_failure(&self.tls_failure(error));
    }

    /// Logs a rate-limited warning with the reason of a failed exchange. `broken` is the error that ended reading; a TLS
    /// error says more than `failure`.
    pub(super) fn warn_broken(&self, failure: &Error, broken: Option<&io::Error>) {
        match broken.filter(|error| tls::is_about_tls(error)) {
            Some(error) => self.warn_tls_failure(error),
            None => self.warn_failure(failure),
        }
    }

    /// Notes the certificate that its server has shown.
    pub(super) fn note_certificate(&self, certificate: &CertificateDer<'_>) {
        if let Some(expires) = tls::expiry(certificate) {
            self.certificate_expires.store(unix_seconds(expires), Ordering::Relaxed);
        }
    }

    /// Returns the pool's numbers without names, and begins a new peak of its requests.
    pub(crate) fn sample(&self) -> PoolReport {
        let peak_requests = self.pool.take_peak() as u64;
        PoolReport { ejections: self.standing.ejected_total(), peak_requests, ..self.pool.report() }
    }

    /// Returns the pool's numbers, with the names that only the endpoint knows.
    pub(crate) fn report(&self) -> PoolReport {
        let state = self.standing.state(clock::uptime());
        let probes = self.probed.record();
        PoolReport {
            endpoint: self.url().to_owned(),
            address: self.address.to_string(),
            certificate_expires: Some(self.certificate_expires.load(Ordering::Relaxed)).filter(|at| *at > 0),
            health: state.name(),
            ejected_for: state.ejected_for(),
            ejections: self.standing.ejected_total(),
            probes_succeeded: probes.successes,
            probes_failed: probes.failures,
            last_probe_failure: probes.last_failure,
            ..self.pool.report()
        }
    }
}
