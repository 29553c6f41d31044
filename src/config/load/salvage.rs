//! The part of a file that can be deserialised in spite of its errors. This way, errors that only the types find are
//! reported together with errors of form.

use std::collections::HashSet;

use serde_yaml::{Mapping, Value as Yaml};

use super::check::Report;
use super::source::{Entry, Node, Value};
use crate::config::values::segment::Segment;

/// The parts of a file that were kept.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// The indices in the file of the listeners that were kept.
    pub(crate) listeners: Vec<usize>,
    /// The indices in the file of the routes that were kept.
    pub(crate) routes: Vec<usize>,
    /// True if some or all of `listeners` was left out.
    pub(crate) listeners_broken: bool,
    /// True if `defaults` was left out.
    pub(crate) defaults_broken: bool,
    /// True if `trusted_proxies` was left out.
    pub(crate) trusted_proxies_broken: bool,
}

/// A file without its unknown keys, and without the listeners, upstreams, filters, routes and other sections that have
/// another error. A file without errors is complete.
pub(crate) struct Salvaged<'n> {
    /// Everything except the routes, which may be many: a tree of all of them would fill the caches several times over.
    pub(crate) file: Yaml,
    pub(crate) kept: Kept,
    routes: Vec<&'n Node>,
    unknown: &'n HashSet<usize>,
}

impl Salvaged<'_> {
    /// Returns the routes, one by one.
    pub(crate) fn routes(&self) -> impl Iterator<Item = Yaml> {
        self.routes.iter().map(|route| yaml(route, self.unknown))
    }
}

/// Returns the part of a file that can be deserialised.
pub(crate) fn salvage<'n>(root: &'n Node, report: &'n Report) -> Salvaged<'n> {
    let broken: HashSet<&[Segment]> =
        report.broken.iter().flat_map(|path| [path.get(..1), path.get(..2)]).flatten().collect();
    let unknown = &report.unknown;
    let mut kept = Kept::default();
    let mut routes = Vec::new();
    let mut file = Mapping::new();
    // Both are required. If they are missing or not lists, the check has reported it.
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
    kept.defaults_broken = broken.contains([Segment::from("defaults")].as_slice());
    kept.trusted_proxies_broken = broken.contains([Segment::from("trusted_proxies")].as_slice());
    Salvaged { file: Yaml::Mapping(file), kept, routes, unknown }
}

/// Returns the entries of a mapping except those with unknown keys.
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

/// Returns a value for the deserialiser, without unknown keys.
fn yaml(node: &Node, unknown: &HashSet<usize>) -> Yaml {
    match &node.value {
        Value::Null | Value::Unknown => Yaml::Null,
        Value::Bool(bool) => Yaml::Bool(*bool),
        // The check rejects every integer that fits neither of these.
        Value::Integer(integer) => match i64::try_from(*integer) {
            Ok(integer) => integer.into(),
            Err(_) => u64::try_from(*integer).map_or(Yaml::Null, Into::into),
        },
        // The check rejects floats too, except for fractions, and where any value is permitted. There, `.inf` and `.nan` are texts, since
        // JSON has no such numbers.
        Value::Float(text) => text.parse::<f64>().map_or_else(|_| text.as_str().into(), Into::into),
        Value::String(text) => Yaml::String(text.clone()),
        Value::Sequence(items) => Yaml::Sequence(items.iter().map(|item| yaml(item, unknown)).collect()),
        Value::Mapping(_) => mapping(known_entries(node, unknown), unknown),
    }
}
