//! Messages of stages that know only values. They show a variable as it is written, never its value.

use std::collections::HashSet;
use std::sync::OnceLock;

use serde_json::Value as Json;

use super::schema::rules;
use super::source::{Node, Source, Value};
use crate::config::values::segment::Segment;

/// The length, in bytes, from which a value is replaced anywhere in a message. A shorter one may be a word of the
/// message itself, or a part of one.
const UNQUOTED_MIN: usize = 8;

/// The same length for a value with a digit that stands apart, which is no word.
const UNQUOTED_DIGITS_MIN: usize = 4;

/// The longest message, in bytes, that is searched for values. A longer one loses all of its quotes.
const SEARCHED_MAX: usize = 64 << 10;

impl Source {
    /// Returns a message of a stage that knows only values. The values at some paths and below them are replaced by
    /// what the file has in their place.
    pub(crate) fn as_written(&self, paths: &[&[Segment]], message: &str) -> String {
        Substituted::of(paths.iter().map(|path| self.find(path).0)).as_written(message)
    }
}

/// The texts with variables in a part of the file.
#[derive(Default)]
pub(crate) struct Substituted<'n> {
    /// Longest value first, so that a value which is a part of another does not hide it.
    texts: Vec<Text<'n>>,
}

/// A text with variables.
struct Text<'n> {
    /// The text with its variables replaced, in lower case, because later stages know some values in lower case.
    value: String,
    written: &'n str,
}

impl<'n> Substituted<'n> {
    /// Collects the texts with variables in some values of a file.
    pub(crate) fn of(nodes: impl IntoIterator<Item = &'n Node>) -> Self {
        let mut substituted = Self::default();
        nodes.into_iter().for_each(|node| substituted.add(node));
        substituted.texts.sort_by_key(|text| std::cmp::Reverse(text.value.len()));
        substituted
    }

    fn add(&mut self, node: &'n Node) {
        match (&node.value, &node.written) {
            (Value::Mapping(entries), _) => entries.iter().for_each(|entry| self.add(&entry.node)),
            (Value::Sequence(items), _) => items.iter().for_each(|item| self.add(item)),
            (Value::String(text) | Value::Float(text), Some(written)) => self.add_text(text, written),
            (Value::Integer(integer), Some(written)) => self.add_text(&integer.to_string(), written),
            (Value::Bool(bool), Some(written)) => self.add_text(&bool.to_string(), written),
            (Value::Null | Value::Unknown, _) | (_, None) => {}
        }
    }

    fn add_text(&mut self, value: &str, written: &'n str) {
        if value.is_empty() || value == written {
            return;
        }
        let value = value.to_ascii_lowercase();
        // A plugin may log its configuration, which it gets as JSON.
        let json = Json::from(value.as_str()).to_string();
        let escaped = json.get(1..json.len() - 1).filter(|escaped| *escaped != value);
        self.texts.extend(escaped.map(|escaped| Text { value: escaped.to_owned(), written }));
        self.texts.push(Text { value, written });
    }

    /// Returns a message in which what the file has replaces the values:
    ///
    /// - in backticks, if the message quotes a value or a part of it, or a value stands apart in a longer quote;
    /// - in other quotes, if they contain a value and nothing else;
    /// - anywhere, if the value has [`UNQUOTED_MIN`] bytes, or stands apart and has [`UNQUOTED_DIGITS_MIN`] bytes and a
    ///   digit.
    ///
    /// The name of a key stays, even if it is a value too. So does a part of a value that the file has next to the
    /// variable.
    pub(crate) fn as_written(&self, message: &str) -> String {
        if self.texts.is_empty() {
            return message.to_owned();
        }
        if message.len() > SEARCHED_MAX {
            return without_quotes(message);
        }
        let lower = message.to_ascii_lowercase();
        let mut shown = String::with_capacity(message.len());
        let (mut at, mut quote_end) = (0, 0);
        while let Some(next) = message.get(at..).and_then(|rest| rest.chars().next()) {
            if let Some(text) = self.whole_at(&lower, at, at < quote_end) {
                shown.push_str(text.written);
                at += text.value.len();
                continue;
            }
            if next == '`' && at >= quote_end {
                if let Some((written, end)) = self.part_at(&lower, at) {
                    shown.extend(["`", written, "`"]);
                    at = end + 1;
                    continue;
                }
                quote_end = closing(&lower, at).map_or(quote_end, |end| end + 1);
            }
            shown.push(next);
            at += next.len_utf8();
        }
        shown
    }

