//! The keys of `gateway.yaml`, a file for each section.

#[macro_use]
mod layer;

pub(crate) mod access_log;
pub(crate) mod active_health;
pub(crate) mod addresses;
pub(crate) mod admin;
pub(crate) mod auth;
pub(crate) mod balance;
pub(crate) mod breaker;
pub(crate) mod config;
pub(crate) mod cors;
pub(crate) mod dns;
pub(crate) mod filter;
pub(crate) mod grpc_web;
pub(crate) mod headers;
pub(crate) mod health;
pub(crate) mod hedge;
pub(crate) mod http2;
pub(crate) mod keepalive;
pub(crate) mod listener;
pub(crate) mod matches;
pub(crate) mod mirror;
pub(crate) mod pool;
pub(crate) mod rate_limit;
pub(crate) mod redirect;
pub(crate) mod request_id;
pub(crate) mod respond;
pub(crate) mod retry;
pub(crate) mod rewrite;
pub(crate) mod route;
pub(crate) mod shutdown;
pub(crate) mod sticky;
pub(crate) mod store;
pub(crate) mod telemetry;
pub(crate) mod timeouts;
pub(crate) mod traces;
pub(crate) mod upstream;
pub(crate) mod wasm;

use std::num::NonZeroU32;

/// Returns true, for `#[serde(default)]` of switches that are on.
const fn yes() -> bool {
    true
}

/// Returns a count for defaults; 0 becomes 1.
const fn count(count: u32) -> NonZeroU32 {
    match NonZeroU32::new(count) {
        Some(count) => count,
        None => NonZeroU32::MIN,
    }
}
