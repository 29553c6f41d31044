//! The task of an HTTP/2 connection: reads, writes, and the end.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::AsyncWrite as _;

use super::connection::H2Connection;
use crate::http::error::Error;
use crate::http::h2::{Code, Writer};
use crate::net::stream::Stream;
use crate::net::timer::{Stall, Timer};
use crate::upstream::close_reason::CloseReason;

/// The reads of one turn, after which other connections have theirs.
const READS: u32 = 16;

/// The time for which a server may take nothing of what is written.
const WRITE_STALL: Duration = Duration::from_secs(30);

/// The side of a connection that reads and writes. Dropping it ends the connection's exchanges and closes the socket.
pub(crate) struct Driver {
    stream: Stream,
    connection: Rc<H2Connection>,
    writer: Writer,
    timer: Timer,
    /// The wait for a server that reads nothing.
    stall: Stall,
}

impl Driver {
    /// Begins a connection on a new stream.
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            connection: Rc::new(H2Connection::new()),
            writer: Writer::default(),
            timer: Timer::default(),
            stall: Stall::new(Some(WRITE_STALL)),
        }
    }

    pub(in crate::upstream) fn connection(&self) -> &Rc<H2Connection> {
        &self.connection
    }

    /// Reads and writes. Resolves to the reason for the end of the connection.
    pub(in crate::upstream) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        self.connection.register(cx);
        if let Poll::Ready(reason) = self.poll_read(cx) {
            return Poll::Ready(reason);
        }
        let written = self.poll_write(cx);
        self.connection.dispatch();
        written
    }

    /// Writes what waits. Resolves to the reason if no more can be written.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let engine = &self.connection.engine;
        ready!(Writer::poll_turn(engine, &mut self.stream, cx));
        let written = self.writer.poll_write(engine, &mut self.stream, cx);
        if self.writer.take_progress() {
            self.stall.progress();
        }
        let (reason, broken) = match written {
            Poll::Ready(Ok(())) => return Poll::Pending,
            Poll::Ready(Err(broken)) => (CloseReason::Peer, Some(broken)),
            Poll::Pending => {
                ready!(self.stall.poll_waiting(cx, &self.timer));
                (CloseReason::Timeout, None)
            }
        };
        self.connection.lose(reason, Error::UpstreamClosed, broken);
        Poll::Ready(reason)
    }

    /// Reads what has arrived. Resolves to the reason if no more can arrive.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        for _ in 0..READS {
            match self.stream.poll_read_chunk(cx) {
                Poll::Ready(Ok(chunk)) if !chunk.is_empty() => {
                    if let Err(error) = self.connection.receive(chunk) {
                        tracing::debug!(reason = %error, code = error.code.0, "an HTTP/2 server broke the protocol");
                        self.write_last();
                        let malformed = Error::ResponseMalformed(error.reason);
                        self.connection.lose(CloseReason::Error, malformed, None);
                        return Poll::Ready(CloseReason::Error);
                    }
                }
                Poll::Ready(end) => {
                    self.connection.lose(CloseReason::Peer, Error::UpstreamClosed, end.err());
                    return Poll::Ready(self.connection.closing().unwrap_or(CloseReason::Peer));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Closes the socket.
    pub(in crate::upstream) fn close(&mut self) {
        self.stream = Stream::closed();
    }

    /// Says goodbye, and ends the exchanges that there are. Returns the reason.
    pub(in crate::upstream) fn end(&mut self, reason: CloseReason) -> CloseReason {
        if self.connection.lost().is_some() {
            return reason;
        }
        self.connection.engine.borrow_mut().end(Code::NO_ERROR, "");
        self.write_last();
        self.connection.lose(reason, Error::UpstreamClosed, None);
        reason
    }

    /// Writes what can be written without waiting.
    fn write_last(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        let _best_effort = self.writer.poll_write(&self.connection.engine, &mut self.stream, &mut cx);
        let _best_effort = Pin::new(&mut self.stream).poll_shutdown(&mut cx);
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if self.connection.lost().is_none() {
            self.connection.lose(CloseReason::Drained, Error::UpstreamClosed, None);
        }
    }
}
