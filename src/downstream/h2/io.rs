//! The bytes of a connection, whose writes are timed and whose end loses none of them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::{GOODBYE, Streams};
use crate::net::stream::Stream;
use crate::net::timer::{Stall, Timer, deadline, earlier};

/// The time that a client may take, however slowly it reads, to close a connection on which everything was sent.
const GOODBYE_AT_MOST: Duration = Duration::from_secs(30);

/// The size up to which small writes are gathered: one record of TLS.
const GATHER_BYTES: usize = 16 * 1024;

/// A stream whose writes may not stall for longer than `timeouts.response_write`. Small writes are gathered until the
/// end of the worker's turn, so that simultaneous responses go out in one record and one write.
pub(super) struct TimedWrites {
    pub(super) stream: Stream,
    pub(super) stall: Stall,
    pub(super) timer: Timer,
    pub(super) streams: Rc<Streams>,
    pub(super) gathered: Gathered,
    /// The wait for the client's close, once everything is sent.
    pub(super) goodbye: Option<Goodbye>,
}

/// Small writes that have not reached the stream yet.
#[derive(Default)]
pub(super) struct Gathered {
    bytes: Vec<u8>,
    /// The number of bytes that have reached the stream.
    written: usize,
}

/// The deadlines for the client to close its side.
pub(super) struct Goodbye {
    /// The deadline that applies in any case.
    at_most: Option<Instant>,
    /// The deadline if the client sends nothing more.
    silent: Option<Instant>,
}

impl Gathered {
    /// Gathers a small write and returns its length, or `None` if it does not fit.
    fn take(&mut self, pieces: &[IoSlice<'_>]) -> Option<usize> {
        let length = pieces.iter().map(|piece| piece.len()).sum();
        if self.bytes.len().saturating_add(length) > GATHER_BYTES {
            return None;
        }
        pieces.iter().for_each(|piece| self.bytes.extend_from_slice(piece));
        Some(length)
    }
}

impl TimedWrites {
    /// Reads and drops data until the client has closed, too. A client that reads its last response continues to open
    /// windows. If the socket were closed by then, it would be reset, and data on its way would be lost.
    fn poll_goodbye(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let goodbye = self.goodbye.get_or_insert_with(|| Goodbye {
            at_most: deadline(Some(GOODBYE_AT_MOST)),
            silent: deadline(Some(GOODBYE)),
        });
        loop {
            match self.stream.poll_read_chunk(cx) {
                Poll::Ready(Ok(chunk)) if !chunk.is_empty() => {
                    self.streams.moved.set(true);
                    goodbye.silent = deadline(Some(GOODBYE));
                }
                Poll::Ready(_end_or_error) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        self.timer.poll_elapsed(cx, earlier(goodbye.at_most, goodbye.silent))
    }

    /// Writes the gathered bytes to the stream.
    fn poll_gathered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest @ [_, ..]) = self.gathered.bytes.get(self.gathered.written..) {
            let polled = Pin::new(&mut self.stream).poll_write(cx, rest);
            let length = ready!(self.timed(cx, polled))?;
            if length == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.streams.moved.set(true);
            self.gathered.written += length;
        }
        // An idle connection holds no buffer.
        self.gathered = Gathered::default();
        Poll::Ready(Ok(()))
    }

    fn timed<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            // This is `Stall::progress` with the present limit.
            self.stall = Stall::new(self.streams.options().response_write);
            return polled;
        }
        self.stall.poll_waiting(cx, &self.timer).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for TimedWrites {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for TimedWrites {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.streams.unflushed.set(true);
        if let Some(length) = self.gathered.take(bufs) {
            return Poll::Ready(Ok(length));
        }
        ready!(self.poll_gathered(cx))?;
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.streams.moved.set(self.streams.moved.get() || polled.is_ready());
        self.timed(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.gathered.bytes.is_empty() {
            ready!(self.stream.poll_turn(cx));
        }
        ready!(self.poll_gathered(cx))?;
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.streams.unflushed.set(!matches!(polled, Poll::Ready(Ok(()))));
        self.timed(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_gathered(cx))?;
        if self.goodbye.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        }
        self.poll_goodbye(cx).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_writes_are_gathered_as_long_as_they_fit() {
        let mut gathered = Gathered::default();
        let (frame, data) = ([1; 9], vec![2; GATHER_BYTES - 9]);
        assert_eq!(gathered.take(&[IoSlice::new(&frame), IoSlice::new(&data)]), Some(GATHER_BYTES));
        assert_eq!(gathered.take(&[IoSlice::new(&frame)]), None);
        assert_eq!(gathered.bytes, [&frame[..], &data].concat());
    }
}
