//! Code for tests, fuzzing and measuring only. No release build contains it.

#[cfg(fuzzing)]
pub mod fuzz;
#[cfg(any(test, fuzzing))]
pub(crate) mod grpc;
#[cfg(any(test, fuzzing))]
pub(crate) mod http2;
#[cfg(any(test, fuzzing))]
pub(crate) mod http2_use;
#[cfg(feature = "bench-internals")]
#[doc(hidden)]
pub mod measure;
#[cfg(feature = "bench-internals")]
#[doc(hidden)]
pub mod measure_auth;
#[cfg(feature = "bench-internals")]
#[doc(hidden)]
pub mod measure_exchange;
#[cfg(feature = "bench-internals")]
#[doc(hidden)]
pub mod measure_heads;
#[cfg(feature = "bench-internals")]
mod measure_peer;
#[cfg(any(test, fuzzing))]
pub(crate) mod pieces;
#[cfg(any(test, fuzzing))]
pub(crate) mod scripted;
