//! The control plane: one thread that may wait. It compiles configurations, commits them, and shows operators what runs.

pub(crate) mod compile;
pub(crate) mod listeners;
