//! The memory limit of one instance.

use std::sync::Arc;

use wasmtime::{ResourceLimiter, Result};

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
