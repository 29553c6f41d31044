//! An API gateway: routes in YAML, a pool of upstream connections per route, filters in WebAssembly.
//!
//! ARCHITECTURE.md is the map, and `proxy` the life of a request. The library serves the program, the fuzz targets and the
//! instruction counts; it has no other users.

// The file as written, and the command line.
pub mod cli;
mod config;

// The control plane: one thread, which may wait.
mod control;

// The data plane: a thread per core, from the socket down.
mod downstream;
mod filter;
mod http;
mod net;
mod policy;
mod proxy;
mod router;
mod snapshot;
mod upstream;
mod worker;

// Observation: counted on the data plane, shown by the control plane.
mod observe;

#[cfg(any(test, fuzzing, feature = "bench-internals"))]
#[doc(hidden)]
pub mod testing;
