//! `/api/pools`: the connections to each endpoint.

use schemars::JsonSchema;
use serde::Serialize;

use super::Operators;
use crate::observe::metrics::PoolReport;

/// The pools of the active configuration, and those that a reload or a resolver has left behind for as long as they have connections.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct PoolsReport {
    /// One entry for each pool and endpoint.
    pools: Vec<PoolReport>,
}

impl Operators {
    pub(super) fn pools_report(&self) -> PoolsReport {
        let snapshot = &self.status.generation().snapshot;
        PoolsReport { pools: [snapshot.pools(), snapshot.draining_pools(), self.old.pools()].concat() }
    }
}
