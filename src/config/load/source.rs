//! A configuration file as a tree whose nodes know their places.

use std::collections::HashMap;
use std::ops::{Deref, Range};
use std::sync::Arc;

use super::code::Code;
use super::error::{ConfigError, ConfigWarning, Place};
use super::shortened::shown;
use super::text_file::TextFile;
pub(crate) use crate::config::values::segment::Segment;

/// A file that was read, for reporting errors at places in it.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    file: Arc<TextFile>,
    root: Node,
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) value: Value,
    /// The range in bytes of the file.
    pub(crate) span: Range<usize>,
    /// The text of a scalar before its variables were replaced, if it has any. Values of variables may be secret, so
    /// errors show this instead.
    pub(crate) written: Option<Box<str>>,
}

/// A value of YAML, with texts as keys.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    /// A float as written: most are errors, and reported as such.
    Float(String),
    String(String),
    Sequence(Vec<Node>),
    Mapping(Mapping),
    /// A value that is unknown because of an error already reported; it causes no second error.
    Unknown,
}

/// A key of a mapping with its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Range<usize>,
    pub(crate) node: Node,
}

/// The entries of a mapping, in the order of the file and with unique keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mapping {
    entries: Vec<Entry>,
    /// Positions by key, if there are more entries than [`SCANNED_MAX`].
    positions: HashMap<String, usize>,
}

/// The largest mapping whose entries are compared one by one: below that, an index costs more than it saves.
const SCANNED_MAX: usize = 16;

impl Mapping {
    /// Returns the entry of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        if self.entries.len() <= SCANNED_MAX {
            return self.entries.iter().find(|entry| entry.key == key);
        }
        self.entries.get(*self.positions.get(key)?)
    }

    /// Adds an entry at the end.
    pub(crate) fn insert(&mut self, entry: Entry) -> Result<(), Range<usize>> {
        if let Some(first) = self.get(&entry.key) {
            return Err(first.key_span.clone());
        }
        self.entries.push(entry);
        let indexed = if self.entries.len() == SCANNED_MAX + 1 { 0 } else { self.entries.len() - 1 };
        if self.entries.len() > SCANNED_MAX {
            let entries = self.entries.iter().enumerate().skip(indexed);
            self.positions.extend(entries.map(|(position, entry)| (entry.key.clone(), position)));
        }
        Ok(())
    }
}

impl From<Mapping> for Vec<Entry> {
    fn from(mapping: Mapping) -> Self {
        mapping.entries
    }
}

impl Deref for Mapping {
    type Target = [Entry];

    fn deref(&self) -> &[Entry] {
        &self.entries
    }
}

