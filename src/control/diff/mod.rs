//! The changes from one configuration to another: for the log, for the admin listener, and for `gateway check --diff`.

mod keys;

use std::collections::HashMap;
use std::fmt::{self, Display};
use std::hash::Hash;
use std::path::Path;

pub(crate) use keys::differing_keys;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::load::files::Fingerprint;
use crate::config::values::printable::printable;
use crate::config::{Config, Route, RouteSettings};

/// The number of names of each kind that a log line shows; the rest is a number.
const NAMED_MAX: usize = 5;

/// The changes by kind. Names are those of logs and metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Changes {
    pub(crate) listeners: Section,
    pub(crate) routes: Section,
    /// Named filters, as in the file.
    pub(crate) filters: Section,
    /// Pools of upstream connections, by route or upstream, and endpoint.
    pub(crate) pools: Section,
    /// Keys of the file outside of these sections, such as `trusted_proxies`.
    pub(crate) settings: Vec<String>,
}

/// The changes of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Section {
    /// The names of new entries.
    pub(crate) added: Vec<String>,
    /// Entries that continue with other settings.
    pub(crate) changed: Vec<Change>,
    /// The names of removed entries, which finish the requests that they have begun.
    pub(crate) drained: Vec<String>,
    /// The number of unchanged entries.
    pub(crate) kept: usize,
}

/// An entry that continues with other settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Change {
    /// The name in logs and metrics.
    pub(crate) name: String,
    /// The paths below it of the keys that differ.
    pub(crate) keys: Vec<String>,
}

impl Changes {
    fn sections(&self) -> impl Iterator<Item = (&'static str, &Section)> {
        let sections = [
            ("listeners", &self.listeners),
            ("routes", &self.routes),
            ("filters", &self.filters),
            ("pools", &self.pools),
        ];
        // Leave the filters section out when there are no filters.
        sections.into_iter().filter(|(title, section)| *title != "filters" || **section != Section::default())
    }

    /// Returns the changes with a line each, for people.
    pub(crate) fn listed(&self) -> String {
        let mut text = String::new();
        for (title, section) in self.sections() {
            text.push_str(&format!("{title}\n"));
            let added = section.added.iter().map(|name| format!("  + {}\n", printable(name)));
            let changed = section.changed.iter().map(|change| format!("  ~ {change}\n"));
            let drained = section.drained.iter().map(|name| format!("  - {} (drained)\n", printable(name)));
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

/// Writes one line, with as many names as are readable there.
impl Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = Vec::new();
        for (title, section) in self.sections().filter(|(_, section)| !section.is_empty()) {
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
    let shown: Vec<_> = names.iter().take(NAMED_MAX).map(|name| printable(name)).collect();
    let more = names.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 { format!(", {more} more") } else { String::new() };
    Some(format!("{sign}{} ({}{more})", names.len(), shown.join(", ")))
}

impl Section {
    fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.drained.is_empty()
    }

    /// Compares two lists of `(identity, name, value)`. `differing` returns the keys in which two values of the same
    /// identity differ.
    pub(crate) fn between<K: Eq + Hash, T>(
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
        // Removed entries are in the order of the file.
        let gone = before.iter().filter(|(key, ..)| unmatched.contains_key(key));
        section.drained = gone.map(|(_, name, _)| name.clone()).collect();
        section
    }
}

impl Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", printable(&self.name), printable(&self.keys.join(", ")))
    }
}

/// The contents of the files of two configurations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contents<'a> {
    /// The files that were read for the active configuration.
    pub(crate) before: &'a Fingerprint,
    /// The files that were read for the next configuration.
    pub(crate) after: &'a Fingerprint,
}

impl Contents<'_> {
    /// Returns true if a file that both have read has another content. Different paths are differences of their keys.
    fn differ(self, path: &Path) -> bool {
        let marks = self.before.mark(path).zip(self.after.mark(path));
        marks.is_some_and(|(before, after)| before != after)
    }
}

