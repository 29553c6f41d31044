//! The failure to get a decision about a request.

use crate::http::error::Error;

/// The failure to get a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// There is no answer.
    #[error("{0}")]
    Unanswered(Error),
    /// The answer is none of a server that has decided: a 5xx, or a 304 to a question without a condition.
    #[error("it responds with {0}")]
    Undecided(u16),
}

impl Failure {
    /// Returns the stable reason, for logs.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Unanswered(error) => error.reason(),
            Self::Undecided(_) => "status",
        }
    }
}
