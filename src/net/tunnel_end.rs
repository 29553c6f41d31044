//! An end of a tunnel.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

use crate::net::stream::Stream;

/// An end of a tunnel: a connection, or a stream on one. Each of its halves ends by itself. Dropped before both have ended, it is
/// closed or reset.
pub(crate) trait TunnelEnd {
    /// Reads the available bytes. An empty chunk is the end of the peer's half.
    fn poll_read_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>>;

    /// Takes bytes off the front of `chunk`, which is not empty, and sends them. Returns their number.
    fn poll_write(&mut self, chunk: &mut Bytes, cx: &mut Context<'_>) -> Poll<io::Result<usize>>;

    /// Sends what waits in buffers that the end does not empty by itself.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ends our half, behind all that was taken.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Returns the number of bytes that were taken and are not sent, because the peer takes no more for now.
    fn unsent(&self) -> u64 {
        0
    }
}

impl TunnelEnd for Stream {
    fn poll_read_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        Stream::poll_read_chunk(self, cx)
    }

    fn poll_write(&mut self, chunk: &mut Bytes, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let written = std::task::ready!(AsyncWrite::poll_write(Pin::new(self), cx, chunk))?;
        chunk.advance(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(self), cx)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pin::new(self), cx)
    }
}
