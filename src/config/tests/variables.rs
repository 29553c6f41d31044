//! Tests that no error shows the value of a variable.

use super::parse_with;
use crate::path;

#[test]
fn the_value_of_a_variable_is_never_shown() {
    let environment = |name: &str| match name {
        "SECRET" => Some("sk-0123456789".into()),
        "DIGITS" => Some("0123456789".into()),
        "QUERY" => Some("a?sk-0123456789".into()),
        _ => None,
    };
    for (keys, message, help) in [
        ("pool: { idle_timeout: '${SECRET}' }", "not the value of `${SECRET}`", "look at the variable"),
        ("pool: { max_connections: '${SECRET}' }", "not the value of `${SECRET}`", "look at the variable"),
        ("pool: { max_idle: '${DIGITS}' }", "not the value of `${DIGITS}`", "look at the variable"),
        ("pool: { keep_alive: '${SECRET}' }", "not the value of `${SECRET}`", ""),
        ("pool:\n      max_connections: ${DIGITS}${DIGITS}", "`max_connections` must be at most", ""),
        ("retry: { on: ['${SECRET}'] }", "not the value of `${SECRET}`", ""),
        ("match: { path: '/${QUERY}' }", "not the value of `/${QUERY}`", ""),
        ("match: { methods: ['${SECRET} '] }", "not the value of `${SECRET} `", ""),
        ("match:\n      host: ${DIGITS}", "`host` must be a host", "in quotes: `\"${DIGITS}\"`"),
        ("match:\n      host: ${DIGITS:-\"\"}", "`host` must be", "in quotes: `'${DIGITS:-\"\"}'`"),
        ("rewrite: { template: '/{${SECRET}}' }", "not the value of `/{${SECRET}}`", ""),
        ("filters: ['${SECRET}']", "unknown filter `${SECRET}`", "add it"),
        ("listeners: ['${SECRET}']", "unknown listener `${SECRET}`", "add it"),
        ("name: '${SECRET}'\n    pool: { nonsense: 1 }", "unknown key `nonsense` in route \"${SECRET}\"", ""),
        (
            "name: '${SECRET}'\n  - { name: '${SECRET}', respond: {} }",
            "the route name `${SECRET}` appears twice",
            "",
        ),
        ("timeouts: { connect: 1 }\n  - upstream: ${SECRET}", "unknown upstream `${SECRET}`", "add it"),
        (
            "filters:\n    - wasm: a.wasm\n      config: ${DIGITS}${DIGITS}${DIGITS}",
            "${DIGITS}${DIGITS}${DIGITS} does not fit in 64 bits",
            "quotes",
        ),
    ] {
        let text = format!(
            "listeners: [{{ address: 127.0.0.1:80 }}]\nupstreams: {{ sk-0123456788: {{ url: 'http://a' }} }}\n\
             routes:\n  - upstream: {{ url: 'http://a' }}\n    {keys}\n"
        );
        let errors = parse_with(&text, "gateway.yaml", "".as_ref(), &environment).unwrap_err();
        let shown = errors.to_string();
        assert!(!shown.contains("0123"), "{keys}\n{shown}");
        assert!(shown.contains(message) && shown.contains(help), "{keys}\n{shown}");
    }
}

#[test]
fn errors_of_two_values_show_the_variables_of_both() {
    let environment = |name: &str| match name {
        "SECRET" => Some("4711".into()),
        "NEAR" => Some("4711x".into()),
        "ADDRESS" => Some("127.0.0.1:4711".into()),
        "ANY" => Some("0.0.0.0:4711".into()),
        "GROUP" => Some("[ff02::0:4711]:80".into()),
        _ => None,
    };
    for (listeners, keys, message) in [
        ("{ address: '${ADDRESS}' }, { address: '${ANY}' }", "", "`${ANY}` overlaps with `${ADDRESS}`"),
        ("{ address: '${GROUP}' }", "", "`${GROUP}` is a multicast address"),
        ("{ address: '${ADDRESS}' }", "admin: { address: '${ADDRESS}' }", "the address `${ADDRESS}` appears"),
        ("{ name: '${NEAR}', address: 127.0.0.1:1 }", "LISTENERS", "unknown listener `4712x`"),
        ("{ address: 127.0.0.1:1 }", "PARAMETER", "the match has no parameter `{b4712}`"),
    ] {
        let route = match keys {
            "LISTENERS" => ", listeners: [4712x], respond: {}",
            "PARAMETER" => {
                ", match: { template: '/{b${SECRET}}' }, upstream: { url: 'http://a' }, rewrite: { template: '/{b4712}' }"
            }
            _ => ", respond: {}",
        };
        let keys = keys.trim_matches(char::is_uppercase);
        let text = format!("listeners: [{listeners}]\nroutes: [{{ name: a{route} }}]\n{keys}\n");
        let errors = parse_with(&text, "gateway.yaml", "".as_ref(), &environment).unwrap_err();
        let shown = errors.to_string();
        assert!(!shown.contains("4711"), "{listeners}\n{shown}");
        assert!(shown.contains(message), "{listeners}\n{shown}");
    }
}

#[test]
fn urls_of_an_upstream_are_shown_as_they_are_written() {
    let environment = |_: &str| Some("a.internal".into());
    let text = "listeners: [{ address: 127.0.0.1:80 }]\nroutes: [{ upstream: a }]\nupstreams:\n  \
                a: { url: 'http://${H}' }\n  b: { endpoints: ['http://${H}.', { url: 'https://${H}' }] }\n";
    let loaded = parse_with(text, "gateway.yaml", "".as_ref(), &environment).unwrap();
    assert_eq!(loaded.source.urls(&path!["upstreams", "a"]), ["http://${H}"]);
    assert_eq!(loaded.source.urls(&path!["upstreams", "b"]), ["http://${H}.", "https://${H}"]);
}
