//! The life of a request. [`serve`] is its table of contents.

pub(crate) mod action;
pub(crate) mod addresses;
mod affinity;
pub(crate) mod client;
pub(crate) mod delay;
pub(crate) mod exchange;
pub(crate) mod exchange_log;
pub(crate) mod filters;
pub(crate) mod forward;
mod limits;
mod mirror;
mod notes;
pub(crate) mod outgoing;
mod recording;
pub(crate) mod reply;
mod request_values;
pub(crate) mod serve;
pub(crate) mod stages;
mod time_limit;
mod trace;
pub(crate) mod tunnel;

#[cfg(test)]
mod tests;
