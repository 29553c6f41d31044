//! A request in its trace: the context that it came with and goes on with, and the record of its spans.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::message::Request;
use crate::net::clock;
use crate::observe::traces::{
    Decision, RequestTrace, SpanId, SpanKind, TRACEPARENT, TRACESTATE, TraceContext, TraceId, Traces,
};
use crate::proxy::client::{Client, RequestStart};
use crate::proxy::recording::{Ending, Recording};
use crate::upstream::{Endpoint, UpstreamRequest};

/// The reason for which an attempt ends while another one responds.
const OVERTAKEN: &str = "hedge.overtaken";

/// A request in its trace.
pub(super) struct Trace {
    /// The trace, and the span that is the parent of others' spans: the request's own, if it is recorded.
    context: TraceContext,
    recording: Option<Box<Recording>>,
}

impl Trace {
    /// Continues the trace of a request, or begins one, and has its fields say so. The request's span is the parent of what others do for
    /// it; without one, its caller's is.
    #[cold]
    pub(super) fn begin(
        traces: &Traces,
        client: &Client,
        start: &RequestStart,
        request: &mut Request,
    ) -> Self {
        let received = received(&request.headers);
        let parent = received.filter(|_| traces.accepts(start.settings.forwarding.is_trusted()));
        let Some(parent) = parent else {
            request.headers.remove(TRACESTATE);
            let context = TraceContext::new();
            let Decision { is_sampled, is_recorded } = traces.decide(None, context);
            let context = context.with_sampled(is_sampled);
            request.headers.insert(TRACEPARENT, context.to_value());
            let recording =
                is_recorded.then(|| Recording::new(context.span_id, None, client, start, request));
            return Self { context, recording };
        };
        if !traces.decide(Some(parent), parent).is_recorded {
            // A later version, or a flag that it has, is not passed on.
            let is_canonical =
                request.headers.get(TRACEPARENT).is_some_and(|value| parent.is_written_as(value));
            if !is_canonical {
                request.headers.insert(TRACEPARENT, parent.to_value());
            }
            return Self { context: parent, recording: None };
        }
        let context = parent.of_span(SpanId::random());
        request.headers.insert(TRACEPARENT, context.to_value());
        let recording = Recording::new(context.span_id, Some(parent.span_id), client, start, request);
        Self { context, recording: Some(recording) }
    }

    pub(super) fn is_recorded(&self) -> bool {
        self.recording.is_some()
    }

    pub(super) fn trace_id(&self) -> TraceId {
        self.context.trace_id
    }

    /// Returns the span of the request, if the receiver gets it.
    pub(super) fn span_id(&self, is_failed: bool) -> Option<SpanId> {
        let is_kept = self.is_recorded() && (self.context.is_sampled() || is_failed);
        is_kept.then_some(self.context.span_id)
    }

    /// Returns the trace if others may record it, too.
    pub(super) fn sampled(&self) -> Option<TraceId> {
        self.context.is_sampled().then_some(self.context.trace_id)
    }

    /// Begins the span of an attempt, which is the parent of the upstream's.
    pub(super) fn attempt(&mut self, endpoint: &Endpoint, request: &mut UpstreamRequest<'_>) {
        let Some(recording) = &mut self.recording else { return };
        recording.end_attempts(None);
        let running = recording.run(endpoint, request, false);
        hand_over(self.context.of_span(running.id), request.headers);
        recording.attempt = Some(running);
    }

    /// Begins the span of an attempt beside the first.
    pub(super) fn hedged(&mut self, endpoint: &Endpoint, request: &mut UpstreamRequest<'_>) {
        let Some(recording) = &mut self.recording else { return };
        let running = recording.run(endpoint, request, true);
        hand_over(self.context.of_span(running.id), request.headers);
        recording.rival = Some(running);
    }

    pub(super) fn reused(&mut self) {
        if let Some(recording) = &mut self.recording {
            recording.end_phase(None, None);
            recording.learn(|facts| facts.is_reused = Some(true));
        }
    }

