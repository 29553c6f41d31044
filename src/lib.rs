//! An API gateway: YAML routes, upstream connection pools per route, filters.
//!
//! ARCHITECTURE.md is the map; `proxy` is the life of a request.

pub mod cli;
pub mod config;
pub(crate) mod control;
mod downstream;
mod filter;
pub mod http;
pub mod net;
pub mod observe;
pub mod policy;
mod proxy;
pub mod router;
mod snapshot;
#[cfg(any(test, fuzzing, feature = "bench-internals"))]
#[doc(hidden)]
pub mod testing;
mod upstream;
mod worker;
