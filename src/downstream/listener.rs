//! Listeners, at which requests arrive: binding, accepting within limits, and the steps before HTTP begins.
//!
//! A [`Listener`] lives as long as its sockets. Its settings are its [`ListenerSettings`] in the present snapshot.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;

use crate::downstream::per_client::PerClient;
use crate::downstream::permits::Permits;
use crate::net::keepalive::set_keepalive;
use crate::observe::metrics::ListenerStats;
use crate::observe::rate_limited_warning::RateLimitedWarnings;
use crate::snapshot::listener::{ListenerId, ListenerSettings};

/// A running listener, shared by the workers. Its limits apply to the whole process. It stays the same when its
/// settings change.
pub(crate) struct Listener {
    pub(crate) id: ListenerId,
    /// The address as the configuration has it.
    pub(crate) written: SocketAddr,
    /// The address that it listens on, with the actual port if port 0 is written.
    pub(crate) address: SocketAddr,
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
        written: SocketAddr,
        address: SocketAddr,
    ) -> Self {
        Self {
            id: listener_settings.id,
            written,
            address,
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

    /// Logs a rate-limited warning that connections are refused or kept waiting.
    pub(crate) fn warn(&self, name: &str, limit: &'static str, what: &str) {
        if let Some(suppressed) = self.warned.passes(limit) {
            tracing::warn!(listener = name, limit, suppressed, "{what}");
        }
    }
}

/// A listener's socket for one worker, with everything that is needed to accept on it.
pub(crate) struct UnregisteredSocket {
    pub(crate) socket: TcpListener,
    pub(crate) listener: Arc<Listener>,
    /// The settings until a snapshot has others.
    pub(crate) listener_settings: Arc<ListenerSettings>,
    listening: Arc<()>,
}

/// An [`UnregisteredSocket`] after its registration with the worker's reactor.
pub(crate) struct ListeningSocket {
    /// Held until the socket is closed.
    pub(crate) listening: Arc<()>,
    pub(crate) socket: tokio::net::TcpListener,
    pub(crate) listener: Arc<Listener>,
    pub(crate) listener_settings: Arc<ListenerSettings>,
}

impl UnregisteredSocket {
    pub(crate) fn new(
        socket: TcpListener,
        listener: &Arc<Listener>,
        listener_settings: &Arc<ListenerSettings>,
    ) -> Self {
        let listening = listener.listening.clone();
        // Accepted connections inherit the probes, at no cost of their own.
        set_keepalive(&SockRef::from(&socket), listener_settings.tcp_keepalive);
        Self { socket, listener: listener.clone(), listener_settings: listener_settings.clone(), listening }
    }

    /// Registers the socket with this worker's reactor.
    ///
    /// # Errors
    /// The operating system has no resources left to watch the socket.
    pub(crate) fn register(self) -> io::Result<ListeningSocket> {
        let Self { socket, listener, listener_settings, listening } = self;
        Ok(ListeningSocket {
            listening,
            socket: tokio::net::TcpListener::from_std(socket)?,
            listener,
            listener_settings,
        })
    }
}
