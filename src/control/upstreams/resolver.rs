//! Lookups in the hosts file and in DNS, with the lifetime of their results.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{Resolver as Client, TokioResolver};
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::system::{System, SystemFiles};
use crate::config::Dns;

/// The limit of concurrent lookups.
static LOOKUPS: Semaphore = Semaphore::const_new(32);

/// The time after which the system's files are read again.
const FILES_AGE_MAX: Duration = Duration::from_secs(5);

/// The lifetime of results that state none: of the hosts file, and of the C library.
const UNSTATED_TTL: Duration = Duration::from_secs(30);

/// The wait for one family once the other one has addresses. Servers that never answer for one of them are not rare.
const FAMILY_PATIENCE: Duration = Duration::from_secs(1);

/// The reason why a name has no addresses.
#[derive(Debug, Error)]
pub(crate) enum ResolveError {
    #[error("cannot resolve `{host}`: {reason}")]
    Failed { host: String, reason: String },
    #[error("cannot resolve `{host}`: no answer within {within:?}")]
    TimedOut { host: String, within: Duration },
    #[error("cannot resolve `{host}`: the name does not exist")]
    NoSuchName { host: String },
    /// The name exists and has no address.
    #[error("cannot resolve `{host}`: the name has no address")]
    Empty { host: String },
}

impl ResolveError {
    /// Returns true if a server has said so.
    pub(crate) fn is_certain(&self) -> bool {
        matches!(self, Self::NoSuchName { .. } | Self::Empty { .. })
    }
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    /// Returns true if the address is of this family.
    pub(crate) fn has(self, ip: IpAddr) -> bool {
        ip.is_ipv4() == (self == Self::V4)
    }

    fn record_type(self) -> RecordType {
        match self {
            Self::V4 => RecordType::A,
            Self::V6 => RecordType::AAAA,
        }
    }
}

/// The result of a lookup.
#[derive(Debug, PartialEq)]
pub(crate) struct Found<T> {
    pub(crate) items: Vec<T>,
    /// The time for which it holds.
    pub(crate) ttl: Duration,
    /// A family that could not be asked: its addresses are as they were.
    pub(crate) unknown: Option<Family>,
}

/// A resolver with settings, which notices changes of the system's files.
pub(crate) struct Resolver {
    settings: Dns,
    loaded: Mutex<Option<(Instant, Arc<Loaded>)>>,
}

/// A resolver for some state of the system's files.
struct Loaded {
    files: SystemFiles,
    system: System,
    client: TokioResolver,
    search: Vec<Name>,
    ndots: usize,
    within: Duration,
    /// True if the C library is asked for names that are neither in the hosts file nor in DNS.
    asks_library: bool,
}

impl Resolver {
    pub(crate) fn new(settings: &Dns) -> Arc<Self> {
        Arc::new(Self { settings: settings.clone(), loaded: Mutex::default() })
    }

    pub(crate) fn settings(&self) -> &Dns {
        &self.settings
    }

    /// Resolves a host to its addresses: those of the hosts file, or else those of DNS, of both families.
    ///
    /// # Errors
    /// Returns an error if there is no address within `dns.timeout`.
    pub(crate) async fn addresses(&self, host: &str) -> Result<Found<IpAddr>, ResolveError> {
        // The wait for other lookups does not count. The semaphore is never closed.
        let _turn = LOOKUPS.acquire().await;
        let loaded = self.load(host)?;
        let found = tokio::time::timeout(self.settings.timeout(), loaded.addresses(host)).await;
        found.map_err(|_elapsed| self.timed_out(host))?
    }

    /// Resolves the name of SRV records.
    ///
    /// # Errors
    /// Returns an error if there is no record within `dns.timeout`.
    pub(crate) async fn services(&self, name: &str) -> Result<Found<SRV>, ResolveError> {
        let _turn = LOOKUPS.acquire().await;
        let loaded = self.load(name)?;
        let found = tokio::time::timeout(self.settings.timeout(), loaded.services(name)).await;
        found.map_err(|_elapsed| self.timed_out(name))?
    }

    fn timed_out(&self, host: &str) -> ResolveError {
        ResolveError::TimedOut { host: host.to_owned(), within: self.settings.timeout() }
    }

    /// Returns the resolver for the present state of the system's files.
    fn load(&self, host: &str) -> Result<Arc<Loaded>, ResolveError> {
        let mut state = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, loaded)) = &*state
            && at.elapsed() < FILES_AGE_MAX
        {
            return Ok(loaded.clone());
        }
        let files = SystemFiles::read();
        let loaded = match state.take() {
            Some((_, loaded)) if loaded.files == files => loaded,
            _ => {
                let built = Loaded::build(files, &self.settings);
                Arc::new(built.map_err(|error| failed(host, &error))?)
            }
        };
        *state = Some((Instant::now(), loaded.clone()));
        Ok(loaded)
    }
}

