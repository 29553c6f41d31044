//! Observation: metrics, the access log, and warnings that do not flood the log.

pub mod access_log;
pub mod metrics;
pub mod rate_limited_warning;
