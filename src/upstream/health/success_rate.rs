//! Success rates: an endpoint of which fewer requests succeed than of its neighbours is ejected, as Envoy does.

use std::sync::{Mutex, OnceLock, PoisonError};

use crate::config::SuccessRateSettings;
use crate::observe::metrics::{Counter, Sharded};

/// The least distance from the mean rate of an endpoint that is ejected.
const DISTANCE_MIN: f64 = 0.01;

/// The requests to an endpoint, by their success. There are no counters until the first one is counted.
#[derive(Default)]
pub(in crate::upstream) struct SuccessCounts {
    counts: OnceLock<Sharded<Counts>>,
    /// The sums at the end of the last interval.
    before: Mutex<Sums>,
}

#[derive(Debug, Default)]
struct Counts {
    requests: Counter,
    successes: Counter,
}

/// Requests, and those among them that succeeded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) requests: u64,
    pub(super) successes: u64,
}

impl SuccessCounts {
    /// Counts a request on the thread of one of so many workers.
    pub(super) fn count(&self, is_success: bool, workers: usize) {
        let counts = self.counts.get_or_init(|| Sharded::new(workers));
        if let Some(mine) = counts.mine() {
            mine.requests.add(1);
            mine.successes.add(u64::from(is_success));
        }
    }

    /// Returns the requests since the last call.
    pub(super) fn take(&self) -> Sums {
        let Some(counts) = self.counts.get() else { return Sums::default() };
        // Requests first: one that is counted in between is no failure, and its success belongs to the next interval.
        let requests = counts.sum(|counts| counts.requests.value());
        let now = Sums { requests, successes: counts.sum(|counts| counts.successes.value()) };
        let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        let since = Sums {
            requests: now.requests.saturating_sub(before.requests),
            successes: now.successes.saturating_sub(before.successes),
        };
        *before = now;
        since
    }
}

impl Sums {
    pub(super) fn rate(self) -> f64 {
        self.successes as f64 / self.requests.max(1) as f64
    }
}

/// Returns the rate below which endpoints are outliers, if there are enough of them.
pub(super) fn least_rate(rates: &[f64], settings: &SuccessRateSettings) -> Option<f64> {
    if rates.len() < settings.endpoints_min {
        return None;
    }
    let count = rates.len().max(1) as f64;
    let mean = rates.iter().sum::<f64>() / count;
    let variance = rates.iter().map(|rate| (rate - mean).powi(2)).sum::<f64>() / count;
    let distance = f64::from(settings.deviations_percent) / 100.0 * variance.sqrt();
    // The smallest difference of one endpoint is two deviations or more, if the others are equal.
    Some(mean - distance.max(DISTANCE_MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> SuccessRateSettings {
        SuccessRateSettings {
            interval: std::time::Duration::from_secs(10),
            requests_min: 100,
            endpoints_min: 5,
            deviations_percent: 190,
        }
    }

    #[test]
    fn one_of_five_is_an_outlier_and_two_of_five_are_none() {
        let is_below = |rates: &[f64]| {
            let least = least_rate(rates, &settings()).unwrap();
            rates.iter().filter(|rate| **rate < least).count()
        };
        assert_eq!(is_below(&[1.0, 1.0, 1.0, 1.0, 0.9]), 1);
        assert_eq!(is_below(&[1.0, 1.0, 1.0, 0.5, 0.5]), 0);
        assert_eq!(is_below(&[1.0; 5]), 0);
        assert_eq!(least_rate(&[1.0, 1.0, 1.0, 0.0], &settings()), None);
    }

    #[test]
    fn counts_are_those_since_the_last_look() {
        let counts = SuccessCounts::default();
        assert_eq!(counts.take(), Sums::default());
        [true, false, true].into_iter().for_each(|is_success| counts.count(is_success, 2));
        assert_eq!(counts.take(), Sums { requests: 3, successes: 2 });
        counts.count(false, 2);
        assert_eq!(counts.take(), Sums { requests: 1, successes: 0 });
    }
}
