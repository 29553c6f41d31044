//! A listening socket of one worker: TCP, or a Unix socket.
//!
//! Workers have TCP sockets of their own (`SO_REUSEPORT`). A Unix socket exists once: each worker has a descriptor of it, and the
//! first one to come accepts a connection.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::net::{TcpStream, UnixStream};

use super::bind;
use crate::config::KeepaliveSettings;
use crate::net::keepalive::set_keepalive;
use crate::net::peer::Peer;
use crate::net::socket::ConnectedSocket;

/// A socket that no reactor watches yet, or no longer.
#[derive(Debug)]
pub(crate) enum ServerSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl ServerSocket {
    pub(crate) fn tcp(&self) -> Option<&TcpListener> {
        match self {
            Self::Tcp(socket) => Some(socket),
            Self::Unix(_) => None,
        }
    }

    pub(crate) fn unix(&self) -> Option<&UnixListener> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(socket) => Some(socket),
        }
    }

    /// Sets the probes of connections to come, which inherit them at no cost of their own.
    pub(crate) fn set_keepalive(&self, keepalive: Option<KeepaliveSettings>) {
        if let Self::Tcp(socket) = self {
            set_keepalive(&SockRef::from(socket), keepalive);
        }
    }

    /// Registers the socket with this worker's reactor.
    pub(super) fn register(self) -> io::Result<WatchedSocket> {
        Ok(match self {
            Self::Tcp(socket) => WatchedSocket::Tcp(tokio::net::TcpListener::from_std(socket)?),
            Self::Unix(socket) => WatchedSocket::Unix(tokio::net::UnixListener::from_std(socket)?),
        })
    }

    /// Accepts a connection that waits in the queue, if there is one.
    pub(super) fn accept_waiting(&self) -> io::Result<(ConnectedSocket, Peer)> {
        Ok(match self {
            Self::Tcp(socket) => {
                let (socket, peer) = socket.accept()?;
                socket.set_nonblocking(true)?;
                (TcpStream::from_std(socket)?.into(), peer.into())
            }
            Self::Unix(socket) => {
                let (socket, _) = socket.accept()?;
                socket.set_nonblocking(true)?;
                (UnixStream::from_std(socket)?.into(), Peer::Unix)
            }
        })
    }
}

/// A [`ServerSocket`] after its registration with the worker's reactor.
pub(crate) enum WatchedSocket {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl WatchedSocket {
    pub(super) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(ConnectedSocket, Peer)>> {
        match self {
            Self::Tcp(socket) => socket.poll_accept(cx).map_ok(|(socket, peer)| (socket.into(), peer.into())),
            Self::Unix(socket) => socket.poll_accept(cx).map_ok(|(socket, _)| (socket.into(), Peer::Unix)),
        }
    }

    /// Sets the probes of connections to come.
    pub(super) fn set_keepalive(&self, keepalive: Option<KeepaliveSettings>) {
        if let Self::Tcp(socket) = self {
            set_keepalive(&SockRef::from(socket), keepalive);
        }
    }

    /// Keeps further clients out, and leaves those in the queue. Returns true if handshakes that have begun may still end: those of TCP.
    pub(super) fn keep_out(&self) -> bool {
        match self {
            Self::Tcp(socket) => {
                bind::keep_out(socket);
                true
            }
            Self::Unix(socket) => {
                // Best effort: Linux refuses clients from now on; elsewhere they are admitted until the socket is closed.
                drop(SockRef::from(socket).shutdown(std::net::Shutdown::Read));
                false
            }
        }
    }

    /// Leaves this worker's reactor.
    pub(super) fn into_std(self) -> io::Result<ServerSocket> {
        Ok(match self {
            Self::Tcp(socket) => ServerSocket::Tcp(socket.into_std()?),
            Self::Unix(socket) => ServerSocket::Unix(socket.into_std()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn unix_socket_that_keeps_clients_out_still_has_those_in_its_queue() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.sock");
        let first = UnixListener::bind(&path).unwrap();
        first.set_nonblocking(true).unwrap();
        // Two workers.
        let [first, second] = [first.try_clone().unwrap(), first].map(ServerSocket::Unix);
        let _queued = [0; 2].map(|_| std::os::unix::net::UnixStream::connect(&path).unwrap());
        let first = first.register().unwrap();
        assert!(!first.keep_out());
        let refused = std::os::unix::net::UnixStream::connect(&path).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        for socket in [&second, &first.into_std().unwrap()] {
            assert_eq!(socket.accept_waiting().unwrap().1, Peer::Unix);
        }
        assert_eq!(second.accept_waiting().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
