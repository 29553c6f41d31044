//! The precedence of paths.

use super::specificity::PathSpecificity;
use crate::config::PathMatch;
use crate::config::values::path::PathTemplate;
use crate::config::values::template::Piece;

impl PathSpecificity {
    /// Returns the specificity of a match's path.
    pub(super) fn of(path: PathMatch<'_>) -> Self {
        match path {
            PathMatch::Any => Self::Any,
            PathMatch::Prefix(prefix) => Self::Prefix { bytes: prefix.normal().len() },
            PathMatch::Template(template) => Self::of_template(template),
            PathMatch::Exact(_) => Self::Exact,
        }
    }

    fn of_template(template: &PathTemplate) -> Self {
        let mut literal_positions = 0;
        let mut bit = 1 << (PathTemplate::SEGMENTS_MAX - 1);
        for piece in template.pieces() {
            if matches!(piece, Piece::Literal(_)) {
                literal_positions |= bit;
            }
            bit >>= 1;
        }
        Self::Template { literals: u64::count_ones(literal_positions), literal_positions }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::tests::matched;

    #[test]
    fn specificity_is_exact_then_template_then_the_longer_prefix() {
        let order =
            ["any", "prefix /", "prefix /a", "prefix /a/", "prefix /a/bcd", "template /{a}", "path /"];
        let specificities = order.map(|text| PathSpecificity::of(matched(text).path_match()));
        assert!(specificities.is_sorted_by(|less, more| less < more), "{specificities:?}");
    }

    #[test]
    fn more_literal_segments_are_more_specific_then_those_to_the_left() {
        let order =
            ["/{a}/{b}/{c}", "/{a}/{b}/c", "/{a}/b/{c}", "/a/{b}/{c}", "/{a}/b/c", "/a/{b}/c", "/a/b/{c}"];
        let specificities = order.map(|text| PathSpecificity::of_template(&text.parse().unwrap()));
        assert!(specificities.is_sorted_by(|less, more| less < more), "{specificities:?}");
    }
}
