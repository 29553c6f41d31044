//! The shares of endpoints by their weights.

/// The most turns in one round; greater weights are scaled down to fit.
const ROUND_MAX: u64 = 4096;

/// The weights of endpoints or upstreams, and a round in which each has as many turns as its weight.
pub(in crate::upstream) struct Shares {
    /// Their indices, evenly mixed.
    round: Vec<usize>,
    /// Each endpoint's weight, relative to the mean. Empty if all are equal.
    relative: Vec<f64>,
}

impl Shares {
    pub(in crate::upstream) fn new(weights: &[u32]) -> Self {
        let is_equal = weights.iter().all(|weight| Some(weight) == weights.first());
        let mean = weights.iter().copied().map(f64::from).sum::<f64>() / weights.len().max(1) as f64;
        let relative = match is_equal {
            true => Vec::new(),
            false => weights.iter().map(|weight| f64::from(*weight) / mean).collect(),
        };
        Self { round: mix(&scale(weights)), relative }
    }

    /// Returns the turns of a round.
    pub(in crate::upstream) fn round(&self) -> &[usize] {
        &self.round
    }

    /// Draws an endpoint by weight.
    pub(super) fn draw(&self) -> Option<usize> {
        match self.round.len() {
            0 | 1 => self.round.first().copied(),
            turns => self.round.get(fastrand::usize(..turns)).copied(),
        }
    }

    /// Returns an endpoint's weight, relative to the mean of all.
    pub(super) fn relative(&self, index: usize) -> f64 {
        self.relative.get(index).copied().unwrap_or(1.0)
    }

    /// Returns true if all weights are equal.
    pub(super) fn is_equal(&self) -> bool {
        self.relative.is_empty()
    }
}

/// Scales the weights down as far as their proportions allow.
fn scale(weights: &[u32]) -> Vec<u64> {
    let divisor = weights.iter().copied().map(u64::from).fold(0, gcd).max(1);
    let weights: Vec<u64> = weights.iter().map(|weight| u64::from(*weight) / divisor).collect();
    let sum: u64 = weights.iter().sum();
    if sum <= ROUND_MAX {
        return weights;
    }
    // Every weight but 0 keeps a turn.
    weights.iter().map(|weight| (weight * ROUND_MAX / sum).max((*weight).min(1))).collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Spreads each endpoint's turns over the round. The one that is furthest behind gets the next turn.
fn mix(weights: &[u64]) -> Vec<usize> {
    let sum: u64 = weights.iter().sum();
    let total = i64::try_from(sum).unwrap_or(i64::MAX);
    let weights: Vec<i64> = weights.iter().map(|weight| i64::try_from(*weight).unwrap_or(i64::MAX)).collect();
    let mut credit = vec![0i64; weights.len()];
    let mut round = Vec::new();
    for _ in 0..sum {
        for (credit, weight) in credit.iter_mut().zip(&weights) {
            *credit += weight;
        }
        // Take the first of equals, so that equal weights follow the order of the file.
        let Some((index, credit)) = credit.iter_mut().enumerate().rev().max_by_key(|(_, credit)| **credit)
        else {
            break;
        };
        *credit -= total;
        round.push(index);
    }
    round
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_as_many_as_the_weight_and_mixed() {
        assert_eq!(Shares::new(&[1, 1, 1]).round(), [0, 1, 2]);
        let shares = Shares::new(&[10, 5, 5]);
        assert_eq!(shares.round().iter().filter(|turn| **turn == 0).count(), 2);
        assert_ne!(shares.round().first(), shares.round().get(1), "the heavy one does not come in a row");
        let huge = Shares::new(&[1_000_000, 1]);
        assert!(huge.round().len() as u64 <= ROUND_MAX + 1 && huge.round().contains(&1));
    }

    #[test]
    fn weights_are_relative_to_their_mean() {
        let shares = Shares::new(&[3, 1, 2]);
        assert_eq!([0, 1, 2].map(|index| shares.relative(index)), [1.5, 0.5, 1.0]);
        assert!(Shares::new(&[7, 7]).is_equal() && !shares.is_equal());
    }

    #[test]
    fn draws_follow_the_weights() {
        let shares = Shares::new(&[8, 2]);
        let first = (0..10_000).filter(|_| shares.draw() == Some(0)).count();
        assert!((7_700..8_300).contains(&first), "{first}");
        assert_eq!(Shares::new(&[]).draw(), None);
    }
}
