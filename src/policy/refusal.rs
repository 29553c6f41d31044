//! The refusal of a request by a policy.

use crate::http::error::Error;
use crate::http::fields::Fields;

/// The reason for which a policy refuses a request, and what the client is told besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) error: Error,
    /// Fields of the response: a challenge, or the time after which to try again.
    pub(crate) fields: Fields,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error, fields: Fields::new() }
    }
}
