//! Compiles a configuration beside the running one: a snapshot, and a plan of what to commit.

pub(crate) mod listeners;
