//! An API gateway: YAML routes, upstream connection pools per route, filters.
pub mod access_log;
pub mod admin;
pub mod cli;
pub mod metrics;
pub mod upstream;
pub mod warn_limit;
