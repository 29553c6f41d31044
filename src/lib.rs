//! An API gateway: YAML routes, upstream connection pools per route, filters.
//!
//! ARCHITECTURE.md is the map; `proxy` is the life of a request.

pub mod admin;
#[cfg(feature = "bench-internals")]
#[doc(hidden)]
pub mod bench;
pub mod changes;
pub mod cli;
pub mod config;
mod control;
mod downstream;
mod filter;
#[cfg(fuzzing)]
pub mod fuzz;
mod generation;
pub mod http;
pub mod net;
pub mod observe;
pub mod policy;
mod proxy;
mod reload;
pub mod router;
pub mod run;
mod service;
mod snapshot;
mod testing;
mod upstream;
mod wasm;
pub mod watch;
mod worker;
