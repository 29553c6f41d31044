//! The names among an upstream's endpoints, and the tasks that resolve them. The control plane does the resolving
//! itself.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};

use super::{Member, State, Targets};
use crate::config::{Resolve, Server};
use crate::upstream::origin::Origin;

/// An address that a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NamedAddress {
    pub(crate) socket: SocketAddr,
    /// Addresses of a higher number get requests only while none of a lower one can.
    pub(crate) priority: u16,
    /// Its share of the requests within the name, at least 1.
    pub(crate) weight: u32,
}

impl From<SocketAddr> for NamedAddress {
    fn from(socket: SocketAddr) -> Self {
        Self { socket, priority: 0, weight: 1 }
    }
}

/// The addresses of a name: sorted, each once. Equal sets are equal values.
pub(crate) type Addresses = Arc<[NamedAddress]>;

/// A name that must be resolved.
pub(crate) struct Name {
    pub(crate) target: usize,
    pub(crate) origin: Arc<Origin>,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// True if it is the name of SRV records, which state the ports.
    pub(crate) is_srv: bool,
}

/// Returns the IP address that `host` denotes, with or without brackets, or `None` if it is a name.
pub(crate) fn literal(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).parse().ok()
}

impl Targets {
    fn names(&self) -> impl Iterator<Item = Name> {
        let named = self.targets.iter().enumerate().filter(|(_, target)| target.is_name());
        named.filter_map(|(index, target)| {
            let Server::Inet { host, port } = &target.server else { return None };
            Some(Name {
                target: index,
                origin: target.origin.clone(),
                host: host.clone(),
                port: *port,
                is_srv: target.is_srv,
            })
        })
    }

    /// Returns the names that have no address yet and that no task resolves.
    pub(crate) fn unknown_names(&self) -> Vec<Name> {
        let state = self.lock();
        let names = self.names().filter(|_| state.watching.is_empty());
        names.filter(|name| state.addresses(name.target).is_empty()).collect()
    }

    /// Spawns, for each name, the task that `watch` makes of it, of the times of its lookups, and of its
    /// known addresses. Does nothing if such tasks run already, or once the targets are superseded.
    pub(crate) fn watch_with<F>(self: &Arc<Self>, watch: impl Fn(Weak<Self>, Name, Resolve, Addresses) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut state = self.lock();
        if state.superseded || !state.watching.is_empty() {
            return;
        }
        for name in self.names() {
            let known = state.addresses(name.target);
            if self.resolve != Resolve::Off || known.is_empty() {
                state.watching.spawn(watch(Arc::downgrade(self), name, self.resolve, known));
            }
        }
    }
}

impl State {
    /// Returns the known addresses of a target, sorted.
    fn addresses(&self, target: usize) -> Addresses {
        let members = self.members.iter().filter(|member| member.target == target);
        let mut addresses: Vec<NamedAddress> = members.filter_map(Member::named).collect();
        addresses.sort_unstable();
        addresses.into()
    }
}
