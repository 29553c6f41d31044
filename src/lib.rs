//! An API gateway: YAML routes, upstream connection pools per route, filters.
//!
//! ARCHITECTURE.md is the map; `proxy` is the life of a request.

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
mod filter;
pub mod forward;
#[cfg(fuzzing)]
pub mod fuzz;
mod generation;
mod http1;
mod listener;
pub mod message;
pub mod net;
pub mod observe;
pub mod policy;
mod proxy;
mod record;
mod reload;
mod removal;
pub mod router;
pub mod run;
mod service;
mod snapshot;
mod tunnel;
mod upstream;
mod wasm;
pub mod watch;
mod worker;
