//! A request on a pooled connection: what comes back, and what becomes of the connection.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, Version, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use crate::http::body::{Body, KeptBody, Streaming};
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::forward;
use crate::http::h1::output::OutgoingHead;
use crate::http::h1::{ResponseHead, may_have_body};
use crate::http::interim::Interim;
use crate::net::stream::Stream;
use crate::net::timer::Timer;
use crate::upstream::pool::connection::{Age, CloseReason, Connection, Word};
use crate::upstream::pool::{Pool, Slot};
use crate::upstream::transport::h1::client::{Exchange, ExchangeFailure, ExchangeOptions};

/// What came back.
pub(crate) struct Received {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) headers: Fields,
    pub(crate) body: Body,
    /// After a 101: the upgraded connection.
    pub(crate) upgraded: Option<Upgraded>,
}

/// A connection that another protocol has taken over.
pub(crate) struct Upgraded {
    pub(crate) stream: Stream,
    /// What came right behind the 101.
    pub(crate) early: Bytes,
    slot: Slot,
}

impl Upgraded {
    /// The tunnel is over.
    pub(crate) fn end(self) {
        drop(self.stream);
        self.slot.close(CloseReason::Upgraded);
    }
}

/// How a response is received.
pub(crate) struct ReceiveOptions<'a> {
    /// The request's method is HEAD.
    pub(crate) is_head: bool,
    /// Where interim responses go.
    pub(crate) interim: Option<&'a Interim>,
    /// When the head must be there, and the error if it is not.
    pub(crate) head_by: Option<(Instant, Error)>,
    /// When the whole exchange must be over.
    pub(crate) done_by: Option<Instant>,
    /// The timer of the task that receives it.
    pub(crate) timer: &'a Timer,
}

/// Prepares to send a request on `connection`. What is taken from its body goes into `kept`.
pub(crate) fn begin(
    connection: Connection,
    head: &OutgoingHead<'_>,
    options: ExchangeOptions,
    body: Body,
    kept: Option<Box<KeptBody>>,
) -> Pin<Box<ResponseBody>> {
    let Connection { stream, slot, served, word, age, .. } = connection;
    // In the place that it has as the response's body: it is large, and would be moved from one to the other.
    Box::pin(ResponseBody {
        exchange: Exchange::new(stream, head, body, kept, options),
        lease: Some(Lease { slot, served: served + 1, bodiless: false, word, age, server_keeps: None }),
        complete: None,
        done_by: None,
    })
}

/// Sends the request and waits for the head of the response. The connection goes back to its pool when the body has been
/// read to its end, which for a small response is before this returns.
///
/// # Errors
/// No response; the connection is closed. The failure tells what a second try may assume.
pub(crate) async fn receive(
    mut response: Pin<Box<ResponseBody>>,
    options: &ReceiveOptions<'_>,
) -> Result<Received, ExchangeFailure> {
    let head = {
        let head = std::future::poll_fn(|cx| response.poll_head(cx, options.interim));
        match options.head_by {
            None => head.await,
            Some((by, error)) => options.timer.within(Some(by), head).await.unwrap_or(Err(error)),
        }
    };
    let head = match head {
        Ok(head) => head,
        Err(error) => return Err(response.fail(error)),
    };
    let ResponseHead { status, version, headers, is_silent, .. } = head;
    if status == StatusCode::SWITCHING_PROTOCOLS {
        let upgraded = response.upgraded();
        return Ok(Received { status, version, headers, body: Body::Empty, upgraded });
    }
    if let Some(lease) = &mut response.lease {
        lease.server_keeps = server_keeps(&headers);
        lease.bodiless = options.is_head || !may_have_body(status);
        lease.word = lease.word.after(lease.bodiless && is_silent);
    }
    let body = match response.exchange.complete_body() {
        Some(bytes) if response.exchange.is_sent() => {
            response.settle(None);
            Body::full(bytes)
        }
        complete => {
            response.complete = complete;
            response.done_by = options.done_by.filter(|_| !is_event_stream(&headers));
            Body::Boxed(response)
        }
    };
    Ok(Received { status, version, headers, body, upgraded: None })
}

fn close_reason(error: Error) -> CloseReason {
    match error {
        Error::UpstreamClosed => CloseReason::Peer,
        Error::ResponseHeaderTimeout | Error::IdleTimeout | Error::PerTryTimeout | Error::RequestTimeout => {
            CloseReason::Timeout
        }
        error if error.is_client_side() => CloseReason::Cancelled,
        _ => CloseReason::Error,
    }
}

/// `timeout=N` of a Keep-Alive field, less a second so that the gateway is the first to close.
fn server_keeps(headers: &Fields) -> Option<Duration> {
    let value = headers.get("keep-alive")?.to_str().ok()?;
    let seconds = value.split(',').find_map(|parameter| {
        let (name, seconds) = parameter.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("timeout")
            .then(|| seconds.trim().trim_matches('"').parse::<u32>().ok())?
    })?;
    Some(Duration::from_secs(u64::from(seconds.saturating_sub(1))))
}

