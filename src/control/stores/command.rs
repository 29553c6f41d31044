//! The commands to a store, and their results.

use crate::policy::{Gcra, StoreKey};

/// A command: charges requests to a key, and takes charges back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) key: StoreKey,
    pub(super) limit: Gcra,
    /// The requests that are charged, as far as the key has credit.
    pub(super) asked: u32,
    /// The charges that are taken back before.
    pub(super) returned: u32,
}

/// The result of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Granted {
    /// The number of requests that were charged.
    pub(super) count: u64,
    /// The time by which the state of the key was ahead before them.
    pub(super) ahead: u64,
}
