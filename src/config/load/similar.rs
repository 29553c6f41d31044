//! The name that was probably meant: "did you mean `idle_timeout`?".

use std::cell::Cell;

/// The longest name for which a similar one is searched; longer texts are not names.
const LENGTH_MAX: usize = 64;

/// The number of names that one check compares. It bounds the time to a tenth of a second, however many names a file
/// has and misspells. The first errors, which are the ones that are printed, get their advice.
const COMPARED_MAX: usize = 200_000;

/// A search for similar names, with a bound for one check of a file.
pub(crate) struct Similar {
    left: Cell<usize>,
}

impl Default for Similar {
    fn default() -> Self {
        Self { left: Cell::new(COMPARED_MAX) }
    }
}

impl Similar {
    /// Returns the name that differs least, if at most a third of the letters differ, as in `idle_timout`.
    pub(crate) fn find<'n>(&self, name: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
        if name.len() > LENGTH_MAX {
            return None;
        }
        let length = name.chars().count();
        let mut nearest = None;
        let mut bound = (length / 3).max(1) + 1;
        for known in names {
            let left = self.left.get().checked_sub(1)?;
            self.left.set(left);
            // Each surplus letter is a difference.
            if known.chars().count().abs_diff(length) >= bound {
                continue;
            }
            let distance = strsim::osa_distance(name, known);
            if distance < bound {
                (nearest, bound) = (Some(known), distance);
            }
        }
        nearest
    }

    /// Returns the number of names that were compared.
    #[cfg(test)]
    pub(crate) fn compared(&self) -> usize {
        COMPARED_MAX - self.left.get()
    }
}

#[cfg(test)]
mod tests {
    use super::{COMPARED_MAX, Similar};

    #[test]
    fn the_nearest_name_is_found_unless_none_is_near() {
        let names = ["idle_timeout", "max_idle", "min_idle"];
        for (name, similar) in [
            ("idle_timout", Some("idle_timeout")),
            ("idel_timeout", Some("idle_timeout")),
            ("max_idel", Some("max_idle")),
            ("mix_idle", Some("max_idle")),
            ("ma", None),
            ("nothing_like_it", None),
            ("", None),
        ] {
            assert_eq!(Similar::default().find(name, names), similar, "{name}");
        }
        assert_eq!(Similar::default().find("b", ["a"]), Some("a"));
        let long = "a".repeat(65);
        assert_eq!(Similar::default().find(&long, [long.as_str()]), None);
    }

    #[test]
    fn the_names_compared_in_one_check_are_bounded() {
        let names: Vec<String> = (0..COMPARED_MAX / 10).map(|number| format!("upstream-{number}")).collect();
        let similar = Similar::default();
        let found =
            (0..100).filter(|_| similar.find("upstraem-1", names.iter().map(String::as_str)).is_some());
        assert_eq!(found.count(), 10);
        assert_eq!(similar.compared(), COMPARED_MAX);
    }
}
