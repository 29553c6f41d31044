//! A configuration file as a tree in which everything knows its place.

use std::{ops::Range, sync::Arc};

use super::error::{ConfigError, Place};

/// How much of a long line is shown on either side of an error, in characters.
const EXCERPT_MAX: usize = 100;

/// A file that was read, for reporting errors at places in it.
#[derive(Clone, Debug)]
pub struct Source {
    file: Arc<str>,
    text: Arc<str>,
    root: Node,
}

/// A step from a value into it: the key of a mapping, or the index of a list, from 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// A key.
    Key(String),
    /// An index.
    Index(usize),
}

impl From<&str> for Segment {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<&String> for Segment {
    fn from(key: &String) -> Self {
        Self::Key(key.clone())
    }
}

impl From<usize> for Segment {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// The way to a value from the top of the file: `path!["routes", 3, "pool", "max_idle"]`.
#[macro_export]
macro_rules! path {
    ($($segment:expr),* $(,)?) => { [$($crate::config::Segment::from($segment)),*] };
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    /// In characters of the file.
    pub(super) span: Range<usize>,
}

/// What YAML can say, keys being text.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    /// As written: most are errors, and told as such.
    Float(String),
    String(String),
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
    /// What an error that was reported left unknown; no second error comes of it.
    Unknown,
}

/// A key of a mapping with its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Range<usize>,
    pub(super) node: Node,
}

impl Node {
    /// The entry of a key, where this is a mapping that has it.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Mapping(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// The entry of a header name, which later stages know in lower case.
    fn entry_in_any_case(&self, name: &str) -> Option<&Entry> {
        match &self.value {
            Value::Mapping(entries) => entries.iter().find(|entry| entry.key.eq_ignore_ascii_case(name)),
            _ => None,
        }
    }

    /// The text of a key, where this is a mapping that has it with a text.
    fn text(&self, key: &str) -> Option<&str> {
        match &self.entry(key)?.node.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Where to point when this value is meant and nobody's key can stand for it: the whole of a scalar, the
    /// first key of a mapping, the first item of a list.
    fn head(&self) -> Range<usize> {
        match &self.value {
            Value::Mapping(entries) => {
                entries.first().map_or(self.span.clone(), |entry| entry.key_span.clone())
            }
            Value::Sequence(items) => items.first().map_or(self.span.clone(), Node::head),
            _ => self.span.clone(),
        }
    }
}

impl Source {
    pub(super) fn new(file: &str, text: &str, root: Node) -> Self {
        Self { file: file.into(), text: text.into(), root }
    }

    /// The name of the file, as the user gave it.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The text of the file as it was read, before variables were filled in.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn root(&self) -> &Node {
        &self.root
    }

    /// The keys of the mapping at a path; none where there is no mapping.
    pub(super) fn keys(&self, path: &[Segment]) -> impl Iterator<Item = &str> {
        let (node, found, _) = self.find(path);
        let entries = match &node.value {
            Value::Mapping(entries) if found == path.len() => entries.as_slice(),
            _ => &[],
        };
        entries.iter().map(|entry| entry.key.as_str())
    }

    /// Follows a path as far as it leads: the value there, how many segments were found, and the value's key.
    fn find(&self, path: &[Segment]) -> (&Node, usize, Option<&Range<usize>>) {
        let (mut node, mut key_span) = (&self.root, None);
        for (found, segment) in path.iter().enumerate() {
            let next = match (segment, &node.value) {
                (Segment::Key(key), _) => {
                    let entry = node.entry(key).or_else(|| node.entry_in_any_case(key));
                    entry.map(|entry| (&entry.node, Some(&entry.key_span)))
                }
                (Segment::Index(index), Value::Sequence(items)) => items.get(*index).map(|item| (item, None)),
                (Segment::Index(_), _) => None,
            };
            let Some(next) = next else { return (node, found, key_span) };
            (node, key_span) = next;
        }
        (node, path.len(), key_span)
    }

