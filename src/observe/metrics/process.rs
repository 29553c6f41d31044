//! Process-wide metrics and the state of the active configuration.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::buckets::nanos;

/// The counters of the process as a whole, written by the control thread.
#[derive(Debug)]
pub(crate) struct ProcessStats {
    started: SystemTime,
    workers: usize,
    generation: AtomicU64,
    live_since: AtomicU64,
    reloads: AtomicU64,
    reloads_refused: AtomicU64,
    reload_nanos: AtomicU64,
    is_in_sync: AtomicBool,
}

impl ProcessStats {
    /// Creates the counters of a process that starts now, with this many workers and generation 1 of its configuration.
    pub(crate) fn new(workers: usize) -> Self {
        let started = SystemTime::now();
        Self {
            started,
            workers,
            generation: AtomicU64::new(1),
            live_since: AtomicU64::new(unix_seconds(started)),
            reloads: AtomicU64::new(0),
            reloads_refused: AtomicU64::new(0),
            reload_nanos: AtomicU64::new(0),
            is_in_sync: AtomicBool::new(true),
        }
    }

    /// Returns the start time of the process.
    pub(crate) fn started(&self) -> SystemTime {
        self.started
    }

    pub(crate) fn workers(&self) -> usize {
        self.workers
    }

    /// Counts a new active configuration. Returns its number.
    pub(crate) fn next_generation(&self) -> u64 {
        self.live_since.store(unix_seconds(SystemTime::now()), Ordering::Relaxed);
        self.is_in_sync.store(true, Ordering::Relaxed);
        self.generation.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Records a completed reload and its duration.
    pub(crate) fn reloaded(&self, took: Duration) {
        self.reloads.fetch_add(1, Ordering::Relaxed);
        self.reload_nanos.store(nanos(took), Ordering::Relaxed);
    }

    /// Records a reload that had errors and changed nothing: the active configuration no longer matches the files on
    /// disk.
    pub(crate) fn reload_refused(&self) {
        self.reloads_refused.fetch_add(1, Ordering::Relaxed);
        self.is_in_sync.store(false, Ordering::Relaxed);
    }

    /// Records that the files on disk match the active configuration again, because an edit with errors was reverted.
    pub(crate) fn back_in_sync(&self) {
        self.is_in_sync.store(true, Ordering::Relaxed);
    }

    /// Returns the number of the active configuration. The one of the start is 1.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Returns the time since which it is active, in Unix time.
    pub(crate) fn live_since(&self) -> u64 {
        self.live_since.load(Ordering::Relaxed)
    }

    /// Returns the number of reloads that took effect.
    pub(crate) fn reloads(&self) -> u64 {
        self.reloads.load(Ordering::Relaxed)
    }

    /// Returns the duration of the last reload that took effect.
    pub(crate) fn reload_took(&self) -> Duration {
        Duration::from_nanos(self.reload_nanos.load(Ordering::Relaxed))
    }

    /// Returns true if the files on disk match the active configuration.
    pub(crate) fn is_in_sync(&self) -> bool {
        self.is_in_sync.load(Ordering::Relaxed)
    }

    /// Returns the number of reloads that had errors and changed nothing.
    pub(crate) fn reloads_refused(&self) -> u64 {
        self.reloads_refused.load(Ordering::Relaxed)
    }
}

/// Returns the seconds since 1970, 0 for a time before.
pub(crate) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
