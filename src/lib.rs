//! An API gateway: YAML routes, upstream connection pools per route, filters.

pub mod body;
pub mod error;
mod http1;
mod shutdown;
mod stream;
mod timer;
