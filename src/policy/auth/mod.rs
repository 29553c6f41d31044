//! Ways to know who calls.

mod jwt;

pub(crate) use jwt::{KeySet, RemoteKeys};
