//! An API gateway: YAML routes, upstream connection pools per route, filters.
//!
//! ARCHITECTURE.md is the map; `proxy` is the life of a request.

pub mod access_log;
pub mod admin;
#[cfg(feature = "bench-internals")]
#[doc(hidden)]
pub mod bench;
mod body;
pub mod changes;
pub mod cli;
pub mod config;
mod connection;
mod downstream;
mod entrance;
pub mod error;
pub mod fields;
pub mod files;
mod filter;
pub mod forward;
#[cfg(fuzzing)]
pub mod fuzz;
mod generation;
mod http1;
mod listener;
pub mod message;
pub mod metrics;
pub mod policy;
pub mod printable;
mod proxy;
mod record;
mod reload;
mod removal;
pub mod router;
pub mod run;
mod service;
mod shutdown;
mod snapshot;
mod stream;
mod timer;
pub mod tls;
mod tunnel;
mod turn;
mod upstream;
pub mod warn_limit;
mod wasm;
pub mod watch;
mod worker;
