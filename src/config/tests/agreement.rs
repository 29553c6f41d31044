//! Tests that the JSON Schema and the program accept the same files.
//!
//! The files are generated from the schema: each of its scalars takes every text of a list, and random files have
//! random mistakes. Errors that only the program can find are listed here and in `docs/configuration.md`.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::parse;
use crate::config::json_schema;
use crate::config::load::keyword::{choices, is_anything, is_word, presence, string, words};
use crate::config::load::schema::rules;
use crate::config::load::source::{Node, Value};
use crate::config::load::text_file::TextFile;
use crate::config::load::yaml;

/// Parts of the messages of errors that no schema can find: references, combinations of values, and the environment.
const ONLY_THE_PROGRAM_KNOWS: [&str; 22] = [
    "accepts no PROXY header",
    "an alias inside the value",
    "appears twice",
    "the name of the file",
    "bits beyond its prefix",
    "cannot be changed",
    "cannot be set",
    "does not fit in 64 bits",
    "forbids",
    "has an encoded slash",
    "has no body",
    "has no effect",
    "has no meaning here",
    "has no parameter",
    "is more than `max_",
    "is not matched as a header",
    "no path of the match begins",
    "stands for requests without a route",
    "too large for a number",
    "unknown filter",
    "unknown listener",
    "unknown upstream",
];

