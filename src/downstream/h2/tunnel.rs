//! A tunnel on a stream, which an extended CONNECT has opened (RFC 8441).

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};

use super::shared::OpenStream;
use crate::http::date::with_date;
use crate::http::fields::Fields;
use crate::http::h2::{Code, Part};
use crate::net::tunnel_end::TunnelEnd;
use crate::proxy::reply::{Reply, Tunnel};

/// Sends the response that opens the tunnel, 200 in place of the 101 of HTTP/1, and carries bytes until the tunnel ends.
pub(super) async fn carry(stream: &Rc<OpenStream>, reply: Reply, tunnel: Tunnel) {
    let Reply { mut response, log, .. } = reply;
    if !response.headers.contains_key(header::DATE) {
        response.headers.append(header::DATE, with_date(HeaderValue::clone));
    }
    stream.shared.engine.borrow_mut().respond(stream.key, StatusCode::OK, &response.headers, None, false);
    stream.shared.wake();
    let end = StreamEnd { stream: stream.clone(), taken: 0 };
    let (received, sent, error) = tunnel(Box::new(end), Bytes::new()).await;
    log.end(received, sent, error);
}

/// A stream as an end of a tunnel. Dropped before both of its halves have ended, it is reset with CANCEL.
struct StreamEnd {
    stream: Rc<OpenStream>,
    /// The bytes that were handed to the engine.
    taken: u64,
}

impl StreamEnd {
    fn check(&self, cx: &Context<'_>) -> io::Result<()> {
        self.stream.shared.register_stream(self.stream.key, cx);
        if self.stream.is_reset() { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl TunnelEnd for StreamEnd {
    fn poll_read_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let OpenStream { shared, key, received } = &*self.stream;
        shared.register_stream(*key, cx);
        loop {
            let part = shared.engine.borrow_mut().take(*key);
            return match part {
                // An empty frame is not the end.
                Some(Part::Data(data)) if data.is_empty() => continue,
                Some(Part::Data(data)) => {
                    shared.wake_to_write(); // the windows
                    received.set(received.get() + data.len() as u64);
                    Poll::Ready(Ok(data))
                }
                Some(Part::End) => Poll::Ready(Ok(Bytes::new())),
                Some(Part::Reset(_)) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                Some(Part::Trailers(_)) => {
                    // A tunnel has data alone (RFC 9113 §8.5).
                    self.stream.reset(Code::PROTOCOL_ERROR);
                    Poll::Ready(Err(io::ErrorKind::InvalidData.into()))
                }
                None => Poll::Pending,
            };
        }
    }

    fn poll_write(&mut self, chunk: &mut Bytes, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        let OpenStream { shared, key, .. } = &*self.stream;
        let mut engine = shared.engine.borrow_mut();
        if !engine.takes_data(*key) {
            return Poll::Pending;
        }
        let length = chunk.len();
        engine.data(*key, std::mem::take(chunk), false);
        drop(engine);
        self.taken += length as u64;
        shared.wake();
        Poll::Ready(Ok(length))
    }

    /// The connection's task sends what was taken. This watches for a reset while there is nothing to write.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.check(cx))
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let OpenStream { shared, key, .. } = &*self.stream;
        if shared.engine.borrow().has_sent_all(*key) {
            return Poll::Ready(Ok(()));
        }
        self.check(cx)?;
        // No trailers: the end comes behind the data that waits.
        shared.engine.borrow_mut().trailers(*key, Fields::new());
        shared.wake();
        Poll::Pending
    }

    fn unsent(&self) -> u64 {
        self.taken.saturating_sub(self.stream.shared.engine.borrow().sent_bytes(self.stream.key))
    }
}
