//! An API gateway: YAML routes, upstream connection pools per route, filters.
pub mod tls;
pub mod upstream;
