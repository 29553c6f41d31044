//! The record of a request in progress: its spans, and the facts about it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderValue, Method, Uri, Version, header};
use tokio::time::Instant;

use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::message::Request;
use crate::net::clock;
use crate::observe::traces::{
    AttemptFacts, RequestFacts, RequestTrace, Span, SpanId, SpanKind, TRACESTATE, TraceContext,
};
use crate::proxy::client::{Client, RequestStart};
use crate::upstream::{Endpoint, UpstreamRequest};

/// The most spans of a request, besides its own.
const SPANS_MAX: usize = 128;

/// The longest `tracestate` that is recorded (§3.3.1.5). A longer one is passed on all the same.
const TRACESTATE_MAX: usize = 512;

/// The record of a request in progress. It shares the bytes of the request's head.
pub(super) struct Recording {
    /// The span of the request.
    pub(super) own: SpanId,
    parent: Option<SpanId>,
    tracestate: Option<Box<str>>,
    started: SystemTime,
    began: Instant,
    method: Method,
    target: Uri,
    version: Version,
    scheme: &'static str,
    host: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    client: Option<IpAddr>,
    peer: Option<IpAddr>,
    spans: Vec<Span>,
    left_out: u32,
    attempts: u32,
    /// The wait in progress for something other than the upstream, with the time at which it began.
    waiting: Option<(&'static str, Instant)>,
    /// The attempt that has not ended, or whose response is on its way to the client.
    pub(super) attempt: Option<Running>,
    /// The attempt beside it.
    pub(super) rival: Option<Running>,
}

/// An attempt in progress.
pub(super) struct Running {
    pub(super) id: SpanId,
    began: Instant,
    pub(super) facts: Box<AttemptFacts>,
    /// The wait for a connection or its opening, with the time at which it began.
    pub(super) phase: Option<(SpanKind, Instant)>,
    /// The time of its end, if another attempt may follow.
    pub(super) ended: Option<Instant>,
}

/// The facts about the end of a request.
pub(super) struct Ending {
    pub(super) took: Duration,
    pub(super) status: u16,
    pub(super) grpc_status: Option<u8>,
    pub(super) error: Option<Error>,
    pub(super) is_failed: bool,
    pub(super) listener: Arc<str>,
    pub(super) route: Option<Arc<str>>,
    pub(super) path_pattern: Option<Arc<str>>,
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) request_id: Option<HeaderValue>,
}

impl Recording {
    pub(super) fn new(
        own: SpanId,
        parent: Option<SpanId>,
        client: &Client,
        start: &RequestStart,
        request: &Request,
    ) -> Box<Self> {
        let Request { method, target, version, headers, .. } = request;
        let peer = client.peer().ip();
        Box::new(Self {
            own,
            parent,
            tracestate: state_of(headers),
            started: SystemTime::now(),
            began: clock::now(),
            method: method.clone(),
            target: target.clone(),
            version: *version,
            scheme: client.scheme(),
            host: headers.get(header::HOST).cloned(),
            user_agent: headers.get(header::USER_AGENT).cloned(),
            client: start.client_ip(headers),
            peer,
            spans: Vec::new(),
            left_out: 0,
            attempts: 0,
            waiting: None,
            attempt: None,
            rival: None,
        })
    }

    pub(super) fn run(
        &mut self,
        endpoint: &Endpoint,
        request: &UpstreamRequest<'_>,
        is_hedge: bool,
    ) -> Running {
        self.attempts += 1;
        let target = endpoint.target(request.target);
        let facts = AttemptFacts {
            number: self.attempts,
            endpoint: endpoint.url().into(),
            path: target.split('?').next().unwrap_or_default().into(),
            address: endpoint.address().to_string().into(),
            status: None,
            is_reused: None,
            is_hedge,
        };
        let began = clock::now();
        let phase = Some((SpanKind::Acquire, began));
        Running { id: SpanId::random(), began, facts: Box::new(facts), phase, ended: None }
    }

    pub(super) fn learn(&mut self, learn: impl FnOnce(&mut AttemptFacts)) {
        if let Some(running) = &mut self.attempt {
            learn(&mut running.facts);
        }
    }

    /// Ends the phase of the attempt, and begins the next one.
    pub(super) fn end_phase(&mut self, error: Option<&'static str>, next: Option<SpanKind>) {
        let Some(running) = &mut self.attempt else { return };
        let (parent, now) = (running.id, clock::now());
        let phase = std::mem::replace(&mut running.phase, next.map(|next| (next, now)));
        if let Some((kind, began)) = phase {
            let took = now.saturating_duration_since(began);
            // A connection that was there at once has not been waited for.
            if !took.is_zero() || error.is_some() {
                self.add(SpanId::random(), parent, (began, took), kind, error);
            }
        }
    }

