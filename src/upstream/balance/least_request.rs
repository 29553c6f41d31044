//! The endpoint with the fewest requests under way for its weight.

use super::shares::Shares;
use super::view::View;

/// Looks at all endpoints. Of equals, each is chosen as often as its weight says.
pub(super) fn choose(view: &View<'_>, shares: &Shares) -> Option<usize> {
    let drawn = view.draw(shares)?;
    let load = |index: usize, handicap: f64| (view.load(index) as f64 + handicap) / shares.relative(index);
    let others = view.anywhere().filter(|index| *index != drawn && view.may_compare(*index));
    let others = others.map(|index| (index, load(index, view.handicap(index))));
    let least = others.min_by(|(_, a), (_, b)| a.total_cmp(b));
    // The drawn one has been admitted by its share, if it is coming back.
    least.filter(|(_, least)| *least < load(drawn, 0.0)).map(|(index, _)| index).or(Some(drawn))
}
