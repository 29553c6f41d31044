//! What of a file can be deserialised in spite of its errors, so that errors that only the types show are
//! reported together with those of form.

use std::collections::HashSet;

use serde_yaml::{Mapping, Value as Yaml};

use super::check::Report;
use super::source::{Entry, Node, Value};
use crate::config::values::segment::Segment;

/// What was kept of a file.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// For each listener that was kept, its index in the file.
    pub(crate) listeners: Vec<usize>,
    /// For each route that was kept, its index in the file.
    pub(crate) routes: Vec<usize>,
    /// Whether something was left out of `listeners`, or all of it.
    pub(crate) listeners_broken: bool,
    /// Whether `trusted_proxies` was left out.
    pub(crate) trusted_proxies_broken: bool,
}

/// A file without its unknown keys, and without the listeners, upstreams, filters, routes and other sections in which
/// anything else is wrong. A file without errors is whole.
pub(crate) struct Salvaged<'n> {
    /// All but the routes, which may be many: a tree of them all would fill the caches several times over.
    pub(crate) file: Yaml,
    pub(crate) kept: Kept,
    routes: Vec<&'n Node>,
    unknown: &'n HashSet<usize>,
}

impl Salvaged<'_> {
    /// The routes, one by one.
    pub(crate) fn routes(&self) -> impl Iterator<Item = Yaml> {
        self.routes.iter().map(|route| yaml(route, self.unknown))
    }
}

/// What of a file can be deserialised.
pub(crate) fn salvage<'n>(root: &'n Node, report: &'n Report) -> Salvaged<'n> {
    let broken: HashSet<&[Segment]> =
        report.broken.iter().flat_map(|path| [path.get(..1), path.get(..2)]).flatten().collect();
    let unknown = &report.unknown;
    let mut kept = Kept::default();
    let mut routes = Vec::new();
    let mut file = Mapping::new();
    // Both are required; where they are missing or no lists, the check has said so.
    for list in ["listeners", "routes"] {
        file.insert(list.into(), Yaml::Sequence(Vec::new()));
    }
    for entry in known_entries(root, unknown) {
        let key = entry.key.as_str();
        let is_broken = broken.contains([Segment::from(key)].as_slice());
        let value = match (key, &entry.node.value) {
            ("listeners" | "routes", Value::Sequence(items)) => {
                let is_whole =
                    |index: &usize| !broken.contains([Segment::from(key), Segment::from(*index)].as_slice());
                let indices: Vec<usize> = (0..items.len()).filter(is_whole).collect();
                let whole = indices.iter().filter_map(|index| items.get(*index));
                if key == "routes" {
                    routes = whole.collect();
                    kept.routes = indices;
                    continue;
                }
                let listeners = whole.map(|item| yaml(item, unknown)).collect();
                kept.listeners = indices;
                Yaml::Sequence(listeners)
            }
            ("filters" | "upstreams", Value::Mapping(named)) => {
                let is_whole =
                    |one: &&Entry| !broken.contains([Segment::from(key), Segment::from(&one.key)].as_slice());
                mapping(named.iter().filter(is_whole), unknown)
            }
            _ if is_broken => continue,
            _ => yaml(&entry.node, unknown),
        };
        file.insert(key.into(), value);
    }
    kept.listeners_broken = broken.contains([Segment::from("listeners")].as_slice());
    kept.trusted_proxies_broken = broken.contains([Segment::from("trusted_proxies")].as_slice());
    Salvaged { file: Yaml::Mapping(file), kept, routes, unknown }
}

/// The entries of a mapping that are no unknown keys.
fn known_entries<'n>(node: &'n Node, unknown: &HashSet<usize>) -> impl Iterator<Item = &'n Entry> {
    let entries = match &node.value {
        Value::Mapping(entries) => entries,
        _ => &[][..],
    };
    entries.iter().filter(|entry| !unknown.contains(&entry.key_span.start))
}

fn mapping<'n>(entries: impl Iterator<Item = &'n Entry>, unknown: &HashSet<usize>) -> Yaml {
    Yaml::Mapping(entries.map(|entry| (entry.key.as_str().into(), yaml(&entry.node, unknown))).collect())
}

/// A value as the deserialiser takes it, without unknown keys.
fn yaml(node: &Node, unknown: &HashSet<usize>) -> Yaml {
    match &node.value {
        Value::Null | Value::Unknown => Yaml::Null,
        Value::Bool(bool) => Yaml::Bool(*bool),
        // The check lets no integer through that is not in the bounds of one of these.
        Value::Integer(integer) => match i64::try_from(*integer) {
            Ok(integer) => integer.into(),
            Err(_) => u64::try_from(*integer).map_or(Yaml::Null, Into::into),
        },
        // Nor a float, but where anything may stand. There, `.inf` and `.nan` are texts, since JSON has no such numbers.
        Value::Float(text) => text.parse::<f64>().map_or_else(|_| text.as_str().into(), Into::into),
        Value::String(text) => Yaml::String(text.clone()),
        Value::Sequence(items) => Yaml::Sequence(items.iter().map(|item| yaml(item, unknown)).collect()),
        Value::Mapping(_) => mapping(known_entries(node, unknown), unknown),
    }
}
