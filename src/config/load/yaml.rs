//! Parser from YAML text to a tree with places. Only this file uses the YAML crate.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use super::code::Code;
use super::error::{ConfigError, Place};
use super::source::{Entry, Mapping, Node, Value};
use super::substitute::{Environment, SUBSTITUTED_BYTES_MAX, substitute};
use super::text_file::TextFile;

/// The maximum nesting depth of values. Valid files need less than ten.
const DEPTH_MAX: usize = 64;

/// The maximum number of values in a file, including those that aliases repeat: a few nested aliases can mean billions.
const NODES_MAX: usize = 1_000_000;

/// The maximum size of the texts and keys that anchors and aliases copy: four times the largest file.
const COPIED_BYTES_MAX: usize = 64 << 20;

/// The maximum length of a key, in characters. YAML has the same limit for a key on the line of its value (YAML 1.2.2
/// §7.4.2). Without it, each error in a value could repeat megabytes of the path to it.
const KEY_LENGTH_MAX: usize = 1024;

/// Parses a text as one YAML document. Returns the tree, and the errors that left it complete, such as unset variables
/// and duplicate keys. Returns `Err` if there is no tree.
pub(crate) fn parse(
    file: &Arc<TextFile>,
    environment: Environment<'_>,
) -> Result<(Node, Vec<ConfigError>), ConfigError> {
    let mut reader = Reader {
        events: Parser::new_from_str(file.text()),
        file,
        cursor: Cursor { text: file.text(), character: 0, byte: 0 },
        environment,
        anchors: HashMap::new(),
        nodes: 0,
        copied_bytes: 0,
        substituted_bytes: 0,
        errors: Vec::new(),
    };
    let root = reader.document()?;
    Ok((root, reader.errors))
}

struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    file: &'a Arc<TextFile>,
    cursor: Cursor<'a>,
    environment: Environment<'a>,
    /// Finished values by the parser's number for their anchor.
    anchors: HashMap<usize, Node>,
    nodes: usize,
    /// The size of the texts and keys that anchors and aliases have copied.
    copied_bytes: usize,
    /// The size of all values with variables.
    substituted_bytes: usize,
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
                _ if root.is_some() => {
                    return Err(self.error(Code::YamlSyntax, span, "a second document in the file"));
                }
                event => root = Some(self.node(event, span, 0)?),
            }
        }
        Ok(root.unwrap_or(Node { value: Value::Null, span: 0..0, written: None }))
    }

    fn next(&mut self) -> Result<(Event<'a>, Range<usize>), ConfigError> {
        match self.events.next_event() {
            Some(Ok((event, span))) => Ok((event, self.cursor.bytes(&span))),
            Some(Err(error)) => Err(self.syntax_error(&error)),
            None => Ok((Event::StreamEnd, 0..0)),
        }
    }

    /// Parses the value that begins with an event, to its end.
    fn node(&mut self, event: Event<'a>, span: Range<usize>, depth: usize) -> Result<Node, ConfigError> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(self.error(
                Code::TooLarge,
                span,
                &format!("the file has more than {NODES_MAX} values"),
            ));
        }
        if depth > DEPTH_MAX {
            return Err(self.error(
                Code::TooLarge,
                span,
                &format!("values are nested deeper than {DEPTH_MAX} levels"),
            ));
        }
        let mut written = None;
        let (value, anchor, tag) = match event {
            Event::Alias(anchor) => return self.alias(anchor, span, depth),
            Event::Scalar(text, style, anchor, tag) => {
                let value = self.scalar(&text, style, &span, &mut written);
                (value, anchor, tag)
            }
            Event::SequenceStart(anchor, tag) => (self.sequence(depth)?, anchor, tag),
            Event::MappingStart(anchor, tag) => (self.mapping(depth)?, anchor, tag),
            _ => (Value::Null, 0, None),
        };
        self.refuse_tag(tag.as_deref(), &span);
        let node = Node { value, span, written };
        if anchor > 0 {
            // Anchors within anchors have the same bound as aliases, since each is a copy.
            self.count_copy(&Size::of(&node), depth, &node.span)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn refuse_tag(&mut self, tag: Option<&Tag>, span: &Range<usize>) {
        if let Some(tag) = tag {
            let error =
                self.error(Code::InvalidValue, span.clone(), &format!("the tag `{tag}` has no meaning here"));
            self.errors.push(error.help("take it out; quotes make a text"));
        }
    }

    fn alias(&mut self, anchor: usize, span: Range<usize>, depth: usize) -> Result<Node, ConfigError> {
        let Some(size) = self.anchors.get(&anchor).map(Size::of) else {
            return Err(self.error(Code::YamlSyntax, span, "an alias inside the value that it stands for"));
        };
        self.count_copy(&size, depth, &span)?;
        // Errors in the repeated value point at its original place.
        Ok(self.anchors.get(&anchor).cloned().unwrap_or(Node { value: Value::Unknown, span, written: None }))
    }

    /// Counts a copy of a value, at a depth.
    fn count_copy(&mut self, size: &Size, depth: usize, span: &Range<usize>) -> Result<(), ConfigError> {
        self.nodes += size.nodes;
        self.copied_bytes += size.bytes;
        let is_large = self.nodes > NODES_MAX || self.copied_bytes > COPIED_BYTES_MAX;
        if is_large || depth + size.levels > DEPTH_MAX {
            return Err(self.error(Code::TooLarge, span.clone(), "aliases make the file too large"));
        }
        Ok(())
    }

    /// Returns the value of a scalar. `written` becomes its text if variables were replaced in it.
    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        span: &Range<usize>,
        written: &mut Option<Box<str>>,
    ) -> Value {
        let is_plain = style == ScalarStyle::Plain;
        match substitute(text, self.environment, SUBSTITUTED_BYTES_MAX - self.substituted_bytes) {
            Ok(value) => {
                if let Cow::Owned(value) = &value {
                    self.substituted_bytes += value.len();
                    *written = Some(text.into());
                }
                if is_plain { resolve_plain(&value) } else { Value::String(value.into_owned()) }
            }
            Err(problem) => {
                *written = Some(text.into());
                let error = self.error(Code::Variable, span.clone(), &problem.message);
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
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, ConfigError> {
        let mut mapping = Mapping::default();
        // The mapping's own keys override those that `<<` merges.
        let mut merged = Vec::new();
        loop {
            let (event, key_span) = self.next()?;
            let (key, is_merge) = match event {
                Event::MappingEnd => break,
                Event::Scalar(key, style, ..) => {
                    if key.chars().nth(KEY_LENGTH_MAX).is_some() {
                        let message = format!("a key of more than {KEY_LENGTH_MAX} characters");
                        return Err(self.error(Code::TooLarge, key_span, &message));
                    }
                    let is_merge = style == ScalarStyle::Plain && key == "<<";
                    (key.into_owned(), is_merge)
                }
                _ => return Err(self.error(Code::WrongType, key_span, "a key that is not a text")),
            };
            let (event, span) = self.next()?;
            let node = self.node(event, span, depth + 1)?;
            if is_merge {
                merged.extend(self.merge(node, &key_span));
                continue;
            }
            if let Err(first) = mapping.insert(Entry { key: key.clone(), key_span: key_span.clone(), node }) {
                let line = self.file.line(first.start);
                let error =
                    self.error(Code::DuplicateKey, key_span, &format!("the key `{key}` appears twice"));
                self.errors.push(error.help(format!("it is also in line {line}")));
            }
        }
        // If two merged mappings have the same key, the earlier one wins.
        merged.into_iter().for_each(|entry| drop(mapping.insert(entry)));
        Ok(Value::Mapping(mapping))
    }

    /// Returns the entries that `<<` merges: those of a mapping, or of a list of mappings.
    fn merge(&mut self, node: Node, key_span: &Range<usize>) -> Vec<Entry> {
        match node.value {
            Value::Mapping(entries) => return entries.into(),
            Value::Sequence(items) if items.iter().all(|item| matches!(item.value, Value::Mapping(_))) => {
                let entries = items.into_iter().map(|item| match item.value {
                    Value::Mapping(entries) => entries.into(),
                    _ => Vec::new(),
                });
                return entries.flatten().collect();
            }
            // The error that made it unknown was already reported.
            Value::Unknown => {}
            _ => self.errors.push(self.error(
                Code::WrongType,
                key_span.clone(),
                "`<<` takes a mapping, or a list of mappings",
            )),
        }
        Vec::new()
    }

    fn error(&self, code: Code, span: Range<usize>, message: &str) -> ConfigError {
        ConfigError::new(code, message).at(Place::File(Arc::clone(self.file), span))
    }

    fn syntax_error(&mut self, error: &ScanError) -> ConfigError {
        let index = self.cursor.byte_of(error.marker().index());
        // Inside `{}` and `[]`, an unquoted text ends at a brace.
        let before = self.file.text().get(index.saturating_sub(1)..).unwrap_or_default();
        let is_variable = before.starts_with("${");
        let line = self.file.text().get(..index).unwrap_or_default();
        let line = line.rsplit('\n').next().unwrap_or_default();
        let margin: String = line.chars().take_while(|character| character.is_whitespace()).collect();
        let is_tab = error.info().contains(" tab") || margin.contains('\t');
        let help = if is_tab {
            "indent with spaces: YAML allows no tabs there"
        } else if is_variable {
            "put a text with `${…}` in quotes"
        } else {
            "look at the indentation, colons and quotes here and in the line above"
        };
        self.error(Code::YamlSyntax, index..index + 1, &format!("not valid YAML: {}", error.info()))
            .help(help)
    }
}

/// A reading position that converts the parser's character numbers into bytes. They nearly always increase, so that all
/// conversions together cost one walk through the text.
struct Cursor<'a> {
    text: &'a str,
    character: usize,
    byte: usize,
}

impl Cursor<'_> {
    fn bytes(&mut self, span: &Span) -> Range<usize> {
        let start = self.byte_of(span.start.index());
        start..self.byte_of(span.end.index()).max(start)
    }

    fn byte_of(&mut self, character: usize) -> usize {
        let (before, after) = self.text.split_at(self.byte);
        if let Some(steps) = character.checked_sub(self.character) {
            let passed = after.char_indices().nth(steps).map_or(after.len(), |(byte, _)| byte);
            self.byte += passed;
        } else {
            let steps = self.character - character;
            self.byte = before.char_indices().nth_back(steps - 1).map_or(0, |(byte, _)| byte);
        }
        self.character = character;
        self.byte
    }
}

