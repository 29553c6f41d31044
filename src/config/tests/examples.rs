//! Tests that the schema and the parser agree, and that the sample is valid.

use serde_json::json;

use super::{MINIMAL, parse};
use crate::config::load::files::Files;
use crate::config::{self, json_schema};

fn schema_accepts(text: &str) -> bool {
    let value: serde_json::Value = serde_yaml::from_str(text).unwrap();
    jsonschema::validator_for(json_schema()).unwrap().is_valid(&value)
}

#[test]
fn the_sample_is_a_good_file() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("gateway.yaml");
    let loaded = config::load(&path, &Files::new()).unwrap();
    assert_eq!((loaded.config.listeners.len(), loaded.config.routes.len()), (2, 6));
    assert!(schema_accepts(&std::fs::read_to_string(&path).unwrap()));
}

#[test]
fn a_loaded_configuration_survives_writing_and_loading() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("gateway.yaml");
    let config = config::load(&path, &Files::new()).unwrap().config;
    let written = serde_yaml::to_string(&config).unwrap();
    assert_eq!(config::parse(&written, "written", "".as_ref()).unwrap().config, config);
}

#[test]
fn every_format_that_the_schema_names_has_a_check() {
    fn formats<'j>(schema: &'j serde_json::Value, found: &mut Vec<&'j str>) {
        match schema {
            serde_json::Value::Object(object) => {
                found.extend(object.get("format").and_then(serde_json::Value::as_str));
                object.values().for_each(|value| formats(value, found));
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| formats(item, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    formats(json_schema(), &mut found);
    assert!(found.len() > 20);
    for format in found {
        assert!(config::load::format::find(format).is_some(), "{format}");
    }
}

/// Keys of a route that both accept, and that neither accepts.
#[test]
fn the_schema_takes_what_the_parser_takes() {
    for (keys, is_good) in [
        ("pool: { idle_timeout: 30s }", true),
        ("pool: { idle_timeout: off }", true),
        ("pool: { idle_timeout: 30 }", false),
        ("pool: { idle_timeout: 0s }", false),
        ("pool: { idle_timout: 30s }", false),
        ("pool: { max_requests: 5 }", true),
        ("pool: { max_requests: off }", true),
        ("pool: { max_requests: 0 }", false),
        ("pool: { max_idle: 0 }", true),
        ("pool: { max_idle: off }", false),
        ("pool: { max_idle: 5000000000 }", false),
        ("pool: null", false),
        ("limits: { body: 10MiB }", true),
        ("limits: { body: 10MB }", false),
        ("retry: { on: [connect], attempts: 255 }", true),
        ("retry: { on: [502] }", true),
        ("retry: { on: [200] }", false),
        ("retry: { budget: off, methods: [POST] }", true),
        ("retry: { budget: { percent: 101 } }", false),
        ("retry: { attempts: 256 }", false),
        ("hedge: { after: p95 }", true),
        ("hedge: off", true),
        ("hedge: {}", false),
        ("hedge: { after: p100 }", false),
        ("rewrite: { path: / }", true),
        ("rewrite: {}", false),
        ("rewrite: { strip_prefix: /a, add_prefix: /b }", true),
        ("rewrite: { add_prefix: /b }", true),
        ("rewrite: { path: /, add_prefix: /b }", false),
        ("rewrite: { template: /, add_prefix: /b }", false),
        ("rewrite: { path: /, strip_prefix: / }", false),
        ("rewrite: { path: /a/%2e%2E/b }", false),
        ("rewrite: { path: /a/%2e%2E.b/.%2c }", true),
        ("rewrite: { path: /a/.%2f }", false),
        ("rewrite: { path: /%2e }", false),
        ("match: { path: / }", true),
        ("match: { path: x }", false),
        ("match: { path: /, prefix: / }", false),
        ("match: { headers: { x-a: present } }", true),
        ("match: { headers: { 'x a': present } }", false),
        ("headers: { request: { set: { x-a: b } } }", true),
        ("headers: { request: { set: { x-a: 1 } } }", false),
        ("respond: {}", false),
        ("filters: []", true),
        ("filters: [{ wasm: a.wasm }, { wasm: b.wasm, on_error: open, config: [1, -1.5, null, {}] }]", true),
        ("filters: [{ wasm: a.wasm, config: null }]", true),
        ("filters: [{ wasm: a.wasm, config: 18446744073709551615 }]", true),
        ("filters: [{ wasm: a.wasm, vm_id: '' }]", false),
        ("filters: [{ wasm: a.wasm, env: { A: b } }]", true),
        ("filters: [{ wasm: a.wasm, env: { A=: b } }]", false),
        ("filters: [{ wasm: a.wasm, env: { '': b } }]", false),
        ("filters: [{ wasm: a.wasm, use: a }]", false),
        ("filters: [{ wasm: a.wasm, nonsense: a }]", false),
        ("filters: [{ wasm: a.wasm, limits: { pause: off } }]", false),
        ("filters: [{ wasm: a.wasm, limits: { memory: 4GiB, time: 1ms, body: 1B, pause: 24h } }]", true),
        ("filters: [{ wasm: a.wasm, limits: null }]", false),
        ("filters: [{ wasm: a.wasm, decode: off, bodies: off, isolation: request }]", true),
        ("filters: [{ wasm: a.wasm, on_headers_pause: continue_body }]", true),
        ("filters: [{ config: 1 }]", false),
        ("filters: [1]", false),
        ("filters: null", false),
        ("filters: {}", false),
    ] {
        let text = MINIMAL.replace("routes: [{", &format!("routes: [{{ {keys},"));
        assert_eq!(parse(&text).is_ok(), is_good, "{keys}");
        assert_eq!(schema_accepts(&text), is_good, "{keys}");
    }
}

/// The same for keys outside of routes.
#[test]
fn the_schema_takes_the_filters_that_the_parser_takes() {
    for (keys, is_good) in [
        ("filters: {}", true),
        (
            "filters: { a: { wasm: a.wasm }, B-0_.x: { wasm: b.wasm } }\ndefaults: { filters: [a, { use: B-0_.x }] }",
            true,
        ),
        (
            "filters: { a: { wasm: a.wasm } }\ndefaults: { filters: [{ use: a, config: { b: [~, 1.5] } }] }",
            true,
        ),
        ("filters: { a: { wasm: a.wasm } }\ndefaults: { filters: [{ use: a, config: ~ }] }", true),
        ("filters: { a: { wasm: a.wasm } }\ndefaults: { filters: [{ use: a, limits: {} }] }", false),
        ("filters: { a b: { wasm: a.wasm } }", false),
        ("filters: { é: { wasm: a.wasm } }", false),
        ("filters: { '': { wasm: a.wasm } }", false),
        ("filters: { a: a.wasm }", false),
        ("filters: { a: {} }", false),
        ("filters: []", false),
        ("wasm: {}", true),
        ("wasm: { cache: auto }", true),
        ("wasm: { cache: off }", true),
        ("wasm: { cache: /var/cache/gateway }", true),
        ("wasm: { cache: '' }", false),
        ("wasm: { cache: 1 }", false),
    ] {
        let text = format!("{MINIMAL}{keys}\n");
        assert_eq!(parse(&text).is_ok(), is_good, "{keys}");
        assert_eq!(schema_accepts(&text), is_good, "{keys}");
    }
    for (length, is_good) in [(64, true), (65, false)] {
        let text = format!("{MINIMAL}filters: {{ {}: {{ wasm: a.wasm }} }}\n", "a".repeat(length));
        assert_eq!((parse(&text).is_ok(), schema_accepts(&text)), (is_good, is_good), "{length}");
    }
    for (count, is_good) in [(16, true), (17, false)] {
        let list = "{ wasm: a.wasm }, ".repeat(count);
        let text = format!("{MINIMAL}defaults: {{ filters: [{list}] }}\n");
        assert_eq!((parse(&text).is_ok(), schema_accepts(&text)), (is_good, is_good), "{count}");
    }
}

#[test]
fn filters_that_are_loaded_can_be_written_and_loaded_again() {
    let text = format!(
        "{MINIMAL}\
filters:
  a:
    wasm: a.wasm
    config: {{ b: [1, -1, 1.0, 1e300, 18446744073709551615, true, ~, 'off', '1', '~', '.inf', 0x1F, '0x1F', ''] }}
    env: {{ A: 'on' }}
    bodies: off
  text: {{ wasm: b.wasm, config: \"two\\nlines\" }}
defaults: {{ filters: [a, {{ use: a, config: ~ }}, {{ use: a, config: 1.5 }}, {{ wasm: /c.wasm, vm_id: x }}] }}
wasm: {{ cache: /var/cache }}
"
    );
    let config = parse(&text).unwrap().config;
    let written = serde_yaml::to_string(&config).unwrap();
    let again = config::parse(&written, "written", "".as_ref()).unwrap().config;
    assert_eq!(again, config, "{written}");
    let settings = |config: &config::Config| config.filters_of(0, &config.routes[0]);
    assert_eq!(settings(&again), settings(&config));
}

#[test]
fn the_schema_has_descriptions_and_defaults() {
    let pool = &json_schema()["$defs"]["Pool"]["properties"];
    assert_eq!(pool["idle_timeout"]["default"], json!("30s"));
    assert_eq!(pool["max_requests"]["default"], json!("off"));
    let filter = &json_schema()["$defs"]["Filter"]["properties"];
    assert_eq!(filter["on_error"]["default"], json!("closed"));
    assert_eq!(json_schema()["$defs"]["FilterLimits"]["properties"]["time"]["default"], json!("50ms"));
    let sections = json_schema()["$defs"].as_object().unwrap();
    for (name, section) in sections {
        for (key, property) in section["properties"].as_object().into_iter().flatten() {
            assert!(property["description"].is_string(), "{name}.{key}");
        }
    }
}