impl Loaded {
    fn build(files: SystemFiles, settings: &Dns) -> Result<Self, NetError> {
        let system = files.parse();
        let written = settings.servers.as_ref();
        let servers = match written {
            Some(servers) => servers.iter().map(|server| name_server(server.address())).collect(),
            None => system.servers.clone(),
        };
        let search = match &settings.search {
            Some(search) => {
                search.iter().filter_map(|domain| Name::from_ascii(domain.as_str()).ok()).collect()
            }
            None => system.search.clone(),
        };
        let mut options = system.options.clone();
        options.timeout = settings.timeout();
        options.attempts = 1;
        // A lookup comes when the last result has expired, so there is nothing to keep.
        options.cache_size = 0;
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        let client = Client::builder_with_config(config, TokioRuntimeProvider::default());
        let asks_library = system.has_other_sources && written.is_none();
        Ok(Self {
            client: client.with_options(options).build()?,
            search,
            ndots: settings.ndots.map_or(system.options.ndots, usize::from),
            within: settings.timeout(),
            asks_library,
            files,
            system,
        })
    }

    async fn addresses(&self, host: &str) -> Result<Found<IpAddr>, ResolveError> {
        let name = Name::from_ascii(host).map_err(|error| failed(host, &error))?;
        let items = self.system.hosts(&name);
        if !items.is_empty() {
            return Ok(Found { items, ttl: UNSTATED_TTL, unknown: None });
        }
        let mut search = Search::new(host);
        for name in candidates(&name, &self.search, self.ndots) {
            if search.takes(self.both_families(host, name).await) {
                break;
            }
        }
        match search.result {
            Err(error) if self.asks_library => ask_library(host).await.ok_or(error),
            found => found,
        }
    }

    async fn services(&self, host: &str) -> Result<Found<SRV>, ResolveError> {
        let name = Name::from_ascii(host).map_err(|error| failed(host, &error))?;
        let of = |record: &Record| match &record.data {
            RData::SRV(service) => Some(service.clone()),
            _ => None,
        };
        let mut search = Search::new(host);
        for name in candidates(&name, &self.search, self.ndots) {
            if search.takes(self.records(host, name, RecordType::SRV, of).await) {
                break;
            }
        }
        search.result
    }

    /// Asks for both families at the same time. One of them is enough.
    async fn both_families(&self, host: &str, name: Name) -> Result<Found<IpAddr>, ResolveError> {
        let of = |record: &Record| record.data.ip_addr();
        let ask = |family: Family| self.records(host, name.clone(), family.record_type(), of);
        let (mut v4, mut v6) = (std::pin::pin!(ask(Family::V4)), std::pin::pin!(ask(Family::V6)));
        let (first, family, second) = tokio::select! {
            v4 = &mut v4 => (v4, Family::V6, v6),
            v6 = &mut v6 => (v6, Family::V4, v4),
        };
        let second = match &first {
            Ok(_) | Err(ResolveError::NoSuchName { .. }) => {
                tokio::time::timeout(FAMILY_PATIENCE, second).await.ok()
            }
            Err(_) => Some(second.await),
        };
        match (first, second) {
            (Ok(first), Some(Ok(second))) => {
                let items = first.items.into_iter().chain(second.items).collect();
                Ok(Found { items, ttl: first.ttl.min(second.ttl), unknown: None })
            }
            (Ok(found), Some(Err(ResolveError::NoSuchName { .. } | ResolveError::Empty { .. }))) => Ok(found),
            (Ok(found), _) => Ok(Found { unknown: Some(family), ..found }),
            (Err(ResolveError::NoSuchName { .. } | ResolveError::Empty { .. }), Some(Ok(found))) => Ok(found),
            (Err(_), Some(Ok(found))) => Ok(Found { unknown: Some(other(family)), ..found }),
            (Err(ResolveError::NoSuchName { .. }), Some(Err(error))) => Err(error),
            (Err(empty @ ResolveError::Empty { .. }), Some(Err(ResolveError::NoSuchName { .. }))) => {
                Err(empty)
            }
            (Err(ResolveError::Empty { .. }), Some(Err(error))) => Err(error),
            (Err(error), _) => Err(error),
        }
    }

