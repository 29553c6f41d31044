//! The part of authentication that may wait: fetches of issuers' keys, and requests to OpenID providers.

mod client;
mod jwks;
mod oidc;

pub(crate) use client::Client;
pub(crate) use jwks::keep_keys;
pub(crate) use oidc::{Web, keep_provider};
