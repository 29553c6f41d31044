//! Observation: metrics, the access log, traces, the filter of the log, and warnings that do not flood it.

pub(crate) mod access_log;
mod hex;
pub(crate) mod log_filter;
pub(crate) mod metrics;
pub(crate) mod rate_limited_warning;
#[cfg_attr(not(feature = "otlp"), allow(dead_code, reason = "only the exporter reads records"))]
pub(crate) mod traces;
