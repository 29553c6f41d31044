//! Accepting: a loop for each listener and worker.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rustix::io::Errno;
use tokio::time::{Instant, timeout_at};

use super::bind::BACKLOG;
use super::permits::Permit;
use super::server_socket::WatchedSocket;
use crate::config::KeepaliveSettings;
use crate::downstream::listener::{Listener, ListeningSocket};
use crate::downstream::opening::{AcceptedConnection, start};
use crate::net::drain::{DrainGuard, DrainSignal};
use crate::net::peer::Peer;
use crate::net::socket::ConnectedSocket;
use crate::proxy::client::CurrentSnapshot;
use crate::snapshot::listener::ListenerSettings;

/// The pause in accepting when the process or the machine has run out of a resource, such as file descriptors.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// The time that a socket which admits no further handshakes stays open for those in progress: one round trip.
const LAST_HANDSHAKES: Duration = Duration::from_millis(100);

/// Accepts connections until `drain` starts, and then those that the kernel has already begun, because it resets what
/// it still holds when the socket closes. The drain does not end before those are in, however late this future is first polled.
pub(crate) fn accept(
    accepting: ListeningSocket,
    current: Rc<CurrentSnapshot>,
    drain: DrainSignal,
) -> impl Future<Output = ()> {
    let waiting = drain.acceptor_guard();
    accept_until_drain(accepting, current, drain, waiting)
}

async fn accept_until_drain(
    accepting: ListeningSocket,
    current: Rc<CurrentSnapshot>,
    drain: DrainSignal,
    waiting: DrainGuard,
) {
    // They are bound in this order so that the socket is closed first.
    let ListeningSocket { listening: _listening, socket, listener, listener_settings } = accepting;
    let mut acceptor =
        Acceptor { listener, keepalive: listener_settings.tcp_keepalive, listener_settings, current, drain };
    loop {
        let accepted = std::future::poll_fn(|cx| match socket.poll_accept(cx) {
            Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
            Poll::Pending => waiting.poll_draining(cx).map(|()| None),
        });
        match accepted.await {
            None => break,
            Some(Err(error)) => acceptor.pause(&error).await,
            Some(Ok((connection, peer))) => {
                acceptor.probe(&socket, &connection);
                acceptor.take_in(connection, peer).await;
            }
        }
    }
    if socket.keep_out() {
        let until = Instant::now() + LAST_HANDSHAKES;
        let next = async || std::future::poll_fn(|cx| socket.poll_accept(cx)).await;
        while let Ok(accepted) = timeout_at(until, next()).await {
            match accepted {
                Err(error) => acceptor.pause(&error).await,
                Ok((socket, peer)) => acceptor.take_in(socket, peer).await,
            }
        }
    }
    // The kernel may have connections that the reactor has yet to see.
    let Ok(socket) = socket.into_std() else { return };
    for _ in 0..BACKLOG {
        let Ok((socket, peer)) = socket.accept_waiting() else { return };
        acceptor.take_in(socket, peer).await;
    }
}

/// A listener on one worker.
struct Acceptor {
    listener: Arc<Listener>,
    /// The latest settings: the present ones, or the last ones of a listener that ends.
    listener_settings: Arc<ListenerSettings>,
    /// The probes that the socket has. `listener_settings` may already have others.
    keepalive: Option<KeepaliveSettings>,
    current: Rc<CurrentSnapshot>,
    drain: DrainSignal,
}

impl Acceptor {
    /// Brings the settings up to date. They stay as they are once the listener has been removed.
    fn refresh(&mut self) {
        // The lookup is by id, because another listener of the same name may have TLS.
        if let Some(present) = self.current.load().listener_settings_of(self.listener_settings.id) {
            self.listener_settings.clone_from(present);
        }
    }

    /// Refreshes the settings. If their probes differ from those of the listening socket, that socket gets the new ones
    /// for the connections to come, and so does the connection that has just arrived.
    fn probe(&mut self, listening: &WatchedSocket, connection: &ConnectedSocket) {
        self.refresh();
        let present = self.listener_settings.tcp_keepalive;
        if present != self.keepalive {
            self.keepalive = present;
            listening.set_keepalive(present);
            connection.set_keepalive(present);
        }
    }

    /// Starts the connection's task as soon as `limits.connections` admits it.
    async fn take_in(&mut self, socket: ConnectedSocket, peer: Peer) {
        let Some(permit) = self.admit().await else { return };
        self.refresh();
        let accepted_connection = AcceptedConnection::new(
            self.listener.clone(),
            self.listener_settings.clone(),
            self.drain.guard(),
            permit,
        );
        start(socket, peer, self.current.clone(), accepted_connection);
    }

    /// Pauses after an error that would recur at once, and with which accepting in a loop would spin. An error that
    /// concerns a single connection needs no pause.
    async fn pause(&self, error: &io::Error) {
        if concerns_one_connection(error) {
            return;
        }
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::MFILE) => self.warn(
                "open files",
                "not accepting: the open file limit of the process is reached; raise it (LimitNOFILE, ulimit -n)",
            ),
            Some(Errno::NFILE) => self.warn(
                "open files",
                "not accepting: the open file limit of the machine is reached; raise it (fs.file-max)",
            ),
            Some(Errno::NOMEM | Errno::NOBUFS) => {
                self.warn("memory", "not accepting: the machine has no memory left for a connection");
            }
            _ => self.warn("accept", &format!("not accepting: {error}")),
        }
        tokio::time::sleep(EXHAUSTED_PAUSE).await;
    }

    /// Waits for a permit of `limits.connections`. Returns `None` if draining begins first.
    async fn admit(&self) -> Option<Permit> {
        if let Some(permit) = self.listener.connections.try_acquire() {
            return Some(permit);
        }
        self.warn("limits.connections", "the connection limit is reached; new connections wait");
        let drained = self.drain.uncounted_guard();
        tokio::select! {
            permit = self.listener.connections.acquire() => permit,
            () = std::future::poll_fn(|cx| drained.poll_draining(cx)) => None,
        }
    }

    fn warn(&self, limit: &'static str, what: &str) {
        self.listener.warn(&self.listener_settings.name, limit, what);
    }
}

/// Returns true for errors of one connection: Linux reports pending network errors of the new connection from accept(2)
/// (its section "Error handling").
fn concerns_one_connection(error: &io::Error) -> bool {
    use Errno as E;
    let Some(code) = error.raw_os_error().map(E::from_raw_os_error) else { return false };
    let aborted = [E::CONNABORTED, E::CONNRESET, E::CONNREFUSED, E::INTR, E::PERM, E::PROTO, E::TIMEDOUT];
    let network = [E::NETDOWN, E::NETUNREACH, E::HOSTDOWN, E::HOSTUNREACH, E::NOPROTOOPT, E::OPNOTSUPP];
    aborted.contains(&code) || network.contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exhaustion_and_unknown_errors_pause_accepting() {
        let os = |errno: Errno| io::Error::from_raw_os_error(errno.raw_os_error());
        for errno in [Errno::CONNABORTED, Errno::NETDOWN, Errno::HOSTUNREACH, Errno::PERM, Errno::PROTO] {
            assert!(concerns_one_connection(&os(errno)), "{errno}");
        }
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS, Errno::BADF, Errno::INVAL] {
            assert!(!concerns_one_connection(&os(errno)), "{errno}");
        }
        assert!(!concerns_one_connection(&io::Error::other("unknown")));
    }
}
