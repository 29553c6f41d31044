//! Listeners, at which requests arrive: binding, accepting within limits, and the steps before HTTP begins.
//!
//! A [`Listener`] lives as long as its sockets. Its settings are its [`ListenerSettings`] in the present snapshot.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{FileMode, SocketAddress};
use crate::downstream::per_client::PerClient;
use crate::downstream::permits::Permits;
use crate::downstream::server_socket::{ServerSocket, WatchedSocket};
use crate::downstream::unix_socket::SocketFile;
use crate::observe::metrics::ListenerStats;
use crate::observe::rate_limited_warning::RateLimitedWarnings;
use crate::snapshot::listener::{ListenerId, ListenerSettings};

/// A running listener, shared by the workers. Its limits apply to the whole process. It stays the same when its
/// settings change.
pub(crate) struct Listener {
    pub(crate) id: ListenerId,
    /// The address as the configuration has it.
    pub(crate) written: SocketAddress,
    /// The address that it listens on, with the actual port if port 0 is written.
    pub(crate) address: SocketAddress,
    /// The file of a Unix socket.
    pub(crate) file: Option<SocketFile>,
    pub(crate) stats: Arc<ListenerStats>,
    pub(crate) connections: Permits,
    pub(crate) per_client: PerClient,
    warned: RateLimitedWarnings,
    /// A reference that each open socket shares.
    listening: Arc<()>,
}

impl Listener {
    pub(crate) fn new(
        listener_settings: &ListenerSettings,
        written: SocketAddress,
        address: SocketAddress,
        file: Option<SocketFile>,
    ) -> Self {
        Self {
            id: listener_settings.id,
            written,
            address,
            file,
            stats: listener_settings.stats.clone(),
            connections: Permits::new(listener_settings.connections.map(Into::into)),
            per_client: PerClient::default(),
            warned: RateLimitedWarnings::every(Duration::from_secs(10)),
            listening: Arc::new(()),
        }
    }

    /// Returns true if one of its sockets is still open.
    pub(crate) fn is_listening(&self) -> bool {
        Arc::strong_count(&self.listening) > 1
    }

    /// Removes the file of a Unix socket, so that no further client finds it.
    pub(crate) fn remove_file(&self) {
        if let Some(file) = &self.file {
            file.remove();
        }
    }

    /// Sets the permissions of a Unix socket's file.
    pub(crate) fn set_file_mode(&self, mode: FileMode) {
        if let Some(Err(error)) = self.file.as_ref().map(|file| file.set_mode(mode)) {
            tracing::error!(address = %self.address, %mode, "the mode of the socket's file cannot be changed: {error}");
        }
    }

    /// Logs a rate-limited warning that connections are refused or kept waiting.
    pub(crate) fn warn(&self, name: &str, limit: &'static str, what: &str) {
        if let Some(suppressed) = self.warned.passes(limit) {
            tracing::warn!(listener = name, limit, suppressed, "{what}");
        }
    }
}

/// A listener's socket for one worker, with everything that is needed to accept on it.
pub(crate) struct UnregisteredSocket {
    pub(crate) socket: ServerSocket,
    pub(crate) listener: Arc<Listener>,
    /// The settings until a snapshot has others.
    pub(crate) listener_settings: Arc<ListenerSettings>,
    listening: Arc<()>,
}

/// An [`UnregisteredSocket`] after its registration with the worker's reactor.
pub(crate) struct ListeningSocket {
    /// Held until the socket is closed.
    pub(crate) listening: Arc<()>,
    pub(crate) socket: WatchedSocket,
    pub(crate) listener: Arc<Listener>,
    pub(crate) listener_settings: Arc<ListenerSettings>,
}

impl UnregisteredSocket {
    pub(crate) fn new(
        socket: ServerSocket,
        listener: &Arc<Listener>,
        listener_settings: &Arc<ListenerSettings>,
    ) -> Self {
        let listening = listener.listening.clone();
        socket.set_keepalive(listener_settings.tcp_keepalive);
        Self { socket, listener: listener.clone(), listener_settings: listener_settings.clone(), listening }
    }

    /// Registers the socket with this worker's reactor.
    ///
    /// # Errors
    /// The operating system has no resources left to watch the socket.
    pub(crate) fn register(self) -> io::Result<ListeningSocket> {
        let Self { socket, listener, listener_settings, listening } = self;
        Ok(ListeningSocket { listening, socket: socket.register()?, listener, listener_settings })
    }
}
