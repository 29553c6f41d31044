//! Foreign text, made safe and visible for a terminal: from files, their names, the environment and other machines.

use std::borrow::Cow;

/// Returns the text with escapes such as `\u{1b}` for control characters, invisible characters, and those that change
/// the direction of a line.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_hidden(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// Does the same as [`printable`], but keeps line feeds and tabs: for text of several lines that the program has made.
pub(crate) fn printable_lines(text: &str) -> String {
    text.split_inclusive(['\n', '\t']).fold(String::with_capacity(text.len()), |mut lines, part| {
        let (part, end) = part.split_at(part.trim_end_matches(['\n', '\t']).len());
        lines.push_str(&printable(part));
        lines + end
    })
}

/// Returns true for a character that a terminal interprets, or that its reader cannot see.
pub(crate) fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            // No-break spaces; soft hyphen; zero-width spaces, joiners and marks; separators; directions; byte order mark.
            '\u{a0}' | '\u{202f}' | '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::{printable, printable_lines};

    #[test]
    fn control_and_invisible_characters_are_escaped() {
        for (text, shown) in [
            ("plain ünïcödé 漢字", "plain ünïcödé 漢字"),
            ("\u{1b}[2Jred", "\\u{1b}[2Jred"),
            ("a\r\nb\tc\0", "a\\r\\nb\\tc\\u{0}"),
            ("\u{9b}31m\u{7f}", "\\u{9b}31m\\u{7f}"),
            ("a\u{200b}b\u{a0}c\u{feff}", "a\\u{200b}b\\u{a0}c\\u{feff}"),
            ("\u{202e}txt.exe", "\\u{202e}txt.exe"),
        ] {
            assert_eq!(printable(text), shown);
        }
        assert_eq!(printable_lines("a\u{7}\n\n\tb\r\nc"), "a\\u{7}\n\n\tb\\r\nc");
    }
}
