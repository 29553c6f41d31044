//! Addresses where no one answers.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// The sockets behind [`unused_address`] and [`unused_port`], open until the process ends.
static RESERVED: Mutex<Vec<TcpSocket>> = Mutex::new(Vec::new());

/// Returns a loopback address that refuses connections until something listens there. No other test gets it: a socket that
/// does not listen stays bound to it.
#[must_use]
pub fn unused_address() -> SocketAddr {
    // Not 127.0.0.1, so that the many ports in use there are no obstacle.
    keep(reserve(([127, 77, 0, 1], 0).into()))
}

/// Returns a port that is free at every address of this machine, and stays so as that of [`unused_address`] does.
#[must_use]
pub fn unused_port() -> u16 {
    keep(reserve(([0, 0, 0, 0], 0).into())).port()
}

fn keep(socket: TcpSocket) -> SocketAddr {
    let address = socket.local_addr().unwrap();
    RESERVED.lock().unwrap_or_else(PoisonError::into_inner).push(socket);
    address
}

/// Binds an address without listening. The system refuses connections to it and gives its port to nobody who asks for any,
/// but whoever names the address can listen there: sockets with `SO_REUSEADDR` share it as long as none listens (Linux).
pub(super) fn reserve(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

/// A listener whose queue of connections is full, so that the kernel ignores every further attempt: connecting to it
/// neither succeeds nor fails (Linux).
#[derive(Debug)]
pub struct SilentListener {
    listener: TcpListener,
    _queued: TcpStream,
}

impl SilentListener {
    /// Listens on 127.0.0.1 and fills the queue.
    ///
    /// # Panics
    /// When the system does not let it.
    pub async fn start() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        // A backlog of 0 still holds one connection (listen(2), net/core/sock.c: the queue is full above the backlog).
        let listener = socket.listen(0).unwrap();
        let queued = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        Self { listener, _queued: queued }
    }

    /// Where nothing is answered.
    ///
    /// # Panics
    /// When the system does not know.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }
}
