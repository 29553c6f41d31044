//! A token that was verified.

use std::sync::Arc;

use crate::policy::identity::Identity;

/// A token that was verified.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(super) identity: Arc<Identity>,
    /// The time, in Unix seconds, from which the token is not valid any more.
    pub(super) until: u64,
}
