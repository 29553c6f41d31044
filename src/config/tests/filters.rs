//! Tests of filters and of the configuration that plugins receive.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{MINIMAL, parse};
use crate::config::{Code, Config, FilterSettings, Isolation, OnError, OnHeadersPause, Segment, WasmCache};
use crate::path;

/// Returns the filters of the only route.
fn filters(text: &str) -> Vec<(FilterSettings, Vec<Segment>)> {
    let config = parse(text).unwrap().config;
    config.filters_of(0, &config.routes[0])
}

/// Returns the configuration that a filter receives.
fn handed(config: &str) -> Vec<u8> {
    let text = format!("{MINIMAL}defaults: {{ filters: [{{ wasm: a.wasm, config: {config} }}] }}\n");
    filters(&text).remove(0).0.config
}

#[test]
fn the_least_filter_has_all_defaults() {
    let text = format!(
        "{MINIMAL}filters: {{ redact: {{ wasm: redact-2.wasm }} }}\ndefaults: {{ filters: [redact] }}\n"
    );
    let (settings, place) = filters(&text).remove(0);
    assert_eq!(place, path!["filters", "redact", "wasm"]);
    let expected = FilterSettings {
        name: "redact".to_owned(),
        wasm: "/etc/gateway/redact-2.wasm".into(),
        config: vec![],
        memory_bytes_max: 32 << 20,
        time: Duration::from_millis(50),
        start: Duration::from_secs(1),
        body_bytes_max: 1 << 20,
        pause: Duration::from_secs(30),
        shared_data_bytes_max: 1 << 20,
        output_bytes_max: 32 << 20,
        on_error: OnError::Closed,
        isolation: Isolation::Worker,
        decode: true,
        bodies: true,
        on_headers_pause: OnHeadersPause::StopAll,
        local_responses: true,
        env: [].into(),
        vm_id: "redact".to_owned(),
        root_id: String::new(),
    };
    assert_eq!(settings, expected);
}

#[test]
fn every_key_of_a_filter_comes_through() {
    let text = format!(
        "{MINIMAL}defaults:
  filters:
    - wasm: plugins/shout.v2.wasm
      config: loud
      limits: {{ memory: 64KiB, time: 1ms, start: 2ms, body: 3B, pause: 4s, shared_data: 5KiB, output: 6KiB }}
      on_error: open
      isolation: request
      decode: off
      bodies: off
      on_headers_pause: continue_body
      local_responses: off
      env: {{ LEVEL: info, PORT: '${{PORT}}' }}
      vm_id: shared
      root_id: auth
"
    );
    let expected = FilterSettings {
        name: "shout.v2".to_owned(),
        wasm: "/etc/gateway/plugins/shout.v2.wasm".into(),
        config: b"loud".to_vec(),
        memory_bytes_max: 64 << 10,
        time: Duration::from_millis(1),
        start: Duration::from_millis(2),
        body_bytes_max: 3,
        pause: Duration::from_secs(4),
        shared_data_bytes_max: 5 << 10,
        output_bytes_max: 6 << 10,
        on_error: OnError::Open,
        isolation: Isolation::Request,
        decode: false,
        bodies: false,
        on_headers_pause: OnHeadersPause::ContinueBody,
        local_responses: false,
        env: [("LEVEL", "info"), ("PORT", "8080")].map(|(name, value)| (name.into(), value.into())).into(),
        vm_id: "shared".to_owned(),
        root_id: "auth".to_owned(),
    };
    assert_eq!(filters(&text), [(expected, path!["defaults", "filters", 0, "wasm"].to_vec())]);
}

/// A file with routes of every kind, whose filters come from every possible place.
const ROUTES: &str = "
listeners: [{ address: 127.0.0.1:8080 }]
filters:
  redact: { wasm: redact.wasm, config: { fields: [ssn] } }
  limit: { wasm: /plugins/limit.wasm }
defaults:
  filters: [limit, { wasm: own.wasm }]