/// Texts that are valid in one place and invalid in others, as YAML writes them.
const SCALARS: &[&str] = &[
    "",
    "~",
    "null",
    "true",
    "True",
    "false",
    "yes",
    "no",
    "on",
    "off",
    "Off",
    "auto",
    "'auto'",
    "'true'",
    "present",
    "text",
    "''",
    "' '",
    "'two words'",
    "\"\\0\"",
    "\"a\\nb\"",
    "\"\\t\"",
    "'é'",
    "bücher.example",
    "\"a\\u200bb\"",
    "“quoted”",
    // Numbers, in all notations of YAML 1.2 and some of 1.1.
    "0",
    "-0",
    "1",
    "'1'",
    "-1",
    "+5",
    "007",
    "0x1F",
    "0x",
    "0o17",
    "0o8",
    "0b1",
    "1_000",
    "1.5",
    "-.5",
    ".5",
    "1e-1",
    ".inf",
    "-.INF",
    ".nan",
    "200",
    "255",
    "256",
    "307",
    "600",
    "10000",
    "10001",
    "65535",
    "65536",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "1.2",
    "'1.2'",
    "'1.3'",
    "1:30",
    // Durations and sizes.
    "30",
    "0s",
    "30s",
    "030s",
    "1ms",
    "1d",
    "2d",
    "24h",
    "25h",
    "1440m",
    "1441m",
    "86400s",
    "86401s",
    "86400000ms",
    "86400001ms",
    "1h30m",
    "1h60m",
    "90m30s",
    "1m30s500ms",
    "30s1m",
    "1s1s",
    "1.5s",
    "-1s",
    "'1 s'",
    "1S",
    "23h59m59s999ms",
    "1B",
    "0B",
    "64KiB",
    "63KiB",
    "65535B",
    "65536B",
    "4GiB",
    "5GiB",
    "4096MiB",
    "4097MiB",
    "4194305KiB",
    "10MB",
    "10M",
    "64kib",
    "17179869183GiB",
    "17179869184GiB",
    "18446744073709551615B",
    "18446744073709551616B",
    // Addresses, hosts and URLs.
    "127.0.0.1:80",
    "127.0.0.1:0",
    "127.0.0.1:65536",
    "127.0.0.1:080",
    "127.0.0.1",
    "127.0.0.256:80",
    "0127.0.0.1:80",
    "localhost:80",
    ":80",
    "'*:80'",
    "'[::]:80'",
    "'[::1]'",
    "'::1'",
    "'[::1%1]:80'",
    "'[fe80::1%eth0]:80'",
    "'[::ffff:1.2.3.4]:80'",
    "'[:::]:80'",
    "10.0.0.0/8",
    "10.0.0.1/8",
    "10.0.0.0/33",
    "10.0.0.0/08",
    "10.0.0.0/0008",
    "10.0.0.0/+8",
    "'::/064'",
    "'fd00::/8'",
    "'fd00::/129'",
    "example.com",
    "example.com.",
    "Example.COM",
    "'*.example.com'",
    "'*.*.a'",
    "'*'",
    "a..b",
    "-a-",
    "_a",
    "a.123",
    "a.0x1f",
    "a.0xg",
    "123",
    "example.com:8080",
    "example.com:0",
    "example.com:99999",
    "'a:+80'",
    "http://a",
    "http://a/",
    "http://a/b?c",
    "http://a?b",
    "'http://a/b#c'",
    "http://a//",
    "http://a/b//c",
    "http://a/b/../c",
    "http://a/b/%2e",
    "http://a/..;/b",
    "http://a/.%3b",
    "http://a/%2f",
    "http://a/%5C",
    "http://a/%1f",
    "http://a/%7F",
    "http://a/%7E/.b/...",
    "http://a/{b}",
    "http://a/b%2",
    "https://a:8443/v2/",
    "http://a:80",
    "http://a:080",
    "http://a:0",
    "http://a:",
    "http://u@a",
    "http://[::1]:80",
    "http://[::1",
    "HTTP://a",
    "https://example.com",
    "https//a",
    "ftp://a",
    "http://",
    "http:///a",
    "'http://a b'",
    "'http://*.a'",
    "http://a_b.c",
    "http://1.2.3.4:5",
    "upstream",
    "preserve",
    // Paths and templates.
    "/",
    "/a",
    "/a/",
    "//",
    "/a//b",
    "/a%20b",
    "/a%2",
    "/%zz",
    "/a?b",
    "'/a#b'",
    "/a b",
    "/a/../b",
    "/..",
    "/.",
    "/...",
    "/..;a",
    "/a%2F..",
    "/a%2fb",
    "/a%5C",
    "/a%1f",
    "/a%7F",
    "'/\\\\a'",
    "'//{a}'",
    "'/{a-b}'",
    "'https://a/{id}?x={id}'",
    "'https://{a}/'",
    "/.a",
    "'/{id}'",
    "'/{id}/{no'",
    "'/x{id}'",
    "'/{id}x'",
    "'/{1}'",
    "'/{a}/../b'",
    "'/a{b}'",
    "'/}'",
    "'/{a}{b}'",
    "/é",
    "'/a\\b'",
    "'/\"'",
    "/a:b@c;d=e,f",
    "users/{id}",
    "./a",
    "stdout",
    // Words, methods, headers and protocols.
    "GET",
    "get",
    "Get",
    "PURGE",
    "purge",
    "CONNECT",
    "connect",
    "G,T",
    "X-A",
    "x-a:",
    "h1",
    "h2",
    "h2c",
    "H2C",
    "websocket",
    "HTTP/2",
    "h3",
    "tls",
    "M-SEARCH",
    "m-search",
    "tls/1",
    "a/b",
    "a/b/c",
    "stale",
    "json",
    "closed",
    "open",
    "round_robin",
    "worker",
    // Variables. `PORT` is 8080.
    "${PORT}",
    "'${PORT}'",
    "${NOPE}",
    "${NOPE:-5}",
    "${NOPE:-30s}",
    "'${NOPE:-30s}'",
    "${NOPE:-${PORT}}",
    "'$${PORT}'",
    "'$PORT'",
    "'${'",
    "127.0.0.1:${PORT}",
    "http://a:${PORT}",
    "/p${PORT}",
    "${NOPE:-off}",
    "${NOPE:-true}",
    "64${NOPE:-KiB}",
    // Tags, anchors and collections.
    "!!str 1",
    "&a 1",
    "[]",
    "{}",
    "[1]",
    "[a]",
    "[GET]",
    "['']",
    "[[]]",
    "{ a: 1 }",
    "{ a: b }",
    "{ a: [] }",
    "{ url: http://a }",
    "{ path: /a }",
    "{ wasm: a.wasm }",
    "{ use: redact }",
    "[{ wasm: a.wasm }]",
    "[http://a]",
    "[a=1, b=2]",
    "[~]",
];

