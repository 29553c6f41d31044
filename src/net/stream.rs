//! A byte stream to a peer, plain or TLS, on either side.

use std::cell::RefCell;
use std::future::Future;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;

use crate::net::socket::{ConnectedSocket, DetachedSocket};
use crate::net::{clock, end_of_turn};

/// The size of one read: a 64 KiB body together with its head.
const READ_BYTES: usize = 68 * 1024;

/// The size below which a read is copied out of the worker's read buffer instead of keeping a slice of it alive. A few
/// hundred bytes that are held for long (the headers of a slow request) thus do not pin the whole buffer.
const COPY_BELOW: usize = 8 * 1024;

thread_local! {
    /// The buffer of every read of this worker. A connection that waits for bytes holds no buffer.
    static READ_BUFFER: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// A socket that can take bytes back, and that can move to another worker. It leaves its reactor with
/// [`Socket::detach`], and joins the reactor of the worker that polls it next.
#[derive(Debug)]
pub(crate) struct Socket {
    inner: Inner,
    /// Bytes that were read to detect the protocol, and that will be read again.
    unread: Bytes,
    written: Written,
    /// True if the end of the worker's turn has been awaited for the next write.
    turn_awaited: bool,
}

/// The number of writes to a socket. Nagle's algorithm delays the second write until the first is acknowledged, and the
/// peer may delay that. The algorithm is switched off at the second write, which saves one system call for each
/// connection that is written to once. (Linux sends all of one write at once, its small end included.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    Never,
    Once,
    /// Nagle's algorithm is off.
    Again,
}

/// The reason for which a socket is readable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrived {
    Bytes,
    /// The peer has closed its sending side.
    End,
}

#[derive(Debug)]
enum Inner {
    Attached(ConnectedSocket),
    Detached(DetachedSocket),
    Gone,
}

impl Socket {
    pub(crate) fn new(socket: impl Into<ConnectedSocket>) -> Self {
        let inner = Inner::Attached(socket.into());
        Self { inner, unread: Bytes::new(), written: Written::Never, turn_awaited: false }
    }

    fn closed() -> Self {
        Self { inner: Inner::Gone, unread: Bytes::new(), written: Written::Never, turn_awaited: false }
    }

    /// Puts bytes back in front of those to come.
    pub(crate) fn unread(&mut self, bytes: Bytes) {
        self.unread = bytes;
    }

    /// Waits for the first byte and leaves it where it is. Returns false if the peer closes or resets the connection before.
    pub(crate) async fn has_first_byte(&mut self) -> bool {
        if !self.unread.is_empty() {
            return true;
        }
        let Ok(socket) = self.attached() else { return false };
        socket.peek_byte().await.is_ok_and(|length| length > 0)
    }

    fn attached(&mut self) -> io::Result<&mut ConnectedSocket> {
        if let Inner::Detached(_) = self.inner
            && let Inner::Detached(socket) = std::mem::replace(&mut self.inner, Inner::Gone)
        {
            self.inner = Inner::Attached(ConnectedSocket::from_std(socket)?);
        }
        match &mut self.inner {
            Inner::Attached(socket) => Ok(socket),
            Inner::Detached(_) | Inner::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Writes by `write`. From the second write on, Nagle's algorithm is off.
    fn poll_written(
        &mut self,
        write: impl FnOnce(Pin<&mut ConnectedSocket>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let is_second = self.written == Written::Once;
        let socket = self.attached()?;
        if is_second {
            // Nothing but speed depends on it.
            drop(socket.set_nodelay());
        }
        let polled = write(Pin::new(socket));
        self.turn_awaited &= polled.is_pending();
        match self.written {
            Written::Never if polled.is_ready() => self.written = Written::Once,
            Written::Once => self.written = Written::Again,
            Written::Never | Written::Again => {}
        }
        polled
    }

    fn detach(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.inner, Inner::Gone) {
            Inner::Attached(socket) => self.inner = Inner::Detached(socket.into_std()?),
            detached => self.inner = detached,
        }
        Ok(())
    }

    /// Checks with the kernel, because the reactor may not know of it yet.
    fn arrived(&mut self) -> Option<Arrived> {
        if !self.unread.is_empty() {
            return Some(Arrived::Bytes);
        }
        let mut byte = [MaybeUninit::uninit()];
        let socket = self.attached().ok()?;
        match SockRef::from(&*socket).peek(&mut byte).ok()? {
            0 => Some(Arrived::End),
            _ => Some(Arrived::Bytes),
        }
    }

    fn end_abruptly(&mut self) -> io::Result<()> {
        SockRef::from(&*self.attached()?).shutdown(std::net::Shutdown::Write)
    }

    fn abort_on_close(&mut self) {
        if let Ok(socket) = self.attached() {
            // Best effort: the socket may be gone already, and a Unix socket knows no reset.
            let _ignored = SockRef::from(&*socket).set_linger(Some(Duration::ZERO));
        }
    }
}

/// A plain or TLS stream, of the server or the client side.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(Socket),
    /// rustls on top of a socket. It is boxed because its state is some 1.5 KiB.
    Tls(Box<TlsStream<Socket>>),
    /// A pipe without system calls, for `bench`, and a closed socket for operations that only a socket has.
    #[cfg(feature = "bench-internals")]
    Memory(Box<(tokio::io::DuplexStream, Socket)>),
}

impl Stream {
    /// Puts bytes back in front of those to come. It only applies to a plain stream, because TLS has its own framing.
    pub(crate) fn unread(&mut self, bytes: Bytes) {
        if let Stream::Plain(socket) = self {
            socket.unread(bytes);
        }
    }

