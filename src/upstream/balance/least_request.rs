//! The endpoint with the fewest requests under way for its weight.

use super::shares::Shares;
use super::view::View;

/// Looks at all endpoints. Of equals, each is chosen as often as its weight says.
pub(super) fn choose(view: &View<'_>, shares: &Shares) -> Option<usize> {
    let drawn = view.draw(shares)?;
    let load = |index: usize| view.load(index) as f64 / shares.relative(index);
    let others = view.anywhere().filter(|index| *index != drawn && view.is_open(*index));
    let least = others.min_by(|a, b| load(*a).total_cmp(&load(*b)));
    least.filter(|least| load(*least) < load(drawn)).or(Some(drawn))
}
