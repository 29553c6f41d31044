//! The names among an upstream's endpoints, and the tasks that resolve them. The control plane does the resolving
//! itself.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{State, Targets};
use crate::upstream::origin::Origin;

/// The addresses of a name: sorted, each once. Equal sets are equal values.
pub(crate) type Addresses = Arc<[SocketAddr]>;

/// A name that must be resolved.
pub(crate) struct Name {
    pub(crate) target: usize,
    pub(crate) origin: Arc<Origin>,
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Returns the IP address that `host` denotes, with or without brackets, or `None` if it is a name.
pub(crate) fn literal(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).parse().ok()
}

impl Targets {
    fn names(&self) -> impl Iterator<Item = Name> {
        let named = self.targets.iter().enumerate().filter(|(_, target)| literal(&target.host).is_none());
        named.map(|(index, target)| Name {
            target: index,
            origin: target.origin.clone(),
            host: target.host.clone(),
            port: target.port,
        })
    }

    /// Returns the names that have no address yet and that no task resolves.
    pub(crate) fn unknown_names(&self) -> Vec<Name> {
        let state = self.lock();
        let names = self.names().filter(|_| state.watching.is_empty());
        names.filter(|name| state.addresses(name.target).is_empty()).collect()
    }

    /// Spawns, for each name, the task that `watch` makes of it, of its interval (`None` to resolve once), and of its
    /// known addresses. Does nothing if such tasks run already, or once the targets are superseded.
    pub(crate) fn watch_with<F>(
        self: &Arc<Self>,
        watch: impl Fn(Weak<Self>, Name, Option<Duration>, Addresses) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut state = self.lock();
        if state.superseded || !state.watching.is_empty() {
            return;
        }
        for name in self.names() {
            let known = state.addresses(name.target);
            if self.resolve.is_some() || known.is_empty() {
                state.watching.spawn(watch(Arc::downgrade(self), name, self.resolve, known));
            }
        }
    }
}

impl State {
    /// Returns the known addresses of a target, sorted.
    fn addresses(&self, target: usize) -> Addresses {
        let endpoints = self.endpoints.iter().filter(|(index, _)| *index == target);
        let mut addresses: Vec<SocketAddr> = endpoints.map(|(_, endpoint)| endpoint.address()).collect();
        addresses.sort_unstable();
        addresses.into()
    }
}
