//! Messages of bounded length, whatever they quote: a scalar of a file may have 16 MiB.

use std::borrow::Cow;

/// The longest word or quoted text that a message shows whole, in characters.
const WHOLE_MAX: usize = 100;

/// The length to which a longer one is cut, in characters.
const CUT_TO: usize = 80;

/// The longest path that is shown whole, in bytes: the name of a file that was tried is complete, and Linux has no
/// longer path.
const PATH_MAX: usize = 4096;

/// Cuts each word and each quoted text of a message that is too long to read, and marks the cut with an ellipsis.
pub(crate) fn shortened(message: String) -> String {
    if message.len() <= WHOLE_MAX {
        return message;
    }
    let mut short = String::new();
    let mut rest = message.as_str();
    while let Some(first) = rest.chars().next() {
        let (opening, after) = rest.split_at(first.len_utf8());
        let quote = Some(first).filter(|first| matches!(first, '`' | '"'));
        let quoted = quote.and_then(|quote| after.split_once(quote));
        rest = if let Some((text, after)) = quoted {
            short.extend([opening, &shown(text), opening]);
            after
        } else if first.is_whitespace() || quote.is_some() {
            short.push(first);
            after
        } else {
            let is_end = |character: char| character.is_whitespace() || matches!(character, '`' | '"');
            let (word, after) = rest.split_at(rest.find(is_end).unwrap_or(rest.len()));
            short.push_str(&shown(word));
            after
        };
    }
    short
}

/// Returns a text of a file for a quote in a message: only its beginning, if it is long.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    let is_path = text.starts_with('/') && text.len() <= PATH_MAX;
    if is_path || text.len() <= WHOLE_MAX || text.chars().nth(WHOLE_MAX).is_none() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().take(CUT_TO).chain(['…']).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_word_or_quote_is_cut_and_nothing_else() {
        let (long, cut) = ("é".repeat(101), "é".repeat(80) + "…");
        let path = format!("/{}", "d/".repeat(1000));
        let sentence = "a message may have many words ".repeat(20);
        for (message, expected) in [
            (format!("`{long}` is wrong: \"{long}\" too"), format!("`{cut}` is wrong: \"{cut}\" too")),
            (format!("{long} is wrong"), format!("{cut} is wrong")),
            (format!("`{}` is wrong", "a b ".repeat(100)), format!("`{}…` is wrong", "a b ".repeat(20))),
            (format!("cannot read {path}, or `{path}`"), format!("cannot read {path}, or `{path}`")),
            (format!("`/{}`", "d".repeat(PATH_MAX)), format!("`/{}…`", "d".repeat(79))),
            (sentence.clone(), sentence),
            (format!("{} ` \" {long}", "é".repeat(100)), format!("{} ` \" {cut}", "é".repeat(100))),
        ] {
            assert_eq!(shortened(message), expected);
        }
    }
}