/// Returns the changes of the routes.
pub(crate) fn routes(before: &Config, after: &Config, contents: Contents<'_>) -> Section {
    let before_routes = before.routes.iter().map(|route| (route.name(), route.name(), route));
    let after_routes = after.routes.iter().map(|route| (route.name(), route.name(), route));
    let same_heritage = before.defaults == after.defaults && before.upstreams == after.upstreams;
    Section::between(before_routes, after_routes, |was, is| {
        if was != is {
            return differing_keys(was, is);
        }
        // Inherited settings may change while the route itself is the same.
        if !same_heritage && !inherit_the_same((before, was), (after, is)) {
            return vec!["inherited settings".to_owned()];
        }
        let has_new_module = after.inline_modules(is).any(|path| contents.differ(path));
        if has_new_module { vec!["filters (content of their files)".to_owned()] } else { vec![] }
    })
}

/// Returns true if two routes inherit the same settings. Named filters are ignored: their changes are reported once,
/// and not for each route that uses them.
fn inherit_the_same((before, was): (&Config, &Route), (after, is): (&Config, &Route)) -> bool {
    let settings = |config: &Config, route: &Route| -> Vec<RouteSettings> {
        let upstreams = config.upstreams_of(route).skip(1);
        let others = upstreams.map(|upstream| config.settings_towards(Some(upstream), route));
        std::iter::once(config.settings_of(route)).chain(others).collect()
    };
    settings(before, was) == settings(after, is) && before.filters_written(was) == after.filters_written(is)
}

/// Returns the changes of the named filters.
pub(crate) fn filters(before: &Config, after: &Config, contents: Contents<'_>) -> Section {
    let before_filters = before.filters.iter().map(|(name, filter)| (name, name.clone(), filter));
    let after_filters = after.filters.iter().map(|(name, filter)| (name, name.clone(), filter));
    Section::between(before_filters, after_filters, |was, is| {
        let mut keys = differing_keys(was, is);
        // The keys below `config` are the plugin's own and may be secret, as in a mapping from API keys to owners.
        for key in &mut keys {
            if key.starts_with("config.") {
                "config".clone_into(key);
            }
        }
        keys.dedup();
        if was.wasm == is.wasm && contents.differ(&is.wasm) {
            keys.push("wasm (content of its file)".to_owned());
        }
        keys
    })
}

