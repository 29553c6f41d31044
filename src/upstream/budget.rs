//! The budget of an upstream's retries: a share of its requests in the last seconds, whichever routes and workers they come from.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::config::RetryBudget;
use crate::observe::metrics::Sharded;

/// The seconds that are looked back on.
const SECONDS: usize = 10;

/// The requests and retries of the last seconds.
pub(super) struct Budget(Sharded<Window>);

/// Those of one worker, which alone writes them.
#[derive(Default)]
struct Window {
    requests: [Second; SECONDS],
    retries: [Second; SECONDS],
}

/// A count, with the second that it is of: in the upper half of the number.
#[derive(Default)]
struct Second(AtomicU64);

impl Budget {
    pub(super) fn new(workers: usize) -> Self {
        Self(Sharded::new(workers))
    }

    /// Counts a request. `now` is the time since the process began, as everywhere here.
    pub(super) fn count_request(&self, now: Duration) {
        if let Some(window) = self.0.mine() {
            add(&window.requests, now);
        }
    }

    /// Counts a retry, if `budget` permits one more.
    pub(super) fn take(&self, now: Duration, budget: RetryBudget) -> bool {
        let requests: u64 = self.0.sum(|window| sum(&window.requests, now));
        let retries: u64 = self.0.sum(|window| sum(&window.retries, now));
        let min = u64::from(budget.min.get()) * SECONDS as u64;
        let is_permitted = retries < min.max(requests * u64::from(budget.percent) / 100);
        if is_permitted && let Some(window) = self.0.mine() {
            add(&window.retries, now);
        }
        is_permitted
    }
}

fn add(seconds: &[Second; SECONDS], now: Duration) {
    let Some(Second(packed)) = seconds.get(now.as_secs() as usize % SECONDS) else { return };
    let (of, count) = unpack(packed.load(Relaxed));
    let now = now.as_secs();
    let count = if of == now { count.saturating_add(1) } else { 1 };
    packed.store(now << 32 | u64::from(count), Relaxed);
}

/// Returns the count of the last [`SECONDS`], the present one included.
fn sum(seconds: &[Second; SECONDS], now: Duration) -> u64 {
    let counts = seconds.iter().map(|Second(packed)| unpack(packed.load(Relaxed)));
    let recent = counts.filter(|(of, _)| now.as_secs().saturating_sub(*of) < SECONDS as u64);
    recent.map(|(_, count)| u64::from(count)).sum()
}

fn unpack(packed: u64) -> (u64, u32) {
    (packed >> 32, packed as u32)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn taken(budget: &Budget, at: f64, settings: RetryBudget, tries: usize) -> usize {
        (0..tries).filter(|_| budget.take(Duration::from_secs_f64(at), settings)).count()
    }

    #[test]
    fn retries_are_a_share_of_the_requests_of_the_last_ten_seconds() {
        let (budget, settings) = (Budget::new(1), RetryBudget { percent: 20, min: NonZeroU32::MIN });
        assert_eq!(taken(&budget, 0.5, settings, 100), 10, "one a second in any case");
        for request in 0..500 {
            budget.count_request(Duration::from_millis(1000 + 16 * request));
        }
        assert_eq!(taken(&budget, 9.0, settings, 200), 90, "a fifth of 500, but for the first ones");
        assert_eq!(taken(&budget, 10.0, settings, 200), 10, "the first ones are ten seconds ago");
        assert_eq!(taken(&budget, 30.0, settings, 200), 10, "all of it is");
    }

    #[test]
    fn minimum_is_per_second_and_holds_without_requests() {
        let (budget, settings) = (Budget::new(2), RetryBudget::default());
        assert_eq!(taken(&budget, 5.0, settings, 500), 100);
    }
}
