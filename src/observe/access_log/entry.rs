//! The parts of an exchange that lines show.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use http::HeaderValue;

use crate::observe::traces::{SpanId, TraceId};

/// The log entry of one request. Optional fields are `None` if the request did not get that far.
#[derive(Debug, Clone)]
pub(crate) struct Entry<'a> {
    /// The arrival time of the request's first byte.
    pub(crate) started: SystemTime,
    /// The client's address; behind a trusted proxy, the address that the proxy named. `None` on a Unix socket.
    pub(crate) client: Option<IpAddr>,
    pub(crate) listener: &'a str,
    /// The method as received.
    pub(crate) method: &'a str,
    /// Path and query as received, whatever bytes they contain.
    pub(crate) target: &'a [u8],
    /// The protocol version of the client's side.
    pub(crate) version: http::Version,
    /// The Host or `:authority` as received.
    pub(crate) host: Option<&'a [u8]>,
    /// The status that the client got; 0 if it got none.
    pub(crate) status: u16,
    /// The status of a gRPC call; `None` for other requests, and if the client got none.
    pub(crate) grpc_status: Option<u8>,
    pub(crate) route: Option<&'a str>,
    /// The upstream endpoint that responded, or the last one that was tried.
    pub(crate) endpoint: Option<&'a str>,
    /// True if the upstream connection had served another request before.
    pub(crate) reused: Option<bool>,
    /// The number of attempts to send the request upstream; 0 if the gateway responded itself.
    pub(crate) attempts: u32,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    /// Time spent waiting for an upstream connection, connecting included.
    pub(crate) acquire: Option<Duration>,
    /// Time spent connecting, TLS included; `None` on a reused connection.
    pub(crate) connect: Option<Duration>,
    /// The time from the request's header to the first byte of the upstream's response.
    pub(crate) first_byte: Option<Duration>,
    /// The time from the request's header to the end of the response.
    pub(crate) total: Duration,
    /// The reason of a failure: the `x-gateway-error` of the response.
    pub(crate) error: Option<&'static str>,
    pub(crate) user_agent: Option<&'a [u8]>,
    pub(crate) referer: Option<&'a [u8]>,
    /// The way by which the caller is known, by its name under `auth`.
    pub(crate) auth: Option<&'a str>,
    /// The caller, if it is known.
    pub(crate) identity: Option<&'a str>,
    /// The identifier, if the route gives requests one.
    pub(crate) request_id: Option<&'a [u8]>,
    /// The trace of the request, if traces are on.
    pub(crate) trace_id: Option<TraceId>,
    /// The span of the request, if it is recorded.
    pub(crate) span_id: Option<SpanId>,
    /// The values of the fields that `Capture` lists, in its order.
    pub(crate) request_headers: &'a [Option<HeaderValue>],
    pub(crate) response_headers: &'a [Option<HeaderValue>],
    /// The claims that `Capture` lists, in its order.
    pub(crate) claims: &'a [Option<Cow<'a, str>>],
}