    pub(super) fn dialling(&mut self) {
        if let Some(recording) = &mut self.recording {
            recording.end_phase(None, Some(SpanKind::Connect));
            recording.learn(|facts| facts.is_reused = Some(false));
        }
    }

    /// Ends the span of a new connection. Its handshake has begun at `secured_from`, if there was one.
    pub(super) fn connected(&mut self, secured_from: Option<Instant>) {
        if let Some(recording) = &mut self.recording {
            recording.connected(secured_from);
        }
    }

    /// Continues the attempt at another address of its name.
    pub(super) fn moved(&mut self, endpoint: &Endpoint, is_reused: bool) {
        if let Some(recording) = &mut self.recording {
            recording.end_phase(None, None);
            recording.learn(|facts| {
                facts.endpoint = endpoint.url().into();
                facts.address = endpoint.address().to_string().into();
                facts.is_reused = Some(is_reused);
            });
        }
    }

    /// Has the second attempt take the place of the first.
    pub(super) fn overtaken(&mut self, is_reused: bool) {
        let Some(recording) = &mut self.recording else { return };
        if let Some(mut rival) = recording.rival.take() {
            rival.facts.is_reused = Some(is_reused);
            rival.phase = None;
            if let Some(slower) = recording.attempt.replace(rival) {
                recording.end(slower, Some(OVERTAKEN));
            }
        }
    }

    /// Records the outcome of an attempt. Its span lasts until its response has been sent on, or until there is another attempt.
    pub(super) fn attempted(&mut self, outcome: Result<StatusCode, Error>) {
        let Some(recording) = &mut self.recording else { return };
        if let Some(rival) = recording.rival.take() {
            recording.end(rival, Some(OVERTAKEN));
        }
        match outcome {
            Ok(status) => {
                recording.end_phase(None, None);
                recording.learn(|facts| facts.status = Some(status.as_u16()));
                if let Some(running) = &mut recording.attempt {
                    running.ended = Some(clock::now());
                }
            }
            Err(error) => {
                recording.end_phase(Some(error.reason()), None);
                recording.fail_connection(error);
                recording.end_attempts(Some(error.reason()));
            }
        }
    }

    /// Begins a wait for something other than the upstream.
    pub(super) fn begin_wait(&mut self, name: &'static str) {
        if let Some(recording) = &mut self.recording {
            recording.begin_wait(name);
        }
    }

    /// Ends the wait.
    pub(super) fn end_wait(&mut self) {
        if let Some(recording) = &mut self.recording {
            recording.end_wait(None);
        }
    }

    /// Adds the work of a filter.
    pub(super) fn filtered(&mut self, name: Arc<str>, is_response: bool, began: Instant, took: Duration) {
        if let Some(recording) = &mut self.recording {
            let kind = SpanKind::Filter { name, is_response };
            recording.add(SpanId::random(), recording.own, (began, took), kind, None);
        }
    }

    /// Returns the record of the request, if it is one to keep.
    pub(super) fn end(self, ending: Ending) -> Option<Box<RequestTrace>> {
        let is_kept = self.context.is_sampled() || ending.is_failed;
        let recording = self.recording.filter(|_| is_kept)?;
        Some(recording.end_request(self.context, ending))
    }
}

/// Returns the context of a request that has exactly one, and a valid one (§3.2).
fn received(headers: &Fields) -> Option<TraceContext> {
    let mut values = headers.get_all(TRACEPARENT);
    let (value, other) = (values.next()?, values.next());
    TraceContext::parse(value.as_bytes()).filter(|_| other.is_none())
}

/// Names a span as the parent of what an upstream records, unless a filter or the route's `headers` have had other wishes.
fn hand_over(context: TraceContext, headers: &mut Fields) {
    if headers.get(TRACEPARENT).is_some_and(|value| context.is_of_trace(value)) {
        headers.insert(TRACEPARENT, context.to_value());
    }
}
