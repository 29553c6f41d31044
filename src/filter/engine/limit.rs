//! The limits of one instance: its memory, and the CPU time of its calls.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::{ResourceLimiter, Result};

use super::runtime::EPOCH;
use crate::observe::metrics::FilterStats;

/// The most entries of a table. Entries are function references, of which real modules have some thousands.
const TABLE_ELEMENTS_MAX: usize = 100_000;

/// A limiter that grants memory up to a limit and counts the granted bytes.
pub(crate) struct MemoryLimit {
    bytes_max: usize,
    granted: usize,
    /// The size that was refused in the running call. The guest probably ends because of it.
    pub(crate) refused: Option<usize>,
    stats: Arc<FilterStats>,
}

impl MemoryLimit {
    pub(crate) fn new(bytes_max: usize, stats: Arc<FilterStats>) -> Self {
        Self { bytes_max, granted: 0, refused: None, stats }
    }

    /// Returns the granted bytes of linear memory.
    pub(crate) fn granted(&self) -> usize {
        self.granted
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        if desired > self.bytes_max {
            self.refused = Some(desired);
            return Ok(false);
        }
        self.stats.memory_changes(self.granted, desired);
        self.granted = desired;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }

    fn instances(&self) -> usize {
        1
    }

    fn memories(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        16
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        self.stats.memory_changes(self.granted, 0);
    }
}

/// The CPU time that one call may take.
pub(crate) struct TimeLimit {
    pub(crate) max: Duration,
    /// The thread's CPU time when measuring began.
    since: Option<Duration>,
}

impl TimeLimit {
    pub(crate) fn new(max: Duration) -> Self {
        Self { max, since: None }
    }

    /// Prepares for a call.
    pub(crate) fn begin(&mut self) {
        self.since = None;
    }

    /// Returns true if a call that has lasted an epoch may continue. Its CPU time counts from the first end of an epoch
    /// that it reaches: a call that returns before costs nothing to measure.
    pub(crate) fn allows_another_epoch(&mut self) -> bool {
        let now = thread_cpu_time();
        match self.since {
            None => {
                self.since = Some(now);
                true
            }
            Some(since) => now.saturating_sub(since) + EPOCH <= self.max,
        }
    }
}

/// Returns the CPU time that this thread has taken so far.
pub(crate) fn thread_cpu_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(now).unwrap_or_default()
}
