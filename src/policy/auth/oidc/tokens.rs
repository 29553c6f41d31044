//! The outcome of a request to the token endpoint.

use std::sync::Arc;

use super::hidden_text::HiddenText;

/// The outcome of a request to the token endpoint.
pub(crate) type Outcome = Result<Arc<Tokens>, TokenError>;

/// The tokens of a response (RFC 6749 §5.1). The access token is not used.
#[derive(Debug)]
pub(crate) struct Tokens {
    pub(crate) id_token: Option<HiddenText>,
    pub(crate) refresh_token: Option<HiddenText>,
    /// The lifetime of the access token in seconds.
    pub(crate) expires_in: Option<u64>,
    /// The time of the response, in Unix seconds.
    pub(crate) received: u64,
}

/// A reason why there are no tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenError {
    /// The provider refuses the grant.
    Refused,
    /// The provider gives no usable response, or not for this gateway's name and secret.
    Unavailable,
}
