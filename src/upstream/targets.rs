//! What an upstream's endpoint URLs stand for: addresses, written or looked up.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use rustls::ClientConfig;
use tokio::sync::watch;

use super::endpoint::{Endpoint, EndpointSet, Origin, OriginTls, Upstream};
use super::pool::{Mailboxes, Pool};
use super::resolve::{Addresses, keep_resolved, literal};
use crate::config::{self, EndpointUrl, PoolSettings, Scheme};
use crate::files::Files;
use crate::tls;

/// With `resolve: off`, how long after a failed look-up the next one comes at most.
const RETRY_AT_MOST: Duration = Duration::from_secs(60);

/// The endpoint URLs of an upstream, and the upstream with an endpoint for each of their addresses.
pub(crate) struct Targets {
    upstream: Arc<Upstream>,
    targets: Vec<Target>,
    /// The endpoints there are, by position of their target.
    endpoints: Mutex<Vec<(usize, Arc<Endpoint>)>>,
    pool: PoolSettings,
    mailboxes: Mailboxes,
    resolve: Option<Duration>,
}

/// One endpoint URL.
struct Target {
    origin: Arc<Origin>,
    host: String,
    port: u16,
    weight: u32,
}

/// A name that has to be looked up.
pub(crate) struct Name {
    /// Which target it is of.
    pub(crate) target: usize,
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Targets {
    /// Makes an upstream of what the configuration says. Addresses have their endpoint at once, names when
    /// [`Targets::set_addresses`] tells what they stand for.
    ///
    /// # Errors
    /// What is wrong with its TLS settings.
    pub(crate) fn build(
        upstream: &config::Upstream,
        pool: &PoolSettings,
        mailboxes: &Mailboxes,
        files: &Files,
    ) -> Result<Self, Vec<tls::TlsError>> {
        let is_https = |(url, _): &(&EndpointUrl, _)| url.scheme == Scheme::Https;
        let config = if upstream.all_endpoints().any(|endpoint| is_https(&endpoint)) {
            Some(client_tls(&upstream.tls, files).map_err(|error| vec![error])?)
        } else {
            None
        };
        let mut targets = Vec::new();
        for (url, weight) in upstream.all_endpoints() {
            let tls = match &config {
                Some(config) if url.scheme == Scheme::Https => {
                    let sni = upstream.tls.sni.as_ref().map(config::ServerName::as_str);
                    let server_name = tls::server_name(sni, &url.host).map_err(|error| vec![error])?;
                    Some(OriginTls { config: config.clone(), server_name })
                }
                _ => None,
            };
            // An authority that was parsed consists of what a field value may have.
            let host = HeaderValue::try_from(url.authority())
                .unwrap_or(const { HeaderValue::from_static("localhost") });
            let origin = Arc::new(Origin { url: url.to_string(), host, tls });
            targets.push(Target { origin, host: url.host.clone(), port: url.port, weight: weight.get() });
        }
        let built = Self {
            upstream: Upstream::new(EndpointSet::new(Vec::new())),
            targets,
            endpoints: Mutex::default(),
            pool: pool.clone(),
            mailboxes: mailboxes.clone(),
            resolve: upstream.resolve.duration(),
        };
        for (index, target) in built.targets.iter().enumerate() {
            if let Some(address) = literal(&target.host) {
                built.set_addresses(index, &[SocketAddr::new(address, target.port)]);
            }
        }
        Ok(built)
    }

    pub(crate) fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// The names to be looked up.
    pub(crate) fn names(&self) -> impl Iterator<Item = Name> {
        let named = self.targets.iter().enumerate().filter(|(_, target)| literal(&target.host).is_none());
        named.map(|(index, target)| Name { target: index, host: target.host.clone(), port: target.port })
    }

    /// Tells the addresses of a target. Those that it had before keep their endpoint, connections included;
    /// those that are gone are drained.
    pub(crate) fn set_addresses(&self, target: usize, addresses: &[SocketAddr]) {
        let Some(of) = self.targets.get(target) else { return };
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        endpoints.retain(|(index, endpoint)| *index != target || addresses.contains(&endpoint.address()));
        for address in addresses {
            if !endpoints.iter().any(|(index, known)| *index == target && known.address() == *address) {
                let name = format!("{} ({address})", of.origin.url);
                let pool = Pool::new(name, self.pool.clone(), self.mailboxes.clone());
                endpoints.push((target, Arc::new(Endpoint::new(of.origin.clone(), *address, pool))));
            }
        }
        // In the order of the file, whichever name was looked up first.
        endpoints.sort_by_key(|(index, _)| *index);
        let weighted = endpoints.iter().map(|(index, endpoint)| {
            let weight = self.targets.get(*index).map_or(1, |target| target.weight);
            (endpoint.clone(), weight)
        });
        self.upstream.replace(EndpointSet::new(weighted.collect()));
    }
}

/// Looks the names of an upstream up, now and again, for as long as it is in use. Runs on the control side.
pub(crate) fn watch_names(targets: &Arc<Targets>) {
    for name in targets.names() {
        let (found, mut addresses) = watch::channel(Addresses::from([]));
        let interval = targets.resolve.unwrap_or(RETRY_AT_MOST);
        let once = targets.resolve.is_none();
        tokio::spawn(keep_resolved(name.host, name.port, interval, found));
        // The upstream lives as long as a snapshot has it: without one there is nobody to tell.
        let targets = Arc::downgrade(targets);
        tokio::spawn(async move {
            while addresses.changed().await.is_ok() {
                let Some(targets) = targets.upgrade() else { return };
                targets.set_addresses(name.target, &addresses.borrow_and_update().clone());
                if once {
                    return;
                }
            }
        });
    }
}

fn client_tls(settings: &config::UpstreamTls, files: &Files) -> Result<Arc<ClientConfig>, tls::TlsError> {
    let identity = settings
        .client
        .as_ref()
        .map(|paths| tls::IdentityFiles { cert: paths.cert.clone(), key: paths.key.clone() });
    let tls = tls::ClientTls { ca: settings.ca.clone(), identity, verify: settings.verify };
    tls::client_config(&tls, files)
}
