//! The text of a configuration file, and places in it.

use std::fmt;
use std::ops::Range;
use std::sync::OnceLock;

/// The part of a long line shown on either side of an error, in characters.
const EXCERPT_MAX: usize = 100;

/// A file's name and text.
pub(crate) struct TextFile {
    name: String,
    text: String,
    /// The byte at which each line begins. It is computed only for files with errors.
    lines: OnceLock<Vec<usize>>,
    /// The number of places that were located. A test checks that only printed errors are.
    #[cfg(test)]
    pub(crate) located: std::sync::atomic::AtomicUsize,
}

/// A range of one line, as errors show it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Excerpt {
    /// The line, from 1.
    pub(crate) line: usize,
    /// The column, from 1, in characters.
    pub(crate) column: usize,
    /// The text before the range, the range itself, and the text after it.
    pub(crate) parts: [String; 3],
}

/// Prints the name only: the text is long, and may contain secrets.
impl fmt::Debug for TextFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TextFile").field(&self.name).finish()
    }
}

impl TextFile {
    pub(crate) fn new(name: &str, text: &str) -> Self {
        Self {
            name: name.to_owned(),
            text: text.to_owned(),
            lines: OnceLock::new(),
            #[cfg(test)]
            located: 0.into(),
        }
    }

    /// Returns the name of the file, as the user gave it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the text at a range of bytes.
    pub(crate) fn slice(&self, span: &Range<usize>) -> &str {
        self.text.get(span.clone()).unwrap_or_default()
    }

    /// Returns the line of a byte, from 1, in logarithmic time.
    pub(crate) fn line(&self, byte: usize) -> usize {
        self.lines().partition_point(|start| *start <= byte).max(1)
    }

    /// Returns line, column and excerpt of a range, which is cut at the end of its first line.
    pub(crate) fn locate(&self, span: &Range<usize>) -> Excerpt {
        #[cfg(test)]
        self.located.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let start = self.text.floor_char_boundary(span.start);
        let line = self.line(start);
        let line_start = self.lines().get(line - 1).copied().unwrap_or_default();
        let (before, rest) = self.text.get(line_start..).unwrap_or_default().split_at(start - line_start);
        let rest = rest.split(['\n', '\r']).next().unwrap_or_default();
        let column = before.chars().count() + 1;
        let skipped = column.saturating_sub(EXCERPT_MAX + 1);
        let end = rest.floor_char_boundary(span.end.saturating_sub(start).min(rest.len()));
        let marked = rest.get(..end).unwrap_or_default();
        let marked: String = marked.chars().take(EXCERPT_MAX).collect();
        let marked = marked.trim_end().to_owned();
        let after = rest.strip_prefix(marked.as_str()).unwrap_or_default();
        Excerpt {
            line,
            column,
            parts: [
                before.chars().skip(skipped).collect(),
                marked,
                after.trim_end().chars().take(EXCERPT_MAX).collect(),
            ],
        }
    }

    fn lines(&self) -> &[usize] {
        self.lines.get_or_init(|| {
            let newlines = self.text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
            [0].into_iter().chain(newlines.map(|(index, _)| index + 1)).collect()
        })
    }
}
