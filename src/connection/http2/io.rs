//! The bytes of a connection, whose writes are timed, and whose end loses none of them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::{GOODBYE, Streams};
use crate::stream::Stream;
use crate::timer::{Stall, Timer, deadline, earlier};

/// How long a client may take, however slowly it reads, to close a connection on which all was sent.
const GOODBYE_AT_MOST: Duration = Duration::from_secs(30);

/// A stream whose writes may not stall for longer than `timeouts.response_write`.
pub(super) struct TimedWrites {
    pub(super) stream: Stream,
    pub(super) stall: Stall,
    pub(super) timer: Timer,
    pub(super) streams: Rc<Streams>,
    /// Once all is sent.
    pub(super) goodbye: Option<Goodbye>,
}

/// How long the connection still waits for the client to close its side.
pub(super) struct Goodbye {
    /// Whatever the client does.
    at_most: Option<Instant>,
    /// If it says nothing more.
    silent: Option<Instant>,
}

impl TimedWrites {
    /// Reads on, and drops what comes, until the client has closed, too. A client that reads its last response goes on
    /// opening windows: if the socket were closed by then, it would be reset, and what is on its way be lost.
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

    fn timed<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            // As `Stall::progress`, with the limit of now.
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
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.streams.moved.set(self.streams.moved.get() || polled.is_ready());
        self.timed(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.streams.moved.set(self.streams.moved.get() || polled.is_ready());
        self.timed(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.timed(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.goodbye.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        }
        self.poll_goodbye(cx).map(Ok)
    }
}
