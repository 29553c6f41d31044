//! Quotations from files in errors.

use std::fmt;

/// The length of the longest text that is quoted whole, in characters. It exceeds every label in use.
const WHOLE_MAX: usize = 32;
/// The number of characters that are quoted of a longer text. A line that lost its breaks may have a part of a key in it.
const CUT_TO: usize = 12;

/// A text from a file, escaped, and cut if it is long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.chars().nth(WHOLE_MAX).is_none() {
            return write!(f, "{}", self.0.escape_debug());
        }
        self.0.chars().take(CUT_TO).try_for_each(|character| write!(f, "{}", character.escape_debug()))?;
        f.write_str("…")
    }
}