upstreams:
  # Only a plugin calls it.
  tokens: { url: http://tokens }
routes:
  - { match: { path: /a }, upstream: { url: http://a } }
  - match: { path: /b }
    respond: {}
    filters:
      - redact
      - { use: redact, config: { fields: [iban] } }
      - { use: redact, config: ~ }
      - { use: redact }
      - { wasm: plugins/shout.wasm, on_error: open }
  - { match: { path: /c }, redirect: { to: / }, filters: [] }
";

#[test]
fn a_list_of_a_route_replaces_the_one_of_defaults() {
    let config = parse(ROUTES).unwrap().config;
    let of = |index: usize| {
        let filters = config.filters_of(index, &config.routes[index]);
        let shown = filters.into_iter().map(|(settings, place)| {
            (settings.name, settings.wasm, String::from_utf8(settings.config).unwrap(), place)
        });
        shown.collect::<Vec<_>>()
    };
    let entry = |name: &str, wasm: &str, config: &str, place: &[Segment]| {
        (name.to_owned(), Path::new(wasm).to_owned(), config.to_owned(), place.to_vec())
    };
    let redact = |config: &str| {
        entry("redact", "/etc/gateway/redact.wasm", config, &path!["filters", "redact", "wasm"])
    };
    assert_eq!(
        of(0),
        [
            entry("limit", "/plugins/limit.wasm", "", &path!["filters", "limit", "wasm"]),
            entry("own", "/etc/gateway/own.wasm", "", &path!["defaults", "filters", 1, "wasm"]),
        ]
    );
    assert_eq!(
        of(1),
        [
            redact(r#"{"fields":["ssn"]}"#),
            redact(r#"{"fields":["iban"]}"#),
            redact(""),
            redact(r#"{"fields":["ssn"]}"#),
            entry("shout", "/etc/gateway/plugins/shout.wasm", "", &path!["routes", 1, "filters", 4, "wasm"]),
        ]
    );
    assert!(of(2).is_empty());
}

#[test]
fn an_error_about_a_module_stands_where_its_file_is_named() {
    let loaded = parse(ROUTES).unwrap();
    let config = &loaded.config;
    let places =
        (0..2).flat_map(|index| config.filters_of(index, &config.routes[index])).map(|(_, place)| {
            let error = loaded.source.error(Code::FileUnreadable, &place, "no module");
            (error.position().unwrap().line, error.message().to_owned())
        });
    let places: Vec<(usize, String)> = places.collect();
    let places: Vec<(usize, &str)> = places.iter().map(|(line, message)| (*line, message.as_str())).collect();
    let redact = (4, "no module in filter \"redact\"");
    assert_eq!(
        places,
        [
            (5, "no module in filter \"limit\""),
            (7, "no module in defaults, filters"),
            redact,
            redact,
            redact,
            redact,
            (20, "no module in route \"/b\", filters"),
        ]
    );
}

#[test]
fn a_plugin_is_handed_json_and_a_text_as_it_is() {
    for (config, expected) in [
        ("~", ""),
        ("null", ""),
        ("''", ""),
        ("plain text", "plain text"),
        ("'{\"a\": 1}'", "{\"a\": 1}"),
        ("'${PORT}'", "8080"),
        (
            "{ port: '${PORT}', missing: '${NOPE:-none}', raw: '$${PORT}' }",
            r#"{"port":"8080","missing":"none","raw":"${PORT}"}"#,
        ),
        ("{}", "{}"),
        ("[]", "[]"),
        ("true", "true"),
        ("5", "5"),
        ("-5", "-5"),
        ("1.5", "1.5"),
        ("1.0", "1.0"),
        ("[0.1, -2.5e-3, 1e3]", "[0.1,-0.0025,1000.0]"),
        (
            "[9223372036854775807, -9223372036854775808, 18446744073709551615]",
            "[9223372036854775807,-9223372036854775808,18446744073709551615]",
        ),
        ("[0x1F, 0o17, +7]", "[31,15,7]"),
        ("[~, null, false, off, '1', \"\"]", r#"[null,null,false,"off","1",""]"#),
        ("{ z: 1, a: { y: [{ x: ~ }], b: 2 }, m: é }", r#"{"z":1,"a":{"y":[{"x":null}],"b":2},"m":"é"}"#),
        ("{ wasm: a, use: b, off: ~, 1: c }", r#"{"wasm":"a","use":"b","off":null,"1":"c"}"#),
        ("[&a { b: 1 }, *a, { <<: *a, c: 2 }]", r#"[{"b":1},{"b":1},{"c":2,"b":1}]"#),
        (".inf", ".inf"),
    ] {
        assert_eq!(String::from_utf8(handed(config)).unwrap(), expected, "{config}");
    }
    let text = format!(
        "{MINIMAL}defaults:\n  filters:\n    - wasm: a.wasm\n      config:\n        port: ${{PORT}}\n        text: |\n          two\n          lines\n"
    );
    assert_eq!(filters(&text)[0].0.config, br#"{"port":8080,"text":"two\nlines\n"}"#);
}

/// Generates any JSON whose texts can stand in quotes and have no variables.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has none", |float| float.is_finite()).prop_map(Value::from),
        "[ -#%-~é]{0,10}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 30, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map("[ -#%-~é]{0,10}", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().filter(|(key, _)| key != "<<").collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_handed_on_as_it_is_written(value in any_json()) {
        // At the top level, a scalar is a YAML text or nothing.
        let value = json!([value]);
        let handed = handed(&value.to_string());
        prop_assert_eq!(String::from_utf8(handed).unwrap(), value.to_string());
    }
}

#[test]
fn compiled_modules_are_kept_where_the_file_says() {
    let cache = |keys: &str| -> WasmCache {
        let config: Config = parse(&format!("{MINIMAL}{keys}\n")).unwrap().config;
        config.wasm.cache
    };
    assert_eq!(cache(""), WasmCache::Auto);
    assert_eq!(cache("wasm: { cache: auto }"), WasmCache::Auto);
    assert_eq!(cache("wasm: { cache: off }"), WasmCache::Off);
    assert_eq!(cache("wasm: { cache: cache }"), WasmCache::Folder("/etc/gateway/cache".into()));
    assert_eq!(cache("wasm: { cache: /var/cache/gateway }"), WasmCache::Folder("/var/cache/gateway".into()));
}