fn is_event_stream(headers: &Fields) -> bool {
    let essence = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes());
    essence.is_some_and(|value| {
        value.get(..17).is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"))
    })
}

/// A connection's place while it is in use, and what it needs to be used again.
struct Lease {
    slot: Slot,
    served: u64,
    bodiless: bool,
    word: Word,
    age: Age,
    server_keeps: Option<Duration>,
}

impl Lease {
    fn end(self, stream: Result<Stream, CloseReason>) {
        let Lease { slot, served, bodiless, word, age, server_keeps } = self;
        match stream {
            Ok(stream) => {
                let pool: std::sync::Arc<Pool> = slot.pool().clone();
                pool.release(Connection {
                    stream,
                    slot,
                    served,
                    kept: false,
                    bodiless,
                    word,
                    age,
                    server_keeps,
                });
            }
            // It was asked to close.
            Err(CloseReason::Peer) if !slot.pool().settings().keep_alive => {
                slot.close(CloseReason::KeepAliveOff);
            }
            Err(reason) => slot.close(reason),
        }
    }
}

/// A response: its head first, then its body. Read to its end, its connection goes back to the pool; dropped before, it is
/// closed.
pub(crate) struct ResponseBody {
    exchange: Exchange,
    /// Until it is settled what becomes of the connection.
    lease: Option<Lease>,
    /// All of the body, where only the rest of the request is still to be sent.
    complete: Option<Bytes>,
    done_by: Option<Instant>,
}

impl ResponseBody {
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        interim: Option<&Interim>,
    ) -> Poll<Result<ResponseHead, Error>> {
        self.exchange.poll_head(cx, &mut |status, mut headers| {
            if let Some(interim) = interim
                && forward::clean_response(status, &mut headers, None).is_ok()
            {
                interim.send(status, &headers);
            }
        })
    }

    /// There is no head, and none will come.
    fn fail(&mut self, error: Error) -> ExchangeFailure {
        let failure = self.exchange.fail(error);
        if let Some(lease) = self.lease.take() {
            lease.slot.close(close_reason(error));
        }
        failure
    }

    /// The connection after a 101.
    fn upgraded(&mut self) -> Option<Upgraded> {
        let Lease { slot, .. } = self.lease.take()?;
        let (stream, early) = self.exchange.take_upgraded();
        Some(Upgraded { stream, early, slot })
    }

    /// The exchange is over: its connection is given back, or closed, and only then its place.
    fn settle(&mut self, error: Option<Error>) {
        let Some(lease) = self.lease.take() else { return };
        let stream = self.exchange.finish();
        lease.end(match error {
            None => stream.map_err(CloseReason::from),
            Some(error) => {
                drop(stream);
                Err(close_reason(error))
            }
        });
    }
}

impl Streaming for ResponseBody {
    fn poll_background(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Error> {
        let this = self.get_mut();
        if this.lease.is_none() {
            return Poll::Pending;
        }
        let error = if this.exchange.timer().poll_elapsed(cx, this.done_by).is_ready() {
            Error::RequestTimeout
        } else {
            std::task::ready!(this.exchange.poll_background(cx))
        };
        this.settle(Some(error));
        Poll::Ready(error)
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        if this.lease.is_none() {
            return Poll::Ready(None);
        }
        if let Some(bytes) = this.complete.take().filter(|bytes| !bytes.is_empty()) {
            this.settle(None);
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        // First, because a client that reads slowly finds a frame ready each time.
        if this.exchange.timer().poll_elapsed(cx, this.done_by).is_ready() {
            this.settle(Some(Error::RequestTimeout));
            return Poll::Ready(Some(Err(Error::RequestTimeout)));
        }
        let frame = std::task::ready!(this.exchange.poll_frame(cx));
        match &frame {
            Some(Err(error)) => this.settle(Some(*error)),
            Some(Ok(_)) if !this.exchange.is_end_stream() => {}
            Some(Ok(_)) | None => this.settle(None),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.lease.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.complete {
            Some(bytes) => SizeHint::with_exact(bytes.len() as u64),
            None if self.lease.is_some() => self.exchange.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may panic")]
    use super::*;

    #[test]
    fn the_servers_hint_is_read_and_shortened() {
        for (value, expected) in [
            ("timeout=5, max=100", Some(4)),
            ("max=3, Timeout = 10", Some(9)),
            ("timeout=0", Some(0)),
            ("x", None),
        ] {
            let headers = Fields::written(&[("keep-alive", value)]);
            assert_eq!(server_keeps(&headers).map(|keeps| keeps.as_secs()), expected, "{value}");
        }
    }
}