    /// Asks for the records of one type.
    async fn records<T>(
        &self,
        host: &str,
        name: Name,
        record_type: RecordType,
        of: impl Fn(&Record) -> Option<T>,
    ) -> Result<Found<T>, ResolveError> {
        let host = host.to_owned();
        let answer = match self.client.lookup(name, record_type).await {
            Ok(answer) => answer,
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
                return Err(match none.response_code {
                    ResponseCode::NXDomain => ResolveError::NoSuchName { host },
                    _ => ResolveError::Empty { host },
                });
            }
            Err(NetError::Timeout) => return Err(ResolveError::TimedOut { host, within: self.within }),
            Err(error) => return Err(failed(&host, &error)),
        };
        let items: Vec<T> = answer.answers().iter().filter_map(of).collect();
        // Aliases on the way to the records expire, too.
        let ttl = answer.answers().iter().map(|record| record.ttl).min();
        match ttl {
            Some(ttl) if !items.is_empty() => {
                // The answer of the loopback for `localhost` is no record.
                let ttl = Duration::from_secs(ttl.into());
                Ok(Found { items, ttl, unknown: None })
            }
            _ => Err(ResolveError::Empty { host }),
        }
    }
}

/// The search for a name in the domains that it may be relative to.
struct Search<T> {
    /// The result so far: that of a name, or the best reason why there is none.
    result: Result<Found<T>, ResolveError>,
}

impl<T> Search<T> {
    fn new(host: &str) -> Self {
        Self { result: Err(ResolveError::NoSuchName { host: host.to_owned() }) }
    }

    /// Takes the result of one name. Returns true if it ends the search. Silence does, as in the C library: the next domain could
    /// have another host of that name.
    fn takes(&mut self, found: Result<Found<T>, ResolveError>) -> bool {
        let is_end = matches!(found, Ok(_) | Err(ResolveError::TimedOut { .. }));
        if !matches!(found, Err(ResolveError::NoSuchName { .. })) {
            self.result = found;
        }
        is_end
    }
}

/// Asks the C library, which knows the system's other sources.
async fn ask_library(host: &str) -> Option<Found<IpAddr>> {
    let found = tokio::net::lookup_host((host, 0)).await.ok()?;
    let items: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    (!items.is_empty()).then_some(Found { items, ttl: UNSTATED_TTL, unknown: None })
}

fn other(family: Family) -> Family {
    match family {
        Family::V4 => Family::V6,
        Family::V6 => Family::V4,
    }
}

fn failed(host: &str, error: &dyn std::fmt::Display) -> ResolveError {
    ResolveError::Failed { host: host.to_owned(), reason: error.to_string() }
}

/// Returns a server that is asked by UDP, and by TCP if an answer is too long for that.
fn name_server(address: SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
    server.connections = connections
        .into_iter()
        .map(|mut connection| {
            connection.port = address.port();
            connection
        })
        .collect();
    server
}

/// Returns the absolute names that a name may stand for, in the order of trying (resolv.conf(5)).
fn candidates(name: &Name, search: &[Name], ndots: usize) -> Vec<Name> {
    let mut absolute = name.clone();
    absolute.set_fqdn(true);
    if name.is_fqdn() || name.is_localhost() {
        return vec![absolute];
    }
    let dots = usize::from(name.num_labels()).saturating_sub(1);
    let in_domain = |domain: &Name| {
        let mut found = name.clone().append_domain(domain).ok()?;
        found.set_fqdn(true);
        Some(found)
    };
    let mut names: Vec<Name> = search.iter().filter_map(in_domain).collect();
    let at = if dots >= ndots { 0 } else { names.len() };
    names.insert(at, absolute);
    let mut seen = Vec::with_capacity(names.len());
    names.retain(|name| {
        !seen.contains(name) && {
            seen.push(name.clone());
            true
        }
    });
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_names_are_searched_in_the_domains_by_their_dots() {
        let search = ["a.internal", "b.internal."].map(|domain| Name::from_ascii(domain).unwrap());
        let names = |name: &str, ndots| -> Vec<String> {
            candidates(&Name::from_ascii(name).unwrap(), &search, ndots).iter().map(Name::to_ascii).collect()
        };
        assert_eq!(names("api", 1), ["api.a.internal.", "api.b.internal.", "api."]);
        assert_eq!(names("api.svc", 1), ["api.svc.", "api.svc.a.internal.", "api.svc.b.internal."]);
        assert_eq!(names("api.svc", 2), ["api.svc.a.internal.", "api.svc.b.internal.", "api.svc."]);
        assert_eq!(names("api.svc.", 5), ["api.svc."]);
        assert_eq!(names("localhost", 1), ["localhost."]);
    }

    #[tokio::test]
    async fn localhost_is_looked_up() {
        let found = Resolver::new(&Dns::default()).addresses("localhost").await.unwrap();
        assert!(found.items.iter().all(IpAddr::is_loopback), "{found:?}");
    }

    #[tokio::test]
    async fn a_name_that_does_not_exist_is_an_error_that_names_it() {
        let dns = Dns { search: Some(Vec::new()), ..Dns::default() };
        // The name is reserved and never exists (RFC 6761 §6.4).
        let error = Resolver::new(&dns).addresses("nowhere.invalid").await.unwrap_err();
        assert_eq!(error.to_string(), "cannot resolve `nowhere.invalid`: the name does not exist");
    }
}
