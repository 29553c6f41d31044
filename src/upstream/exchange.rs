//! An exchange on a leased connection: the response, and the end of the lease. The protocol is not its concern.

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
use crate::http::interim::Interim;
use crate::net::tunnel_end::TunnelEnd;
use crate::upstream::close_reason::CloseReason;
use crate::upstream::latency::Stopwatch;
use crate::upstream::pool::Lease;
use crate::upstream::request::SendOptions;
use crate::upstream::transport::options::AddressedRequest;
use crate::upstream::transport::result::{ExchangeFailure, ReceivedHead};
use crate::upstream::transport::{Transport, TransportExchange};
use crate::upstream::tunnel::{ExchangeEnd, Uplink};

pub(crate) struct Received {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) headers: Fields,
    pub(crate) body: Body,
    // Rare parts are boxed: a response is moved more than once.
    /// The upgraded connection, after a 101.
    pub(crate) upgraded: Option<Box<Upgraded>>,
    /// The request's body, if the status is one to try again on.
    pub(super) again: Option<Box<Body>>,
}

/// A connection, or a stream of one, that another protocol has taken over.
pub(crate) struct Upgraded {
    pub(crate) stream: Box<dyn TunnelEnd>,
    /// The bytes that arrived right behind the 101.
    pub(crate) early: Bytes,
    /// Present if the connection was exclusive. An exchange on a shared one has its own.
    lease: Option<Lease>,
}

impl Upgraded {
    /// Closes the connection at the end of the tunnel, and frees its slot. A stream is given back.
    pub(crate) fn end(self) {
        drop(self.stream);
        if let Some(lease) = self.lease {
            lease.close(CloseReason::Upgraded);
        }
    }
}

/// Prepares to send a request on a leased connection. Data taken from `body` goes into `kept`. A shared connection that was silent
/// for `ping_interval` is pinged first.
pub(crate) fn begin(
    (transport, mut lease): (Transport, Lease),
    request: AddressedRequest<'_>,
    options: &SendOptions<'_>,
    body: Body,
    kept: Option<Box<KeptBody>>,
    ping_interval: Option<Duration>,
) -> Box<ResponseBody> {
    lease.count_request();
    // On a shared connection the request's body is what the client sends once the protocol has changed.
    let uplink = match transport {
        Transport::Exclusive(_) => None,
        _ => (request.request.upgrade && body.is_end_stream()).then(Uplink::default),
    };
    let body = uplink.as_ref().map_or(body, Uplink::body);
    // Built in the place where it serves as the response's body: it is large, and moving it would cost a copy.
    Box::new(ResponseBody {
        exchange: transport.start(request, options, body, kept, ping_interval),
        lease: Some(lease),
        uplink,
        complete: None,
        done_by: None,
    })
}

/// Sends the request and waits for the head of the response. The connection returns to its pool when the body has been
/// read to its end, which for a small response is before this returns. `head_by` is the deadline of the head, with the
/// error that reports a missed one. `stopwatch` is restarted when the request has been sent.
///
/// # Errors
/// Returns a failure if there is no response, with what a retry may assume. The connection is closed by then.
pub(crate) async fn receive(
    mut response: Box<ResponseBody>,
    options: &SendOptions<'_>,
    head_by: Option<(Instant, Error)>,
    stopwatch: Option<&Stopwatch>,
) -> Result<Received, ExchangeFailure> {
    let uploading = stopwatch.filter(|stopwatch| stopwatch.awaits_upload());
    let head = {
        let head = std::future::poll_fn(|cx| {
            let head = response.poll_head(cx, options.interim);
            if let Some(stopwatch) = uploading.filter(|stopwatch| stopwatch.awaits_upload())
                && head.is_pending()
                && response.exchange.is_sent()
            {
                stopwatch.restart(false);
            }
            head
        });
        match head_by {
            None => head.await,
            Some((by, error)) => options.timer.within(Some(by), head).await.unwrap_or(Err(error)),
        }
    };
    let head = match head {
        Ok(head) => head,
        Err(error) => return Err(response.fail(error)),
    };
    let ReceivedHead { status, version, headers } = head;
    if status == StatusCode::SWITCHING_PROTOCOLS && (response.uplink.is_some() || !response.is_shared()) {
        let upgraded = response.upgraded().map(Box::new);
        return Ok(Received { status, version, headers, body: Body::Empty, upgraded, again: None });
    }
    let is_retried = options.retry.is_some_and(|retry| retry.retries_status(status));
    let again = if is_retried { response.exchange.take_request().map(Box::new) } else { None };
    if again.is_none() {
        response.exchange.free_request();
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
    Ok(Received { status, version, headers, body, upgraded: None, again })
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

fn is_event_stream(headers: &Fields) -> bool {
    let essence = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes());
    essence.is_some_and(|value| {
        value.get(..17).is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"))
    })
}

/// A response: first its head, then its body. Read to its end, its connection returns to the pool; dropped earlier, it
/// is closed.
pub(crate) struct ResponseBody {
    exchange: TransportExchange,
    /// Present until the connection has been released or closed.
    lease: Option<Lease>,
    /// The way into the request's body, if the request asks for another protocol on a shared connection.
    uplink: Option<Uplink>,
    /// The whole body, if only the rest of the request is still to be sent.
    complete: Option<Bytes>,
    done_by: Option<(Instant, Error)>,
}

impl ResponseBody {
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        interim: Option<&Interim>,
    ) -> Poll<Result<ReceivedHead, Error>> {
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
            lease.close(close_reason(error));
        }
        failure
    }

    /// Returns true if other exchanges use the connection, too.
    fn is_shared(&self) -> bool {
        !matches!(self.exchange, TransportExchange::H1(_))
    }

    /// Returns the connection after a 101.
    fn upgraded(mut self: Box<Self>) -> Option<Upgraded> {
        let lease = self.lease.take()?;
        if let Some(uplink) = self.uplink.take() {
            let stream = Box::new(ExchangeEnd::new(self.exchange, uplink, lease));
            return Some(Upgraded { stream, early: Bytes::new(), lease: None });
        }
        let (stream, early) = self.exchange.take_upgraded()?;
        Some(Upgraded { stream: Box::new(stream), early, lease: Some(lease) })
    }

    /// Resolves to the error of a missed deadline.
    fn poll_late(&self, cx: &mut Context<'_>) -> Poll<Error> {
        let Some((by, late)) = self.done_by else { return Poll::Pending };
        self.exchange.timer().poll_elapsed(cx, Some(by)).map(|()| late)
    }

    /// Ends the exchange: its connection is released or closed, and only then is its slot freed.
    fn settle(&mut self, error: Option<Error>) {
        let Some(lease) = self.lease.take() else { return };
        let transport = self.exchange.finish();
        lease.finish(match error {
            None => transport,
            Some(error) => {
                drop(transport);
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
        if let Poll::Ready(late) = self.poll_late(cx) {
            self.settle(Some(late));
            return Poll::Ready(Some(Err(late)));
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
        let error = match self.poll_late(cx) {
            Poll::Ready(late) => late,
            Poll::Pending => std::task::ready!(self.exchange.poll_background(cx)),
        };
        self.settle(Some(error));
        Poll::Ready(error)
    }
}