/// Returns the keys that differ outside of listeners, routes, filters and upstreams.
pub(crate) fn settings(before: &Config, after: &Config) -> Vec<String> {
    // Without `..`, so that a new key cannot be forgotten. Listeners, routes, filters and upstreams have their own sections,
    // `defaults` shows in routes, and `workers` cannot change.
    let Config {
        listeners: _,
        trusted_proxies,
        workers: _,
        defaults: _,
        upstreams: _,
        dns,
        auth,
        filters: _,
        wasm,
        retry,
        routes: _,
        stores,
        admin,
        telemetry,
        shutdown,
    } = before;
    let differs = [
        ("trusted_proxies", *trusted_proxies != after.trusted_proxies),
        ("auth", *auth != after.auth),
        ("dns", *dns != after.dns),
        ("wasm", *wasm != after.wasm),
        ("retry", *retry != after.retry),
        ("stores", *stores != after.stores),
        ("admin", *admin != after.admin),
        ("telemetry", *telemetry != after.telemetry),
        ("shutdown", *shutdown != after.shutdown),
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
    fn section_separates_added_changed_removed_and_kept_entries() {
        let section = section(&[("a", 1), ("b", 1), ("c", 1), ("d", 1)], &[("e", 1), ("b", 2), ("d", 1)]);
        assert_eq!(section.added, ["e"]);
        assert_eq!(section.changed, [Change { name: "b".to_owned(), keys: vec!["1 → 2".to_owned()] }]);
        assert_eq!(section.drained, ["a", "c"]);
        assert_eq!(section.kept, 1);
    }

    fn config(filters: &str, routes: &str) -> Config {
        let text = format!(
            "listeners: [{{ address: 127.0.0.1:80 }}]\nfilters: {{ {filters} }}\nroutes: [{routes}]\n{DEFAULTS}"
        );
        crate::config::parse(&text, "gateway.yaml", "".as_ref()).unwrap().config
    }

    const DEFAULTS: &str = "defaults: { filters: [a] }";

    /// Returns the fingerprint of files with these contents.
    fn contents(files: &[(&str, &str)]) -> Fingerprint {
        let load = crate::config::load::files::Files::new();
        files.iter().for_each(|(path, content)| load.give(Path::new(path), content.as_bytes()));
        load.fingerprint()
    }

    #[test]
    fn diff_of_settings_names_each_key_that_has_no_section() {
        let named = "a: { wasm: a }";
        let before = config(named, "{ respond: {} }");
        for (key, value) in [
            ("trusted_proxies", "[10.0.0.0/8]"),
            ("auth", "{ a: { api_key: { header: x-key, keys: a } } }"),
            ("dns", "{ ndots: 2 }"),
            ("wasm", "{ cache: off }"),
            ("retry", "{ keep_body_total: 1MiB }"),
            ("admin", "{ address: 127.0.0.1:9901 }"),
            ("telemetry", "{ access_log: off }"),
            ("shutdown", "{ drain: 1s }"),
        ] {
            let after = config(named, &format!("{{ respond: {{}} }}]\n{key}: {value}\n# ["));
            assert_eq!(settings(&before, &after), [key]);
        }
    }

    fn changed(section: &Section) -> Vec<String> {
        section.changed.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn diff_of_a_filter_names_its_keys_and_hides_its_configuration() {
        let before = config(
            "a: { wasm: a }, b: { wasm: b, config: { key-1: x, key-2: y } }, c: { wasm: c }",
            "{ respond: {} }",
        );
        let after = config(
            "a: { wasm: a }, b: { wasm: b, config: { key-2: z, key-3: y }, limits: { time: 1s } }, d: { wasm: d }",
            "{ respond: {} }",
        );
        let none = Fingerprint::default();
        let filters = filters(&before, &after, Contents { before: &none, after: &none });
        assert_eq!(
            (&*filters.added, &*filters.drained, filters.kept),
            (&["d".to_owned()][..], &["c".to_owned()][..], 1)
        );
        assert_eq!(changed(&filters), ["b: config, limits.time"]);
    }

    #[test]
    fn new_module_content_changes_the_filters_and_routes_that_name_its_file() {
        let config = config(
            "a: { wasm: a.wasm }, b: { wasm: b.wasm }",
            "{ name: inline, filters: [{ wasm: c.wasm }], respond: {} }, { name: named, filters: [a], respond: {} }",
        );
        let before = contents(&[("a.wasm", "1"), ("b.wasm", "1"), ("c.wasm", "1")]);
        for (after, of_filters, of_routes) in [
            (contents(&[("a.wasm", "1"), ("b.wasm", "1"), ("c.wasm", "1")]), &[][..], &[][..]),
            (contents(&[("a.wasm", "2"), ("c.wasm", "1")]), &["a: wasm (content of its file)"], &[]),
            (
                contents(&[("a.wasm", "1"), ("c.wasm", "2")]),
                &[],
                &["inline: filters (content of their files)"],
            ),
        ] {
            let contents = Contents { before: &before, after: &after };
            assert_eq!(changed(&filters(&config, &config, contents)), of_filters);
            assert_eq!(changed(&routes(&config, &config, contents)), of_routes);
        }
    }

    #[test]
    fn diff_of_a_route_shows_changed_filters_own_or_inherited() {
        let named = "a: { wasm: a }, b: { wasm: b }";
        let routes_of = "{ name: own, filters: [b], respond: {} }, { name: inherits, respond: {} }";
        let before = config(named, routes_of);
        let none = Fingerprint::default();
        let shown =
            |after: &Config| changed(&routes(&before, after, Contents { before: &none, after: &none }));
        assert_eq!(shown(&config(named, &routes_of.replace("[b]", "[b, a]"))), ["own: filters"]);
        let mut other_defaults = before.clone();
        other_defaults.defaults.filters = None;
        assert_eq!(shown(&other_defaults), ["inherits: inherited settings"]);
        // The change is reported once, for the filter.
        assert!(shown(&config("a: { wasm: a, on_error: open }, b: { wasm: b }", routes_of)).is_empty());
    }

    #[test]
    fn diff_omits_filters_when_none_are_configured() {
        let mut changes = Changes::default();
        assert!(!changes.listed().contains("filters"));
        changes.filters.kept = 1;
        assert!(changes.listed().contains("filters\n  = 1 kept\n"));
        assert_eq!(changes.to_string(), "nothing");
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
