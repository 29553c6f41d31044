//! From YAML text to a tree with places: the only file that knows the YAML parser.

use std::{collections::HashMap, ops::Range, sync::Arc};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use super::{
    error::ConfigError,
    source::{Entry, Node, Value, place},
    substitute::substitute,
};

/// How deep values may nest. The deepest that means anything is less than ten.
const DEPTH_MAX: usize = 64;

/// How many values a file may have, those that aliases repeat among them: a few nested aliases can mean
/// billions.
const NODES_MAX: usize = 1_000_000;

/// How the environment is asked.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads a file's text as one YAML document. Answers the tree, and the errors that left it whole (variables
/// that are not set, keys that are there twice); `Err` where there is no tree to answer.
pub(super) fn parse(
    file: &str,
    text: &str,
    environment: Environment<'_>,
) -> Result<(Node, Vec<ConfigError>), ConfigError> {
    let mut reader = Reader {
        events: Parser::new_from_str(text),
        file: file.into(),
        text,
        environment,
        anchors: HashMap::new(),
        nodes: 0,
        errors: Vec::new(),
    };
    let root = reader.document()?;
    Ok((root, reader.errors))
}

struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    file: Arc<str>,
    text: &'a str,
    environment: Environment<'a>,
    /// Finished values by the number that the parser gave their anchor.
    anchors: HashMap<usize, Node>,
    nodes: usize,
    errors: Vec<ConfigError>,
}

