//! What an upstream's endpoint URLs stand for: addresses, written or looked up; and what of it stays the same when
//! the configuration changes.

mod names;
mod succession;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
pub(crate) use names::{Addresses, Name, literal};
use tokio::task::JoinSet;

use super::endpoint::{Endpoint, EndpointSet, Upstream};
use super::origin::{Origin, OriginTls, SharedTls};
use super::pool::{Limits, Pool, WorkerChannels};
use crate::config::load::files::Files;
use crate::config::{self, EndpointUrl, PoolSettings, Scheme};
use crate::net::tls;

/// The endpoint URLs of an upstream, and the upstream with an endpoint for each of their addresses.
pub(crate) struct Targets {
    upstream: Arc<Upstream>,
    targets: Vec<Target>,
    state: Mutex<State>,
    limits: Limits,
    channels: WorkerChannels,
    /// How often names are looked up; `None` for once.
    resolve: Option<Duration>,
}

/// One endpoint URL.
pub(crate) struct Target {
    /// Shared with the target that was the same before a reload, and with no other.
    origin: Arc<Origin>,
    host: String,
    port: u16,
    weight: u32,
}

#[derive(Default)]
struct State {
    /// The endpoints there are, by position of their target.
    endpoints: Vec<(usize, Arc<Endpoint>)>,
    /// Endpoints that are gone from DNS and may still have connections.
    draining: Vec<Arc<Endpoint>>,
    /// What looks the names up.
    watching: JoinSet<()>,
    /// Upstreams from before that had no endpoint when they were left: requests may wait for the first.
    waited_for: Vec<Weak<Upstream>>,
    /// Other targets are in force: what DNS says is theirs to act on.
    superseded: bool,
}

impl Targets {
    /// Makes an upstream of what the configuration says. Addresses have their endpoint at once, names when they are
    /// looked up.
    ///
    /// Of `previous`, what this upstream was before a reload, each target that is the same keeps its endpoints, and
    /// their pools with all that they have; where nothing but limits differs, the answer is `previous` itself.
    /// Nothing changes for `previous` by this: see [`Targets::apply`] and [`Targets::leave_to`]. It must be the
    /// previous one of no other upstream.
    ///
    /// # Errors
    /// What is wrong with its TLS settings.
    pub(crate) fn build(
        upstream: &config::Upstream,
        pool: &PoolSettings,
        channels: &WorkerChannels,
        previous: Option<&Arc<Targets>>,
        files: &Files,
    ) -> Result<Arc<Self>, Vec<tls::TlsError>> {
        // Superseded ones have given away what they had.
        let previous = previous.filter(|previous| !previous.lock().superseded);
        let before = previous.map_or(&[][..], |previous| &previous.targets);
        let targets = build_targets(upstream, before, files).map_err(|error| vec![error])?;
        let resolve = upstream.resolve.duration();
        if let Some(previous) = previous
            && previous.resolve == resolve
            && is_same(&previous.targets, &targets)
        {
            return Ok(previous.clone());
        }
        let predecessor = previous.filter(|previous| targets.iter().any(|target| target.is_of(previous)));
        let built = Self {
            upstream: Upstream::new(EndpointSet::new(Vec::new())),
            targets,
            state: Mutex::default(),
            limits: match predecessor {
                Some(previous) => previous.limits.clone(),
                None => Arc::new(ArcSwap::from_pointee(pool.clone())),
            },
            channels: channels.clone(),
            resolve,
        };
        let mut endpoints = predecessor.map(|previous| built.inherited(previous)).unwrap_or_default();
        for (index, target) in built.targets.iter().enumerate() {
            if let Some(address) = literal(&target.host)
                && !endpoints.iter().any(|(of, _)| *of == index)
            {
                endpoints.push((index, built.endpoint(target, SocketAddr::new(address, target.port))));
            }
        }
        built.replace(&mut built.lock(), endpoints);
        Ok(Arc::new(built))
    }

