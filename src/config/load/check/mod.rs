//! Comparison of a file with the schema, which finds all errors of form.
//!
//! serde would stop at the first error and knows no places. Therefore the tree is walked beside the JSON Schema that
//! the types generate: whatever this check accepts, the types deserialise. [`validate`](mod@crate::config::load::validate)
//! finds the errors that depend on several values.

mod scalar;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::rc::Rc;

use foldhash::fast::FixedState;
use serde_json::Value as Json;

use crate::config::load::code::Code;
use crate::config::load::error::ConfigError;
use crate::config::load::format;
use crate::config::load::keyword::{
    Presence, choices, expected, is_anything, list, presence, required, string,
};
use crate::config::load::similar::Similar;
use crate::config::load::source::{Entry, Node, Source, Value};
use crate::config::values::look_alike;
use crate::config::values::secret;
use crate::config::values::segment::Segment;

/// Keys that the project's documentation mentions, and that do nothing yet.
const PLANNED: [&str; 1] = ["traces"];

/// The result of a check.
#[derive(Default)]
pub(crate) struct Report {
    /// The errors, in no particular order.
    pub(crate) errors: Vec<ConfigError>,
    /// The values that cannot be deserialised, by the first two segments of their paths. Nothing needs more, and a path
    /// may be long.
    pub(crate) broken: HashSet<Vec<Segment>>,
    /// The bytes at which unknown and ignored keys begin. Without these keys, their mappings can be deserialised.
    pub(crate) unknown: HashSet<usize>,
}

/// Compares a file with the schema.
pub(crate) fn check(source: &Source, schema: &Json) -> Report {
    let mut checker = Checker {
        source,
        schema,
        choices: HashMap::default(),
        presence: HashMap::default(),
        advice: HashMap::default(),
        similar: Similar::default(),
        path: Vec::new(),
        report: Report::default(),
    };
    checker.node(source.root(), schema);
    checker.report
}

