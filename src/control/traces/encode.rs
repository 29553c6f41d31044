//! The spans of OTLP, with the attributes of OpenTelemetry's conventions for HTTP (1.38).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Method, Uri, Version};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind as Kind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as OtlpSpan, Status};
use prost::Message;

use crate::config::Traces;
use crate::http::forward::parse_authority;
use crate::observe::traces::{
    AttemptFacts, RequestFacts, RequestTrace, Span, SpanId, SpanKind, TraceContext,
};

/// The flags that say whether the parent is in another process (OTLP, `SpanFlags`).
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// The encoder of one gateway's spans.
pub(super) struct Encoder {
    resource: Resource,
    scope: InstrumentationScope,
}

/// The beginning of a request, and the time that has passed on two clocks.
struct Times {
    started: SystemTime,
}

impl Encoder {
    pub(super) fn new(settings: &Traces) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let mut attributes = Attributes::default();
        attributes.text("service.name", &settings.service);
        attributes.text("service.version", version);
        attributes.number("process.pid", std::process::id());
        for (name, value) in &settings.resource {
            // What the configuration says counts.
            attributes.0.retain(|known| known.key != *name);
            attributes.text(name, value);
        }
        let scope = InstrumentationScope {
            name: "gateway".to_owned(),
            version: version.to_owned(),
            ..InstrumentationScope::default()
        };
        Self { resource: Resource { attributes: attributes.0, ..Resource::default() }, scope }
    }

    /// Returns the message that carries the spans of these requests.
    pub(super) fn encode(&self, records: &[Box<RequestTrace>]) -> Bytes {
        let spans = records.iter().flat_map(|record| spans_of(record)).collect();
        let scope_spans =
            vec![ScopeSpans { scope: Some(self.scope.clone()), spans, ..ScopeSpans::default() }];
        let resource_spans = vec![ResourceSpans {
            resource: Some(self.resource.clone()),
            scope_spans,
            ..ResourceSpans::default()
        }];
        ExportTraceServiceRequest { resource_spans }.encode_to_vec().into()
    }
}

fn spans_of(record: &RequestTrace) -> Vec<OtlpSpan> {
    let times = Times { started: record.started };
    let mut spans = vec![server_span(record, &times)];
    spans.extend(record.spans.iter().map(|span| inner_span(record, span, &times)));
    spans
}

/// Returns the span of the request.
fn server_span(record: &RequestTrace, times: &Times) -> OtlpSpan {
    let facts = &record.request;
    let method = method_name(&facts.method);
    let name = match &facts.path_pattern {
        Some(pattern) => format!("{} {pattern}", method.unwrap_or("HTTP")),
        None => method.unwrap_or("HTTP").to_owned(),
    };
    let remote = if record.parent.is_some() { IS_REMOTE } else { 0 };
    OtlpSpan {
        name,
        kind: Kind::Server.into(),
        parent_span_id: record.parent.map(|parent| parent.bytes().to_vec()).unwrap_or_default(),
        flags: flags(record.context) | remote,
        attributes: server_attributes(facts),
        dropped_attributes_count: 0,
        status: facts.is_failed.then(|| Status { code: StatusCode::Error.into(), ..Status::default() }),
        ..times.span(record, record.context.span_id, Duration::ZERO, record.took)
    }
}

fn server_attributes(facts: &RequestFacts) -> Vec<KeyValue> {
    let mut attributes = Attributes::default();
    attributes.method(&facts.method);
    attributes.text("url.scheme", facts.scheme);
    attributes.text("url.path", &facts.path);
    attributes.maybe("http.route", facts.path_pattern.as_deref());
    if let Some(host) = facts.authority.as_deref().and_then(parse_authority) {
        attributes.text("server.address", host.host);
        if let Some(port) = host.port {
            attributes.number("server.port", port);
        }
    }
    attributes.maybe("client.address", facts.client.map(|client| client.to_string()).as_deref());
    attributes.maybe("network.peer.address", facts.peer.map(|peer| peer.to_string()).as_deref());
    attributes.text("network.protocol.version", protocol_version(facts.version));
    attributes.maybe("user_agent.original", facts.user_agent.as_deref());
    if facts.status != 0 {
        attributes.number("http.response.status_code", facts.status);
    }
    attributes.number("http.request.body.size", facts.request_bytes);
    attributes.number("http.response.body.size", facts.response_bytes);
    if let Some(status) = facts.grpc_status {
        attributes.text("rpc.system", "grpc");
        attributes.number("rpc.grpc.status_code", status);
    }
    let status = facts.status.to_string();
    attributes.maybe("error.type", facts.error.or(facts.is_failed.then_some(&status)));
    attributes.text("gateway.listener", &facts.listener);
    attributes.maybe("gateway.route", facts.route.as_deref());
    attributes.maybe("gateway.request_id", facts.request_id.as_deref());
    attributes.0
}

