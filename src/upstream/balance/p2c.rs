//! The power of two choices: of two endpoints that are drawn, the one that promises the earlier response.
//!
//! Comparing two at random is nearly as good as comparing all, and workers that decide at the same time do not all choose the same
//! one (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001).

use super::shares::Shares;
use super::view::View;

/// The first endpoint stays unless the second one's cost is below this part of its own. Small differences are chance, and would
/// take requests from heavy endpoints more often than from light ones.
const CLEARLY_BETTER: f64 = 0.8;

pub(super) struct P2c;

impl P2c {
    pub(super) fn choose(&self, view: &View<'_>, shares: &Shares) -> Option<usize> {
        // Equal ones get requests by weight: the first is drawn so, and stays.
        let first = view.draw(shares)?;
        let Some(second) = view.draw_other(shares, first) else { return Some(first) };
        // The first one has been admitted by its share, if it is coming back.
        let (cost, other) =
            (cost(view, shares, first, 0.0), cost(view, shares, second, view.handicap(second)));
        Some(if other < cost * CLEARLY_BETTER { second } else { first })
    }
}

/// Returns the time until a further request would be answered, if each waits for those before it.
fn cost(view: &View<'_>, shares: &Shares, index: usize, handicap: f64) -> f64 {
    view.latency(index) * (1.0 + (view.load(index) as f64 + handicap) / shares.relative(index))
}
