//! The limit of open files, and the number that a configuration needs.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::ListenerLimits;
use crate::control::listeners::Listeners;
use crate::snapshot::Snapshot;

/// The descriptors of the process besides connections: its streams, logs and event queues, and 64 connections to the
/// admin listener.
const OWN: u64 = 128;

/// The descriptors of a worker besides its connections and listening sockets.
const OWN_PER_WORKER: u64 = 4;

/// The file descriptors that a configuration needs when all of its limits are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenFiles {
    /// The sum of `limits.connections` over all listeners; a listener without a limit counts as none.
    clients: u64,
    /// The sum of `pool.max_connections` over all endpoints.
    upstreams: u64,
    own: u64,
    /// True if a listener has a limit other than the default.
    is_chosen: bool,
}

impl OpenFiles {
    /// Returns what a snapshot and its listeners need with this many workers. A name that is not resolved yet counts as one address.
    pub(crate) fn of(snapshot: &Snapshot, listeners: &Listeners, workers: usize) -> Self {
        let default = ListenerLimits::default().connections.on();
        let limits: Vec<_> =
            listeners.running.iter().map(|listener| listener.listener_settings.connections).collect();
        let upstreams = snapshot.upstreams.iter().map(|named| {
            let endpoints =
                named.targets.upstream().current().iter().count().max(named.targets.iter().count());
            (named.targets.settings().max_connections as u64).saturating_mul(endpoints as u64)
        });
        let per_worker = OWN_PER_WORKER + listeners.running.len() as u64;
        Self {
            clients: limits.iter().flatten().map(|limit| u64::from(limit.get())).sum(),
            is_chosen: limits.iter().any(|limit| limit.is_some() && *limit != default),
            upstreams: upstreams.fold(0, u64::saturating_add),
            own: OWN.saturating_add(per_worker.saturating_mul(workers as u64)),
        }
    }

    fn needed(self) -> u64 {
        self.clients.saturating_add(self.upstreams).saturating_add(self.own)
    }

    /// Logs that the process may open fewer files than this, unless the same was logged for `before`. The level is WARN
    /// if the file specifies so many connections, and INFO if they are defaults.
    pub(crate) fn tell_if_too_many(self, before: Option<Self>) {
        let Some(limit) = getrlimit(Resource::Nofile).current else { return };
        let needed = self.needed();
        if needed <= limit || before == Some(self) {
            return;
        }
        let Self { clients, upstreams, own, is_chosen } = self;
        let text = format!(
            "the limit of open files is {limit}, but the configuration allows for {needed}: {clients} client connections \
             (`limits.connections` of all listeners), {upstreams} upstream connections (`pool.max_connections` of all \
             endpoints) and {own} of the gateway's own; raise the hard limit (systemd: LimitNOFILE={needed}, containers: \
             --ulimit nofile={needed}), or lower these limits"
        );
        if is_chosen {
            tracing::warn!("{text}");
        } else {
            tracing::info!("{text}");
        }
    }
}

/// Raises the limit of open files to the maximum for this user. The soft limit is often 1024 for the sake of programs
/// that use select(2).
pub(crate) fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // `None` is no limit.
    let is_lower = match (current, maximum) {
        (Some(current), Some(maximum)) => current < maximum,
        (current, None) => current.is_some(),
        (None, Some(_)) => false,
    };
    if !is_lower {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => tracing::debug!(from = current, to = maximum, "raised the limit of open files"),
        Err(error) => {
            tracing::warn!(limit = current, "the limit of open files cannot be raised: {error}");
        }
    }
}
