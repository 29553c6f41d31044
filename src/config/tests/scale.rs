//! Tests of files with thousands of mistakes.

use super::parse;

/// The number of mistakes in each file.
const COUNT: usize = 2000;

/// Files in which each of `COUNT` values has one mistake. `N` is the number of the value.
const FILES: [(&str, &str, &str); 14] = [
    ("an unknown key", "routes:\n", "  - { name: rN, respond: {}, tiemouts: {} }\n"),
    ("an unknown key of its own", "routes:\n", "  - { name: rN, respond: {}, tiemoutsN: {} }\n"),
    ("a bad duration", "routes:\n", "  - { upstream: { url: 'http://a' }, timeouts: { idle: N } }\n"),
    ("a missing key", "routes:\n", "  - { name: rN }\n"),
    ("a key that is there twice", "routes:\n", "  - { name: rN, respond: {}, respond: {} }\n"),
    ("an unset variable", "routes:\n", "  - { name: 'rN${NOPE}', respond: {} }\n"),
    ("an unknown upstream", "routes:\n", "  - { name: rN, upstream: uN }\n"),
    ("an unknown filter", "routes:\n", "  - { name: rN, respond: {}, filters: [redcat] }\n"),
    ("an unknown listener", "routes:\n", "  - { name: rN, respond: {}, listeners: [wbe] }\n"),
    ("a fixed header", "routes:\n", "  - { respond: { headers: { connection: rN } } }\n"),
    ("a bad upstream", "routes: [{ respond: {} }]\nupstreams:\n", "  uN: { url: 'ftp://a' }\n"),
    (
        "a contradictory pool",
        "routes: [{ respond: {} }]\nupstreams:\n",
        "  uN: { url: 'http://a', pool: { max_idle: 9, max_connections: 3 } }\n",
    ),
    ("a bad filter name", "routes: [{ respond: {} }]\nfilters:\n", "  'f N': { wasm: a.wasm }\n"),
    ("a mistake in one line", "routes: [{ respond: {} }]\ntrusted_proxies: [", "xN, "),
];

#[test]
fn only_errors_that_are_printed_are_located() {
    for (mistake, before, value) in FILES {
        let mut text = format!("listeners: [{{ name: web, address: 127.0.0.1:8080 }}]\n{before}");
        text.extend((0..COUNT).map(|number| value.replace('N', &number.to_string())));
        if before.ends_with('[') {
            text.push(']');
        }
        let errors = parse(&text).unwrap_err();
        assert_eq!(errors.errors().len(), COUNT, "{mistake}");
        assert_eq!(errors.errors()[0].located(), 0, "{mistake}");
        let printed = errors.to_string();
        assert_eq!(errors.errors()[0].located(), 100, "{mistake}");
        assert_eq!(printed.matches("error: ").count(), 100, "{mistake}");
        assert!(printed.ends_with("and 1,900 more errors\n"), "{mistake}");
    }
}

#[test]
fn a_route_name_that_appears_twice_is_reported_with_the_line_of_the_first() {
    let routes = "  - { name: same, respond: {} }\n".repeat(COUNT);
    let text = format!("listeners: [{{ address: 127.0.0.1:8080 }}]\nroutes:\n{routes}");
    let errors = parse(&text).unwrap_err();
    assert_eq!(errors.errors().len(), COUNT - 1);
    assert!(errors.to_string().contains("the route in line 3 has it"));
    assert_eq!(errors.errors()[0].located(), 100);
}

#[test]
fn a_misspelt_name_among_thousands_gets_its_advice() {
    let upstreams: String =
        (0..COUNT).map(|number| format!("  upstream-{number}: {{ url: 'http://a' }}\n")).collect();
    let routes: String =
        (0..COUNT).map(|number| format!("  - {{ upstream: upstraem-{number} }}\n")).collect();
    let text =
        format!("listeners: [{{ address: 127.0.0.1:8080 }}]\nupstreams:\n{upstreams}routes:\n{routes}");
    let errors = parse(&text).unwrap_err();
    assert_eq!(errors.errors().len(), COUNT);
    assert!(errors.to_string().contains("did you mean `upstream-0`?"));
}
