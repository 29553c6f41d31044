//! Files that are generated from the schema: one for each of its scalars, and random ones.

use std::collections::HashSet;

use serde_json::Value as Json;

use super::scalars::SCALARS;
use crate::config::load::keyword::{choices, is_anything, is_word, presence, string, words};
use crate::config::load::schema::rules;

/// A file before it is written.
#[derive(Clone, Debug)]
pub(super) enum Yaml {
    /// A scalar, or a collection in flow style.
    Scalar(String),
    Mapping(Vec<(String, Yaml)>),
    Sequence(Vec<Yaml>),
}

impl Yaml {
    /// Writes the value in block style, in which `${…}` needs no quotes.
    fn write(&self, indent: usize, text: &mut String) {
        let margin = " ".repeat(indent);
        match self {
            Self::Scalar(scalar) => text.push_str(&format!(" {scalar}\n")),
            Self::Mapping(entries) if entries.is_empty() => text.push_str(" {}\n"),
            Self::Sequence(items) if items.is_empty() => text.push_str(" []\n"),
            Self::Mapping(entries) => {
                text.push('\n');
                for (key, value) in entries {
                    text.push_str(&format!("{margin}{key}:"));
                    value.write(indent + 1, text);
                }
            }
            Self::Sequence(items) => {
                text.push('\n');
                for item in items {
                    text.push_str(&format!("{margin}-"));
                    item.write(indent + 1, text);
                }
            }
        }
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        self.write(0, &mut text);
        text
    }

    /// Returns the file with a scalar in place of the mark.
    pub(super) fn with(&self, scalar: &str) -> Self {
        match self {
            Self::Scalar(text) if text == MARK => Self::Scalar(scalar.to_owned()),
            Self::Scalar(_) => self.clone(),
            Self::Mapping(entries) => {
                let entries = entries.iter().map(|(key, value)| (key.clone(), value.with(scalar)));
                Self::Mapping(entries.collect())
            }
            Self::Sequence(items) => Self::Sequence(items.iter().map(|item| item.with(scalar)).collect()),
        }
    }
}

/// The scalar that [`Yaml::with`] replaces.
pub(super) const MARK: &str = "MARK";

