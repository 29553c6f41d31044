//! Observation: metrics, the access log, traces, and warnings that do not flood the log.

pub(crate) mod access_log;
pub(crate) mod metrics;
pub(crate) mod rate_limited_warning;
pub(crate) mod traces;
