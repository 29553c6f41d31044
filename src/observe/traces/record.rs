//! The record of a request, as the exporter gets it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Method, Version};

use super::context::{SpanId, TraceContext};

/// A request that has ended, with its spans. Nothing in it holds memory of the request itself.
#[derive(Debug)]
pub(crate) struct RequestTrace {
    /// The trace, and the span of the request.
    pub(crate) context: TraceContext,
    /// The span of the caller.
    pub(crate) parent: Option<SpanId>,
    pub(crate) tracestate: Option<Box<str>>,
    pub(crate) started: SystemTime,
    pub(crate) took: Duration,
    pub(crate) request: RequestFacts,
    /// The parts of its time, in the order in which they ended.
    pub(crate) spans: Vec<Span>,
    /// The spans that were too many.
    pub(crate) left_out: u32,
}

/// The facts about a request and its response.
#[derive(Debug)]
pub(crate) struct RequestFacts {
    pub(crate) method: Method,
    pub(crate) version: Version,
    pub(crate) scheme: &'static str,
    /// The Host with its port, as the client wrote it.
    pub(crate) authority: Option<Box<str>>,
    /// The path without the query, which may have secrets.
    pub(crate) path: Box<str>,
    pub(crate) user_agent: Option<Box<str>>,
    pub(crate) client: Option<IpAddr>,
    pub(crate) peer: Option<IpAddr>,
    pub(crate) listener: Arc<str>,
    pub(crate) route: Option<Arc<str>>,
    /// The route's condition on the path.
    pub(crate) path_pattern: Option<Arc<str>>,
    /// The status that the client got; 0 if it got none.
    pub(crate) status: u16,
    pub(crate) grpc_status: Option<u8>,
    /// The reason of a failure.
    pub(crate) error: Option<&'static str>,
    /// True if the request counts as failed by the server.
    pub(crate) is_failed: bool,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    pub(crate) request_id: Option<Box<str>>,
}

/// A part of a request's time.
#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) id: SpanId,
    pub(crate) parent: SpanId,
    /// The time from the beginning of the request.
    pub(crate) began: Duration,
    pub(crate) took: Duration,
    pub(crate) kind: SpanKind,
    /// The reason of a failure.
    pub(crate) error: Option<&'static str>,
}

/// The subject of a span.
#[derive(Debug)]
pub(crate) enum SpanKind {
    /// An attempt at an endpoint.
    Attempt(Box<AttemptFacts>),
    /// The wait for a connection.
    Acquire,
    /// The opening of a connection, with its TLS handshake.
    Connect,
    Handshake,
    /// A wait for something else.
    Wait(&'static str),
    /// The work of a filter on the request, or on the response.
    Filter {
        name: Arc<str>,
        is_response: bool,
    },
}

/// The facts about an attempt.
#[derive(Debug)]
pub(crate) struct AttemptFacts {
    /// Its number, from 1.
    pub(crate) number: u32,
    /// The endpoint's URL.
    pub(crate) endpoint: Box<str>,
    /// The path that was sent, without the query.
    pub(crate) path: Box<str>,
    /// The address of its socket.
    pub(crate) address: Box<str>,
    /// The status of its response.
    pub(crate) status: Option<u16>,
    /// True if the connection had been kept.
    pub(crate) is_reused: Option<bool>,
    /// True for a second attempt beside the first.
    pub(crate) is_hedge: bool,
}