/// A generator of files from bytes that proptest shrinks. Each byte decides one thing.
pub(super) struct Writer<'a> {
    decisions: std::slice::Iter<'a, u8>,
    count: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(decisions: &'a [u8]) -> Self {
        Self { decisions: decisions.iter(), count: 0 }
    }

    /// Returns a decision between so many; the first if there are no decisions left.
    fn decide(&mut self, between: usize) -> usize {
        self.decisions.next().map_or(0, |byte| usize::from(*byte) % between)
    }

    pub(super) fn value(&mut self, key: &str, schema: &Json, depth: usize) -> Yaml {
        if self.decide(40) == 1 {
            return Yaml::Scalar(SCALARS[self.decide(SCALARS.len().min(256))].to_owned());
        }
        let choices = choices(rules(), schema);
        let choice = choices[self.decide(choices.len())];
        match string(choice, "type") {
            Some("object") => self.object(key, choice, depth),
            Some("array") => {
                let length = 1 + self.decide(2);
                Yaml::Sequence((0..length).map(|_| self.value(key, &choice["items"], depth + 1)).collect())
            }
            _ => Yaml::Scalar(self.scalar(key, choice)),
        }
    }

    fn object(&mut self, key: &str, schema: &Json, depth: usize) -> Yaml {
        let Some(properties) = schema["properties"].as_object() else {
            let values = schema["patternProperties"].as_object().and_then(|map| map.values().next());
            let name = match key {
                "upstreams" => "users",
                "filters" => "redact",
                "env" => "A",
                _ => ["x-a", "X-B", "'a b'", "''"][self.decide(20).min(3)],
            };
            let value = self.value(name, values.unwrap_or(&schema["additionalProperties"]), depth + 1);
            return Yaml::Mapping(vec![(name.to_owned(), value)]);
        };
        let presence = presence(schema);
        let one_of = presence.one_of.get(self.decide(presence.one_of.len().max(1))).copied();
        let any_of = presence.any_of.get(self.decide(presence.any_of.len().max(1))).copied();
        let mut entries = Vec::new();
        for (name, property) in properties {
            let is_needed =
                presence.required.contains(&name.as_str()) || one_of == Some(name) || any_of == Some(name);
            let is_present = match self.decide(60) {
                1 => !is_needed,
                _ if presence.one_of.contains(&name.as_str()) => is_needed,
                number => is_needed || number % 8 == 2,
            };
            if is_present {
                entries.push((name.clone(), self.value(name, property, depth + 1)));
            }
        }
        if self.decide(60) == 1 {
            let unknown = ["nonsense", "x-nonsense", "Name", "''", "timeouts"][self.decide(5)];
            entries.push((unknown.to_owned(), Yaml::Scalar("1".to_owned())));
        }
        Yaml::Mapping(entries)
    }

    /// Returns a scalar that is valid more often than not.
    fn scalar(&mut self, key: &str, schema: &Json) -> String {
        self.count += 1;
        if let [word, ..] = words(&[schema]).as_slice() {
            return format!("'{word}'");
        }
        if let Some(numbers) = schema["enum"].as_array() {
            return numbers[self.decide(numbers.len())].to_string();
        }
        match string(schema, "type") {
            Some("number") => return ["0.5", "0", "1", "1.5", "-0.1"][self.decide(10).min(4)].to_owned(),
            Some("boolean") => return ["true", "false"][self.decide(2)].to_owned(),
            Some("integer") => {
                let minimum = schema["minimum"].as_i64().unwrap_or(0);
                let maximum = schema["maximum"].as_i64().unwrap_or(i64::from(u32::MAX));
                let number =
                    [minimum, minimum + 1, maximum, minimum - 1, maximum + 1][self.decide(10).min(4)];
                return number.to_string();
            }
            _ => {}
        }
        let good: &[&str] = match string(schema, "format").unwrap_or(key) {
            "byte-size" => &["64KiB", "1MiB", "4GiB"],
            "duration" => &["30s", "1h30m", "1d", "500ms"],
            "dns-server" => &["10.0.0.2", "127.0.0.1:5353"],
            "domain-name" => &["svc.cluster.local", "a."],
            "endpoint-url" => &["http://a", "https://[::1]:8443", "http://a/v2/", "unix:/run/a"],
            "header-template" => &["'a{host}'", "'{{'"],
            "header-value" | "value-match" => &["text", "'1'"],
            "host-header" => &["preserve", "a.example:80"],
            "host-pattern" => &["a.example", "'*.example'"],
            "log-output" | "wasm-cache" => &["logs/a.log"],
            "log-condition" => &["errors", "'slow>1s'", "'status>=400'"],
            "log-field" => {
                let own = crate::config::OwnField::ALL;
                return own[self.count % own.len()].name().to_owned();
            }
            "log-tag" => &["gateway"],
            "method" => &["GET", "PURGE"],
            "peer-network" => &["10.0.0.0/8", "'::1'", "unix"],
            "path" => &["/a", "/"],
            "path-template" => &["'/{id}'", "/a"],
            "rewrite-template" => &["'/{id}/{query.v}'", "/a"],
            "redirect-target" => &["/a", "https://a/b?c"],
            "resolve" => &["auto", "30s"],
            "srv-name" => &["_http._tcp.a", "https://_a._tcp.b/v2"],
            "server-name" => &["a.example"],
            "san-pattern" => &["*.internal", "spiffe://example.org/ns/*", "10.0.0.1"],
            "distinguished-name" => &["worker", "CN=worker, O=Example"],
            "realm" => &["gateway"],
            "parameter-name" => &["api_key"],
            "origin-pattern" => {
                &["*", "https://app.example.com", "https://*.example.com:8443", "regex:https://[a-z]+"]
            }
            "rate" => &["100/s", "5/d"],
            "limit-by" => &["client_ip", "header:x-a"],
            "hedge-after" => &["p95", "50ms"],
            "file-mode" => &["'0660'"],
            "listener-address" if self.count.is_multiple_of(5) => return format!("unix:/run/{}", self.count),
            "socket-address" | "listener-address" => return format!("127.0.0.1:{}", 1000 + self.count),
            "issuer-url" => &["https://id.example.com", "http://a/b"],
            "secret" => &["file:a.secret", "'${SECRET:-0123456789abcdef0123456789abcdef}'"],
            "key-source" => &["keys.json", "https://issuer.example/keys"],
            "token-place" => &["bearer", "cookie:session"],
            "hash-key" => &["client_ip", "header:x-user"],
            "upgrade-protocol" => &["websocket", "a/b"],
            "name" => return format!("n{}", self.count),
            "upstream" | "to" => &["users"],
            "cookie-name" => &["session"],
            "filters" | "use" => &["redact"],
            "listeners" => &["web"],
            _ => &["text", "'1'"],
        };
        good[self.decide(good.len())].to_owned()
    }
}

