//! `/api/pools`: the connections to each endpoint.

use schemars::JsonSchema;
use serde::Serialize;

use super::Operators;
use crate::control::history::PoolRecent;
use crate::observe::metrics::{DURATION_BOUNDS, PoolReport};

/// The pools of the active configuration, and those that a reload or a resolver has left behind for as long as they have connections.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct PoolsReport {
    /// The upper bounds of the counts in `waits`, in seconds. The last count has no bound.
    wait_bounds_seconds: [f64; DURATION_BOUNDS.len()],
    /// One entry for each pool and endpoint.
    pools: Vec<PoolState>,
}

/// A pool, and its last minutes.
#[derive(Debug, Serialize, JsonSchema)]
struct PoolState {
    #[serde(flatten)]
    pool: PoolReport,
    /// The last minutes; null for a pool that is left behind.
    recent: Option<PoolRecent>,
}

impl Operators {
    pub(super) fn pools_report(&self) -> PoolsReport {
        let snapshot = &self.status.generation().snapshot;
        let current = snapshot.pools().into_iter().map(|pool| {
            let recent = Some((&self.status.samples().pool(&pool)).into());
            PoolState { pool, recent }
        });
        let left = snapshot.draining_pools().into_iter().chain(self.old.pools());
        let left = left.map(|pool| PoolState { pool, recent: None });
        PoolsReport { wait_bounds_seconds: DURATION_BOUNDS, pools: current.chain(left).collect() }
    }
}
