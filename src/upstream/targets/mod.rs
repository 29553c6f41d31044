//! The addresses that an upstream's endpoint URLs stand for, written or resolved, and the parts of them that survive a
//! reload.

mod names;
mod succession;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwap;
pub(crate) use names::{Addresses, Name, NamedAddress, literal};
use tokio::task::JoinSet;

use super::endpoint::Endpoint;
use super::endpoints::{Common, EndpointSet, Steering, Upstream};
use super::origin::{Origin, OriginTls, SharedTls};
use super::pool::{Limits, Pool, WorkerChannels};
use crate::config::load::files::Files;
use crate::config::{
    self, EndpointUrl, HealthSettings, PoolSettings, Resolve, Scheme, Server, SocketAddress,
};
use crate::net::tls;

/// The endpoint URLs of an upstream, and the upstream with an endpoint for each of their addresses.
pub(crate) struct Targets {
    upstream: Arc<Upstream>,
    targets: Vec<Target>,
    state: Mutex<State>,
    limits: Limits,
    steering: Arc<Steering>,
    common: Common,
    channels: WorkerChannels,
    /// The times at which names are resolved.
    resolve: Resolve,
}

pub(crate) struct Target {
    /// Shared with the equal target before a reload, and with no other.
    origin: Arc<Origin>,
    server: Server,
    is_srv: bool,
    weight: u32,
}

/// An endpoint of a target.
#[derive(Clone)]
struct Member {
    /// The position of its target.
    target: usize,
    endpoint: Arc<Endpoint>,
    priority: u16,
    /// Its share of the requests within the target.
    weight: u32,
}

impl Member {
    /// Returns its address, as the name of its target stands for it. No name stands for a Unix socket.
    fn named(&self) -> Option<NamedAddress> {
        let socket = self.endpoint.address().inet()?;
        Some(NamedAddress { socket, priority: self.priority, weight: self.weight })
    }
}

#[derive(Default)]
struct State {
    /// The current endpoints.
    members: Vec<Member>,
    /// Endpoints that are gone from DNS but may still have connections.
    draining: Vec<Arc<Endpoint>>,
    /// The tasks that resolve the names.
    watching: JoinSet<()>,
    /// The task that probes the endpoints and compares them.
    checking: JoinSet<()>,
    /// Earlier upstreams that had no endpoint when they were superseded. Requests may be waiting for their first one.
    waited_for: Vec<Weak<Upstream>>,
    /// True once other targets are active. Only those act on DNS.
    superseded: bool,
}

impl Targets {
    /// Builds an upstream from its configuration. Literal addresses have their endpoint at once, names when they are
    /// resolved.
    ///
    /// `previous` is this upstream before a reload. Each target that is the same keeps its endpoints and their pools
    /// with all their connections. If only limits differ, this returns `previous` itself.
    ///
    /// Building changes nothing in `previous`: see [`Targets::apply`] and [`Targets::leave_to`]. It must not be the
    /// previous one of any other upstream.
    pub(crate) fn build(
        upstream: &config::Upstream,
        pool: &PoolSettings,
        channels: &WorkerChannels,
        previous: Option<&Arc<Targets>>,
        files: &Files,
    ) -> Result<Arc<Self>, Vec<tls::TlsError>> {
        // Superseded targets have handed over all their endpoints.
        let previous = previous.filter(|previous| !previous.lock().superseded);
        let before = previous.map_or(&[][..], |previous| &previous.targets);
        let targets = build_targets(upstream, before, files).map_err(|error| vec![error])?;
        let resolve = upstream.resolve;
        let first = targets.first().map_or("", Target::url);
        let steering = Steering {
            balance: upstream.balance,
            health: upstream.health.settings(),
            breaker: upstream.breaker.as_on().map(|breaker| breaker.settings(first)),
        };
        if let Some(previous) = previous
            && previous.resolve == resolve
            && *previous.steering == steering
            && is_same(&previous.targets, &targets)
        {
            return Ok(previous.clone());
        }
        let predecessor = previous.filter(|previous| targets.iter().any(|target| target.is_of(previous)));
        let steering = Arc::new(steering);
        let common =
            predecessor.map_or_else(|| Common::new(channels.len()), |previous| previous.common.clone());
        let built = Self {
            upstream: Upstream::new(EndpointSet::new(Vec::new(), steering.clone(), common.clone())),
            targets,
            state: Mutex::default(),
            limits: match predecessor {
                Some(previous) => previous.limits.clone(),
                None => Arc::new(ArcSwap::from_pointee(pool.clone())),
            },
            steering,
            common,
            channels: channels.clone(),
            resolve,
        };
        let mut members = predecessor.map(|previous| built.inherited(previous)).unwrap_or_default();
        for (index, target) in built.targets.iter().enumerate() {
            if let Some(address) = target.address()
                && !members.iter().any(|member| member.target == index)
            {
                members.push(built.member(index, target, address, 0, 1));
            }
        }
        built.replace(&mut built.lock(), members);
        Ok(Arc::new(built))
    }