/// The parts of the schema that have files already.
#[derive(Default)]
pub(super) struct Seen {
    mappings: HashSet<usize>,
    scalars: HashSet<String>,
}

/// Returns files with all required keys and one more key each, down to a scalar that is [`MARK`]. Each scalar of the
/// schema is in one of them. The flag is true for the first scalar with its schema.
pub(super) fn files(key: &str, schema: &Json, seen: &mut Seen) -> Vec<(Yaml, bool)> {
    let mut found = Vec::new();
    let choices = choices(rules(), schema);
    if choices
        .iter()
        .any(|choice| is_word(choice) || is_anything(choice) || string(choice, "type") != Some("object"))
    {
        let bare = choices.iter().map(|choice| {
            let mut choice = (*choice).clone();
            if let Some(choice) = choice.as_object_mut() {
                choice.retain(|key, _| !["description", "default"].contains(&key.as_str()));
            }
            choice.to_string()
        });
        let is_first = seen.scalars.insert(bare.collect());
        found.push((Yaml::Scalar(MARK.to_owned()), is_first));
    }
    for choice in choices {
        match string(choice, "type") {
            Some("array") => {
                let items = files(key, &choice["items"], seen);
                found
                    .extend(items.into_iter().map(|(item, is_first)| (Yaml::Sequence(vec![item]), is_first)));
            }
            Some("object") if seen.mappings.insert(std::ptr::from_ref(choice).addr()) => {
                let mut least = Writer::new(&[]);
                let Yaml::Mapping(least) = least.object(key, choice, 0) else { continue };
                let Some(properties) = choice["properties"].as_object() else {
                    let values = choice["patternProperties"].as_object().and_then(|map| map.values().next());
                    let (name, _) = &least[0];
                    let values = files(name, values.unwrap_or(&choice["additionalProperties"]), seen);
                    let files = values
                        .into_iter()
                        .map(|(value, is_first)| (Yaml::Mapping(vec![(name.clone(), value)]), is_first));
                    found.extend(files);
                    continue;
                };
                let presence = presence(choice);
                for (name, property) in properties {
                    let others = least.iter().filter(|(other, _)| {
                        let is_other = [&presence.one_of, &presence.any_of]
                            .iter()
                            .any(|keys| keys.contains(&name.as_str()) && keys.contains(&other.as_str()));
                        other != name && !is_other
                    });
                    let others: Vec<_> = others.cloned().collect();
                    for (value, is_first) in files(name, property, seen) {
                        let entries = others.iter().cloned().chain([(name.clone(), value)]);
                        found.push((Yaml::Mapping(entries.collect()), is_first));
                    }
                }
            }
            _ => {}
        }
    }
    found
}

/// Adds the targets of the references in generated files.
pub(super) fn with_references(file: Yaml) -> Yaml {
    let Yaml::Mapping(mut entries) = file else { return file };
    for (key, name, value) in
        [("upstreams", "users", ("url", "http://a")), ("filters", "redact", ("wasm", "a.wasm"))]
    {
        if !entries.iter().any(|(entry, _)| entry == key) {
            let value = Yaml::Mapping(vec![(value.0.to_owned(), Yaml::Scalar(value.1.to_owned()))]);
            entries.push((key.to_owned(), Yaml::Mapping(vec![(name.to_owned(), value)])));
        }
    }
    Yaml::Mapping(entries)
}
