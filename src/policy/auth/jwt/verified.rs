//! A token that was verified, and what follows from it.

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

/// A token that was verified.
#[derive(Debug, Default)]
pub(crate) struct Verified {
    /// The claim `sub`; empty without one.
    pub(crate) subject: Box<str>,
    pub(crate) claims: Map<String, Value>,
    /// The fields for the request that goes up.
    pub(crate) headers: Box<[(HeaderName, HeaderValue)]>,
    /// The time, in Unix seconds, from which the token is not valid any more.
    pub(super) until: u64,
}
