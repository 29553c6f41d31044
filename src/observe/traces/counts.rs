//! The counts of traces.

use std::sync::atomic::{AtomicU64, Ordering};

/// The reasons for which spans are not exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DropReason {
    /// The exporter does not keep up.
    QueueFull,
    /// A request had more spans than are recorded.
    TooMany,
    /// The receiver refused them.
    Rejected,
    /// The receiver could not be reached for too long.
    Unavailable,
    /// The gateway stopped before they were sent.
    Stopped,
}

impl DropReason {
    const ALL: [Self; 5] = [Self::QueueFull, Self::TooMany, Self::Rejected, Self::Unavailable, Self::Stopped];

    fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::TooMany => "too_many",
            Self::Rejected => "rejected",
            Self::Unavailable => "unavailable",
            Self::Stopped => "stopped",
        }
    }
}

/// The counts since the start of the process.
#[derive(Debug, Default)]
pub(crate) struct TraceCounts {
    exported: AtomicU64,
    failed: AtomicU64,
    dropped: [AtomicU64; DropReason::ALL.len()],
}

/// The values of the counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TraceReport {
    /// The spans that the receiver took.
    pub(crate) exported: u64,
    /// The requests to the receiver that failed. Many are tried again.
    pub(crate) failed: u64,
    /// The spans that were dropped, by reason.
    pub(crate) dropped: Vec<(&'static str, u64)>,
}

impl TraceCounts {
    pub(crate) fn exported(&self, spans: u64) {
        self.exported.fetch_add(spans, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn dropped(&self, reason: DropReason, spans: u64) {
        if spans > 0
            && let Some(count) = self.dropped.get(reason as usize)
        {
            count.fetch_add(spans, Ordering::Relaxed);
        }
    }

    pub(crate) fn report(&self) -> TraceReport {
        let dropped = DropReason::ALL.iter().zip(&self.dropped);
        TraceReport {
            exported: self.exported.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            dropped: dropped.map(|(reason, count)| (reason.name(), count.load(Ordering::Relaxed))).collect(),
        }
    }
}