/// Returns the span of a part of the request's time.
fn inner_span(record: &RequestTrace, span: &Span, times: &Times) -> OtlpSpan {
    let mut attributes = Attributes::default();
    let mut is_failed = span.error.is_some();
    let (name, kind) = match &span.kind {
        SpanKind::Attempt(facts) => {
            attributes.attempt(&record.request.method, facts);
            is_failed |= facts.status.is_some_and(|status| status >= 400);
            let status = facts.status.filter(|status| *status >= 400).map(|status| status.to_string());
            attributes.maybe("error.type", span.error.or(status.as_deref()));
            (method_name(&record.request.method).unwrap_or("HTTP").to_owned(), Kind::Client)
        }
        SpanKind::Acquire => ("acquire".to_owned(), Kind::Internal),
        SpanKind::Connect => ("connect".to_owned(), Kind::Internal),
        SpanKind::Handshake => ("tls handshake".to_owned(), Kind::Internal),
        SpanKind::Wait(name) => ((*name).to_owned(), Kind::Internal),
        SpanKind::Filter { name, is_response } => {
            attributes.text("gateway.filter", name);
            let direction = if *is_response { "response" } else { "request" };
            (format!("filter {name} {direction}"), Kind::Internal)
        }
    };
    if !matches!(span.kind, SpanKind::Attempt(_)) {
        attributes.maybe("error.type", span.error);
    }
    OtlpSpan {
        name,
        kind: kind.into(),
        parent_span_id: span.parent.bytes().to_vec(),
        flags: flags(record.context),
        attributes: attributes.0,
        status: is_failed.then(|| Status { code: StatusCode::Error.into(), ..Status::default() }),
        ..times.span(record, span.id, span.began, span.took)
    }
}

impl Times {
    /// Returns a span with its identifiers and times.
    fn span(&self, record: &RequestTrace, id: SpanId, began: Duration, took: Duration) -> OtlpSpan {
        let start = self.started.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_add(began);
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        OtlpSpan {
            trace_id: record.context.trace_id.bytes().to_vec(),
            span_id: id.bytes().to_vec(),
            trace_state: record.tracestate.as_deref().unwrap_or_default().to_owned(),
            start_time_unix_nano: nanos(start),
            end_time_unix_nano: nanos(start.saturating_add(took)),
            ..OtlpSpan::default()
        }
    }
}

fn flags(context: TraceContext) -> u32 {
    u32::from(context.flags()) | HAS_IS_REMOTE
}

/// Returns the name of a method that is known to the conventions. Others would give attributes as many values as clients like.
fn method_name(method: &Method) -> Option<&str> {
    let name = method.as_str();
    let known = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"];
    known.contains(&name).then_some(name)
}

fn protocol_version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    }
}

/// Attributes of a span.
#[derive(Default)]
struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn add(&mut self, key: &str, value: Value) {
        let value = Some(AnyValue { value: Some(value) });
        self.0.push(KeyValue { key: key.to_owned(), value, ..KeyValue::default() });
    }

    fn text(&mut self, key: &str, value: &str) {
        self.add(key, Value::StringValue(value.to_owned()));
    }

    fn maybe(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    fn number(&mut self, key: &str, value: impl TryInto<i64>) {
        self.add(key, Value::IntValue(value.try_into().unwrap_or(i64::MAX)));
    }

    fn method(&mut self, method: &Method) {
        self.text("http.request.method", method_name(method).unwrap_or("_OTHER"));
        if method_name(method).is_none() {
            self.text("http.request.method_original", method.as_str());
        }
    }

    fn attempt(&mut self, method: &Method, facts: &AttemptFacts) {
        self.method(method);
        if let Ok(url) = facts.endpoint.parse::<Uri>() {
            let scheme = url.scheme_str().unwrap_or("http");
            if let Some(authority) = url.authority() {
                self.text("url.full", &format!("{scheme}://{authority}{}", facts.path));
                self.text("server.address", authority.host().trim_matches(['[', ']']));
                let port = authority.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
                self.number("server.port", port);
            }
        }
        match facts.address.parse::<std::net::SocketAddr>() {
            Ok(address) => {
                self.text("network.peer.address", &address.ip().to_string());
                self.number("network.peer.port", address.port());
            }
            Err(_) => self.text("network.peer.address", &facts.address),
        }
        if let Some(status) = facts.status {
            self.number("http.response.status_code", status);
        }
        if facts.number > 1 {
            self.number("http.request.resend_count", facts.number - 1);
        }
        self.text("gateway.endpoint", &facts.endpoint);
        if let Some(is_reused) = facts.is_reused {
            self.add("gateway.connection_reused", Value::BoolValue(is_reused));
        }
        if facts.is_hedge {
            self.add("gateway.hedge", Value::BoolValue(true));
        }
    }
}
