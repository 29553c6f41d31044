//! Addresses where no one answers.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// A loopback address that refuses connections: it was bound a moment ago. It is not 127.0.0.1, where the tests that run
/// beside this one get their ports: one of them could get this one.
#[must_use]
pub fn unused_address() -> SocketAddr {
    std::net::TcpListener::bind("127.77.0.1:0").unwrap().local_addr().unwrap()
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