impl Node {
    /// Returns the entry of a key, if this is a mapping that has it.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Mapping(entries) => entries.get(key),
            _ => None,
        }
    }

    /// Returns the entry of a header name, which later stages know in lower case.
    fn entry_in_any_case(&self, name: &str) -> Option<&Entry> {
        match &self.value {
            Value::Mapping(entries) => entries.iter().find(|entry| entry.key.eq_ignore_ascii_case(name)),
            _ => None,
        }
    }

    /// Returns the text of a key as errors may show it, if this is a mapping in which the key has a text.
    fn text(&self, key: &str) -> Option<&str> {
        let node = &self.entry(key)?.node;
        match &node.value {
            Value::String(text) => Some(node.written.as_deref().unwrap_or(text)),
            _ => None,
        }
    }

    /// Returns the range that an error about this value marks if there is no key to mark: the whole of a scalar, the
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
    pub(crate) fn new(file: Arc<TextFile>, root: Node) -> Self {
        Self { file, root }
    }

    /// Returns the name of the file, as the user gave it.
    pub(crate) fn file(&self) -> &str {
        self.file.name()
    }

    /// Returns the text of the file as it was read, before variables were replaced.
    pub(crate) fn text(&self) -> &str {
        self.file.text()
    }

    /// Returns a scalar as it stands in the file: with its variables, and a number with its zeros.
    pub(crate) fn written<'n>(&'n self, node: &'n Node) -> &'n str {
        match (&node.written, &node.value) {
            (Some(written), _) => written,
            (None, Value::String(text)) => text,
            (None, _) => self.file.slice(&node.span).trim_end(),
        }
    }

    /// Returns what an error may show for a value at a path: the value, or the written text if it has variables.
    pub(crate) fn shown(&self, path: &[Segment], value: &str) -> String {
        self.with_variables(path).unwrap_or(value).to_owned()
    }

    /// Returns the scalar at a path as it is written, if it has variables.
    pub(crate) fn with_variables(&self, path: &[Segment]) -> Option<&str> {
        let (node, found, _) = self.find(path);
        node.written.as_deref().filter(|_| found == path.len())
    }

    /// Returns true if the file has a value at a path.
    pub(crate) fn has(&self, path: &[Segment]) -> bool {
        self.find(path).1 == path.len()
    }

    /// Returns the URLs of the upstream at a path, as they are written.
    pub(crate) fn urls(&self, path: &[Segment]) -> Vec<&str> {
        let upstream = self.find(path).0;
        let url = upstream.entry("url").or_else(|| upstream.entry("srv")).map(|entry| &entry.node);
        let endpoints = match upstream.entry("endpoints").map(|entry| &entry.node.value) {
            Some(Value::Sequence(items)) => &items[..],
            _ => &[],
        };
        let endpoints =
            endpoints.iter().map(|endpoint| endpoint.entry("url").map_or(endpoint, |entry| &entry.node));
        url.into_iter().chain(endpoints).map(|node| self.written(node)).collect()
    }

    pub(crate) fn root(&self) -> &Node {
        &self.root
    }

    /// Returns the keys of the mapping at a path, or none if there is no mapping.
    pub(crate) fn keys(&self, path: &[Segment]) -> impl Iterator<Item = &str> {
        let (node, found, _) = self.find(path);
        let entries = match &node.value {
            Value::Mapping(entries) if found == path.len() => entries,
            _ => &[][..],
        };
        entries.iter().map(|entry| entry.key.as_str())
    }

    /// Follows a path as far as it leads. Returns the value there, the number of segments found, and the place of the
    /// value's key.
    pub(crate) fn find(&self, path: &[Segment]) -> (&Node, usize, Option<&Range<usize>>) {
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

    /// Returns an error about the value at a path. It points at the value, or at its key if the value is a mapping or a
    /// list. If the path leads further than the file, it points at the last existing part. The message ends with the
    /// names of the parts: `… in route "spike", pool`.
    pub(crate) fn error(&self, code: Code, path: &[Segment], message: impl Into<String>) -> ConfigError {
        let span = self.span(path);
        let around = path.split_last().map_or(path, |(_, around)| around);
        self.error_at(code, span, self.message_in(around, message.into()))
    }

    /// Returns an error of a stage that knows only values. The value at the path and those below it are shown as
    /// written.
    pub(crate) fn error_as_written(&self, code: Code, path: &[Segment], message: &str) -> ConfigError {
        self.error(code, path, self.as_written(&[path], message))
    }

    /// Returns the line, from 1, that an error about the value at a path points at.
    pub(crate) fn line(&self, path: &[Segment]) -> usize {
        self.file.line(self.span(path).start)
    }

    fn span(&self, path: &[Segment]) -> Range<usize> {
        let (node, _, key_span) = self.find(path);
        match (&node.value, key_span) {
            (Value::Mapping(_) | Value::Sequence(_) | Value::Null, Some(key)) => key.clone(),
            _ => node.head(),
        }
    }

    /// Returns an error about a key in the mapping at `around`.
    pub(crate) fn key_error(
        &self,
        code: Code,
        around: &[Segment],
        key: &Range<usize>,
        message: String,
    ) -> ConfigError {
        self.error_at(code, key.clone(), self.message_in(around, message))
    }

    /// Returns a warning about the value at a path, with its advice. The message is complete: no parts are added.
    pub(crate) fn warning(&self, code: Code, path: &[Segment], message: String, help: &str) -> ConfigWarning {
        ConfigWarning::new(self.error_at(code, self.span(path), message).help(help))
    }

    /// Returns an error at a range of the file.
    pub(crate) fn error_at(&self, code: Code, span: Range<usize>, message: String) -> ConfigError {
        ConfigError::new(code, message).at(Place::File(Arc::clone(&self.file), span))
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

/// Returns the name of a list item in messages. Items of short lists have none, because their line is enough to find
/// them.
fn name_of_item(list: &str, item: Option<&Node>, index: usize) -> Option<String> {
    let number = index + 1;
    match list {
        "routes" => {
            let path = item.and_then(|item| {
                let matches = &item.entry("match")?.node;
                ["path", "prefix", "template"].iter().find_map(|key| matches.text(key))
            });
            let name = item.and_then(|item| item.text("name")).or(path);
            Some(name.map_or_else(|| format!("route {number}"), |name| format!("route \"{}\"", shown(name))))
        }
        "listeners" => {
            let name = item.and_then(|item| item.text("name").or_else(|| item.text("address")));
            Some(
                name.map_or_else(
                    || format!("listener {number}"),
                    |name| format!("listener \"{}\"", shown(name)),
                ),
            )
        }
        _ => None,
    }
}