    /// Adds the span of a handshake below the one of its connection.
    pub(super) fn connected(&mut self, secured_from: Option<Instant>) {
        let Some(Running { id, phase: Some((SpanKind::Connect, began)), .. }) = &self.attempt else { return };
        let (attempt, began, now, id) = (*id, *began, clock::now(), SpanId::random());
        let since = |time: Instant| now.saturating_duration_since(time);
        if let Some(secured_from) = secured_from {
            let times = (secured_from, since(secured_from));
            self.add(SpanId::random(), id, times, SpanKind::Handshake, None);
        }
        self.add(id, attempt, (began, since(began)), SpanKind::Connect, None);
        if let Some(running) = &mut self.attempt {
            running.phase = None;
        }
    }

    /// Marks the connection that could not be opened.
    pub(super) fn fail_connection(&mut self, error: Error) {
        let is_of_connection = matches!(
            error,
            Error::ConnectFailed | Error::TlsFailed | Error::NotHttp2 | Error::ConnectTimeout
        );
        if let Some(span) = self.spans.last_mut().filter(|_| is_of_connection)
            && matches!(span.kind, SpanKind::Connect)
        {
            span.error = Some(error.reason());
        }
    }

    /// Ends the span of an attempt.
    pub(super) fn end(&mut self, running: Running, error: Option<&'static str>) {
        let ended = running.ended.unwrap_or_else(clock::now);
        let took = ended.saturating_duration_since(running.began);
        let (began, kind) = (running.began, SpanKind::Attempt(running.facts));
        self.add(running.id, self.own, (began, took), kind, error);
    }

    pub(super) fn end_attempts(&mut self, error: Option<&'static str>) {
        for running in [self.rival.take(), self.attempt.take()].into_iter().flatten() {
            self.end(running, error);
        }
    }

    pub(super) fn begin_wait(&mut self, name: &'static str) {
        self.waiting = Some((name, clock::now()));
    }

    /// Ends the wait in progress, and adds its span, unless it took no time.
    pub(super) fn end_wait(&mut self, error: Option<&'static str>) {
        let Some((name, began)) = self.waiting.take() else { return };
        let took = clock::since(began);
        if !took.is_zero() {
            self.add(SpanId::random(), self.own, (began, took), SpanKind::Wait(name), error);
        }
    }

    /// Ends what has not ended with the request.
    fn end_all(&mut self, ending: &Ending) {
        let reason = ending.error.map(Error::reason);
        self.end_wait(reason);
        self.end_phase(reason, None);
        if let Some(running) = &mut self.attempt {
            // Its response has been sent on until now.
            running.ended = None;
        }
        self.end_attempts(reason);
    }

    pub(super) fn add(
        &mut self,
        id: SpanId,
        parent: SpanId,
        (began, took): (Instant, Duration),
        kind: SpanKind,
        error: Option<&'static str>,
    ) {
        if self.spans.len() >= SPANS_MAX {
            self.left_out += 1;
            return;
        }
        let began = began.saturating_duration_since(self.began);
        self.spans.push(Span { id, parent, began, took, kind, error });
    }

    /// Returns the record of the request, which has ended.
    pub(super) fn end_request(
        mut self: Box<Self>,
        context: TraceContext,
        ending: Ending,
    ) -> Box<RequestTrace> {
        self.end_all(&ending);
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned().into();
        let authority = self.target.authority().map(|authority| authority.as_str().into());
        Box::new(RequestTrace {
            context,
            parent: self.parent,
            tracestate: self.tracestate,
            started: self.started,
            took: ending.took,
            request: RequestFacts {
                authority: authority.or_else(|| self.host.as_ref().map(text)),
                path: self.target.path().into(),
                user_agent: self.user_agent.as_ref().map(text),
                method: self.method,
                version: self.version,
                scheme: self.scheme,
                client: self.client,
                peer: self.peer,
                listener: ending.listener,
                route: ending.route,
                path_pattern: ending.path_pattern,
                status: ending.status,
                grpc_status: ending.grpc_status,
                error: ending.error.map(Error::reason),
                is_failed: ending.is_failed,
                request_bytes: ending.received,
                response_bytes: ending.sent,
                request_id: ending.request_id.as_ref().map(text),
            },
            spans: self.spans,
            left_out: self.left_out,
        })
    }
}

/// Returns the state of a trace, whose members may be in several lines (§3.3), unless it is too long to be recorded.
fn state_of(headers: &Fields) -> Option<Box<str>> {
    let mut lines = headers.get_all(TRACESTATE).map(|line| line.to_str());
    let mut state = lines.next()?.ok()?.to_owned();
    for line in lines {
        state.push(',');
        state.push_str(line.ok()?);
    }
    (state.len() <= TRACESTATE_MAX).then(|| state.into())
}
