//! The text of a configuration file, and places in it.

use std::borrow::Cow;
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

/// The place of a range of one line, all numbers from 1. The end is the column behind the last character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) line: usize,
    /// The column in characters.
    pub(crate) column: usize,
    pub(crate) end_column: usize,
    /// The column in UTF-16 code units, as many editors count.
    pub(crate) utf16_column: usize,
    pub(crate) utf16_end_column: usize,
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
        let (line, line_start, start, text) = self.first_line(span);
        let text = without_password(text);
        let (before, rest) = text.split_at(text.floor_char_boundary((start - line_start).min(text.len())));
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

    /// Returns the position of a range, which is cut at the end of its first line and is at least one character long.
    pub(crate) fn position(&self, span: &Range<usize>) -> Position {
        let (line, line_start, start, text) = self.first_line(span);
        let (before, rest) = text.split_at((start - line_start).min(text.len()));
        let end = rest.floor_char_boundary(span.end.saturating_sub(start).min(rest.len()));
        let marked = rest.get(..end).unwrap_or_default().trim_end();
        let utf16 = |text: &str| text.encode_utf16().count();
        let (column, utf16_column) = (before.chars().count() + 1, utf16(before) + 1);
        Position {
            line,
            column,
            end_column: column + marked.chars().count().max(1),
            utf16_column,
            utf16_end_column: utf16_column + utf16(marked).max(1),
        }
    }

    /// Returns the line in which a range begins: its number, its first byte, the first byte of the range, and the line's text.
    fn first_line(&self, span: &Range<usize>) -> (usize, usize, usize, &str) {
        #[cfg(test)]
        self.located.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let start = self.text.floor_char_boundary(span.start);
        let line = self.line(start);
        let line_start = self.lines().get(line - 1).copied().unwrap_or_default();
        let text = self.text.get(line_start..).unwrap_or_default();
        (line, line_start, start, text.split(['\n', '\r']).next().unwrap_or_default())
    }

    fn lines(&self) -> &[usize] {
        self.lines.get_or_init(|| {
            let newlines = self.text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
            [0].into_iter().chain(newlines.map(|(index, _)| index + 1)).collect()
        })
    }
}

/// Hides the passwords in URLs of stores: an error may be about anything else on their line. The length stays the same.
fn without_password(line: &str) -> Cow<'_, str> {
    let is_scheme = |character: char| character.is_ascii_alphanumeric() || character == '+';
    let ends = |character: char| character.is_whitespace() || matches!(character, '"' | '\'');
    let (mut shown, mut rest) = (String::new(), line);
    while let Some((before, after)) = rest.split_once("://") {
        let scheme = before.rsplit(|character| !is_scheme(character)).next().unwrap_or_default();
        let user_info = after.split(ends).next().and_then(|url| url.rsplit_once('@'));
        let secret = user_info.and_then(|(user_info, _)| user_info.split_once(':'));
        shown.extend([before, "://"]);
        rest = after;
        // A variable is no secret.
        if let Some((user, secret)) = secret
            && scheme.starts_with("redis")
            && !secret.starts_with("${")
        {
            shown.extend([user, ":", &"*".repeat(secret.len())]);
            rest = after.get(user.len() + 1 + secret.len()..).unwrap_or_default();
        }
    }
    if shown.is_empty() { Cow::Borrowed(line) } else { Cow::Owned(shown + rest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_counts_characters_and_utf_16_and_ends_with_its_line() {
        let file = TextFile::new("f", "a: 1\r\né𝄞: 'x𝄞y'\r\nlast");
        let quoted = file.text().find('\'').unwrap()..file.text().find("\r\nlast").unwrap() + 4;
        let expected = Position { line: 2, column: 5, end_column: 10, utf16_column: 6, utf16_end_column: 12 };
        assert_eq!(file.position(&quoted), expected);
        let end = file.text().len();
        let expected = Position { line: 3, column: 5, end_column: 6, utf16_column: 5, utf16_end_column: 6 };
        assert_eq!(file.position(&(end..end + 1)), expected);
        for at in 0..=end + 2 {
            let (position, excerpt) = (file.position(&(at..at + 1)), file.locate(&(at..at + 1)));
            assert_eq!((position.line, position.column), (excerpt.line, excerpt.column), "{at}");
        }
    }

    #[test]
    fn excerpt_hides_the_password_of_a_store() {
        for (line, shown) in [
            ("a: { url: 'redis://u:p@ss@h' }", "a: { url: 'redis://u:****@h' }"),
            ("a: rediss+cluster://:p\u{f6}@h, b", "a: rediss+cluster://:***@h, b"),
            ("[redis://:a@h, redis://:b@i]", "[redis://:*@h, redis://:*@i]"),
            ("a: redis://:${P}@h", "a: redis://:${P}@h"),
            ("a: http://h:80/x@y", "a: http://h:80/x@y"),
            ("a: redis://h:1", "a: redis://h:1"),
        ] {
            assert_eq!(without_password(line), shown);
        }
        let file = TextFile::new("f", "x\r\nredis://:secret@h b\r\n");
        let excerpt = file.locate(&(21..23));
        assert_eq!(excerpt.parts.concat(), "redis://:******@h b");
        assert_eq!((excerpt.line, excerpt.column), (2, 19));
    }
}
