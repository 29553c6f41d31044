//! A tunnel on a shared connection: an exchange whose bodies are the two directions (RFC 8441).

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;

use super::pool::Lease;
use super::transport::TransportExchange;
use crate::http::body::{Body, PollFrame, Streaming};
use crate::http::error::Error;
use crate::net::tunnel_end::TunnelEnd;

/// The way into the request's body: one chunk at a time.
#[derive(Clone, Default)]
pub(super) struct Uplink(Rc<RefCell<Chunk>>);

#[derive(Default)]
struct Chunk {
    bytes: Bytes,
    /// True if nothing follows.
    is_last: bool,
}

impl Uplink {
    /// Returns the request's body.
    pub(super) fn body(&self) -> Body {
        Body::boxed(self.clone())
    }

    /// Takes the chunk if the last one is on its way.
    fn put(&self, chunk: &mut Bytes) -> Option<usize> {
        let mut waiting = self.0.borrow_mut();
        if !waiting.bytes.is_empty() {
            return None;
        }
        waiting.bytes = std::mem::take(chunk);
        Some(waiting.bytes.len())
    }

    fn end(&self) {
        self.0.borrow_mut().is_last = true;
    }
}

impl Streaming for Uplink {
    /// It wakes no task: the tunnel's own polls both ends, and the exchange after each chunk that it puts.
    fn poll_frame(&mut self, _: &mut Context<'_>) -> PollFrame {
        let mut waiting = self.0.borrow_mut();
        if !waiting.bytes.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut waiting.bytes)))));
        }
        if waiting.is_last { Poll::Ready(None) } else { Poll::Pending }
    }
}

/// The upstream's end of a tunnel. Dropped before both halves have ended, its stream is reset.
pub(super) struct ExchangeEnd {
    // Dropped first: a free lease must find a free stream.
    exchange: TransportExchange,
    uplink: Uplink,
    _lease: Lease,
}

impl ExchangeEnd {
    pub(super) fn new(exchange: TransportExchange, uplink: Uplink, lease: Lease) -> Self {
        Self { exchange, uplink, _lease: lease }
    }

    /// Sends what was taken, as far as the upstream takes it.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.exchange.poll_background(cx) {
            Poll::Ready(error) => Err(broken(error)),
            Poll::Pending => Ok(()),
        }
    }
}

impl TunnelEnd for ExchangeEnd {
    fn poll_read_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        loop {
            let Some(frame) = ready!(self.exchange.poll_frame(cx)) else {
                return Poll::Ready(Ok(Bytes::new()));
            };
            // A tunnel has data alone (RFC 9113 §8.5).
            let trailers = |_| io::Error::from(ErrorKind::InvalidData);
            let data = frame.map_err(broken)?.into_data().map_err(trailers)?;
            // An empty frame is not the end.
            if !data.is_empty() {
                return Poll::Ready(Ok(data));
            }
        }
    }

    fn poll_write(&mut self, chunk: &mut Bytes, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.poll_upload(cx)?;
        let Some(taken) = self.uplink.put(chunk) else { return Poll::Pending };
        self.poll_upload(cx)?;
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.poll_upload(cx))
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.uplink.end();
        self.poll_upload(cx)?;
        if self.exchange.is_sent() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn unsent(&self) -> u64 {
        self.uplink.0.borrow().bytes.len() as u64
    }
}

fn broken(error: Error) -> io::Error {
    io::Error::new(ErrorKind::ConnectionReset, error)
}
