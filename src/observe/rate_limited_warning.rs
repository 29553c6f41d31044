//! Rate limits for warnings that repeat: the first passes at once, then at most one per interval.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The instant from which all [`RateLimitedWarning`]s measure time, so that a time fits into an atomic.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A limit of one warning per interval, with a count of those that are suppressed. Put one where the event belongs: in
/// the endpoint, in the pool, or in a `static` beside a log line.
///
/// ```text
/// static REFUSED: RateLimitedWarning = RateLimitedWarning::every(Duration::from_secs(10));
///
/// if let Some(suppressed) = REFUSED.passes() {
///     tracing::warn!(suppressed, "the pool is full; a request was answered with 503");
/// }
/// ```
#[derive(Debug)]
pub(crate) struct RateLimitedWarning {
    interval: Duration,
    /// Milliseconds from `EPOCH` to the next warning that may pass.
    next: AtomicU64,
    suppressed: AtomicU64,
}

impl RateLimitedWarning {
    /// Creates a limit of one warning per `interval`. The first passes at once.
    pub(crate) const fn every(interval: Duration) -> Self {
        Self { interval, next: AtomicU64::new(0), suppressed: AtomicU64::new(0) }
    }

    /// Returns the number of warnings suppressed since the last one that passed, or `None` if this one must be
    /// suppressed too.
    ///
    /// It never blocks. Of several threads that call it at the same moment, exactly one passes.
    pub(crate) fn passes(&self) -> Option<u64> {
        self.passes_at(EPOCH.elapsed())
    }

    fn passes_at(&self, now: Duration) -> Option<u64> {
        let next = self.next.load(Ordering::Relaxed);
        let following = millis(now.saturating_add(self.interval));
        if millis(now) < next
            || self.next.compare_exchange(next, following, Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.suppressed.swap(0, Ordering::Relaxed))
    }
}

/// A [`RateLimitedWarning`] per reason: a frequent reason does not suppress the first warning of another.
#[derive(Debug)]
pub(crate) struct RateLimitedWarnings {
    interval: Duration,
    reasons: Mutex<Vec<(&'static str, RateLimitedWarning)>>,
}

impl RateLimitedWarnings {
    /// Creates a limit of one warning per `interval` and reason.
    pub(crate) const fn every(interval: Duration) -> Self {
        Self { interval, reasons: Mutex::new(Vec::new()) }
    }

    /// Returns the number of warnings with this reason that were suppressed since the last one that passed, or `None`
    /// if this one must be suppressed too.
    pub(crate) fn passes(&self, reason: &'static str) -> Option<u64> {
        // The list has as many entries as the program has reasons, and only failures get here.
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, warning)) = reasons.iter().find(|(known, _)| *known == reason) {
            return warning.passes();
        }
        let warning = RateLimitedWarning::every(self.interval);
        let passed = warning.passes();
        reasons.push((reason, warning));
        passed
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_first_passes_and_the_next_waits_for_the_interval() {
        let limit = RateLimitedWarning::every(10 * SECOND);
        assert_eq!(limit.passes_at(3 * SECOND), Some(0));
        assert_eq!(limit.passes_at(4 * SECOND), None);
        assert_eq!(limit.passes_at(12 * SECOND), None);
        assert_eq!(limit.passes_at(13 * SECOND), Some(2));
        assert_eq!(limit.passes_at(24 * SECOND), Some(0));
    }

    #[test]
    fn a_frequent_reason_does_not_silence_another() {
        let warnings = RateLimitedWarnings::every(10 * SECOND);
        assert_eq!(warnings.passes("limits.body"), Some(0));
        assert_eq!(warnings.passes("limits.body"), None);
        assert_eq!(warnings.passes("pool.max_pending"), Some(0));
    }

    #[test]
    fn exactly_one_of_many_threads_passes() {
        let limit = RateLimitedWarning::every(SECOND);
        let passed = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let counts: Vec<_> = (0..100).filter_map(|_| limit.passes_at(SECOND)).collect();
                    passed.lock().unwrap().extend(counts);
                });
            }
        });
        let passed = passed.into_inner().unwrap();
        assert_eq!(passed.len(), 1);
        // Threads that lost the race may have been counted before the winner took the count. No count is lost, and none
        // is reported twice.
        assert_eq!(passed[0] + limit.passes_at(2 * SECOND).unwrap(), 399);
    }
}
