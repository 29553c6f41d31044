//! Addresses that do not respond.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// The sockets behind [`unused_address`] and [`unused_port`], open until the process ends.
static RESERVED: Mutex<Vec<TcpSocket>> = Mutex::new(Vec::new());

/// Returns a loopback address that refuses connections until something listens there. No other test gets it, because a
/// socket that does not listen stays bound to it.
#[must_use]
pub fn unused_address() -> SocketAddr {
    // Not 127.0.0.1, whose many used ports would be in the way.
    keep(reserve(([127, 77, 0, 1], 0).into()))
}

/// Returns a port that is free at every address of this machine, and stays free like that of [`unused_address`].
#[must_use]
pub fn unused_port() -> u16 {
    keep(reserve(([0, 0, 0, 0], 0).into())).port()
}

fn keep(socket: TcpSocket) -> SocketAddr {
    let address = socket.local_addr().unwrap();
    RESERVED.lock().unwrap_or_else(PoisonError::into_inner).push(socket);
    address
}

/// Binds an address without listening. The system refuses connections to it and never assigns its port automatically. A
/// socket that names the address can still listen there: sockets with `SO_REUSEADDR` share it as long as none listens
/// (Linux).
pub(super) fn reserve(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

/// A listener whose queue of connections is full, so the kernel ignores every further attempt. Connecting to it neither
/// succeeds nor fails (Linux).
#[derive(Debug)]
pub struct SilentListener {
    listener: TcpListener,
    _queued: TcpStream,
}

impl SilentListener {
    /// Listens on 127.0.0.1 and fills the queue.
    ///
    /// # Panics
    /// Panics if the system does not permit it.
    pub async fn start() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        // A backlog of 0 still holds one connection (listen(2), net/core/sock.c: the queue is full above the backlog).
        let listener = socket.listen(0).unwrap();
        let queued = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        Self { listener, _queued: queued }
    }

    /// Returns the address that does not respond.
    ///
    /// # Panics
    /// Panics if the system does not know it.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }
}
