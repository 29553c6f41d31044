//! Reading and writing HTTP/1 on a socket, for both sides.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

use crate::message::{Framing, Head, Headers, malformed, parse_fields};

/// A connection over TCP or a Unix socket, with or without TLS.
#[derive(Debug)]
pub(crate) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
    UnixTls(Box<TlsStream<UnixStream>>),
}

impl Transport {
    /// Returns the TCP socket; `None` if it is a Unix socket.
    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(tcp) => Some(tcp),
            Self::Tls(tls) => Some(tls.get_ref().0),
            Self::Unix(_) | Self::UnixTls(_) => None,
        }
    }

    /// Reads from the socket, below TLS, without waiting.
    fn try_read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.try_read(bytes),
            Self::Tls(tls) => tls.get_ref().0.try_read(bytes),
            Self::Unix(unix) => unix.try_read(bytes),
            Self::UnixTls(tls) => tls.get_ref().0.try_read(bytes),
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buffer),
            Self::Unix(unix) => Pin::new(unix).poll_read(cx, buffer),
            Self::UnixTls(tls) => Pin::new(tls).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
            Self::Unix(unix) => Pin::new(unix).poll_write(cx, bytes),
            Self::UnixTls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
            Self::Unix(unix) => Pin::new(unix).poll_flush(cx),
            Self::UnixTls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
            Self::Unix(unix) => Pin::new(unix).poll_shutdown(cx),
            Self::UnixTls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

/// A transport, with the bytes that were read from it but not consumed.
#[derive(Debug)]
pub(crate) struct Wire {
    transport: Transport,
    unread: Vec<u8>,
}

/// A body read to its end.
#[derive(Debug, Default)]
pub(crate) struct Body {
    pub(crate) content: Vec<u8>,
    pub(crate) trailers: Headers,
    /// All bytes, including the transfer coding.
    pub(crate) raw: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(transport: Transport) -> Self {
        // Otherwise a script's second write would wait for the peer's delayed ACK.
        drop(transport.tcp().map(|tcp| tcp.set_nodelay(true)));
        Self { transport, unread: Vec::new() }
    }

    /// Reads from the socket, below TLS, without waiting.
    pub(crate) fn try_read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        self.transport.try_read(bytes)
    }

    /// Returns the connection. Panics if there are bytes that were read but not consumed.
    pub(crate) fn into_transport(self) -> Transport {
        assert!(self.unread.is_empty(), "bytes were read and not consumed");
        self.transport
    }

    /// Returns the plain socket. Panics with TLS, or if there are bytes that were read but not consumed.
    pub(crate) fn into_tcp(self) -> TcpStream {
        match self.transport {
            Transport::Plain(tcp) if self.unread.is_empty() => tcp,
            _ => panic!("not a fresh plain connection"),
        }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.transport.write_all(bytes).await?;
        self.transport.flush().await
    }

    /// Ends the writing side: FIN, after close_notify with TLS.
    pub(crate) async fn shutdown(&mut self) -> io::Result<()> {
        self.transport.shutdown().await
    }

    /// Makes the coming close a RST. A Unix socket knows none.
    pub(crate) fn reset(self) {
        drop(self.transport.tcp().map(TcpStream::set_zero_linger));
    }

    /// Reads the next head. Returns `None` if the peer closed before its first byte.
    pub(crate) async fn read_head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(end) = find(&self.unread, b"\r\n\r\n") {
                return Head::parse(self.take(end + 4)).map(Some);
            }
            if self.fill().await? == 0 {
                return if self.unread.is_empty() { Ok(None) } else { Err(truncated("head", &self.unread)) };
            }
        }
    }

    pub(crate) async fn read_body(&mut self, framing: Framing) -> io::Result<Body> {
        let content = match framing {
            Framing::Length(length) => {
                let length = usize::try_from(length).map_err(|_| malformed("a length", b""))?;
                self.read_exact(length).await?
            }
            Framing::UntilClose => self.read_to_end().await?,
            Framing::Chunked => return self.read_chunked().await,
        };
        Ok(Body { raw: content.clone(), content, trailers: Headers::default() })
    }

    /// Reads a chunked body (RFC 9112 §7.1).
    async fn read_chunked(&mut self) -> io::Result<Body> {
        let mut body = Body::default();
        loop {
            let line = self.read_line().await?;
            body.raw.extend_from_slice(&line);
            let size = std::str::from_utf8(&line).ok().and_then(|line| line.trim_end().split(';').next());
            let size = size.and_then(|size| usize::from_str_radix(size, 16).ok());
            let size = size.ok_or_else(|| malformed("a chunk size", &line))?;
            if size == 0 {
                break;
            }
            let chunk = self.read_exact(size + 2).await?;
            body.raw.extend_from_slice(&chunk);
            let data = chunk.strip_suffix(b"\r\n").ok_or_else(|| malformed("the end of a chunk", &chunk))?;
            body.content.extend_from_slice(data);
        }
        let mut trailers = Vec::new();
        loop {
            let line = self.read_line().await?;
            body.raw.extend_from_slice(&line);
            if line == b"\r\n" {
                break;
            }
            trailers.extend_from_slice(&line);
        }
        let text = String::from_utf8(trailers).map_err(|error| malformed("trailers", error.as_bytes()))?;
        body.trailers = parse_fields(text.strip_suffix("\r\n").unwrap_or(""))?;
        Ok(body)
    }

    async fn read_line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = find(&self.unread, b"\r\n") {
                return Ok(self.take(end + 2));
            }
            if self.fill().await? == 0 {
                return Err(truncated("line", &self.unread));
            }
        }
    }

    pub(crate) async fn read_exact(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.unread.len() < length {
            if self.fill().await? == 0 {
                return Err(truncated("body", &self.unread));
            }
        }
        Ok(self.take(length))
    }

    /// Reads the available bytes, at least one; none at the end.
    pub(crate) async fn read_some(&mut self) -> io::Result<Vec<u8>> {
        if self.unread.is_empty() {
            self.fill().await?;
        }
        Ok(std::mem::take(&mut self.unread))
    }

    pub(crate) async fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        while self.fill().await? > 0 {}
        Ok(std::mem::take(&mut self.unread))
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.unread.reserve(64 * 1024);
        self.transport.read_buf(&mut self.unread).await
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        self.unread.drain(..length).collect()
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn truncated(what: &str, bytes: &[u8]) -> io::Error {
    let shown = &bytes[..bytes.len().min(1000)];
    let message =
        format!("the peer closed within a {what}, after {} bytes: {}", bytes.len(), shown.escape_ascii());
    io::Error::new(io::ErrorKind::UnexpectedEof, message)
}