    /// An error about the value at a path. Points at the value, or at its key where the value is a mapping or
    /// a list; where the path leads further than the file, at the last part that is there. The message is
    /// given the names of the parts: `… in route "spike", pool`.
    pub fn error(&self, path: &[Segment], message: impl Into<String>) -> ConfigError {
        let (node, _, key_span) = self.find(path);
        let span = match (&node.value, key_span) {
            (Value::Mapping(_) | Value::Sequence(_) | Value::Null, Some(key)) => key.clone(),
            _ => node.head(),
        };
        let around = path.split_last().map_or(path, |(_, around)| around);
        self.error_at(span, self.message_in(around, message.into()))
    }

    /// An error about a key that stands in the mapping at `around`.
    pub(super) fn key_error(&self, around: &[Segment], key: &Range<usize>, message: String) -> ConfigError {
        self.error_at(key.clone(), self.message_in(around, message))
    }

    /// An error at a stretch of the file.
    pub(super) fn error_at(&self, span: Range<usize>, message: String) -> ConfigError {
        ConfigError::new(message).at(place(&self.file, &self.text, span))
    }

    /// Adds the parts that lead to `path`, the innermost last: `… in route "spike", pool`.
    fn message_in(&self, path: &[Segment], message: String) -> String {
        let mut names = Vec::new();
        let mut node = Some(&self.root);
        let mut list = "";
        for segment in path {
            match segment {
                Segment::Key(key) => {
                    node = node.and_then(|node| node.entry(key)).map(|entry| &entry.node);
                    match (list, key.as_str()) {
                        ("filters", name) => names.push(format!("filter \"{name}\"")),
                        ("upstreams", name) => names.push(format!("upstream \"{name}\"")),
                        (_, "filters" | "listeners" | "routes" | "upstreams") if names.is_empty() => {}
                        (_, key) => names.push(key.to_owned()),
                    }
                    list = if path.first() == Some(segment) { key } else { "" };
                }
                Segment::Index(index) => {
                    node = node.and_then(|node| match &node.value {
                        Value::Sequence(items) => items.get(*index),
                        _ => None,
                    });
                    names.extend(name_of_item(list, node, *index));
                    list = "";
                }
            }
        }
        if names.is_empty() { message } else { format!("{message} in {}", names.join(", ")) }
    }
}

/// What an item of a list is called in messages. Items of short lists are found by their line, and have no
/// name.
fn name_of_item(list: &str, item: Option<&Node>, index: usize) -> Option<String> {
    let number = index + 1;
    match list {
        "routes" => {
            let path = item.and_then(|item| {
                let matches = &item.entry("match")?.node;
                ["path", "prefix", "template"].iter().find_map(|key| matches.text(key))
            });
            let name = item.and_then(|item| item.text("name")).or(path);
            Some(name.map_or_else(|| format!("route {number}"), |name| format!("route \"{name}\"")))
        }
        "listeners" => {
            let name = item.and_then(|item| item.text("name").or_else(|| item.text("address")));
            Some(name.map_or_else(|| format!("listener {number}"), |name| format!("listener \"{name}\"")))
        }
        _ => None,
    }
}

/// The place of a stretch of characters: clipped to its first line, and with a bounded part of that line
/// around it.
pub(super) fn place(file: &Arc<str>, text: &str, span: Range<usize>) -> Place {
    let byte = text.char_indices().nth(span.start).map_or(text.len(), |(byte, _)| byte);
    let (before, rest) = text.split_at_checked(byte).unwrap_or((text, ""));
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let before_in_line = before.get(line_start..).unwrap_or_default();
    let rest_of_line = rest.split(['\n', '\r']).next().unwrap_or_default();
    let column = before_in_line.chars().count() + 1;
    let skipped = column.saturating_sub(EXCERPT_MAX + 1);
    let marked = rest_of_line.chars().take(span.len().min(EXCERPT_MAX)).collect::<String>();
    let marked = marked.trim_end().to_owned();
    let after = rest_of_line.strip_prefix(marked.as_str()).unwrap_or_default();
    Place {
        file: Arc::clone(file),
        line: before.matches('\n').count() + 1,
        column,
        excerpt: [
            before_in_line.chars().skip(skipped).collect(),
            marked,
            after.trim_end().chars().take(EXCERPT_MAX).collect(),
        ],
    }
}