struct Checker<'a> {
    source: &'a Source,
    /// The whole schema, in which references are resolved.
    schema: &'a Json,
    /// The choices by the address of their schema. They are cached because each is needed once per value of its kind.
    choices: HashMap<usize, Rc<[&'a Json]>, FixedState>,
    /// The presence rules, cached in the same way.
    presence: HashMap<usize, Rc<Presence<'a>>, FixedState>,
    /// The advice for unknown keys, by schema and key: the same mistake is often made in every route.
    advice: HashMap<(usize, &'a str), String, FixedState>,
    similar: Similar,
    path: Vec<Segment>,
    report: Report,
}

/// Returns the identity of a part of one schema.
fn address(schema: &Json) -> usize {
    std::ptr::from_ref(schema).addr()
}

impl<'a> Checker<'a> {
    fn node(&mut self, node: &'a Node, schema: &'a Json) {
        let root = self.schema;
        let choices =
            self.choices.entry(address(schema)).or_insert_with(|| choices(root, schema).into()).clone();
        if choices.iter().any(|choice| is_anything(choice)) {
            return self.anything(node);
        }
        let of_kind = |kind: &'static str| {
            choices.iter().copied().filter(move |choice| string(choice, "type") == Some(kind))
        };
        let choice = |kind| of_kind(kind).next();
        match &node.value {
            Value::Unknown => self.break_here(),
            Value::Null => self.wrong(
                Code::WrongType,
                format!("{} has no value", self.subject()),
                Some("give it one, or take the key out".to_owned()),
            ),
            Value::Mapping(entries) => match (choice("object"), of_kind("object").nth(1)) {
                (None, _) => self.wrong_kind("a mapping", &choices, None),
                (Some(object), None) => self.mapping(node, entries, object),
                _ => self.one_of_mappings(node, entries, &of_kind("object").collect::<Vec<_>>()),
            },
            Value::Sequence(items) => match choice("array") {
                Some(array) => self.sequence(items, array),
                None => self.wrong_kind("a list", &choices, None),
            },
            Value::Integer(integer) => match choice("integer") {
                Some(schema) => self.integer(*integer, node, schema, &choices),
                None => self.number(&integer.to_string(), node, &choices),
            },
            Value::Bool(_) if choice("boolean").is_some() => {}
            Value::Bool(bool) => self.bare(node, &format!("`{bool}`"), &choices),
            Value::Float(text) => self.number(text, node, &choices),
            Value::String(text) if node.written.is_some() => self.substituted(text, node, &choices),
            Value::String(text) => self.text(text, &choices),
        }
    }

    /// Checks a value that may be anything that JSON can express. Its numbers have JSON's limits.
    fn anything(&mut self, node: &'a Node) {
        let help = || Some("put it in quotes".to_owned());
        match &node.value {
            Value::Unknown => self.break_here(),
            Value::Integer(integer)
                if i64::try_from(*integer).is_err() && u64::try_from(*integer).is_err() =>
            {
                self.wrong(
                    Code::InvalidValue,
                    format!("{} does not fit in 64 bits", self.source.written(node)),
                    help(),
                );
            }
            // A number of digits alone is a float only if 128 bits were too few for it.
            Value::Float(text) if text.bytes().all(|byte| byte.is_ascii_digit() || b"+-".contains(&byte)) => {
                self.wrong(
                    Code::InvalidValue,
                    format!("{} does not fit in 64 bits", self.source.written(node)),
                    help(),
                );
            }
            Value::Float(text) if text.parse().is_ok_and(|number: f64| !number.is_finite()) => {
                self.wrong(
                    Code::InvalidValue,
                    format!("{} is too large for a number", self.source.written(node)),
                    help(),
                );
            }
            Value::Mapping(entries) => {
                for entry in entries.iter() {
                    self.path.push(Segment::from(&entry.key));
                    self.anything(&entry.node);
                    self.path.pop();
                }
            }
            Value::Sequence(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.path.push(Segment::from(index));
                    self.anything(item);
                    self.path.pop();
                }
            }
            Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::String(_) => {}
        }
    }

    /// Checks a mapping that may be one of several kinds, told apart by the key that each requires.
    fn one_of_mappings(&mut self, node: &'a Node, entries: &'a [Entry], schemas: &[&'a Json]) {
        let is_key_of =
            |schema: &Json, key: &str| schema.get("properties").is_some_and(|keys| keys.get(key).is_some());
        let is_complete = |schema: &Json| required(schema).all(|key| node.entry(key).is_some());
        let fit = |schema: &Json| {
            let known = entries.iter().filter(|entry| is_key_of(schema, &entry.key)).count();
            (is_complete(schema), known)
        };
        // Reversed, so that the first of equals wins.
        let Some(schema) = schemas.iter().copied().rev().max_by_key(|schema| fit(schema)) else { return };
        let (mine, others): (Vec<&Entry>, Vec<&Entry>) = entries.iter().partition(|entry| {
            is_key_of(schema, &entry.key) || !schemas.iter().any(|schema| is_key_of(schema, &entry.key))
        });
        self.entries(mine.into_iter(), schema);
        if !is_complete(schema) {
            let keys: Vec<&str> = schemas.iter().copied().flat_map(required).collect();
            self.missing(format!("one of {} is missing", list(&keys, "or")));
            return;
        }
        for entry in others {
            self.path.push(Segment::from(&entry.key));
            let kind: Vec<&str> = required(schema).collect();
            let message = format!("`{}` does not go with {}", entry.key, list(&kind, "and"));
            self.push(
                Code::ExclusiveKeys,
                Some(&entry.key_span),
                message,
                Some("take one of them out".to_owned()),
            );
            self.path.pop();
        }
    }

    fn mapping(&mut self, node: &'a Node, entries: &'a [Entry], schema: &'a Json) {
        self.entries(entries.iter(), schema);
        self.required(node, schema);
    }

    fn entries(&mut self, entries: impl Iterator<Item = &'a Entry>, schema: &'a Json) {
        let properties = schema.get("properties").and_then(Json::as_object);
        // A mapping by name has a pattern for its keys and no properties.
        let by_name = if properties.is_none() { schema.get("patternProperties") } else { None };
        let pattern = by_name.and_then(Json::as_object).and_then(|map| map.values().next());
        let others =
            pattern.or_else(|| schema.get("additionalProperties").filter(|schema| schema.is_object()));
        let key_format =
            schema.pointer("/propertyNames/format").and_then(Json::as_str).and_then(format::find);
        let mut names = HashSet::new();
        for entry in entries {
            if self.path.is_empty() && entry.key.starts_with("x-") {
                self.report.unknown.insert(entry.key_span.start);
                continue;
            }
            let property = properties.and_then(|properties| properties.get(&entry.key)).or(others);
            let Some(property) = property else {
                self.unknown_key(entry, schema);
                continue;
            };
            self.path.push(Segment::from(&entry.key));
            if let Some(Err(malformed)) = key_format.map(|format| (format.check)(&entry.key)) {
                self.push(Code::InvalidValue, Some(&entry.key_span), malformed.message, malformed.help);
            }
            // Keys with a format are header names, which ignore case.
            if key_format.is_some() && !names.insert(entry.key.to_ascii_lowercase()) {
                let message = format!("the header `{}` appears twice", entry.key);
                self.push(
                    Code::DuplicateKey,
                    Some(&entry.key_span),
                    message,
                    Some("upper and lower case are the same".to_owned()),
                );
            }
            self.node(&entry.node, property);
            self.path.pop();
        }
    }

    /// Checks the presence of keys: `required`, `oneOf` and `anyOf` of `required`, and pairs that exclude each other.
    fn required(&mut self, node: &Node, schema: &'a Json) {
        let presence =
            self.presence.entry(address(schema)).or_insert_with(|| Rc::new(presence(schema))).clone();
        for key in &presence.required {
            if node.entry(key).is_none() {
                self.missing(format!("the key `{key}` is missing"));
            }
        }
        let one_of = &presence.one_of;
        let present: Vec<&str> = one_of.iter().copied().filter(|key| node.entry(key).is_some()).collect();
        match present.as_slice() {
            [] if !one_of.is_empty() => self.missing(format!("one of {} is missing", list(one_of, "or"))),
            [] | [_] => {}
            [first, others @ ..] => {
                others.iter().for_each(|other| self.exclude(node, [first, other], None));
            }
        }
        let any_of = &presence.any_of;
        if !any_of.is_empty() && any_of.iter().all(|key| node.entry(key).is_none()) {
            self.missing(format!("one of {} is missing", list(any_of, "or")));
        }
        for exclusive in &presence.exclusive {
            if node.entry(exclusive.pair[0]).is_some() {
                self.exclude(node, exclusive.pair, exclusive.help);
            }
        }
    }

    fn exclude(&mut self, node: &Node, [first, second]: [&str; 2], help: Option<&str>) {
        if let Some(entry) = node.entry(second) {
            self.path.push(Segment::from(second));
            let message = format!("`{second}` and `{first}` exclude each other");
            let help = help.unwrap_or("take one of them out");
            self.push(Code::ExclusiveKeys, Some(&entry.key_span), message, Some(help.to_owned()));
            self.path.pop();
        }
    }

    fn missing(&mut self, message: String) {
        // The path leads to the missing key, so that the message names the mapping that lacks it.
        self.path.push(Segment::from(""));
        self.push(Code::MissingKey, None, message, None);
        self.path.pop();
    }

    fn unknown_key(&mut self, entry: &'a Entry, schema: &'a Json) {
        let known = (address(schema), entry.key.as_str());
        let help = match self.advice.get(&known) {
            Some(help) => help.clone(),
            None => {
                let help = self.advise_key(&entry.key, schema);
                self.advice.insert(known, help.clone());
                help
            }
        };
        let message = format!("unknown key `{}`", entry.key);
        let error = self.source.key_error(Code::UnknownKey, &self.path, &entry.key_span, message);
        self.report.errors.push(error.help(help));
        self.report.unknown.insert(entry.key_span.start);
    }

    /// Returns the replacement for an unknown key: a similar one, or the section that it belongs to.
    fn advise_key(&self, key: &str, schema: &Json) -> String {
        if let Some(found) = look_alike::find(key) {
            return found.advice();
        }
        let Some(properties) = schema.get("properties").and_then(Json::as_object) else {
            return "take it out".to_owned();
        };
        let owner = properties.iter().find(|(_, property)| {
            let mut choices = choices(self.schema, property).into_iter();
            choices.any(|choice| choice.get("properties").is_some_and(|keys| keys.get(key).is_some()))
        });
        if let Some((owner, _)) = owner {
            return format!("it belongs in `{owner}`");
        }
        if let Some(similar) = self.similar.find(key, properties.keys().map(String::as_str)) {
            return format!("did you mean `{similar}`?");
        }
        if PLANNED.contains(&key) {
            return "it is planned, and not supported yet".to_owned();
        }
        let keys: Vec<&str> = properties.keys().map(String::as_str).collect();
        format!("the keys here are {}", list(&keys, "and"))
    }

    fn sequence(&mut self, items: &'a [Node], schema: &'a Json) {
        if items.is_empty() && schema.get("minItems").is_some_and(|min| min != 0) {
            self.wrong(
                Code::InvalidValue,
                format!("{} is empty", self.subject()),
                Some("it needs at least one item".to_owned()),
            );
        }
        let maximum = schema.get("maxItems").and_then(Json::as_u64);
        if let Some(maximum) = maximum.filter(|&maximum| items.len() as u64 > maximum) {
            let message = format!("{} has more than {maximum} items", self.subject());
            self.wrong(Code::InvalidValue, message, Some(format!("there are {}", items.len())));
        }
        let Some(item_schema) = schema.get("items") else { return };
        for (index, item) in items.iter().enumerate() {
            self.path.push(Segment::from(index));
            self.node(item, item_schema);
            self.path.pop();
        }
    }

    fn wrong_kind(&mut self, found: &str, choices: &[&Json], help: Option<String>) {
        self.wrong(
            Code::WrongType,
            format!("{} must be {}, not {found}", self.subject(), expected(choices)),
            help,
        );
    }

    /// Returns the name of the current value in messages.
    fn subject(&self) -> String {
        match self.path.last() {
            Some(Segment::Key(key)) => format!("`{key}`"),
            Some(Segment::Index(_)) => "the item".to_owned(),
            None => "the file".to_owned(),
        }
    }

    /// Reports the current value as wrong.
    fn wrong(&mut self, code: Code, message: String, help: Option<String>) {
        self.push(code, None, message, help);
    }

    fn push(&mut self, code: Code, key: Option<&Range<usize>>, message: String, help: Option<String>) {
        let error = match key {
            Some(key) => {
                let around = self.path.split_last().map_or(&[][..], |(_, around)| around);
                self.source.key_error(code, around, key, message)
            }
            None => self.source.error(code, &self.path, message),
        };
        self.report.errors.push(match help {
            Some(help) => error.help(help),
            None => error,
        });
        self.break_here();
    }

    /// Reports a secret that is written out. The error has no excerpt, which would show it.
    fn written_out(&mut self) {
        let message = format!("{} is written out, so it is no secret", self.subject());
        let error = self.source.error(Code::PlainSecret, &self.path, message);
        self.report.errors.push(error.help(secret::ADVICE).without_excerpt());
        self.break_here();
    }

    fn break_here(&mut self) {
        self.report.broken.insert(self.path.iter().take(2).cloned().collect());
    }
}
