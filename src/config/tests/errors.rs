//! Tests of error messages.

use super::{MINIMAL, parse};

/// Returns all errors of a text, as they are printed.
pub(super) fn shown(text: &str) -> String {
    match parse(text) {
        Ok(_) => String::new(),
        Err(errors) => errors.to_string(),
    }
}

/// Returns the text of a route to an upstream, with more keys.
fn route(keys: &str) -> String {
    let above =
        "listeners: [{ address: 127.0.0.1:8080 }]\nroutes:\n  - name: spike\n    upstream: { url: http://a }";
    format!("{above}\n    {keys}\n")
}

#[test]
fn an_error_shows_its_place_its_line_and_what_to_write() {
    let text = route("pool:\n      idle_timout: 20s");
    assert_eq!(
        shown(&text),
        "\
error: unknown key `idle_timout` in route \"spike\", pool
 --> gateway.yaml:6:7
6 |       idle_timout: 20s
  |       ^^^^^^^^^^^ did you mean `idle_timeout`?
"
    );
}

#[test]
fn mistake_in_probes_is_reported_with_its_remedy() {
    for (keys, message, help) in [
        ("{}", "one of `path`, `tcp` or `grpc` is missing", ""),
        ("{ path: /, tcp: true }", "`tcp` and `path` exclude each other", "take one of them out"),
        ("{ tcp: false }", "`tcp: false` has no effect", "write `tcp: true`"),
        ("{ tcp: true, body: ok }", "`body` has no effect without `path`", "take `body` out"),
        ("{ grpc: '', method: GET }", "`method` has no effect without `path`", "take `method` out"),
        ("{ path: /, method: HEAD, body: ok }", "a response to HEAD has no body", "`method: GET`"),
        ("{ path: /, host: preserve }", "a probe has no client", "take `host` out"),
        ("{ path: healthz }", "`healthz` is not a path", "begins with `/`"),
        ("{ path: /, expect: [299-200] }", "no status is in it", "write `200-299`"),
        ("{ path: /, expect: [2xx] }", "`2xx`", "`200-299`"),
        ("{ path: /, interval: 5 }", "`5` has no unit", ""),
        ("{ path: /, unhealthy_after: 0 }", "`unhealthy_after` must be at least 1", ""),
    ] {
        let upstream = format!("upstream: {{ url: http://a, health: {{ active: {keys} }} }}");
        let errors = shown(&route("").replace("upstream: { url: http://a }", &upstream));
        assert!(errors.contains(message) && errors.contains(help), "{keys}: {errors}");
    }
}