    /// Wraps a connected socket.
    pub(crate) fn plain(socket: impl Into<ConnectedSocket>) -> Self {
        Stream::Plain(Socket::new(socket))
    }

    /// Wraps one end of a pipe in memory.
    #[cfg(feature = "bench-internals")]
    pub(crate) fn memory(pipe: tokio::io::DuplexStream) -> Self {
        Stream::Memory(Box::new((pipe, Socket::closed())))
    }

    /// Creates a closed stream, which stays behind when another owner takes one over.
    pub(crate) fn closed() -> Self {
        Stream::Plain(Socket::closed())
    }

    /// Returns true if the stream's bytes go over the wire unencrypted.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self, Stream::Plain(_))
    }

    /// Returns the protocol that was chosen in the TLS handshake (ALPN, RFC 7301).
    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        match self {
            Stream::Tls(stream) => stream.get_ref().1.alpn_protocol(),
            _ => None,
        }
    }

    fn socket(&mut self) -> &mut Socket {
        match self {
            Stream::Plain(socket) => socket,
            Stream::Tls(stream) => stream.get_mut().0,
            #[cfg(feature = "bench-internals")]
            Stream::Memory(memory) => &mut memory.1,
        }
    }

    /// Leaves this worker's reactor, so that another worker may take the stream over.
    ///
    /// # Errors
    /// The operating system refused to deregister the socket; the stream is unusable then.
    pub(crate) fn detach(&mut self) -> io::Result<()> {
        self.socket().detach()
    }

    /// Makes the coming close a reset, so that the peer does not mistake what it has for the whole message.
    pub(crate) fn abort_on_close(&mut self) {
        self.socket().abort_on_close();
    }

    /// Ends the sending side. On TLS the peer sees the missing close_notify.
    pub(crate) fn end_abruptly(&mut self) -> io::Result<()> {
        self.socket().end_abruptly()
    }

    /// Returns true if bytes wait to be read, even if the reactor does not know of them yet.
    pub(crate) fn has_arrived(&mut self) -> bool {
        self.arrived() == Some(Arrived::Bytes)
    }

    /// Returns the reason for which the stream is readable, even if the reactor does not know of it yet.
    pub(crate) fn arrived(&mut self) -> Option<Arrived> {
        self.socket().arrived()
    }

    /// Waits for the end of the worker's turn, once before the next write; again for the rest of a message of which a part was
    /// written.
    pub(crate) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        end_of_turn::poll_end(&mut self.socket().turn_awaited, cx)
    }

    /// Reads the available bytes, up to 68 KiB. An empty chunk is the end of the stream.
    pub(crate) fn poll_read_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        READ_BUFFER.with_borrow_mut(|buffer| {
            buffer.reserve(READ_BYTES);
            let length = ready!(pin!(self.read_buf(buffer)).poll(cx))?;
            if length < COPY_BELOW {
                let chunk = Bytes::copy_from_slice(buffer);
                buffer.clear();
                return Poll::Ready(Ok(chunk));
            }
            Poll::Ready(Ok(buffer.split().freeze()))
        })
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.unread.is_empty() {
            clock::advance();
            let length = this.unread.len().min(buf.remaining());
            buf.put_slice(&this.unread.split_to(length));
            return Poll::Ready(Ok(()));
        }
        let read = Pin::new(this.attached()?).poll_read(cx, buf);
        if read.is_ready() {
            clock::advance();
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_written(|socket| socket.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_written(|socket| socket.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // sockets have nothing to flush
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().attached()?).poll_shutdown(cx)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            #[cfg(feature = "bench-internals")]
            Stream::Memory(memory) => Pin::new(&mut memory.0).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
            #[cfg(feature = "bench-internals")]
            Stream::Memory(memory) => {
                memory.1.turn_awaited = false;
                Pin::new(&mut memory.0).poll_write(cx, buf)
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            #[cfg(feature = "bench-internals")]
            Stream::Memory(memory) => {
                memory.1.turn_awaited = false;
                Pin::new(&mut memory.0).poll_write_vectored(cx, bufs)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(feature = "bench-internals")]
            Stream::Memory(memory) => Pin::new(&mut memory.0).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(feature = "bench-internals")]
            Stream::Memory(memory) => Pin::new(&mut memory.0).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn connected() -> (TcpListener, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (listener, stream)
    }

    #[tokio::test]
    async fn end_of_the_turn_is_awaited_once_before_each_write() {
        let (_listener, stream) = connected().await;
        let mut stream = Stream::plain(stream);
        // The first message after a sleep need not wait.
        end_of_turn::end().await;
        for _ in 0..2 {
            let mut polls = [0; 2];
            for polls in &mut polls {
                std::future::poll_fn(|cx| {
                    *polls += 1;
                    stream.poll_turn(cx)
                })
                .await;
            }
            assert_eq!(polls, [2, 1]);
            stream.write_all(b"a").await.unwrap();
        }
    }

    #[tokio::test]
    async fn nodelay_is_set_before_the_second_write() {
        let (_listener, stream) = connected().await;
        let mut socket = Socket::new(stream);
        let mut is_without_delay = Vec::new();
        for _ in 0..3 {
            socket.write_all(b"a").await.unwrap();
            is_without_delay.push(SockRef::from(&*socket.attached().unwrap()).tcp_nodelay().unwrap());
        }
        assert_eq!(is_without_delay, [false, true, true]);
    }
}
