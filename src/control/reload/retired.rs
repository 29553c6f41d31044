//! What reloads have left behind, as long as somebody uses it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::control::compile::commit_plan::DrainingPool;
use crate::observe::access_log::AccessLog;
use crate::observe::metrics::PoolReport;
use crate::snapshot::Snapshot;

/// Snapshots that requests still hold, and pools that still have connections.
///
/// To free a routing table takes a worker longer than a request may: so the last to hold a snapshot is always this.
#[derive(Default)]
pub(crate) struct RetiredSnapshots(Mutex<Retired>);

#[derive(Default)]
struct Retired {
    snapshots: Vec<Arc<Snapshot>>,
    pools: Vec<DrainingPool>,
}

impl RetiredSnapshots {
    /// Takes a snapshot in that serves no more, and the pools that went with it.
    pub(crate) fn add(&self, snapshot: Arc<Snapshot>, pools: Vec<DrainingPool>) {
        let mut left = self.lock();
        left.snapshots.push(snapshot);
        left.pools.extend(pools);
    }

    /// Lets go of what nobody else uses.
    pub(crate) fn sweep(&self) {
        let mut left = self.lock();
        let (used, unused): (Vec<_>, Vec<_>) =
            left.snapshots.drain(..).partition(|snapshot| Arc::strong_count(snapshot) > 1);
        left.snapshots = used;
        left.pools.retain(|draining| !draining.endpoint.pool().is_drained());
        drop(left);
        drop(unused);
    }

    /// The access logs that requests still write to, whichever they are by now.
    pub(crate) fn access_logs(&self) -> Vec<AccessLog> {
        self.lock().snapshots.iter().filter_map(|snapshot| snapshot.telemetry.access_log.clone()).collect()
    }

    /// How many snapshots requests still hold, or held a moment ago.
    pub(crate) fn snapshots(&self) -> usize {
        self.lock().snapshots.len()
    }

    /// Whether there is nothing left.
    pub(crate) fn is_empty(&self) -> bool {
        let left = self.lock();
        left.snapshots.is_empty() && left.pools.is_empty()
    }

    /// The pools that still have connections.
    pub(crate) fn pools(&self) -> Vec<PoolReport> {
        let left = self.lock();
        let draining = left.pools.iter().filter(|draining| !draining.endpoint.pool().is_drained());
        draining
            .map(|draining| PoolReport { pool: draining.owner.clone(), ..draining.endpoint.report() })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Retired> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
