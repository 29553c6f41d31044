//! An API gateway: YAML routes, upstream connection pools per route, filters.

pub mod access_log;
pub mod admin;
pub mod body;
pub mod cli;
pub mod config;
pub mod error;
mod http1;
pub mod metrics;
pub mod router;
mod shutdown;
mod stream;
mod timer;
pub mod upstream;
pub mod warn_limit;
