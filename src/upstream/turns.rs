//! Turns by weight, which the upstreams of a split route take.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::balance::Shares;

/// Turns in a fixed order that gives each index as many as its weight. All workers take them from the same round, so that the
/// shares are exact after each round, and nearly so in between.
pub(crate) struct Turns {
    shares: Shares,
    next: AtomicUsize,
}

impl Turns {
    pub(crate) fn new(weights: &[u32]) -> Self {
        let shares = Shares::new(weights);
        // From anywhere, or frequent reloads would favour the beginning of the round.
        let next = AtomicUsize::new(fastrand::usize(..=usize::MAX / 2));
        Self { shares, next }
    }

    /// Returns the index whose turn it is; `None` if all weights are 0.
    pub(crate) fn next(&self) -> Option<usize> {
        let round = self.shares.round();
        let turn = self.next.fetch_add(1, Ordering::Relaxed).checked_rem(round.len())?;
        round.get(turn).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::Turns;

    /// Returns how many of so many turns each of the weights gets.
    fn counts(weights: &[u32], turns: usize) -> Vec<usize> {
        let taken = Turns::new(weights);
        let mut counts = vec![0; weights.len()];
        (0..turns).for_each(|_| counts[taken.next().unwrap()] += 1);
        counts
    }

    #[test]
    fn shares_are_exact_over_a_round_wherever_it_begins() {
        for _ in 0..20 {
            assert_eq!(counts(&[90, 10], 100), [90, 10]);
            assert_eq!(counts(&[0, 3, 1], 400), [0, 300, 100]);
        }
    }

    #[test]
    fn weight_of_zero_has_no_turn_and_every_other_weight_has_one() {
        let counts = counts(&[u32::MAX, 1, 0], 8192);
        assert!(counts[0] > 8000 && counts[1] > 0 && counts[2] == 0, "{counts:?}");
        assert_eq!(Turns::new(&[0, 0]).next(), None);
    }
}
