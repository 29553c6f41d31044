//! Requests of the gateway's own: the calls that filters make to upstreams, and the copies of mirrored requests. Most have a whole body
//! and a whole response; calls of gRPC stream.

mod stream;
#[cfg(test)]
mod tests;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, StatusCode, header};
pub(crate) use stream::UploadQueue;
use tokio::time::Instant;

use super::attempts::send;
use super::endpoints::Upstream;
use super::progress::Quiet;
use super::request::{Affinity, SendOptions, UpstreamRequest};
use crate::config::{HeaderCase, RouteTimeouts};
use crate::http::body::Body;
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::forward;
use crate::http::trace;
use crate::net::timer::{Timer, deadline, earlier};
use crate::upstream::exchange::Received;

/// A request of the gateway's own that is valid to send.
#[derive(Debug)]
pub(crate) struct OwnRequest {
    method: Method,
    target: String,
    headers: Fields,
    body: Bytes,
    affinity: Affinity,
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
    /// The deadline of the last byte of the response, if it has one.
    pub(crate) done_by: Option<Instant>,
    /// The size of the largest response body accepted.
    pub(crate) body_bytes_max: usize,
    /// True if the connection may be kept (`pool.keep_alive`).
    pub(crate) keep_alive: bool,
    /// The letter case of field names as sent. The response's names arrive in lower case.
    pub(crate) header_case: HeaderCase,
}

impl CallLimits<'_> {
    /// Returns the end of the call: its own deadline, or `timeouts.request` from now on.
    pub(crate) fn ends_by(&self) -> Option<Instant> {
        earlier(self.done_by, deadline(self.timeouts.request))
    }
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
        Some(Self { method, target, headers, body, affinity: Affinity::None })
    }

    /// Returns a copy of a request that is sent elsewhere, without its body. Its fields are those of that request, except for an
    /// expectation and the announcement of trailers, which are not copied. With `endpoint_host` each endpoint gets its own `Host`.
    pub(crate) fn copied(
        method: Method,
        target: String,
        mut headers: Fields,
        endpoint_host: bool,
        affinity: Affinity,
    ) -> Self {
        headers.remove(header::TRAILER);
        headers.remove(header::EXPECT);
        if endpoint_host {
            headers.remove(header::HOST);
        }
        Self { method, target, headers, body: Bytes::new(), affinity }
    }

    /// Adds the fields of a trace, unless the request has such fields of its own.
    pub(crate) fn of_trace(mut self, trace: Option<&Fields>) -> Self {
        if let Some(trace) = trace {
            trace::join(&mut self.headers, trace);
        }
        self
    }

    pub(crate) fn with_body(self, body: Bytes) -> Self {
        Self { body, ..self }
    }

    /// Sends `TE: trailers`, which servers of gRPC demand (RFC 9110 §10.1.4).
    pub(crate) fn accepting_trailers(mut self) -> Self {
        self.headers.insert(header::TE, const { HeaderValue::from_static("trailers") });
        self
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
    let whole = async {
        let received = open(upstream, request, Body::full(request.body.clone()), limits, &timer).await?;
        collect(received, limits.body_bytes_max).await
    };
    timer.within(limits.ends_by(), whole).await.unwrap_or(Err(Error::RequestTimeout))
}

/// Sends a request as [`call`] does, and discards the response. Of a body larger than `body_bytes_max` the rest is not read: its
/// connection closes.
///
/// # Errors
/// Returns the same errors as [`call`], except for that of a large response.
pub(crate) async fn call_and_discard(
    upstream: &Upstream,
    request: &OwnRequest,
    limits: CallLimits<'_>,
) -> Result<StatusCode, Error> {
    let timer = Timer::default();
    let whole = async {
        let received = open(upstream, request, Body::full(request.body.clone()), limits, &timer).await?;
        let status = received.status;
        discard(received, limits.body_bytes_max).await?;
        Ok(status)
    };
    timer.within(limits.ends_by(), whole).await.unwrap_or(Err(Error::RequestTimeout))
}

/// Sends a request as [`call`] does, and returns the body only of a response for whose status `is_read` returns true. That of another one is
/// discarded as by [`call_and_discard`].
///
/// # Errors
/// Returns the same errors as [`call`].
pub(crate) async fn call_and_read(
    upstream: &Upstream,
    request: &OwnRequest,
    limits: CallLimits<'_>,
    is_read: impl FnOnce(StatusCode) -> bool,
) -> Result<OwnResponse, Error> {
    let timer = Timer::default();
    let whole = async {
        let mut received = open(upstream, request, Body::full(request.body.clone()), limits, &timer).await?;
        if is_read(received.status) {
            return collect(received, limits.body_bytes_max).await;
        }
        let (status, headers) = (received.status, std::mem::take(&mut received.headers));
        discard(received, limits.body_bytes_max).await?;
        Ok(OwnResponse { status, headers, body: Bytes::new(), trailers: None })
    };
    timer.within(limits.ends_by(), whole).await.unwrap_or(Err(Error::RequestTimeout))
}

/// Reads a body to its end, so that its connection can be kept, or to `bytes_max`.
async fn discard(mut received: Received, bytes_max: usize) -> Result<(), Error> {
    let mut left = bytes_max;
    while let Some(frame) = received.body.frame().await {
        let length = frame?.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => break,
        }
    }
    Ok(())
}

/// Sends a request with another body than its own, which may stream, and returns the response as soon as its head has arrived. The
/// request continues to be sent while the response's body is read; dropping that ends the exchange. Connections and attempts are as for
/// [`call`]; a body that streams is sent once.
///
/// # Errors
/// Returns an error if there is no response.
pub(crate) async fn open(
    upstream: &Upstream,
    request: &OwnRequest,
    body: Body,
    limits: CallLimits<'_>,
    timer: &Timer,
) -> Result<Received, Error> {
    let endpoints = upstream.endpoints(limits.timeouts.connect, timer).await?;
    let mut headers = request.headers.clone();
    let mut sent = UpstreamRequest {
        method: &request.method,
        target: &request.target,
        endpoint_host: !headers.contains_key(header::HOST),
        headers: &mut headers,
        keep_alive: limits.keep_alive,
        header_case: limits.header_case,
        upgrade: false,
        is_first: false,
        affinity: request.affinity,
    };
    let options = SendOptions {
        timeouts: limits.timeouts,
        retry: None,
        hedge: None,
        keeping: None, // a whole body is in memory
        done_by: limits.ends_by().map(|by| (by, Error::RequestTimeout)),
        interim: None,
        timer,
    };
    let (mut received, _) = send(&mut sent, body, &endpoints, &options, &mut Quiet::default()).await?;
    forward::clean_response(received.status, &mut received.headers, None)
        .map_err(|_| Error::UnexpectedUpgrade)?;
    Ok(received)
}

/// Collects the response with all of its body.
async fn collect(received: Received, body_bytes_max: usize) -> Result<OwnResponse, Error> {
    let Received { status, headers, mut body, .. } = received;
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
