//! What one configuration changes against another: for the log, for the admin listener, and for `gateway check --diff`.

mod keys;

use std::collections::HashMap;
use std::fmt::{self, Display};
use std::hash::Hash;

use serde::Serialize;

use crate::config::Config;

pub use keys::differing_keys;

/// Names that a line of the log shows of each kind; more of them are a number.
const NAMED_MAX: usize = 5;

/// What differs, by what it concerns. Names are those that logs and metrics show.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// Addresses that accept connections.
    pub listeners: Section,
    /// Routes, by name.
    pub routes: Section,
    /// Pools of upstream connections, by route or upstream, and endpoint.
    pub pools: Section,
    /// Keys of the file that belong to none of these, such as `trusted_proxies`.
    pub settings: Vec<String>,
}

/// What differs of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Section {
    /// New ones.
    pub added: Vec<String>,
    /// Those that go on with other settings.
    pub changed: Vec<Change>,
    /// Those that are no more: they end what they have begun.
    pub drained: Vec<String>,
    /// How many are as they were.
    pub kept: usize,
}

/// Something that goes on with other settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Its name.
    pub name: String,
    /// The keys that differ, as paths below it.
    pub keys: Vec<String>,
}

impl Changes {
    fn sections(&self) -> [(&'static str, &Section); 3] {
        [("listeners", &self.listeners), ("routes", &self.routes), ("pools", &self.pools)]
    }

    /// All of it, a line each, for people.
    #[must_use]
    pub fn listed(&self) -> String {
        let mut text = String::new();
        for (title, section) in self.sections() {
            text.push_str(&format!("{title}\n"));
            let added = section.added.iter().map(|name| format!("  + {name}\n"));
            let changed = section.changed.iter().map(|change| format!("  ~ {change}\n"));
            let drained = section.drained.iter().map(|name| format!("  - {name} (drained)\n"));
            text.extend(added.chain(changed).chain(drained));
            text.push_str(&format!("  = {} kept\n", section.kept));
        }
        if !self.settings.is_empty() {
            text.push_str("settings\n");
            text.extend(self.settings.iter().map(|key| format!("  ~ {key}\n")));
        }
        text
    }
}

/// One line, with as many names as one can read there.
impl Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = Vec::new();
        for (title, section) in self.sections().into_iter().filter(|(_, section)| !section.is_empty()) {
            let changed: Vec<String> = section.changed.iter().map(ToString::to_string).collect();
            let kinds = [('+', &section.added), ('~', &changed), ('-', &section.drained)];
            let named: Vec<String> =
                kinds.into_iter().filter_map(|(sign, names)| named(sign, names)).collect();
            parts.push(format!("{title} {} ={}", named.join(" "), section.kept));
        }
        if !self.settings.is_empty() {
            parts.push(format!("settings {}", self.settings.join(" ")));
        }
        if parts.is_empty() { f.write_str("nothing") } else { f.write_str(&parts.join("; ")) }
    }
}

fn named(sign: char, names: &[String]) -> Option<String> {
    if names.is_empty() {
        return None;
    }
    let shown: Vec<&str> = names.iter().take(NAMED_MAX).map(String::as_str).collect();
    let more = names.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 { format!(", {more} more") } else { String::new() };
    Some(format!("{sign}{} ({}{more})", names.len(), shown.join(", ")))
}

impl Section {
    fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.drained.is_empty()
    }

    /// Compares what was with what is to be, both as `(identity, name, …)`: `differing` answers the keys in which two
    /// of the same identity differ.
    pub fn between<K: Eq + Hash, T>(
        before: impl IntoIterator<Item = (K, String, T)>,
        after: impl IntoIterator<Item = (K, String, T)>,
        differing: impl Fn(&T, &T) -> Vec<String>,
    ) -> Self {
        let before: Vec<(K, String, T)> = before.into_iter().collect();
        let mut unmatched: HashMap<&K, (&String, &T)> =
            before.iter().map(|(key, name, value)| (key, (name, value))).collect();
        let mut section = Self::default();
        for (key, name, value) in after {
            match unmatched.remove(&key) {
                None => section.added.push(name),
                Some((_, was)) => {
                    let keys = differing(was, &value);
                    if keys.is_empty() {
                        section.kept += 1;
                    } else {
                        section.changed.push(Change { name, keys });
                    }
                }
            }
        }
        // In the order of the file.
        let gone = before.iter().filter(|(key, ..)| unmatched.contains_key(key));
        section.drained = gone.map(|(_, name, _)| name.clone()).collect();
        section
    }
}

impl Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.keys.join(", "))
    }
}

/// The routes of two configurations.
#[must_use]
pub fn routes(before: &Config, after: &Config) -> Section {
    let before_routes = before.routes.iter().map(|route| (route.name(), route.name(), route));
    let after_routes = after.routes.iter().map(|route| (route.name(), route.name(), route));
    let same_heritage = before.defaults == after.defaults && before.upstreams == after.upstreams;
    Section::between(before_routes, after_routes, |was, is| {
        if was != is {
            return differing_keys(was, is);
        }
        // What a route inherits may change while it says the same.
        let inherits_the_same = same_heritage || before.settings_of(was) == after.settings_of(is);
        if inherits_the_same { vec![] } else { vec!["inherited settings".to_owned()] }
    })
}

/// The keys of two configurations that are neither listeners nor routes nor upstreams.
#[must_use]
pub fn settings(before: &Config, after: &Config) -> Vec<String> {
    let differs = [
        ("trusted_proxies", before.trusted_proxies != after.trusted_proxies),
        ("admin", before.admin != after.admin),
        ("telemetry", before.telemetry != after.telemetry),
        ("shutdown", before.shutdown != after.shutdown),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(before: &[(&str, u32)], after: &[(&str, u32)]) -> Section {
        let of = |list: &[(&str, u32)]| -> Vec<(String, String, u32)> {
            list.iter().map(|(name, value)| ((*name).to_owned(), (*name).to_owned(), *value)).collect()
        };
        Section::between(of(before), of(after), |was, is| {
            if was == is { vec![] } else { vec![format!("{was} → {is}")] }
        })
    }

    #[test]
    fn what_is_new_what_differs_what_is_gone_and_what_is_the_same_are_told_apart() {
        let section = section(&[("a", 1), ("b", 1), ("c", 1), ("d", 1)], &[("e", 1), ("b", 2), ("d", 1)]);
        assert_eq!(section.added, ["e"]);
        assert_eq!(section.changed, [Change { name: "b".to_owned(), keys: vec!["1 → 2".to_owned()] }]);
        assert_eq!(section.drained, ["a", "c"]);
        assert_eq!(section.kept, 1);
    }

    #[test]
    fn a_line_of_the_log_shows_a_few_names_and_how_many_more() {
        let names: Vec<String> = (0..8).map(|number| format!("r{number}")).collect();
        let after: Vec<(&str, u32)> = names.iter().map(|name| (name.as_str(), 1)).collect();
        let changes = Changes {
            routes: section(&[("old", 1)], &after),
            settings: vec!["trusted_proxies".to_owned()],
            ..Changes::default()
        };
        assert_eq!(
            changes.to_string(),
            "routes +8 (r0, r1, r2, r3, r4, 3 more) -1 (old) =0; settings trusted_proxies"
        );
        assert_eq!(changes.listed().lines().filter(|line| line.starts_with("  + ")).count(), 8);
        assert_eq!(Changes::default().to_string(), "nothing");
    }
}