/// The size of a value and everything in it.
struct Size {
    nodes: usize,
    /// The length of all texts that are kept: keys, values, and the written texts of values with variables.
    bytes: usize,
    /// The depth, 1 for a scalar.
    levels: usize,
}

impl Size {
    fn of(node: &Node) -> Self {
        let mut size = Self { nodes: 1, bytes: node.written.as_deref().map_or(0, str::len), levels: 1 };
        match &node.value {
            Value::Sequence(items) => items.iter().for_each(|item| size.add(item)),
            Value::Mapping(entries) => {
                for entry in entries.iter() {
                    // The index of a large mapping holds each key a second time.
                    size.bytes += 2 * entry.key.len();
                    size.add(&entry.node);
                }
            }
            Value::String(text) | Value::Float(text) => size.bytes += text.len(),
            Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Unknown => {}
        }
        size
    }

    fn add(&mut self, node: &Node) {
        let more = Self::of(node);
        self.nodes += more.nodes;
        self.bytes += more.bytes;
        self.levels = self.levels.max(more.levels + 1);
    }
}

/// Returns the value of an unquoted text by the core schema of YAML 1.2.2 (§10.3.2), in which `off`, `yes` and `no` are
/// texts.
fn resolve_plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_digits = |digits: &str| !digits.starts_with(['+', '-']);
    let integer = if let Some(digits) = text.strip_prefix("0x").filter(|digits| is_digits(digits)) {
        i128::from_str_radix(digits, 16)
    } else if let Some(digits) = text.strip_prefix("0o").filter(|digits| is_digits(digits)) {
        i128::from_str_radix(digits, 8)
    } else {
        text.parse()
    };
    if let Ok(integer) = integer {
        return Value::Integer(integer);
    }
    let is_infinite = matches!(unsigned, ".inf" | ".Inf" | ".INF");
    if is_infinite || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Value::Float(text.to_owned());
    }
    let is_float = unsigned.bytes().any(|b| b.is_ascii_digit())
        && unsigned.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
    match text.parse::<f64>() {
        Ok(_) if is_float => Value::Float(text.to_owned()),
        _ => Value::String(text.to_owned()),
    }
}
