//! The control plane's view of the running listeners.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::{self, ConfigError, Loaded, SocketAddress};
use crate::downstream::bind::{cannot_bind, listen};
use crate::downstream::listener::{Listener, UnregisteredSocket};
use crate::downstream::server_socket::ServerSocket;
use crate::downstream::unix_socket;
use crate::path;
use crate::snapshot::listener::{ListenerId, ListenerSettings};

/// The listeners of the process; none at first.
#[derive(Default)]
pub(crate) struct Listeners {
    /// The running listeners in the order of the file.
    pub(crate) running: Vec<RunningListener>,
    /// Removed listeners that may still have an open socket.
    pub(crate) ending: Vec<Arc<Listener>>,
}

/// A listener with its current settings.
#[derive(Clone)]
pub(crate) struct RunningListener {
    pub(crate) listener: Arc<Listener>,
    pub(crate) listener_settings: Arc<ListenerSettings>,
    /// The configuration from which the settings were built.
    pub(crate) written: config::Listener,
}

/// The change of a listener in a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListenerChange {
    Added,
    /// The same address with other settings, such as a new name or a renewed certificate.
    Changed,
    Kept,
    Removed,
}

/// A plan with all of its sockets, which are bound and do not listen yet.
pub(crate) struct Bound {
    /// The change of each listener: those of the configuration in the order of the file, then the removed ones.
    pub(crate) changes: Vec<(ListenerChange, RunningListener)>,
    pub(crate) ending: Vec<Arc<Listener>>,
    /// The sockets of new listeners, by worker.
    pub(crate) listen: Vec<Vec<UnregisteredSocket>>,
}

/// The work that the workers have to do to apply a plan of listeners.
pub(crate) struct WorkerCommands {
    /// The sockets that each worker begins to listen on.
    pub(crate) listen: Vec<Vec<UnregisteredSocket>>,
    pub(crate) end: Vec<ListenerId>,
}

impl RunningListener {
    /// Returns the name in logs and metrics.
    pub(crate) fn name(&self) -> &str {
        &self.listener_settings.name
    }

    /// Returns the address that it listens on.
    pub(crate) fn address(&self) -> &SocketAddress {
        &self.listener.address
    }
}

impl Bound {
    pub(crate) fn new(ending: Vec<Arc<Listener>>, workers: usize) -> Self {
        Self { changes: Vec::new(), ending, listen: (0..workers).map(|_| Vec::new()).collect() }
    }

    /// Returns the new listeners with their positions in the file: `changes` has the configuration's listeners first.
    fn added(&self) -> impl Iterator<Item = (usize, &RunningListener)> {
        let changes = self.changes.iter().enumerate();
        changes
            .filter(|(_, (change, _))| *change == ListenerChange::Added)
            .map(|(index, (_, added))| (index, added))
    }

    /// Returns the line that a start or a reload prints for each new listener:
    /// `listening on http://127.0.0.1:8080 (web)`, `listening on unix:/run/gateway.sock (web)`.
    pub(crate) fn announcements(&self, loaded: &Loaded) -> Vec<String> {
        let lines = self.added().map(|(index, added)| {
            let (name, has_tls) = (loaded.listener_name(index), added.listener_settings.tls.is_some());
            match (added.address(), has_tls) {
                (SocketAddress::Inet(address), true) => format!("listening on https://{address} ({name})"),
                (SocketAddress::Inet(address), false) => format!("listening on http://{address} ({name})"),
                (SocketAddress::Unix(socket), true) => format!("listening on {socket} with TLS ({name})"),
                (SocketAddress::Unix(socket), false) => format!("listening on {socket} ({name})"),
            }
        });
        lines.collect()
    }

    /// Begins to listen on the sockets of new listeners, and returns the errors of those that cannot. `going` is the
    /// same as for [`Plan::bind`](crate::control::compile::listeners::Plan::bind).
    pub(crate) fn listen(&self, loaded: &Loaded, going: &[SocketAddr]) -> Vec<ConfigError> {
        let failed = self.added().filter_map(|(index, added)| {
            let own = self.listen.iter().flatten().filter(|one| one.listener.id == added.listener.id);
            let (mut own, place) = (own.map(|one| &one.socket), path!["listeners", index, "address"]);
            match added.address() {
                SocketAddress::Inet(address) => {
                    let error = listen(*address, own.filter_map(ServerSocket::tcp), going).err()?;
                    Some(cannot_bind(loaded, &place, *address, &error, &[]))
                }
                SocketAddress::Unix(_) => {
                    // The workers' descriptors are of one socket.
                    let socket = own.find_map(ServerSocket::unix)?;
                    let error = unix_socket::listen(socket, added.listener.file.as_ref()).err()?;
                    Some(error.at(loaded, &place))
                }
            }
        });
        failed.collect()
    }

    /// Applies the limits that concern whole listeners. Returns the listeners as they are from now on, and the commands
    /// for the workers.
    pub(crate) fn commit(self) -> (Listeners, WorkerCommands) {
        let Self { changes, mut ending, listen } = self;
        let (mut running, mut end) = (Vec::new(), Vec::new());
        for (change, one) in changes {
            if change != ListenerChange::Kept {
                tracing::debug!(listener = one.name(), address = %one.address(), ?change, "listener");
            }
            match change {
                ListenerChange::Removed => {
                    one.listener.remove_file();
                    end.push(one.listener.id);
                    ending.push(one.listener);
                }
                ListenerChange::Added | ListenerChange::Changed | ListenerChange::Kept => {
                    one.listener.connections.set_limit(one.listener_settings.connections.map(Into::into));
                    if change == ListenerChange::Changed {
                        one.listener.set_file_mode(one.written.file_mode());
                    }
                    running.push(one);
                }
            }
        }
        (Listeners { running, ending }, WorkerCommands { listen, end })
    }
}
