//! A request on a pooled connection: the response, and the return of the connection to its pool.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, Version, header};
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use crate::http::body::{Body, KeptBody, PollFrame, Streaming};
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
use crate::upstream::transport::h1::client::{ExchangeFailure, ExchangeOptions, H1Exchange};

pub(crate) struct Received {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) headers: Fields,
    pub(crate) body: Body,
    /// The upgraded connection, after a 101.
    pub(crate) upgraded: Option<Upgraded>,
}

/// A connection that another protocol has taken over.
pub(crate) struct Upgraded {
    pub(crate) stream: Stream,
    /// The bytes that arrived right behind the 101.
    pub(crate) early: Bytes,
    slot: Slot,
}

impl Upgraded {
    /// Closes the connection at the end of the tunnel, and frees its slot.
    pub(crate) fn end(self) {
        drop(self.stream);
        self.slot.close(CloseReason::Upgraded);
    }
}

pub(crate) struct ReceiveOptions<'a> {
    /// True if the request's method is HEAD.
    pub(crate) is_head: bool,
    pub(crate) interim: Option<&'a Interim>,
    /// The deadline of the head, and the error that reports a missed one.
    pub(crate) head_by: Option<(Instant, Error)>,
    /// The deadline of the whole exchange.
    pub(crate) done_by: Option<Instant>,
    /// The timer of the task that receives the response.
    pub(crate) timer: &'a Timer,
}

/// Prepares to send a request on `connection`. Data taken from its body goes into `kept`.
pub(crate) fn begin(
    connection: Connection,
    head: &OutgoingHead<'_>,
    options: ExchangeOptions,
    body: Body,
    kept: Option<Box<KeptBody>>,
) -> Box<ResponseBody> {
    let Connection { stream, slot, served, word, age, .. } = connection;
    // Built in the place where it serves as the response's body: it is large, and moving it would cost a copy.
    Box::new(ResponseBody {
        exchange: H1Exchange::new(stream, head, body, kept, options),
        lease: Some(Lease { slot, served: served + 1, bodiless: false, word, age, server_keeps: None }),
        complete: None,
        done_by: None,
    })
}

/// Sends the request and waits for the head of the response. The connection returns to its pool when the body has been
/// read to its end, which for a small response is before this returns.
///
/// # Errors
/// Returns a failure if there is no response, with what a retry may assume. The connection is closed by then.
pub(crate) async fn receive(
    mut response: Box<ResponseBody>,
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

/// Returns the `timeout=N` of a Keep-Alive field, less a second so that the gateway is the first to close.
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

/// The slot of a connection in use, with the state that its next use needs.
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
            // The gateway asked it to close.
            Err(CloseReason::Peer) if !slot.pool().settings().keep_alive => {
                slot.close(CloseReason::KeepAliveOff);
            }
            Err(reason) => slot.close(reason),
        }
    }
}

/// A response: first its head, then its body. Read to its end, its connection returns to the pool; dropped earlier, it
/// is closed.
pub(crate) struct ResponseBody {
    exchange: H1Exchange,
    /// Present until the connection has been released or closed.
    lease: Option<Lease>,
    /// The whole body, if only the rest of the request is still to be sent.
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

    /// Closes the connection when there is no head and none will come.
    fn fail(&mut self, error: Error) -> ExchangeFailure {
        let failure = self.exchange.fail(error);
        if let Some(lease) = self.lease.take() {
            lease.slot.close(close_reason(error));
        }
        failure
    }

    /// Returns the connection after a 101.
    fn upgraded(&mut self) -> Option<Upgraded> {
        let Lease { slot, .. } = self.lease.take()?;
        let (stream, early) = self.exchange.take_upgraded();
        Some(Upgraded { stream, early, slot })
    }

    /// Ends the exchange: its connection is released or closed, and only then is its slot freed.
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
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> PollFrame {
        if self.lease.is_none() {
            return Poll::Ready(None);
        }
        if let Some(bytes) = self.complete.take().filter(|bytes| !bytes.is_empty()) {
            self.settle(None);
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        // Check this first, because a client that reads slowly finds a frame ready each time.
        if self.exchange.timer().poll_elapsed(cx, self.done_by).is_ready() {
            self.settle(Some(Error::RequestTimeout));
            return Poll::Ready(Some(Err(Error::RequestTimeout)));
        }
        let frame = std::task::ready!(self.exchange.poll_frame(cx));
        match &frame {
            Some(Err(error)) => self.settle(Some(*error)),
            Some(Ok(_)) if !self.exchange.is_end_stream() => {}
            Some(Ok(_)) | None => self.settle(None),
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

    fn poll_background(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        if self.lease.is_none() {
            return Poll::Pending;
        }
        let error = if self.exchange.timer().poll_elapsed(cx, self.done_by).is_ready() {
            Error::RequestTimeout
        } else {
            std::task::ready!(self.exchange.poll_background(cx))
        };
        self.settle(Some(error));
        Poll::Ready(error)
    }
}

#[cfg(test)]
mod tests {
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
