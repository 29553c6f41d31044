//! The data of an exchange that only its line in the access log and its trace need.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method, Uri, Version, header};
use tokio::time::Instant;

use crate::http::fields::Fields;
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
    pub(super) method: Method,
    /// Path and query as they came; `None` if there are none, as in bytes that are no request.
    pub(super) target: Option<PathAndQuery>,
    pub(super) version: Version,
    pub(super) host: Option<HeaderValue>,
    pub(super) user_agent: Option<HeaderValue>,
    pub(super) referer: Option<HeaderValue>,
    /// The fields that the log has chosen, if it has. Most logs have not, and their lines are smaller without room for them.
    pub(super) chosen: Option<Box<Chosen>>,
    pub(super) endpoint: Option<Arc<str>>,
    pub(super) reused: Option<bool>,
    pub(super) attempts: u32,
    pub(super) attempt_began: Option<Instant>,
    pub(super) dial_began: Option<Instant>,
    pub(super) acquire: Option<Duration>,
    pub(super) connect: Option<Duration>,
    pub(super) first_byte: Option<Duration>,
}

/// The values of the fields that a log has chosen, in its order.
#[derive(Default)]
pub(super) struct Chosen {
    pub(super) request: Vec<Option<HeaderValue>>,
    pub(super) response: Vec<Option<HeaderValue>>,
}

impl Line {
    pub(super) fn new(
        capture: &Capture,
        trace: Option<Trace>,
        client: Option<IpAddr>,
        method: Method,
        target: &Uri,
        version: Version,
        headers: &Fields,
    ) -> Box<Self> {
        let field = |name: HeaderName| headers.get(name).cloned();
        let chosen = (!capture.request.is_empty())
            .then(|| Box::new(Chosen { request: captured(&capture.request, headers), response: Vec::new() }));
        Box::new(Self {
            trace,
            started: SystemTime::now(),
            client,
            method,
            host: capture.host.then(|| host_of(target, headers)).flatten(),
            target: target.path_and_query().cloned(),
            version,
            user_agent: capture.user_agent.then(|| field(header::USER_AGENT)).flatten(),
            referer: capture.referer.then(|| field(header::REFERER)).flatten(),
            chosen,
            endpoint: None,
            reused: None,
            attempts: 0,
            attempt_began: None,
            dial_began: None,
            acquire: None,
            connect: None,
            first_byte: None,
        })
    }

    /// Keeps the fields of a response that the log has chosen.
    pub(super) fn responded(&mut self, capture: &Capture, headers: &Fields) {
        if !capture.response.is_empty() {
            self.chosen.get_or_insert_default().response = captured(&capture.response, headers);
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
