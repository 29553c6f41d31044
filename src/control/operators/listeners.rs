//! `/api/listeners`: the listeners and their clients' connections.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::Operators;
use crate::control::listeners::RunningListener;
use crate::observe::metrics::unix_seconds;
use crate::snapshot::listener::Tls;

/// The listeners of the active configuration.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ListenersReport {
    listeners: Vec<ListenerReport>,
}

/// A listener.
#[derive(Debug, Serialize, JsonSchema)]
struct ListenerReport {
    name: String,
    address: String,
    /// The HTTP versions that it speaks: `h1`, `h2`.
    protocols: Vec<&'static str>,
    tls: bool,
    /// The certificates that it shows, in the order of the file.
    certificates: Vec<CertificateReport>,
    /// Open connections.
    connections: u64,
    /// Connections accepted since it listens.
    accepted: u64,
    /// Connections that ended, by reason.
    closed: BTreeMap<&'static str, u64>,
    /// TLS handshakes that failed, by reason.
    tls_failures: BTreeMap<&'static str, u64>,
}

/// A certificate of a listener.
#[derive(Debug, Serialize, JsonSchema)]
struct CertificateReport {
    file: String,
    /// The host names that it is for.
    names: Vec<String>,
    /// The last second in which it is valid, in Unix time.
    not_after: u64,
}

impl Operators {
    pub(super) fn listeners_report(&self) -> ListenersReport {
        let running = &self.status.generation().listeners.running;
        ListenersReport { listeners: running.iter().map(ListenerReport::of).collect() }
    }
}

impl ListenerReport {
    fn of(running: &RunningListener) -> Self {
        let settings = &running.listener_settings;
        let totals = settings.stats.totals();
        let protocols = [(settings.protocols.h1, "h1"), (settings.protocols.h2, "h2")];
        Self {
            name: running.name().to_owned(),
            address: running.address().to_string(),
            protocols: protocols.into_iter().filter_map(|(is_on, name)| is_on.then_some(name)).collect(),
            tls: settings.tls.is_some(),
            certificates: settings.tls.iter().flat_map(CertificateReport::of).collect(),
            connections: totals.active,
            accepted: totals.accepted,
            closed: totals.closed.into_iter().collect(),
            tls_failures: totals.tls_failed.into_iter().collect(),
        }
    }
}

impl CertificateReport {
    fn of(tls: &Tls) -> impl Iterator<Item = Self> {
        tls.certificates.iter().map(|(file, certificate)| Self {
            file: file.display().to_string(),
            names: certificate.names.clone(),
            not_after: unix_seconds(certificate.not_after),
        })
    }
}
