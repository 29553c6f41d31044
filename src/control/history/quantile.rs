//! Quantiles of durations that are counted in buckets.

use crate::observe::metrics::{DURATION_BOUNDS, DurationCounts};

/// Returns the duration in seconds that a part `q` of all did not exceed, interpolated within its bucket; `None` if there were none.
/// Besides those in buckets, `zeros` took no time. Durations in the last bucket, which has no bound, count as long as the last bound.
pub(super) fn quantile(counts: &DurationCounts, zeros: u64, q: f64) -> Option<f64> {
    let total = counts.iter().sum::<u64>() + zeros;
    if total == 0 {
        return None;
    }
    let rank = q * total as f64;
    let mut below = zeros as f64;
    if rank <= below {
        return Some(0.0);
    }
    let mut lower = 0.0;
    for (upper, count) in DURATION_BOUNDS.into_iter().zip(counts) {
        let count = *count as f64;
        if rank <= below + count && count > 0.0 {
            return Some(lower + (upper - lower) * (rank - below) / count);
        }
        below += count;
        lower = upper;
    }
    Some(lower)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::observe::metrics::duration_bucket;

    #[test]
    fn quantiles_are_interpolated_within_buckets() {
        let counts = |millis: &[u64]| {
            let mut counts = DurationCounts::default();
            millis.iter().for_each(|millis| counts[duration_bucket(Duration::from_millis(*millis))] += 1);
            counts
        };
        let near = |found: Option<f64>, expected: f64| {
            let found = found.unwrap();
            assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
        };
        assert_eq!(quantile(&counts(&[]), 0, 0.99), None);
        // Four between 50 and 100 ms, one between 100 and 250 ms.
        let five = counts(&[60, 70, 80, 90, 200]);
        near(quantile(&five, 0, 0.4), 0.075);
        near(quantile(&five, 0, 0.8), 0.1);
        near(quantile(&five, 0, 0.9), 0.175);
        near(quantile(&five, 0, 1.0), 0.25);
        near(quantile(&five, 95, 0.95), 0.0);
        near(quantile(&five, 95, 0.97), 0.075);
        near(quantile(&counts(&[60_000]), 0, 0.5), 30.0);
    }
}
