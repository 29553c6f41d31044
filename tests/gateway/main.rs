//! The one integration binary: a module a topic.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken expectation of a test is a panic"
)]

mod pool;
mod pool_limits;
mod pooled;
mod retries;
mod stress;
mod timeouts;
mod upstream;
mod upstream_tls;