#[test]
fn a_mistake_in_a_route_is_reported_with_its_remedy() {
    for (keys, message, help) in [
        ("pool: { idle_timeout: 30 }", "`30` has no unit in route \"spike\", pool", "1h or 1m30s; or `off`"),
        ("pool: { idle_timeout: 0s }", "`0s` makes no sense here", "or `off`"),
        ("pool: { max_connections: 0 }", "`max_connections` must be at least 1", ""),
        ("pool: { max_requests: 0 }", "`max_requests` must be at least 1", "or `off`"),
        ("pool: { max_connections: 4294967296 }", "`max_connections` must be at most 4294967295", ""),
        ("pool: { max_connections: '5' }", "must be a whole number, not `5`", "take the quotes out"),
        ("pool: { keep_alive: yes }", "`keep_alive` must be `true` or `false`, not `yes`", "write `true`"),
        (
            "pool: { max_idle: 5, max_connections: 4 }",
            "`max_idle` is more than `max_connections`",
            "count among",
        ),
        ("pool: { min_idle: 5, max_idle: 4 }", "`min_idle` is more than `max_idle`", "lower the one"),
        ("pool: { min_idle: 5, keep_alive: false }", "`keep_alive: false` forbids", "take one of them out"),
        ("pool: []", "`pool` must be a mapping, not a list", ""),
        ("pool:", "`pool` has no value", "take the key out"),
        ("limits: { body: 10 }", "`10` has no unit", "1GiB; or `off`"),
        ("limits: { body: 10MB }", "`MB` is not a unit of a size", "10"),
        ("idle_timeout: 30s", "unknown key `idle_timeout` in route \"spike\"", "it belongs in `pool`"),
        ("traces: {}", "unknown key `traces`", "not supported yet"),
        ("mirror: {}", "`to` is missing", ""),
        ("mirror: { to: nowhere }", "unknown upstream `nowhere`", "add it to `upstreams`"),
        ("mirror: { to: http://a }", "unknown upstream `http://a`", "add it to `upstreams`"),
        ("mirror: { to: a, percent: 0 }", "`percent` must be at least 1", ""),
        ("mirror: { to: a, percent: 101 }", "`percent` must be at most 100", ""),
        ("mirror: { to: a, max_body: 10 }", "`10` has no unit", "64KiB"),
        ("gibberish: 1", "unknown key `gibberish`", "the keys here are `name`,"),
        (
            "retry: { on: [conect] }",
            "the item cannot be `conect` in route \"spike\", retry, on",
            "`connect`?",
        ),
        ("retry: { on: connect }", "`on` must be a list, not `connect`", ""),
        ("upgrade: [h2c]", "`h2c` would let requests past the routes", "`protocols`"),
        ("host: http://a", "`http://a` is not a host", "`preserve`"),
        (
            "rewrite: {}",
            "one of `path`, `strip_prefix`, `add_prefix` or `template` is missing in route \"spike\", rewrite",
            "",
        ),
        (
            "rewrite: { path: /, add_prefix: /v2 }",
            "`add_prefix` and `path` exclude each other",
            "write the whole path under `path`, prefix included",
        ),
        (
            "rewrite: { template: /a, add_prefix: /v2 }",
            "`add_prefix` and `template` exclude each other",
            "begin `template` with the prefix",
        ),
        (
            "rewrite: { template: /a, strip_prefix: / }",
            "`template` and `strip_prefix` exclude each other",
            "take",
        ),
        ("rewrite: { add_prefix: v2 }", "`v2` does not begin with `/`", "write `/v2`"),
        ("rewrite: { path: /, strip_prefix: / }", "`strip_prefix` and `path` exclude each other", "take one"),
        ("rewrite: { template: '/{id}' }", "the match has no parameter `{id}`", "`match.template`"),
        ("match: { path: /a, prefix: /b }", "`prefix` and `path` exclude each other", "take one of them out"),
        ("match: { path: a }", "`a` does not begin with `/` in route \"spike\", match", "write `/a`"),
        ("match: { path: /a/../b }", "dot segments", "write `/b`"),
        ("match: { template: '/{id}/{id}' }", "the parameter `{id}` appears twice", "its own name"),
        ("match: { template: '/{id' }", "has a `{` without its `}`", ""),
        ("match: { methods: [get] }", "`get` is not a method", "write `GET`"),
        ("match: { headers: { 'x y': a } }", "`x y` is not a header name", "`x-request-id`"),
        ("match: { headers: { x-a: a, X-A: b } }", "the header `X-A` appears twice", "are the same"),
        ("match: { headers: { Host: a } }", "`host` is not matched as a header", "beside `headers`"),
        (
            "match: { headers: { x-a: 1 } }",
            "`x-a` must be text of printable ASCII, not a number",
            "put it in quotes: `\"1\"`",
        ),
        (
            "headers: { request: { set: { Connection: x } } }",
            "the header `connection` cannot be changed",
            "its own",
        ),
        (
            "headers: { request: { set: { Host: x } } }",
            "the header `host` cannot be changed",
            "write `host` beside",
        ),
        (
            "headers: { response: { remove: [Content-Length] } }",
            "`content-length` cannot be changed",
            "the body",
        ),
        ("listeners: [wbe]", "unknown listener `wbe`", "add it to `listeners`"),
        ("name: again", "the key `name` appears twice", "it is also in line 3"),
        ("host: '${NOPE}'", "the environment variable `NOPE` is not set", "`${NOPE:-…}`"),
        ("host: !thing x", "the tag `!thing` has no meaning", "take it out"),
    ] {
        let shown = shown(&route(keys));
        let (first, rest) = shown.split_once('\n').unwrap_or_default();
        assert!(first.contains(message), "{keys}\n{shown}");
        assert!(rest.contains(help), "{keys}\n{shown}");
    }
}

