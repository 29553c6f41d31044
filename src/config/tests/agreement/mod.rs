//! Tests that the JSON Schema and the program accept the same files.
//!
//! The files are generated from the schema: each of its scalars takes every text of a list, and random files have
//! random mistakes. Errors that only the program can find are listed here and in `docs/configuration.md`.

mod files;
mod scalars;

use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use self::files::{Seen, Writer, files, with_references};
use self::scalars::SCALARS;
use super::parse;
use crate::config::json_schema;
use crate::config::load::schema::rules;
use crate::config::load::source::{Node, Value};
use crate::config::load::text_file::TextFile;
use crate::config::load::yaml;

/// Parts of the messages of errors that no schema can find: references, combinations of values, and the environment.
const ONLY_THE_PROGRAM_KNOWS: &[&str] = &[
    "accepts no PROXY header",
    "an alias inside the value",
    "appears twice",
    "the key lacks",
    "the name of the file",
    "bits beyond its prefix",
    "cannot be changed",
    "cannot be passed on",
    "cannot be set",
    "cannot be written out",
    "excludes `credentials`",
    "is not a regular expression",
    "differ in their `sticky` cookie",
    "does not fit in 64 bits",
    "forbids",
    "has an encoded slash",
    "has no body",
    "has no effect",
    "has no meaning here",
    "has no parameter",
    "has no value on",
    "is less than the `stream_window`",
    "is more than `max_",
    "is not matched as a header",
    "no path of the match begins",
    "requests certificates",
    "stands for requests without a route",
    "too large for a number",
    "unknown filter",
    "unknown listener",
    "unknown store",
    "unknown upstream",
    "unknown way",
    "has no effect without an `https` URL",
    "cannot get a claim",
];

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
        // JSON has no infinity, so a validator sees some number, which is no fraction of one.
        Value::Float(text) => {
            json!(text.parse().ok().filter(|number: &f64| number.is_finite()).unwrap_or(1.5))
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
    let file = Writer::new(&[]).value("", rules(), 0);
    parse(&with_references(file).text()).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn schema_and_program_accept_the_same_files(decisions in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut writer = Writer::new(&decisions);
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