    pub(crate) fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// Returns the endpoint URLs, in the order of the file.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Target> {
        self.targets.iter()
    }

    /// Returns the target here that has the same origin as `target`.
    pub(crate) fn same(&self, target: &Target) -> Option<&Target> {
        self.targets.get(target.position_in(&self.targets)?)
    }

    /// Returns the endpoint URLs as text.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.iter().map(|target| target.url().to_owned()).collect()
    }

    /// Returns the times at which names are resolved.
    pub(crate) fn resolve(&self) -> Resolve {
        self.resolve
    }

    /// Returns the current limits.
    pub(crate) fn settings(&self) -> Arc<PoolSettings> {
        self.limits.load_full()
    }

    /// Sets the limits. They hold for new connections and requests at once, and for existing ones as soon as each
    /// worker has been notified.
    pub(crate) fn apply(&self, settings: &PoolSettings) {
        if **self.limits.load() == *settings {
            return;
        }
        self.limits.store(Arc::new(settings.clone()));
        for member in &self.lock().members {
            member.endpoint.pool().limits_changed();
        }
    }

    /// Returns the endpoints that are gone from DNS but whose pools still have connections or waiting requests.
    pub(crate) fn draining(&self) -> Vec<Arc<Endpoint>> {
        let mut state = self.lock();
        state.draining.retain(|endpoint| !endpoint.pool().is_drained());
        state.draining.clone()
    }

    /// Sets the addresses of a target. Known addresses keep their endpoint, connections included; endpoints of the
    /// others drain.
    pub(crate) fn set_addresses(&self, target: usize, addresses: &[NamedAddress]) {
        let Some(of) = self.targets.get(target) else { return };
        let mut state = self.lock();
        if state.superseded {
            return;
        }
        let (had, mut members): (Vec<_>, Vec<_>) =
            state.members.iter().cloned().partition(|member| member.target == target);
        for address in addresses {
            let NamedAddress { socket, priority, weight } = *address;
            let known = had.iter().find(|known| known.endpoint.address().inet() == Some(socket));
            members.push(match known {
                Some(known) => Member { priority, weight, ..known.clone() },
                None => self.member(target, of, socket.into(), priority, weight),
            });
        }
        self.replace(&mut state, members);
    }

    fn member(
        &self,
        target: usize,
        of: &Target,
        address: SocketAddress,
        priority: u16,
        weight: u32,
    ) -> Member {
        let name = match &address {
            SocketAddress::Inet(address) => format!("{} ({address})", of.origin.url),
            SocketAddress::Unix(socket) => socket.to_string(),
        };
        let pool = Pool::new(name, of.origin.protocol, self.limits.clone(), self.channels.clone());
        let endpoint = Endpoint::new(of.origin.clone(), address, pool, self.common.troubled.clone());
        if self.health().active.as_ref().is_some_and(|active| active.starts_unhealthy) {
            endpoint.standing().go_down();
        }
        Member { target, endpoint: Arc::new(endpoint), priority, weight }
    }

    pub(crate) fn health(&self) -> &HealthSettings {
        &self.steering.health
    }

    /// Spawns the task that checks the health of the endpoints as long as these targets are active. Does nothing if there is one, or
    /// once the targets are superseded.
    pub(crate) fn check_with<F>(&self, check: impl FnOnce(Arc<Upstream>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut state = self.lock();
        if !state.superseded && state.checking.is_empty() {
            state.checking.spawn(check(self.upstream.clone()));
        }
    }

    /// Sends requests to `endpoints` from now on. Endpoints that are not among them drain.
    fn replace(&self, state: &mut State, mut members: Vec<Member>) {
        // Keep the order of the file, whichever name was resolved first.
        members.sort_by_key(|member| member.target);
        let before = std::mem::replace(&mut state.members, members);
        self.upstream.replace(self.set(state));
        self.update_waiting_upstreams(state);
        state.draining.retain(|endpoint| !endpoint.pool().is_drained());
        for Member { endpoint: gone, .. } in before {
            if !state.holds(&gone) && !gone.pool().is_retired() {
                gone.pool().retire();
                state.draining.push(gone);
            }
        }
    }

    fn set(&self, state: &State) -> EndpointSet {
        let weighted = state.members.iter().map(|member| {
            let weight = self.targets.get(member.target).map_or(1, |target| target.weight);
            (member.endpoint.clone(), member.priority, weight.saturating_mul(member.weight))
        });
        EndpointSet::new(weighted.collect(), self.steering.clone(), self.common.clone())
    }

    fn update_waiting_upstreams(&self, state: &mut State) {
        if state.members.is_empty() {
            return;
        }
        for upstream in std::mem::take(&mut state.waited_for).iter().filter_map(Weak::upgrade) {
            upstream.replace(self.set(state));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn holds(&self, endpoint: &Arc<Endpoint>) -> bool {
        self.members.iter().any(|held| Arc::ptr_eq(&held.endpoint, endpoint))
    }

    /// Returns true if it has the same endpoint with the same priority and weight.
    fn holds_alike(&self, member: &Member) -> bool {
        let place = |member: &Member| (member.priority, member.weight);
        let is_same =
            |held: &Member| Arc::ptr_eq(&held.endpoint, &member.endpoint) && place(held) == place(member);
        self.members.iter().any(is_same)
    }
}

impl Target {
    /// Returns scheme, host, port and base path.
    pub(crate) fn url(&self) -> &str {
        &self.origin.url
    }

    /// Returns the share of the requests that each of its addresses gets.
    pub(crate) fn weight(&self) -> u32 {
        self.weight
    }

    /// Returns true if it has to be resolved.
    fn is_name(&self) -> bool {
        self.address().is_none()
    }

    /// Returns its address, unless it has to be resolved.
    fn address(&self) -> Option<SocketAddress> {
        match &self.server {
            Server::Inet { .. } if self.is_srv => None,
            Server::Inet { host, port } => literal(host).map(|ip| SocketAddr::new(ip, *port).into()),
            Server::Unix(socket) => Some(SocketAddress::Unix(socket.clone())),
        }
    }

    /// Returns true if `targets` has this target, too. They then share its endpoints and pools.
    pub(crate) fn is_of(&self, targets: &Targets) -> bool {
        self.position_in(&targets.targets).is_some()
    }

    fn position_in(&self, targets: &[Target]) -> Option<usize> {
        targets.iter().position(|other| Arc::ptr_eq(&other.origin, &self.origin))
    }
}

/// Builds the targets of an upstream. A target that is the same as one in `before` takes over its origin; no two
/// targets share one.
fn build_targets(
    upstream: &config::Upstream,
    before: &[Target],
    files: &Files,
) -> Result<Vec<Target>, tls::TlsError> {
    let is_https = |(url, _): (&EndpointUrl, _)| url.scheme == Scheme::Https;
    let tls = if upstream.all_endpoints().any(is_https) {
        let before = before.iter().find_map(|target| target.origin.tls.as_ref());
        Some(SharedTls::build(&upstream.tls, before.map(OriginTls::shared), files)?)
    } else {
        None
    };
    let mut unclaimed: Vec<&Arc<Origin>> = before.iter().map(|target| &target.origin).collect();
    let targets = upstream.all_endpoints().map(|(url, weight)| {
        let origin = Origin::build(url, upstream, tls.as_ref())?;
        let same = unclaimed.iter().position(|known| ***known == origin);
        let origin = same.map(|index| unclaimed.remove(index).clone()).unwrap_or_else(|| Arc::new(origin));
        Ok(Target {
            origin,
            server: url.server.clone(),
            is_srv: upstream.srv.is_some(),
            weight: weight.get(),
        })
    });
    targets.collect()
}

fn is_same(before: &[Target], now: &[Target]) -> bool {
    let is_same = |(before, now): (&Target, &Target)| {
        Arc::ptr_eq(&before.origin, &now.origin) && before.weight == now.weight
    };
    before.len() == now.len() && before.iter().zip(now).all(is_same)
}