#[test]
fn a_mistake_elsewhere_is_reported_with_its_remedy() {
    for (text, message, help) in [
        ("", "gateway.yaml is empty", "`listeners` and `routes`"),
        ("[]", "the file must be a mapping, not a list", ""),
        ("listeners: []\nroutes: []", "`listeners` is empty", "at least one"),
        ("routes: [{ respond: {} }]", "the key `listeners` is missing", ""),
        ("a: b: c", "not valid YAML", "indentation"),
        ("a: [", "not valid YAML", "indentation"),
        ("workers: [${PORT}]", "not valid YAML", "put a text with `${…}` in quotes"),
        ("{}\n---\n{}", "a second document", ""),
        ("? [a]\n: b", "a key that is not a text", ""),
        ("listeners: [{ adress: 127.0.0.1:80 }]\nROUTE", "`address` is missing in listener 1", "`address`?"),
        (
            "listeners: [{ address: 127.0.0.1 }]\nROUTE",
            "not an IP address with a port",
            "the port is missing",
        ),
        (
            "listeners: [{ address: http://127.0.0.1:80 }]\nROUTE",
            "not an IP address",
            "a URL does not belong here",
        ),
        (
            "listeners: [{ address: 127.0.0.1:80 }, { address: 127.0.0.1:80 }]\nROUTE",
            "`127.0.0.1:80` appears twice",
            "line 1",
        ),
        (
            "listeners: [{ address: 127.0.0.1:0, name: a }, { address: 127.0.0.1:0, name: a }]\nROUTE",
            "the listener name `a` appears twice",
            "line 1",
        ),
        (
            "listeners: [{ address: 127.0.0.1:80, limits: { headers: 10001 } }]\nROUTE",
            "`headers` must be at most 10000 in listener",
            "headers: 10001",
        ),
        (
            "listeners: [{ address: 127.0.0.1:80, http2: { max_streams: 10001 } }]\nROUTE",
            "`max_streams` must be at most 10000 in listener",
            "",
        ),
        (
            "listeners: [{ address: 127.0.0.1:80, http2: { stream_window: 63KiB } }]\nROUTE",
            "`stream_window` must be at least 64KiB in listener",
            "before it knows",
        ),
        (
            "listeners: [{ address: 127.0.0.1:80, http2: { connection_window: 2GiB } }]\nROUTE",
            "`connection_window` must be at most 1GiB",
            "",
        ),
        (
            "listeners: [{ address: 127.0.0.1:80, http2: { connection_window: 1MiB } }]\nROUTE",
            "the `connection_window` of 1MiB is less than the `stream_window` of 2MiB",
            "all streams share it",
        ),
        (
            "listeners: [{ address: 127.0.0.1:80, http2: { stream_window: 9MiB } }]\nROUTE",
            "of 8MiB is less than the `stream_window` of 9MiB in listener \"127.0.0.1:80\", http2",
            "stream_window: 9MiB",
        ),
        (
            "listeners: [{ address: 127.0.0.1:80, http2: { header_table: 1KiB } }]\nROUTE",
            "`header_table` must be at least 4KiB",
            "before it knows",
        ),
        (
            "listeners: [{ address: 127.0.0.1:80, proxy_protocol: accept }]\nROUTE",
            "without `trusted_proxies`",
            "list the networks",
        ),
        (
            "LISTENER\nadmin: { address: 127.0.0.1:80 }\nROUTE",
            "`127.0.0.1:80` appears twice in admin",
            "line 1",
        ),
        (
            "listeners: [{ address: 127.0.0.1:80, tls: { certificates: [], min_version: 1.2 } }]\nROUTE",
            "`certificates` is empty",
            "put it in quotes: `\"1.2\"`",
        ),
        ("LISTENER\nroutes: [{}]", "one of `upstream`, `respond` or `redirect` is missing in route 1", ""),
        ("LISTENER\nroutes: [{ respond: {}, pool: {} }]", "`pool` has no effect", "take it out"),
        ("LISTENER\nroutes: [{ respond: { status: 204, body: x } }]", "status 204 has no body", ""),
        ("LISTENER\nroutes: [{ respond: { delay: 61s } }]", "`delay` must be at most 1m", "slow upstream"),
        ("LISTENER\nroutes: [{ respond: { delay: 1m1ms } }]", "`delay` must be at most 1m", ""),
        ("LISTENER\nroutes: [{ respond: { delay: 2 } }]", "`2` has no unit", "write"),
        ("LISTENER\nroutes: [{ respond: { status: 600 } }]", "`status` must be at most 599", ""),
        ("LISTENER\nroutes: [{ respond: { status: 199 } }]", "`status` must be at least 200", ""),
        ("LISTENER\nroutes: [{ redirect: { to: /, status: 304 } }]", "`status` cannot be 304", ""),
        (
            "LISTENER\nroutes: [{ redirect: { to: /, status: 200 } }]",
            "`status` cannot be 200",
            "`307` and `308`",
        ),
        ("LISTENER\nroutes: [{ redirect: { to: a } }]", "not a place to redirect to", "`/new`"),
        (
            "LISTENER\nroutes: [{ redirect: { status: 301 } }]",
            "one of `to`, `scheme`, `host` or `port` is missing",
            "",
        ),
        (
            "LISTENER\nroutes: [{ redirect: { to: /, scheme: https } }]",
            "`scheme` and `to` exclude each other",
            "write it into the URL of `to`",
        ),
        ("LISTENER\nroutes: [{ redirect: { scheme: ftp } }]", "`scheme` cannot be `ftp`", "`https`"),
        ("LISTENER\nroutes: [{ redirect: { host: 'a:80' } }]", "`a:80` is not a host name", "without scheme"),
        ("LISTENER\nroutes: [{ redirect: { scheme: https, port: 0 } }]", "`port` must be at least 1", ""),
        ("LISTENER\nroutes: [{ upstream: 'http://a' }]", "unknown upstream `http://a`", "url: \"http://a\""),
        (
            "LISTENER\nupstreams: { users: { url: http://a } }\nroutes: [{ upstream: user }]",
            "unknown upstream `user`",
            "did you mean `users`?",
        ),
        (
            "LISTENER\nroutes: [{ upstream: { url: 'http://a:3000/x?y' } }]",
            "has a query or a fragment",
            "write `http://a:3000/x`",
        ),
        ("LISTENER\nroutes: [{ upstream: { url: http://a/x/../y } }]", "dot segments", "write `/y`"),
        (
            "LISTENER\nroutes: [{ upstream: { url: http://a, tls: { verify: false } } }]",
            "`tls` has no effect",
            "https://",
        ),
        (
            "LISTENER\nroutes: [{ upstream: { endpoints: [{ url: http://a, weight: 0 }] } }]",
            "`weight` must be at least 1",
            "",
        ),
        (
            "LISTENER\nroutes: [{ name: a, respond: {} }, { name: a, respond: {} }]",
            "the route name `a` appears twice",
            "line 2",
        ),
        (
            "LISTENER\nroutes: [{ match: { prefix: /api }, upstream: { url: http://a }, rewrite: { strip_prefix: /apo } }]",
            "no path of the match begins with `/apo`",
            "",
        ),
    ] {
        let text = text
            .replace("LISTENER", "listeners: [{ address: 127.0.0.1:80 }]")
            .replace("ROUTE", "routes: [{ respond: {} }]");
        let shown = shown(&text);
        let (first, rest) = shown.split_once('\n').unwrap_or_default();
        assert!(first.contains(message), "{text}\n{shown}");
        assert!(rest.contains(help), "{text}\n{shown}");
    }
}