    /// Returns the text whose whole value begins at a byte of a message, if it differs from the message's own words.
    fn whole_at(&self, message: &str, at: usize, is_quoted: bool) -> Option<&Text<'n>> {
        let (before, rest) = message.split_at_checked(at)?;
        let before = before.chars().next_back();
        self.texts.iter().find(|text| {
            let Some(after) = rest.strip_prefix(text.value.as_str()) else { return false };
            let after = after.chars().next();
            let is_apart =
                |next: Option<char>| next.is_none_or(|next| !next.is_alphanumeric() && next != '_');
            let is_in_quotes = before == after && matches!(after, Some('"' | '\'' | '`'));
            let has_digit = || text.value.bytes().any(|byte| byte.is_ascii_digit());
            let is_no_word = is_quoted || text.value.len() >= UNQUOTED_DIGITS_MIN && has_digit();
            let is_distinct = is_in_quotes || is_no_word && is_apart(before) && is_apart(after);
            (text.value.len() >= UNQUOTED_MIN || is_distinct) && !is_key(&text.value)
        })
    }

    /// Resolves the quote that begins with the backtick at a byte of a message. If it is a part of a value, returns
    /// what the file has in its place, and the byte of the closing backtick. A value may have backticks of its own.
    fn part_at(&self, message: &str, at: usize) -> Option<(&'n str, usize)> {
        let has_backticks = self.texts.iter().any(|text| text.value.contains('`'));
        let ends = message.rmatch_indices('`').map(|(end, _)| end).take_while(|end| *end > at);
        let nearest = closing(message, at);
        ends.filter(|end| has_backticks || Some(*end) == nearest).find_map(|end| {
            let part = message.get(at + 1..end).filter(|part| !part.is_empty() && !is_key(part))?;
            let is_shown = |text: &&Text<'_>| {
                text.value.contains(part) && !text.written.to_ascii_lowercase().contains(part)
            };
            self.texts.iter().find(is_shown).map(|text| (text.written, end))
        })
    }
}

/// Returns the byte of the next backtick after the one at a byte of a message.
fn closing(message: &str, at: usize) -> Option<usize> {
    message.get(at + 1..)?.find('`').map(|length| at + 1 + length)
}

/// Returns a message without anything between its first backtick and its last.
fn without_quotes(message: &str) -> String {
    let around = message.split_once('`').zip(message.rsplit_once('`'));
    match around {
        Some(((before, _), (_, after))) if before.len() + after.len() < SEARCHED_MAX => {
            format!("{before}`…`{after}")
        }
        _ => "a value is wrong, and too long to be shown".to_owned(),
    }
}

/// Returns true if a text is the name of a key that a file may have.
fn is_key(text: &str) -> bool {
    static KEYS: OnceLock<HashSet<&'static str>> = OnceLock::new();
    KEYS.get_or_init(|| {
        let mut keys = HashSet::new();
        collect_keys(rules(), &mut keys);
        keys
    })
    .contains(text)
}

fn collect_keys(schema: &'static Json, keys: &mut HashSet<&'static str>) {
    match schema {
        Json::Object(entries) => {
            let properties = entries.get("properties").and_then(Json::as_object);
            keys.extend(properties.into_iter().flat_map(|properties| properties.keys().map(String::as_str)));
            entries.values().for_each(|schema| collect_keys(schema, keys));
        }
        Json::Array(items) => items.iter().for_each(|schema| collect_keys(schema, keys)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_shows_variables_in_place_of_values() {
        for (value, message, expected) in [
            ("hunter2-hunter2", "cannot use hunter2-hunter2 here", "cannot use ${V} here"),
            ("hunter2", "`hunter2` is no host", "`${V}` is no host"),
            ("Hunter2", "`hunter2` is no host", "`${V}` is no host"),
            ("/a/hunter2/{x", "`{x` has no brace", "`${V}` has no brace"),
            ("hunter2", "write `/hunter2` there", "write `/${V}` there"),
            ("a", "`a` is a value, and a `path` is another", "`${V}` is a value, and a `path` is another"),
            ("a", "the host `a-b.a` is no host", "the host `${V}-b.${V}` is no host"),
            ("1", "1 of 11 values is `1`, not `11`", "1 of 11 values is `${V}`, not `11`"),
            ("4711", "pin=4711, 14711 and 47110 are", "pin=${V}, 14711 and 47110 are"),
            ("ftp", "it said: ftp is `ftp`", "it said: ftp is `${V}`"),
            ("1", "it said: {\"count\":\"1\"}", "it said: {\"count\":\"${V}\"}"),
            ("path", "`path` is wrong", "`path` is wrong"),
            ("upstream", "the upstream is wrong", "the upstream is wrong"),
            ("a`b", "`a`b` is no host, `x` is", "`${V}` is no host, `x` is"),
            ("/{a`b` c}/x", "`{a`b` c}` is no parameter", "`${V}` is no parameter"),
            ("`", "``` is no host", "`${V}` is no host"),
            ("a`b", "`x` and `y` differ", "`x` and `y` differ"),
            ("say \"hi\"", "it said: {\"key\":\"say \\\"hi\\\"\"}", "it said: {\"key\":\"${V}\"}"),
            ("é hunter2 é", "é é hunter2 é é", "é ${V} é"),
        ] {
            let mut substituted = Substituted::default();
            substituted.add_text(value, "${V}");
            substituted.texts.sort_by_key(|text| std::cmp::Reverse(text.value.len()));
            assert_eq!(substituted.as_written(message), expected, "{value}");
        }
    }

    #[test]
    fn a_long_message_loses_all_that_it_quotes() {
        let long = "x`".repeat(SEARCHED_MAX);
        let mut substituted = Substituted::default();
        substituted.add_text(&long, "${V}");
        assert_eq!(substituted.as_written(&format!("`{long}` is no host")), "`…` is no host");
        assert!(
            !substituted
                .as_written(&"x".repeat(SEARCHED_MAX + 1))
                .contains('x'.to_string().repeat(2).as_str())
        );
    }
}
