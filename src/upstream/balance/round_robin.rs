//! Weighted round robin: each endpoint gets as many turns as its weight.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The most turns in one round; greater weights are scaled down to fit.
const ROUND_MAX: u64 = 4096;

/// The order of a round, and the process's position in it.
pub(crate) struct RoundRobin {
    /// The indices of endpoints, evenly mixed.
    round: Vec<usize>,
    next: AtomicUsize,
}

impl RoundRobin {
    /// Returns a balancer for endpoints with these weights, each at least 1.
    pub(crate) fn new(weights: &[u32]) -> Self {
        Self { round: mix(&scale(weights)), next: AtomicUsize::new(0) }
    }

    /// Returns all endpoints in the order in which to try them, each once.
    pub(crate) fn candidates(&self) -> impl Iterator<Item = usize> {
        let length = self.round.len();
        let start = if length > 1 { self.next.fetch_add(1, Ordering::Relaxed) } else { 0 };
        let turns = (0..length).filter_map(move |turn| {
            let index = start.wrapping_add(turn).checked_rem(length)?;
            self.round.get(index).copied()
        });
        let mut first = None;
        let mut tried = Vec::new();
        // The first candidate, nearly always the only one needed, allocates nothing.
        turns.filter(move |index| match first {
            None => {
                first = Some(*index);
                true
            }
            Some(first) if first == *index || tried.contains(index) => false,
            Some(_) => {
                tried.push(*index);
                true
            }
        })
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
    weights.iter().map(|weight| (weight * ROUND_MAX / sum).max(1)).collect()
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

    fn firsts(balancer: &RoundRobin, count: usize) -> Vec<usize> {
        (0..count).filter_map(|_| balancer.candidates().next()).collect()
    }

    #[test]
    fn equal_endpoints_take_turns() {
        assert_eq!(firsts(&RoundRobin::new(&[1, 1, 1]), 6), [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn weights_are_kept_and_mixed() {
        let turns = firsts(&RoundRobin::new(&[10, 5, 5]), 4);
        assert_eq!(turns.iter().filter(|turn| **turn == 0).count(), 2);
        assert_ne!(turns.first(), turns.get(1), "the heavy one does not come in a row: {turns:?}");
        let huge = RoundRobin::new(&[1_000_000, 1]);
        assert!(huge.round.len() as u64 <= ROUND_MAX + 1 && huge.round.contains(&1));
    }

    #[test]
    fn candidates_are_each_endpoint_once() {
        let balancer = RoundRobin::new(&[3, 1, 2]);
        for _ in 0..6 {
            let mut all: Vec<usize> = balancer.candidates().collect();
            all.sort_unstable();
            assert_eq!(all, [0, 1, 2]);
        }
    }
}