/// A file before it is written.
#[derive(Clone, Debug)]
enum Yaml {
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

    fn text(&self) -> String {
        let mut text = String::new();
        self.write(0, &mut text);
        text
    }

    /// Returns the file with a scalar in place of the mark.
    fn with(&self, scalar: &str) -> Self {
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
const MARK: &str = "MARK";

/// A generator of files from bytes that proptest shrinks. Each byte decides one thing.
struct Writer<'a> {
    decisions: std::slice::Iter<'a, u8>,
    count: usize,
}

impl Writer<'_> {
    /// Returns a decision between so many; the first if there are no decisions left.
    fn decide(&mut self, between: usize) -> usize {
        self.decisions.next().map_or(0, |byte| usize::from(*byte) % between)
    }

    fn value(&mut self, key: &str, schema: &Json, depth: usize) -> Yaml {
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
            "endpoint-url" => &["http://a", "https://[::1]:8443", "http://a/v2/"],
            "header-value" | "value-match" => &["text", "'1'"],
            "host-header" => &["preserve", "a.example:80"],
            "host-pattern" => &["a.example", "'*.example'"],
            "log-output" | "wasm-cache" => &["logs/a.log"],
            "method" => &["GET", "PURGE"],
            "network" => &["10.0.0.0/8", "'::1'"],
            "path" => &["/a", "/"],
            "path-template" => &["'/{id}'", "/a"],
            "redirect-target" => &["/a", "https://a/b?c"],
            "server-name" => &["a.example"],
            "socket-address" => return format!("127.0.0.1:{}", 1000 + self.count),
            "upgrade-protocol" => &["websocket", "a/b"],
            "name" => return format!("n{}", self.count),
            "upstream" => &["users"],
            "filters" | "use" => &["redact"],
            "listeners" => &["web"],
            _ => &["text", "'1'"],
        };
        good[self.decide(good.len())].to_owned()
    }
}

/// The parts of the schema that have files already.
#[derive(Default)]
struct Seen {
    mappings: HashSet<usize>,
    scalars: HashSet<String>,
}

