//! Traces: the requests that OpenTelemetry shows as spans.

#[allow(dead_code, reason = "requests get their context next")]
mod context;

pub(crate) use context::{SpanId, TraceId};
