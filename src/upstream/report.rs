//! The report of a pool. It lives with the metrics, which are below `upstream` and print it.

pub use crate::metrics::PoolReport;
