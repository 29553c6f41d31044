//! The budget of an upstream's retries: a share of its requests in the last seconds, whichever routes and workers they come from.

use std::time::Duration;

use super::recent::Recent;
use crate::config::RetryBudget;

/// The time that is looked back on.
const WITHIN: Duration = Duration::from_secs(10);

/// The requests and retries of the last seconds.
pub(super) struct Budget {
    requests: Recent,
    retries: Recent,
}

impl Budget {
    pub(super) fn new(workers: usize) -> Self {
        Self { requests: Recent::new(workers), retries: Recent::new(workers) }
    }

    /// Counts a request. `now` is the time since the process began, as everywhere here.
    pub(super) fn count_request(&self, now: Duration) {
        self.requests.add(now, WITHIN);
    }

    /// Counts a retry, if `budget` permits one more.
    pub(super) fn take(&self, now: Duration, budget: RetryBudget) -> bool {
        let min = u64::from(budget.min.get()) * WITHIN.as_secs();
        let share = self.requests.count(now, WITHIN) * u64::from(budget.percent) / 100;
        let is_permitted = self.retries.count(now, WITHIN) < min.max(share);
        if is_permitted {
            self.retries.add(now, WITHIN);
        }
        is_permitted
    }
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
