//! One client connection: its protocol is detected, and then [`h1`] or [`h2`](crate::downstream::h2) serves it.

use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use tokio::time::Instant;

use crate::downstream::h1;
use crate::http::h1::head::Input;
use crate::http::h2::PREFACE;
use crate::net::drain::DrainGuard;
use crate::net::stream::Stream;
use crate::net::timer::Timer;
use crate::proxy::client::Client;
use crate::snapshot::listener::{ConnectionLimits, Protocols};

/// Serves a connection until it ends. Returns the reason for the end. With TLS, ALPN (RFC 7301) has settled the
/// protocol, and `is_h2` states it. Without TLS, a client with prior knowledge of HTTP/2 begins with its preface.
/// `protocols` are those of the listener when the connection was accepted. The first request's header has been awaited
/// since `began`.
pub(crate) async fn serve(
    mut stream: Stream,
    is_h2: Option<bool>,
    protocols: Protocols,
    began: Instant,
    client: Rc<Client>,
    guard: &DrainGuard,
) -> &'static str {
    let options = client.options();
    let (early, is_h2) = match is_h2 {
        Some(is_h2) => (Bytes::new(), is_h2),
        None if !protocols.h2 => (Bytes::new(), false),
        None => match sniff(&mut stream, began, &options, guard).await {
            Ok(sniffed) => sniffed,
            Err(ended) => return ended,
        },
    };
    if is_h2 {
        stream.unread(early);
        return Box::pin(crate::downstream::h2::serve(stream, began, client, options, guard)).await;
    }
    if !protocols.h1 {
        return "protocol";
    }
    h1::serve(stream, early, began, &client, options, guard).await
}

/// Reads until the bytes are an HTTP/2 preface, or cannot become one.
async fn sniff(
    stream: &mut Stream,
    began: Instant,
    options: &ConnectionLimits,
    guard: &DrainGuard,
) -> Result<(Bytes, bool), &'static str> {
    let timer = Timer::default();
    let limit = options.request_header.and_then(|limit| began.checked_add(limit));
    let mut early = Input::default();
    std::future::poll_fn(|cx| {
        loop {
            match stream.poll_read_chunk(cx) {
                Poll::Ready(Ok(chunk)) if !chunk.is_empty() => early.push(chunk),
                Poll::Ready(_end_or_error) => return Poll::Ready(Err("client")),
                Poll::Pending => {
                    if early.is_empty()
                        && guard.poll_draining_idle(cx, &timer, Some(began)).is_ready()
                        && !stream.has_arrived()
                    {
                        return Poll::Ready(Err("drain"));
                    }
                    // A client that sends part of a preface and no more gets no response, because there is no protocol for one.
                    return timer.poll_elapsed(cx, limit).map(|()| Err("timeouts.request_header"));
                }
            }
            let early = early.bytes();
            let length = early.len().min(PREFACE.len());
            if early.get(..length) != PREFACE.get(..length) {
                return Poll::Ready(Ok((std::mem::take(early), false)));
            }
            if length == PREFACE.len() {
                return Poll::Ready(Ok((std::mem::take(early), true)));
            }
        }
    })
    .await
}
