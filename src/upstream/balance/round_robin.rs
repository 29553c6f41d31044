//! Weighted round robin: each endpoint gets as many turns as its weight, whatever happens.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::shares::Shares;
use super::view::View;

/// The process's position in the round.
#[derive(Default)]
pub(super) struct RoundRobin {
    next: AtomicUsize,
}

impl RoundRobin {
    /// Returns the next open endpoint. A request that tries another one takes no turn from the others.
    pub(super) fn choose(&self, view: &View<'_>, shares: &Shares) -> Option<usize> {
        let round = shares.round();
        let next = || self.next.fetch_add(1, Ordering::Relaxed);
        if view.is_first() && round.len() > 1 {
            // The turns of closed endpoints go round, too. Otherwise the one behind them would get them all.
            let turns = round.iter().filter_map(|_| round.get(next().checked_rem(round.len())?).copied());
            return turns.into_iter().find(|index| view.is_open(*index));
        }
        let start = self.next.load(Ordering::Relaxed);
        let turns = (0..round.len()).filter_map(|turn| {
            let index = start.wrapping_add(turn).checked_rem(round.len())?;
            round.get(index).copied()
        });
        turns.into_iter().find(|index| view.is_open(*index))
    }
}