#[test]
fn a_mistake_in_a_filter_is_reported_with_its_remedy() {
    for (text, message, help) in [
        (
            "routes: [{ filters: [redcat], respond: {} }]",
            "unknown filter `redcat` in route 1, filters",
            "`redact`?",
        ),
        ("routes: [{ filters: [{ use: redcat }], respond: {} }]", "unknown filter `redcat`", "`redact`?"),
        (
            "defaults: { filters: [nobody] }",
            "unknown filter `nobody` in defaults, filters",
            "add it to `filters`",
        ),
        ("defaults: { filters: [a/b.wasm] }", "unknown filter `a/b.wasm`", "write `{ wasm: a/b.wasm }`"),
        (
            "defaults: { filters: [1] }",
            "the item must be text or a mapping, not a number",
            "put it in quotes",
        ),
        ("defaults: { filters: redact }", "`filters` must be a list, not `redact`", ""),
        ("defaults: { filters: [{}] }", "one of `use` or `wasm` is missing in defaults, filters", ""),
        ("defaults: { filters: [{ config: 1 }] }", "one of `use` or `wasm` is missing", ""),
        (
            "defaults: { filters: [{ use: redact, wasm: a }] }",
            "`wasm` does not go with `use`",
            "take one of them out",
        ),
        (
            "defaults: { filters: [{ env: {}, use: redact }] }",
            "`env` does not go with `use`",
            "take one of them out",
        ),
        ("defaults: { filters: [{ use: redact, confg: 1 }] }", "unknown key `confg`", "`config`?"),
        ("defaults: { filters: [{ wasm: a, nam: b }] }", "unknown key `nam`", "the keys here are `wasm`"),
        (
            "defaults: { filters: [{ wasm: 'my filter.wasm' }] }",
            "`my filter`, the name of the file",
            "under `filters`",
        ),
        ("defaults: { filters: [{ wasm: / }] }", "``, the name of the file", ""),
        (
            "defaults: { filters: [R, R, R, R, R, R, R, R, R, R, R, R, R, R, R, R, R] }",
            "`filters` has more than 16 items in defaults",
            "there are 17",
        ),
        ("filters: { 'a b': { wasm: a } }", "`a b` is not a valid filter name", "64 letters"),
        ("filters: { '': { wasm: a } }", "`` is not a valid filter name", "64 letters"),
        ("filters: { a: {} }", "the key `wasm` is missing in filter \"a\"", ""),
        (
            "filters: { a: { wasm: a, on_error: opne } }",
            "`on_error` cannot be `opne` in filter \"a\"",
            "`open`?",
        ),
        ("filters: { a: { wasm: a, vm_id: '' } }", "`vm_id` is empty", "take the key out"),
        ("filters: { a: { wasm: a, decode: true } }", "`decode` must be `auto` or `off`, not `true`", ""),
        (
            "filters: { a: { wasm: a, limits: { time: off } } }",
            "`off` is not a duration in filter \"a\", limits",
            "500ms, 30s",
        ),
        ("filters: { a: { wasm: a, limits: { body: 1 } } }", "`1` has no unit", ""),
        (
            "filters: { a: { wasm: a, limits: { memory: 65535B } } }",
            "`memory` must be at least 64KiB",
            "4GiB",
        ),
        (
            "filters: { a: { wasm: a, limits: { memory: 5GiB } } }",
            "`memory` must be at most 4GiB in filter \"a\"",
            "",
        ),
        (
            "filters: { a: { wasm: a, env: { A=B: c } } }",
            "`A=B` is not the name of an environment variable",
            "without",
        ),
        ("filters: { a: { wasm: a, env: { '': c } } }", "`` is not the name of an environment variable", ""),
        ("filters: { a: { wasm: a, env: { A: \"\\0\" } } }", "`A` has a zero byte in filter \"a\", env", ""),
        ("filters: { a: { wasm: a, env: { A: 1 } } }", "`A` must be text, not a number", "`\"1\"`"),
        (
            "filters: { a: { wasm: a, config: [18446744073709551616] } }",
            "18446744073709551616 does not fit in 64 bits in filter \"a\", config",
            "put it in quotes",
        ),
        (
            "filters: { a: { wasm: a, config: { n: 999999999999999999999999999999999999999999 } } }",
            "does not fit in 64 bits",
            "put it in quotes",
        ),
        ("filters: { a: { wasm: a, config: 1e999 } }", "1e999 is too large for a number", "put it in quotes"),
        (
            "filters: { a: { wasm: a, config: { b: '${NOPE}' } } }",
            "variable `NOPE` is not set",
            "`${NOPE:-…}`",
        ),
        ("filters: { a: { wasm: a, config: { b: 1, b: 2 } } }", "the key `b` appears twice", ""),
        ("wasm: { cache: '' }", "the folder has no name in wasm", "`auto`, `off` or a path"),
        ("wasm: { cach: off }", "unknown key `cach` in wasm", "`cache`?"),
    ] {
        let text = text.replace('R', "redact");
        let mut whole = "listeners: [{ address: 127.0.0.1:80 }]\n".to_owned();
        for (key, default) in
            [("filters", "filters: { redact: { wasm: a } }\n"), ("routes", "routes: [{ respond: {} }]\n")]
        {
            if !text.starts_with(key) {
                whole.push_str(default);
            }
        }
        whole.push_str(&text);
        let shown = shown(&whole);
        let (first, rest) = shown.split_once('\n').unwrap_or_default();
        assert!(first.contains(message), "{text}\n{shown}");
        assert!(rest.contains(help), "{text}\n{shown}");
        assert_eq!(shown.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{text}\n{shown}");
    }
}

#[test]
fn all_errors_of_filters_are_shown_together() {
    let text = "\
listeners: [{ address: 127.0.0.1:8080 }]
filters:
  a: { wasm: a.wasm, limits: { memory: 1KiB }, env: { '=': a } }
  b: { wasm: b.wasm, limits: { memory: 1 } }
  c d: { wasm: c.wasm }
defaults:
  filters: [a, b, e]
routes:
  - { respond: {}, filters: [b, { use: e }, { wasm: 'g h.wasm', limits: { memory: 8GiB } }] }
  - { respond: {}, filters: [{ wasm: a.wasm, use: a }] }
";
    let errors = parse(text).unwrap_err();
    let lines: Vec<usize> = errors.errors().iter().map(|error| error.position().unwrap().line).collect();
    assert_eq!(lines, [3, 3, 4, 5, 7, 9, 9, 9, 10], "{errors}");
}

#[test]
fn all_errors_are_shown_together_in_the_order_of_the_file() {
    let text = "\
listeners:
  - { name: web, address: http://127.0.0.1:80 }
  - { name: web, address: 127.0.0.1:81, polo: 1 }
workers: '${NOPE}'
upstreams:
  users: { url: http://a?b }
routes:
  - { name: a, upstream: user }
  - { name: a, upstream: users, pool: { max_idle: 2, max_connections: 1, max_idle: 3 } }
  - { name: c, respond: {}, redirect: { to: / } }
";
    let errors = parse(text).unwrap_err();
    let lines: Vec<usize> = errors.errors().iter().map(|error| error.position().unwrap().line).collect();
    assert_eq!(lines, [2, 3, 4, 6, 8, 9, 9, 9, 10], "{errors}");
}

#[test]
fn an_unknown_upstream_is_not_one_that_has_errors_of_its_own() {
    let text = "listeners: [{ address: 127.0.0.1:80 }]\nupstreams: { a: { url: nothing } }\nroutes: [{ upstream: a }]";
    assert_eq!(parse(text).unwrap_err().errors().len(), 1);
}

#[test]
fn a_long_line_is_shown_in_part_and_carets_stand_below_tabs_and_wide_text() {
    let text = format!("{MINIMAL}workers: [{}x]\n", "a, ".repeat(1000));
    assert!(shown(&text).lines().all(|line| line.chars().count() < 300));
    let shown = shown(&format!("{MINIMAL}wörkers: é\n"));
    assert!(shown.contains("3 | wörkers: é\n  | ^^^^^^^ did"), "{shown}");
}

#[test]
fn a_thousand_errors_are_not_all_shown() {
    let text = format!("{MINIMAL}trusted_proxies: [{}x]\n", "x, ".repeat(999));
    let errors = parse(&text).unwrap_err();
    assert_eq!(errors.errors().len(), 1000);
    assert!(errors.to_string().ends_with("and 900 more errors\n"));
}

#[test]
fn colour_is_only_where_it_is_asked_for() {
    let errors = parse("[]").unwrap_err();
    assert!(errors.render(true).contains("\u{1b}["));
    assert!(!errors.render(false).contains('\u{1b}'));
}
