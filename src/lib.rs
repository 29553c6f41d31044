//! An API gateway: YAML routes, upstream connection pools per route, filters.
//!
//! ARCHITECTURE.md is the map; `proxy` is the life of a request.

#[cfg(feature = "bench-internals")]
#[doc(hidden)]
pub mod bench;
pub mod cli;
pub mod config;
pub(crate) mod control;
mod downstream;
mod filter;
#[cfg(fuzzing)]
pub mod fuzz;
pub mod http;
pub mod net;
pub mod observe;
pub mod policy;
mod proxy;
pub mod router;
mod snapshot;
mod testing;
mod upstream;
mod worker;
