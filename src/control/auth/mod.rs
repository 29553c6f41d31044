//! The part of authentication that may wait: fetches of issuers' keys.

mod client;
mod jwks;

pub(crate) use client::{Client, client_tls};
pub(crate) use jwks::keep_keys;