/// Returns files with all required keys and one more key each, down to a scalar that is [`MARK`]. Each scalar of the
/// schema is in one of them. The flag is true for the first scalar with its schema.
fn files(key: &str, schema: &Json, seen: &mut Seen) -> Vec<(Yaml, bool)> {
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
                let mut least = Writer { decisions: [].iter(), count: 0 };
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
fn with_references(file: Yaml) -> Yaml {
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

/// Returns a file as an editor's validator sees it: variables are texts.
fn as_json(node: &Node) -> Json {
    if let Some(written) = &node.written {
        return json!(written);
    }
    match &node.value {
        Value::Null | Value::Unknown => Json::Null,
        Value::Bool(bool) => json!(bool),
        Value::Integer(integer) => match i64::try_from(*integer) {
            Ok(integer) => json!(integer),
            Err(_) => {
                u64::try_from(*integer).map_or_else(|_| json!(*integer as f64), |integer| json!(integer))
            }
        },
        // JSON has no infinity, so a validator sees some number.
        Value::Float(text) => {
            json!(text.parse().ok().filter(|number: &f64| number.is_finite()).unwrap_or(0.5))
        }
        Value::String(text) => json!(text),
        Value::Sequence(items) => items.iter().map(as_json).collect(),
        Value::Mapping(entries) => {
            Json::Object(entries.iter().map(|entry| (entry.key.clone(), as_json(&entry.node))).collect())
        }
    }
}

/// Compares the verdicts of schema and program on a text. `Err` describes the difference.
fn compare(text: &str) -> Result<(), String> {
    static VALIDATOR: LazyLock<jsonschema::Validator> =
        LazyLock::new(|| jsonschema::validator_for(json_schema()).unwrap());
    // Every unset variable gets a value here, since a schema knows nothing of the environment.
    let environment = |name: &str| Some(if name == "PORT" { "8080".into() } else { "".into() });
    let Ok((root, _)) = yaml::parse(&Arc::new(TextFile::new("gateway.yaml", text)), &environment) else {
        return Ok(());
    };
    let value = as_json(&root);
    let is_refused = !VALIDATOR.is_valid(&value);
    let errors = parse(text).err();
    let is_good = errors.is_none();
    let errors = errors.iter().flat_map(|errors| errors.errors()).map(|error| error.message().to_owned());
    let of_shape: Vec<String> = errors
        .filter(|message| !ONLY_THE_PROGRAM_KNOWS.iter().any(|known| message.contains(known)))
        .collect();
    // Only the program knows whether a variable's value is wrong.
    let has_variable = text.contains("${");
    if is_refused && if has_variable { is_good } else { of_shape.is_empty() } {
        let refused: Vec<String> = VALIDATOR.iter_errors(&value).map(|error| error.to_string()).collect();
        return Err(format!("only the schema refuses\n{text}\n{refused:#?}"));
    }
    if !is_refused && !of_shape.is_empty() && !has_variable {
        return Err(format!("only the program refuses\n{text}\n{of_shape:#?}"));
    }
    Ok(())
}

#[test]
fn schema_and_program_accept_the_same_texts_for_every_scalar() {
    let files = files("", rules(), &mut Seen::default());
    assert!(files.len() > 100, "{}", files.len());
    let texts = files.iter().enumerate().flat_map(|(index, (file, is_first))| {
        // Later scalars with a known schema take only every tenth text.
        let scalars =
            SCALARS.iter().enumerate().filter(move |(number, _)| *is_first || (number + index) % 10 == 0);
        scalars.map(|(_, scalar)| with_references(file.with(scalar)).text())
    });
    let differences: Vec<String> = texts.filter_map(|text| compare(&text).err()).collect();
    assert!(
        differences.is_empty(),
        "{} differences\n{}",
        differences.len(),
        differences[..differences.len().min(40)].join("\n")
    );
}

#[test]
fn generated_files_without_mistakes_are_good() {
    let file = Writer { decisions: [].iter(), count: 0 }.value("", rules(), 0);
    parse(&with_references(file).text()).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn schema_and_program_accept_the_same_files(decisions in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut writer = Writer { decisions: decisions.iter(), count: 0 };
        let file = with_references(writer.value("", rules(), 0));
        compare(&file.text()).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn schema_and_program_accept_the_same_text(
        text in "[-+0-9a-zA-Z.:/%_~*\\[\\]{}?#@!$&'(),;=<>`\"^| éx]{0,24}",
        place in 0..12_usize,
    ) {
        let quoted = serde_json::to_string(&text).unwrap();
        let (before, after) = [
            ("upstream: { url: ", "}"),
            ("upstream: users\n    timeouts: { connect: ", "}"),
            ("respond: {}\n    limits: { body: ", "}"),
            ("respond: {}\n    match: { host: ", "}"),
            ("respond: {}\n    match: { path: ", "}"),
            ("respond: {}\n    match: { template: ", "}"),
            ("respond: {}\n    match: { methods: [", "]}"),
            ("redirect: { to: ", "}"),
            ("upstream: users\n    host: ", ""),
            ("upstream: users\n    upgrade: [", "]"),
            ("respond: { headers: { x-a: ", "}}"),
            ("upstream: { url: 'https://a', tls: { sni: ", "}}"),
        ][place];
        let listeners = "listeners: [{ address: 127.0.0.1:80 }]\nupstreams: { users: { url: 'http://a' } }";
        compare(&format!("{listeners}\nroutes:\n  - {before}{quoted}{after}\n")).map_err(TestCaseError::fail)?;
    }
}