impl<'a> Reader<'a> {
    fn document(&mut self) -> Result<Node, ConfigError> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
                Event::StreamEnd => break,
                _ if root.is_some() => return Err(self.error(range(span), "a second document in the file")),
                event => root = Some(self.node(event, range(span), 0)?),
            }
        }
        Ok(root.unwrap_or(Node { value: Value::Null, span: 0..0 }))
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), ConfigError> {
        match self.events.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(self.syntax_error(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    /// Reads the value that begins with an event, to its end.
    fn node(&mut self, event: Event<'a>, span: Range<usize>, depth: usize) -> Result<Node, ConfigError> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(self.error(span, &format!("the file has more than {NODES_MAX} values")));
        }
        if depth > DEPTH_MAX {
            return Err(self.error(span, &format!("values are nested deeper than {DEPTH_MAX} levels")));
        }
        let (value, anchor, tag) = match event {
            Event::Alias(anchor) => return self.alias(anchor, span, depth),
            Event::Scalar(text, style, anchor, tag) => (self.scalar(&text, style, &span), anchor, tag),
            Event::SequenceStart(anchor, tag) => (self.sequence(depth)?, anchor, tag),
            Event::MappingStart(anchor, tag) => (self.mapping(depth)?, anchor, tag),
            _ => (Value::Null, 0, None),
        };
        self.refuse_tag(tag.as_deref(), &span);
        let node = Node { value, span };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn refuse_tag(&mut self, tag: Option<&Tag>, span: &Range<usize>) {
        if let Some(tag) = tag {
            let error = self.error(span.clone(), &format!("the tag `{tag}` has no meaning here"));
            self.errors.push(error.help("take it out; quotes make a text"));
        }
    }

    fn alias(&mut self, anchor: usize, span: Range<usize>, depth: usize) -> Result<Node, ConfigError> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(self.error(span, "an alias inside the value that it stands for"));
        };
        let (nodes, levels) = measure(node);
        self.nodes += nodes;
        if self.nodes > NODES_MAX || depth + levels > DEPTH_MAX {
            return Err(self.error(span, "aliases make the file too large"));
        }
        // Errors in the repeated value point at where it is written.
        Ok(node.clone())
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, span: &Range<usize>) -> Value {
        match substitute(text, self.environment) {
            Ok(text) if style == ScalarStyle::Plain => resolve_plain(&text),
            Ok(text) => Value::String(text.into_owned()),
            Err(problem) => {
                let error = self.error(span.clone(), &problem.message);
                self.errors.push(match problem.help {
                    Some(help) => error.help(help),
                    None => error,
                });
                Value::Unknown
            }
        }
    }

    fn sequence(&mut self, depth: usize) -> Result<Value, ConfigError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::Sequence(items)),
                (event, span) => items.push(self.node(event, range(span), depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, ConfigError> {
        let mut mapping = Mapping::default();
        loop {
            let (event, span) = self.next()?;
            let key_span = range(span);
            let (key, is_merge) = match event {
                Event::MappingEnd => return Ok(Value::Mapping(mapping.finish())),
                Event::Scalar(key, style, ..) => {
                    let is_merge = style == ScalarStyle::Plain && key == "<<";
                    (key.into_owned(), is_merge)
                }
                _ => return Err(self.error(key_span, "a key that is not a text")),
            };
            let (event, span) = self.next()?;
            let node = self.node(event, range(span), depth + 1)?;
            if is_merge {
                self.merge(&mut mapping, node, &key_span);
                continue;
            }
            if let Err(first) = mapping.insert(Entry { key: key.clone(), key_span: key_span.clone(), node }) {
                let line = place(&self.file, self.text, first).line;
                let error = self.error(key_span, &format!("the key `{key}` appears twice"));
                self.errors.push(error.help(format!("it is also in line {line}")));
            }
        }
    }

    /// Takes the value of `<<`: a mapping or a list of mappings, the earlier ones winning.
    fn merge(&mut self, mapping: &mut Mapping, node: Node, key_span: &Range<usize>) {
        let sources = match node.value {
            Value::Mapping(entries) => vec![entries],
            Value::Sequence(items) if items.iter().all(|item| matches!(item.value, Value::Mapping(_))) => {
                let entries = items.into_iter().map(|item| match item.value {
                    Value::Mapping(entries) => entries,
                    _ => Vec::new(),
                });
                entries.collect()
            }
            _ => {
                self.errors.push(self.error(key_span.clone(), "`<<` takes a mapping, or a list of mappings"));
                return;
            }
        };
        mapping.merged.extend(sources.into_iter().flatten());
    }

    fn error(&self, span: Range<usize>, message: &str) -> ConfigError {
        ConfigError::new(message).at(place(&self.file, self.text, span))
    }

    fn syntax_error(&self, error: &ScanError) -> ConfigError {
        let index = error.marker().index();
        // Inside of `{}` and `[]` an unquoted text ends at a brace.
        let is_variable = self.text.chars().skip(index.saturating_sub(1)).take(2).eq(['$', '{']);
        let help = if is_variable {
            "put a text with `${…}` in quotes"
        } else {
            "look at the indentation, colons and quotes here and in the line above"
        };
        self.error(index..index + 1, &format!("not valid YAML: {}", error.info())).help(help)
    }
}

/// A mapping while it is read.
#[derive(Default)]
struct Mapping {
    entries: Vec<Entry>,
    /// The entries by key: a mapping of ten thousand upstreams is not compared pair by pair.
    by_key: HashMap<String, Range<usize>>,
    /// What `<<` brought, which the mapping's own keys win over.
    merged: Vec<Entry>,
}

impl Mapping {
    /// Adds an entry; where its key is there already, answers where.
    fn insert(&mut self, entry: Entry) -> Result<(), Range<usize>> {
        if let Some(first) = self.by_key.get(&entry.key) {
            return Err(first.clone());
        }
        self.by_key.insert(entry.key.clone(), entry.key_span.clone());
        self.entries.push(entry);
        Ok(())
    }

    /// All entries, with those merged ones whose keys nothing before them has.
    fn finish(self) -> Vec<Entry> {
        let Self { mut entries, mut by_key, merged } = self;
        for entry in merged {
            if by_key.insert(entry.key.clone(), entry.key_span.clone()).is_none() {
                entries.push(entry);
            }
        }
        entries
    }
}

fn range(span: Span) -> Range<usize> {
    span.start.index()..span.end.index().max(span.start.index())
}

/// How many values a value is, and how deep it is.
fn measure(node: &Node) -> (usize, usize) {
    let add = |(nodes, levels): (usize, usize), node: &Node| {
        let (more, deeper) = measure(node);
        (nodes + more, levels.max(deeper + 1))
    };
    match &node.value {
        Value::Sequence(items) => items.iter().fold((1, 1), add),
        Value::Mapping(entries) => entries.iter().map(|entry| &entry.node).fold((1, 1), add),
        _ => (1, 1),
    }
}

/// What an unquoted text is, in the core schema of YAML 1.2.2 (§10.3.2). `off`, `yes` and `no` are texts in
/// it.
fn resolve_plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if unsigned.starts_with(|c: char| c.is_ascii_digit()) {
        let integer = if let Some(digits) = text.strip_prefix("0x") {
            i128::from_str_radix(digits, 16)
        } else if let Some(digits) = text.strip_prefix("0o") {
            i128::from_str_radix(digits, 8)
        } else {
            text.parse()
        };
        if let Ok(integer) = integer {
            return Value::Integer(integer);
        }
    }
    let is_float = unsigned.bytes().any(|b| b.is_ascii_digit())
        && unsigned.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
    match text.parse::<f64>() {
        Ok(_) if is_float => Value::Float(text.to_owned()),
        _ => Value::String(text.to_owned()),
    }
}
