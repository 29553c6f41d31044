//! Requests of the gateway's own, with their response as a whole: the calls that filters make to upstreams.

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, StatusCode, header};
use tokio::time::Instant;

use super::attempt::{Attempt, FailureKind, Progress};
use super::endpoint::{Endpoint, Upstream};
use crate::config::{HeaderCase, RouteTimeouts};
use crate::http::body::Body;
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::forward;
use crate::http::h1::output::OutgoingHead;
use crate::net::timer::{Timer, deadline, earlier};
use crate::upstream::transport::h1::exchange::Received;

/// A request of the gateway's own that is valid to send.
#[derive(Debug)]
pub(crate) struct OwnRequest {
    method: Method,
    target: String,
    headers: Fields,
    body: Bytes,
}

/// A whole response.
#[derive(Debug)]
pub(crate) struct OwnResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: Fields,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<Fields>,
}

/// The limits that hold for all attempts of a call.
#[derive(Clone, Copy)]
pub(crate) struct CallLimits<'a> {
    /// The route's timeouts. `request` and `per_try` hold as they do for a client's request.
    pub(crate) timeouts: &'a RouteTimeouts,
    /// The deadline of the last byte of the response.
    pub(crate) done_by: Instant,
    /// The size of the largest response body accepted.
    pub(crate) body_bytes_max: usize,
    /// True if the connection may be kept (`pool.keep_alive`).
    pub(crate) keep_alive: bool,
    /// The letter case of field names as sent. The response's names arrive in lower case.
    pub(crate) header_case: HeaderCase,
}

impl OwnRequest {
    /// Returns a request for `target`, a path with or without a query, which is appended to the base path of the
    /// endpoint. Fields about the connection, the body's framing and expectations are removed from `headers`: the
    /// gateway sets those itself. Without a `Host`, the endpoint's is sent.
    ///
    /// Returns `None` if the request cannot be sent: its method is CONNECT, or its target does not begin with `/`, has
    /// a fragment, or has anything but visible ASCII in it.
    pub(crate) fn new(method: Method, target: String, mut headers: Fields, body: Bytes) -> Option<Self> {
        let is_sendable = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
        let is_target = target.starts_with('/') && target.bytes().all(is_sendable);
        if method == Method::CONNECT || !is_target {
            return None;
        }
        forward::remove_hop_by_hop(&mut headers);
        // Trailers are read anyway, and TE concerns only the connection, so it is of no use to the caller.
        headers.remove(header::TE);
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::TRAILER);
        headers.remove(header::EXPECT);
        // Send exactly one Host, or none.
        if let Some(host) = headers.remove(header::HOST) {
            headers.insert(header::HOST, host);
        }
        Some(Self { method, target, headers, body })
    }

    /// Returns method and target, for logs.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }

    pub(crate) fn method(&self) -> &Method {
        &self.method
    }

    pub(crate) fn headers(&self) -> &Fields {
        &self.headers
    }

    pub(crate) fn body(&self) -> &Bytes {
        &self.body
    }

    fn headers_for(&self, endpoint: &Endpoint) -> Fields {
        let mut headers = self.headers.clone();
        if !headers.contains_key(header::HOST) {
            headers.append(header::HOST, HeaderValue::clone(endpoint.host()));
        }
        headers
    }
}

/// Sends a request to `upstream` and reads the response. It shares the pool's connections and its queue. If no
/// connection can be opened, the next endpoint is tried, each once. A kept connection that turns out to be closed is
/// replaced once, if the request may be sent again.
///
/// # Errors
/// Returns an error if the response is missing or incomplete: [`Error::RequestTimeout`] when the time is over,
/// [`Error::ResponseTooLarge`], and any error that can fail a client's request.
pub(crate) async fn call(
    upstream: &Upstream,
    request: &OwnRequest,
    limits: CallLimits<'_>,
) -> Result<OwnResponse, Error> {
    // A timer belongs to one task, and the caller's task is unknown here, so the call has its own timer.
    let timer = Timer::default();
    let done_by = earlier(Some(limits.done_by), deadline(limits.timeouts.request));
    let whole = async {
        let received = receive(upstream, request, limits, done_by, &timer).await?;
        collect(received, limits.body_bytes_max).await
    };
    timer.within(done_by, whole).await.unwrap_or(Err(Error::RequestTimeout))
}

/// Sends the request until there is a response, or no further attempt is permitted.
async fn receive(
    upstream: &Upstream,
    request: &OwnRequest,
    limits: CallLimits<'_>,
    done_by: Option<Instant>,
    timer: &Timer,
) -> Result<Received, Error> {
    let endpoints = upstream.endpoints(limits.timeouts.connect, timer).await?;
    let mut candidates = endpoints.candidates();
    let mut endpoint = candidates.next().ok_or(Error::Unresolved)?;
    let mut untried = endpoints.len().saturating_sub(1);
    let (mut fresh, queued) = (false, Cell::new(Duration::ZERO));
    loop {
        let attempt = Attempt {
            head: OutgoingHead {
                method: &request.method,
                target: &endpoint.target(&request.target),
                headers: &request.headers_for(endpoint),
                connection: (!limits.keep_alive).then_some("close"),
                case: limits.header_case,
            },
            upgrade: false,
            interim: None,
            fresh,
            moves_on: untried > 0,
            keeping: None, // the body is in memory
            timeouts: limits.timeouts,
            done_by,
            queued: &queued,
            timer,
        };
        let failure = match attempt.run(endpoint, Body::full(request.body.clone()), &mut Unwatched).await {
            Ok(received) => return Ok(received),
            Err(failure) => failure,
        };
        let next = match failure.kind {
            FailureKind::Stale if !fresh => Some(endpoint),
            FailureKind::Connect => {
                untried = untried.saturating_sub(1);
                candidates.next()
            }
            FailureKind::Stale | FailureKind::Final => None,
        };
        let next = next.ok_or(failure.error)?;
        tracing::debug!(endpoint = endpoint.url(), "trying again: {}", failure.error);
        endpoint.pool().count_retry();
        fresh |= failure.kind == FailureKind::Stale;
        endpoint = next;
    }
}

/// Collects the response with all of its body.
async fn collect(received: Received, body_bytes_max: usize) -> Result<OwnResponse, Error> {
    let Received { status, mut headers, mut body, .. } = received;
    forward::clean_response(status, &mut headers, None).map_err(|_| Error::UnexpectedUpgrade)?;
    if body.size_hint().lower() > body_bytes_max as u64 {
        return Err(Error::ResponseTooLarge);
    }
    let (mut bytes, mut trailers) = (BytesMut::new(), None);
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) if data.len() > body_bytes_max.saturating_sub(bytes.len()) => {
                return Err(Error::ResponseTooLarge);
            }
            Ok(data) => bytes.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    if let Some(trailers) = &mut trailers {
        forward::filter_trailers(trailers);
    }
    Ok(OwnResponse { status, headers, body: bytes.freeze(), trailers: trailers.map(Fields::from) })
}

/// An observer that records nothing: only clients' requests have a line in the access log.
struct Unwatched;

impl Progress for Unwatched {
    fn reused(&mut self) {}
    fn dialling(&mut self) {}
    fn connected(&mut self) {}
}
