//! Writing the output of a connection to its stream.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite as _;

use super::Connection;
use crate::net::stream::Stream;

/// The pieces of one write.
const SLICES: usize = 16;

/// The size below which a write waits for the end of the worker's turn, so that simultaneous messages go out in one.
const SMALL_BYTES: usize = 16 * 1024;

/// The writing side of a connection.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    /// True if TLS holds bytes that were written but not sent.
    unflushed: bool,
    /// True if the stream has taken bytes since [`Writer::take_progress`].
    has_progressed: bool,
}

impl Writer {
    /// Waits for the end of the worker's turn if there is little to write.
    pub(crate) fn poll_turn(
        engine: &RefCell<Connection>,
        stream: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let engine = &mut *engine.borrow_mut();
        engine.schedule();
        if engine.has_output() && engine.waiting() < SMALL_BYTES {
            return stream.poll_turn(cx);
        }
        Poll::Ready(())
    }

    /// Writes what waits. It is ready when everything is written.
    ///
    /// # Errors
    /// The stream is broken.
    pub(crate) fn poll_write(
        &mut self,
        engine: &RefCell<Connection>,
        stream: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let engine = &mut *engine.borrow_mut();
            engine.schedule();
            if !engine.has_output() {
                break;
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = engine.output(&mut slices);
            let slices = slices.get(..filled).unwrap_or_default();
            match ready!(Pin::new(&mut *stream).poll_write_vectored(cx, slices))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => engine.written(count),
            }
            (self.unflushed, self.has_progressed) = (true, true);
        }
        if self.unflushed {
            ready!(Pin::new(stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Returns true if the stream has taken bytes since the last call.
    pub(crate) fn take_progress(&mut self) -> bool {
        std::mem::take(&mut self.has_progressed)
    }
}
