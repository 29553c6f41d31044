//! HTTP/1 towards endpoints.

pub(crate) mod client;
pub(crate) mod exchange;
mod state;
