//! The remains of earlier generations, for as long as they are in use.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::control::compile::commit_plan::DrainingPool;
use crate::observe::access_log::AccessLog;
use crate::observe::metrics::PoolReport;
use crate::observe::traces::Traces;
use crate::snapshot::Snapshot;

/// The interval at which remains of older snapshots are released.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Snapshots that requests still hold, and pools that still have connections.
///
/// Freeing a routing table takes longer than a worker may block. This therefore always holds the last reference to a
/// snapshot.
#[derive(Default)]
pub(crate) struct RetiredSnapshots {
    retired: Mutex<Retired>,
    added: Notify,
}

#[derive(Default)]
struct Retired {
    snapshots: Vec<Arc<Snapshot>>,
    pools: Vec<DrainingPool>,
}

impl RetiredSnapshots {
    /// Adds a snapshot that no longer serves, and the pools that went with it.
    pub(crate) fn add(&self, snapshot: Arc<Snapshot>, pools: Vec<DrainingPool>) {
        let mut left = self.lock();
        left.snapshots.push(snapshot);
        left.pools.extend(pools);
        drop(left);
        self.added.notify_one();
    }

    /// Releases at intervals everything that is no longer in use. Never ends.
    pub(crate) async fn release(&self) {
        loop {
            while self.is_empty() {
                self.added.notified().await;
            }
            tokio::time::sleep(SWEEP_EVERY).await;
            self.sweep();
        }
    }

    fn sweep(&self) {
        let mut left = self.lock();
        let (used, unused): (Vec<_>, Vec<_>) =
            left.snapshots.drain(..).partition(|snapshot| Arc::strong_count(snapshot) > 1);
        left.snapshots = used;
        left.pools.retain(|draining| !draining.endpoint.pool().is_drained());
        drop(left);
        drop(unused);
    }

    /// Returns the access logs that requests of earlier generations may still write to.
    pub(crate) fn access_logs(&self) -> Vec<AccessLog> {
        self.lock().snapshots.iter().filter_map(|snapshot| snapshot.telemetry.access_log.clone()).collect()
    }

    /// Returns the traces that requests of earlier generations may still add to.
    pub(crate) fn traces(&self) -> Vec<Traces> {
        self.lock().snapshots.iter().filter_map(|snapshot| snapshot.telemetry.traces.clone()).collect()
    }

    /// Returns the number of snapshots that requests still hold, or held a moment ago.
    pub(crate) fn snapshots(&self) -> usize {
        self.lock().snapshots.len()
    }

    fn is_empty(&self) -> bool {
        let left = self.lock();
        left.snapshots.is_empty() && left.pools.is_empty()
    }

    /// Returns reports of the pools that still have connections.
    pub(crate) fn pools(&self) -> Vec<PoolReport> {
        let left = self.lock();
        let draining = left.pools.iter().filter(|draining| !draining.endpoint.pool().is_drained());
        draining
            .map(|draining| PoolReport { pool: draining.owner.clone(), ..draining.endpoint.report() })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Retired> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
