//! The data of an exchange that only its line in the access log and its trace need.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method, Uri, Version, header};
use tokio::time::Instant;

use crate::http::fields::Fields;
use crate::http::message::Request;
use crate::observe::access_log::Capture;
use crate::proxy::trace::Trace;

/// The fields that are kept for no access log.
pub(super) static NO_FIELDS: Capture = Capture {
    host: false,
    user_agent: false,
    referer: false,
    request: Vec::new(),
    response: Vec::new(),
    claims: Vec::new(),
};

/// The data of an exchange that only the access log and traces need.
pub(super) struct Line {
    /// The request in its trace, if traces are on.
    pub(super) trace: Option<Trace>,
    pub(super) started: SystemTime,
    pub(super) client: Option<IpAddr>,
    /// The method as it came; `-` for bytes that are no request.
    pub(super) method: Method,
    /// Path and query as they came; `None` for bytes that are no request, and for a CONNECT, which has only a host.
    pub(super) target: Option<PathAndQuery>,
    pub(super) version: Version,
    pub(super) host: Option<HeaderValue>,
    pub(super) user_agent: Option<HeaderValue>,
    pub(super) referer: Option<HeaderValue>,
    /// The values of the header fields that the log shows by name. They are boxed because most logs show none.
    pub(super) headers: Option<Box<NamedHeaders>>,
    pub(super) endpoint: Option<Arc<str>>,
    pub(super) reused: Option<bool>,
    pub(super) attempts: u32,
    pub(super) attempt_began: Option<Instant>,
    pub(super) dial_began: Option<Instant>,
    pub(super) acquire: Option<Duration>,
    pub(super) connect: Option<Duration>,
    pub(super) first_byte: Option<Duration>,
}

/// The values of the header fields that a log shows by name, in its order.
#[derive(Default)]
pub(super) struct NamedHeaders {
    pub(super) request: Vec<Option<HeaderValue>>,
    pub(super) response: Vec<Option<HeaderValue>>,
}

impl Line {
    /// Returns the line of a request. It is made in its box, as it is too large to be moved for each request.
    pub(super) fn of_request(
        capture: &Capture,
        trace: Option<Trace>,
        client: Option<IpAddr>,
        request: &Request,
    ) -> Box<Self> {
        let Request { method, target, version, headers, .. } = request;
        let field = |name: HeaderName| headers.get(name).cloned();
        let named = (!capture.request.is_empty()).then(|| {
            Box::new(NamedHeaders { request: captured(&capture.request, headers), response: Vec::new() })
        });
        Box::new(Self {
            host: capture.host.then(|| host_of(target, headers)).flatten(),
            target: target.path_and_query().cloned(),
            user_agent: capture.user_agent.then(|| field(header::USER_AGENT)).flatten(),
            referer: capture.referer.then(|| field(header::REFERER)).flatten(),
            headers: named,
            ..Self::new(trace, client, method.clone(), *version)
        })
    }

    /// Returns the line of bytes that are no request.
    pub(super) fn of_unreadable(client: Option<IpAddr>) -> Box<Self> {
        let method = Method::from_bytes(b"-").unwrap_or_default();
        Box::new(Self::new(None, client, method, Version::HTTP_11))
    }

    fn new(trace: Option<Trace>, client: Option<IpAddr>, method: Method, version: Version) -> Self {
        Self {
            trace,
            started: SystemTime::now(),
            client,
            method,
            target: None,
            version,
            host: None,
            user_agent: None,
            referer: None,
            headers: None,
            endpoint: None,
            reused: None,
            attempts: 0,
            attempt_began: None,
            dial_began: None,
            acquire: None,
            connect: None,
            first_byte: None,
        }
    }

    /// Keeps the header fields of a response that the log shows by name.
    pub(super) fn capture_response(&mut self, capture: &Capture, headers: &Fields) {
        if !capture.response.is_empty() {
            self.headers.get_or_insert_default().response = captured(&capture.response, headers);
        }
    }
}

/// Returns the values of the fields of these names, each of which is one list if it has several lines.
fn captured(names: &[HeaderName], headers: &Fields) -> Vec<Option<HeaderValue>> {
    names.iter().map(|name| headers.joined(name)).collect()
}

/// Returns the host as the client named it: HTTP/2 and absolute targets have it in the target.
fn host_of(target: &Uri, headers: &Fields) -> Option<HeaderValue> {
    let authority = target.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    authority.or_else(|| headers.get(header::HOST).cloned())
}
