//! A connected socket of the reactor: TCP, or a Unix domain socket.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::config::{KeepaliveSettings, SocketAddress};
use crate::net::keepalive::set_keepalive;

/// The pauses between two tries to connect to a Unix socket whose queue is full: the first one, and the longest.
const QUEUE_PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(50)];

/// A connected socket that is registered with a reactor.
#[derive(Debug)]
pub(crate) enum ConnectedSocket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connected socket without a reactor.
#[derive(Debug)]
pub(crate) enum DetachedSocket {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl ConnectedSocket {
    /// Opens a connection.
    ///
    /// # Errors
    /// Returns the error of the operating system.
    pub(crate) async fn connect(address: &SocketAddress) -> io::Result<Self> {
        match address {
            SocketAddress::Inet(address) => TcpStream::connect(address).await.map(Self::Tcp),
            SocketAddress::Unix(socket) => {
                let [mut pause, longest] = QUEUE_PAUSES;
                // With TCP the kernel waits for room in the peer's queue; here it returns at once.
                loop {
                    match UnixStream::connect(socket.path()).await {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            tokio::time::sleep(pause).await;
                            pause = longest.min(pause * 2);
                        }
                        connected => return connected.map(Self::Unix),
                    }
                }
            }
        }
    }

    /// Sets the probes that find a vanished peer. That of a Unix socket cannot vanish.
    pub(crate) fn set_keepalive(&self, keepalive: Option<KeepaliveSettings>) {
        if let Self::Tcp(socket) = self {
            set_keepalive(&SockRef::from(socket), keepalive);
        }
    }

    /// Switches Nagle's algorithm off. Unix sockets have none.
    pub(super) fn set_nodelay(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.set_nodelay(true),
            Self::Unix(_) => Ok(()),
        }
    }

    /// Waits for a byte and leaves it where it is. Returns 0 at the end of the stream.
    pub(super) async fn peek_byte(&self) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.peek(&mut [0]).await,
            Self::Unix(socket) => {
                let peek = || SockRef::from(socket).peek(&mut [MaybeUninit::uninit()]);
                socket.async_io(Interest::READABLE, peek).await
            }
        }
    }

    /// Leaves the reactor.
    pub(super) fn into_std(self) -> io::Result<DetachedSocket> {
        Ok(match self {
            Self::Tcp(socket) => DetachedSocket::Tcp(socket.into_std()?),
            Self::Unix(socket) => DetachedSocket::Unix(socket.into_std()?),
        })
    }

    /// Joins this thread's reactor.
    pub(super) fn from_std(socket: DetachedSocket) -> io::Result<Self> {
        Ok(match socket {
            DetachedSocket::Tcp(socket) => Self::Tcp(TcpStream::from_std(socket)?),
            DetachedSocket::Unix(socket) => Self::Unix(UnixStream::from_std(socket)?),
        })
    }
}

impl From<TcpStream> for ConnectedSocket {
    fn from(socket: TcpStream) -> Self {
        Self::Tcp(socket)
    }
}

impl From<UnixStream> for ConnectedSocket {
    fn from(socket: UnixStream) -> Self {
        Self::Unix(socket)
    }
}

impl AsFd for ConnectedSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

impl AsyncRead for ConnectedSocket {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Unix(socket) => Pin::new(socket).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for ConnectedSocket {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Unix(socket) => Pin::new(socket).poll_write(cx, buf),
        }
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Self::Unix(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // neither kind has anything to flush
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}
