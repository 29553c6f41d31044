//! The control plane: one thread that may wait. It compiles configurations, commits them, and shows operators what runs.

pub(crate) mod admin;
pub(crate) mod advice;
pub(crate) mod announce;
pub(crate) mod auth;
pub(crate) mod blocking;
pub(crate) mod compile;
mod connector;
pub(crate) mod diff;
pub(crate) mod history;
pub(crate) mod kernel_sockets;
pub(crate) mod listeners;
pub(crate) mod operators;
pub(crate) mod process;
pub(crate) mod providers;
pub(crate) mod reload;
pub(crate) mod service_manager;
pub(crate) mod signals;
pub(crate) mod stores;
mod traces;
pub(crate) mod upstreams;
pub(crate) mod watchdog;
pub(crate) mod workers;