    pub(crate) fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// The endpoint URLs, in the order of the file.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Target> {
        self.targets.iter()
    }

    /// The target that is the same as one of other targets.
    pub(crate) fn same(&self, target: &Target) -> Option<&Target> {
        self.targets.get(target.position_in(&self.targets)?)
    }

    /// The endpoint URLs alone.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.iter().map(|target| target.url().to_owned()).collect()
    }

    /// The limits as of now.
    pub(crate) fn settings(&self) -> Arc<PoolSettings> {
        self.limits.load_full()
    }

    /// Sets the limits: for new connections and requests at once, for those that exist as soon as each worker has
    /// heard of it.
    pub(crate) fn apply(&self, settings: &PoolSettings) {
        if **self.limits.load() == *settings {
            return;
        }
        self.limits.store(Arc::new(settings.clone()));
        for (_, endpoint) in &self.lock().endpoints {
            endpoint.pool().limits_changed();
        }
    }

    /// Endpoints that are gone from DNS and whose pools still have connections or requests that wait.
    pub(crate) fn draining(&self) -> Vec<Arc<Endpoint>> {
        let mut state = self.lock();
        state.draining.retain(|endpoint| !endpoint.pool().is_drained());
        state.draining.clone()
    }

    /// Tells the addresses of a target. Those that it had before keep their endpoint, connections included;
    /// those that are gone are drained.
    pub(crate) fn set_addresses(&self, target: usize, addresses: &[SocketAddr]) {
        let Some(of) = self.targets.get(target) else { return };
        let mut state = self.lock();
        if state.superseded {
            return;
        }
        let (had, mut endpoints): (Vec<_>, Vec<_>) =
            state.endpoints.iter().cloned().partition(|(index, _)| *index == target);
        for address in addresses {
            let known = had.iter().find(|(_, known)| known.address() == *address);
            endpoints.push(known.cloned().unwrap_or_else(|| (target, self.endpoint(of, *address))));
        }
        self.replace(&mut state, endpoints);
    }

    fn endpoint(&self, of: &Target, address: SocketAddr) -> Arc<Endpoint> {
        let name = format!("{} ({address})", of.origin.url);
        let pool = Pool::new(name, self.limits.clone(), self.channels.clone());
        Arc::new(Endpoint::new(of.origin.clone(), address, pool))
    }

    /// Sends requests to `endpoints` from now on. Those that are in it no more are drained.
    fn replace(&self, state: &mut State, mut endpoints: Vec<(usize, Arc<Endpoint>)>) {
        // In the order of the file, whichever name was looked up first.
        endpoints.sort_by_key(|(index, _)| *index);
        let before = std::mem::replace(&mut state.endpoints, endpoints);
        self.upstream.replace(self.set(state));
        self.tell_who_waits(state);
        state.draining.retain(|endpoint| !endpoint.pool().is_drained());
        for (_, gone) in before {
            if !state.holds(&gone) && !gone.pool().is_retired() {
                gone.pool().retire();
                state.draining.push(gone);
            }
        }
    }

    fn set(&self, state: &State) -> EndpointSet {
        let weighted = state.endpoints.iter().map(|(index, endpoint)| {
            let weight = self.targets.get(*index).map_or(1, |target| target.weight);
            (endpoint.clone(), weight)
        });
        EndpointSet::new(weighted.collect())
    }

    fn tell_who_waits(&self, state: &mut State) {
        if state.endpoints.is_empty() {
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
        self.endpoints.iter().any(|(_, held)| Arc::ptr_eq(held, endpoint))
    }
}

impl Target {
    /// Scheme, host, port and base path.
    pub(crate) fn url(&self) -> &str {
        &self.origin.url
    }

    /// The share of the requests that each of its addresses gets.
    pub(crate) fn weight(&self) -> u32 {
        self.weight
    }

    /// Whether `targets` has this one, too: its endpoints and their pools are the same then.
    pub(crate) fn is_of(&self, targets: &Targets) -> bool {
        self.position_in(&targets.targets).is_some()
    }

    fn position_in(&self, targets: &[Target]) -> Option<usize> {
        targets.iter().position(|other| Arc::ptr_eq(&other.origin, &self.origin))
    }
}

/// The targets of an upstream, each with the origin from `before` if that is the same. Of equal ones each has its
/// own.
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
        let origin = Origin::build(url, &upstream.tls, tls.as_ref())?;
        let same = unclaimed.iter().position(|known| ***known == origin);
        let origin = same.map(|index| unclaimed.remove(index).clone()).unwrap_or_else(|| Arc::new(origin));
        Ok(Target { origin, host: url.host.clone(), port: url.port, weight: weight.get() })
    });
    targets.collect()
}

fn is_same(before: &[Target], now: &[Target]) -> bool {
    let is_same = |(before, now): (&Target, &Target)| {
        Arc::ptr_eq(&before.origin, &now.origin) && before.weight == now.weight
    };
    before.len() == now.len() && before.iter().zip(now).all(is_same)
}
