//! Connections to endpoints: dialling, and the protocols spoken on them.

pub(crate) mod dial;
pub(crate) mod h1;
