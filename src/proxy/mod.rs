//! The life of a request. [`serve`] reads from top to bottom.

pub(crate) mod action;
pub(crate) mod addresses;
pub(crate) mod client;
pub(crate) mod delay;
pub(crate) mod exchange_log;
pub(crate) mod filtered;
pub(crate) mod forward;
pub(crate) mod incoming;
pub(crate) mod outgoing;
pub(crate) mod reply;
pub(crate) mod retry;
pub(crate) mod serve;
pub(crate) mod tunnel;
