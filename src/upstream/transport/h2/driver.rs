//! The task of an HTTP/2 connection: reads, writes, and the end.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::io::AsyncWrite as _;

use super::connection::H2Connection;
use crate::http::error::Error;
use crate::http::h2::{Code, Writer};
use crate::net::stream::Stream;
use crate::upstream::close_reason::CloseReason;

/// The reads of one turn, after which other connections have theirs.
const READS: u32 = 16;

/// The side of a connection that reads and writes. Dropping it ends the connection's exchanges and closes the socket.
pub(crate) struct Driver {
    stream: Stream,
    connection: Rc<H2Connection>,
    writer: Writer,
}

impl Driver {
    /// Begins a connection on a new stream.
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, connection: Rc::new(H2Connection::new()), writer: Writer::default() }
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
        let engine = &self.connection.engine;
        if Writer::poll_turn(engine, &mut self.stream, cx).is_ready()
            && let Poll::Ready(Err(broken)) = self.writer.poll_write(engine, &mut self.stream, cx)
        {
            self.connection.lose(CloseReason::Peer, Error::UpstreamClosed, Some(broken));
            return Poll::Ready(CloseReason::Peer);
        }
        self.connection.dispatch();
        Poll::Pending
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

    /// Says goodbye on a connection that no exchange uses.
    pub(in crate::upstream) fn end(&mut self, reason: CloseReason) -> CloseReason {
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
