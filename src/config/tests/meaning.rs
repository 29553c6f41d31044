//! Tests of the meaning of files.

use std::path::Path;
use std::time::Duration;

use super::{MINIMAL, parse};
use crate::config::{
    Code, ConfigError, HeaderTemplate, HeaderValues, HostHeader, LogFormat, LogOutput, OrOff, PathMatch,
    PoolSettings, RewriteForm, RouteTimeouts, UpgradeProtocol, Workers,
};
use crate::path;

#[test]
fn the_least_file_has_all_defaults() {
    let config = parse(MINIMAL).unwrap().config;
    let listener = &config.listeners[0];
    assert_eq!(listener.name(), "127.0.0.1:8080");
    assert_eq!(listener.timeouts.request_header.duration(), Some(Duration::from_secs(10)));
    assert_eq!(listener.limits.header_bytes.length(), 32 * 1024);
    assert_eq!(config.admin, OrOff::Off);
    assert_eq!(config.drain(), Some(Duration::from_secs(30)));
    let access_log = config.telemetry.access_log.as_on().unwrap();
    assert_eq!((access_log.format, &access_log.output), (LogFormat::Json, &LogOutput::Stdout));
    let route = &config.routes[0];
    assert_eq!(route.name(), "/*");
    let settings = config.settings_of(route);
    assert_eq!(settings.pool, PoolSettings::default());
    assert_eq!(settings.pool.max_connections, 256);
    assert_eq!(settings.timeouts, RouteTimeouts::default());
    assert_eq!(settings.timeouts.connect, Some(Duration::from_secs(3)));
    assert_eq!(settings.timeouts.request, None);
    assert_eq!(settings.host, HostHeader::Upstream);
    assert_eq!(settings.upgrade, [UpgradeProtocol::websocket()]);
    assert_eq!(settings.body_bytes_max, None);
    assert!(settings.retry.on_connect && settings.retry.on_stale);
}

#[test]
fn a_route_wins_over_its_upstream_over_defaults() {
    let text = "
listeners: [{ address: 127.0.0.1:8080 }]
defaults:
  pool: { max_idle: 1, max_pending: 1, idle_timeout: 1s }
  timeouts: { connect: 1s, idle: 1s, request: 1s }
  retry: { attempts: 5 }
  limits: { body: 1MiB }
  headers: { response: { remove: [server], set: { x-a: default, x-b: default } } }
upstreams:
  users: { url: http://a, pool: { max_idle: 2, max_pending: 2 }, timeouts: { connect: 2s, idle: 2s } }
routes:
  - upstream: users
    pool: { max_idle: 3 }
    timeouts: { connect: off }
    limits: { body: off }
    headers: { response: { set: { x-a: route }, remove: [x-b] } }
";
    let config = parse(text).unwrap().config;
    let settings = config.settings_of(&config.routes[0]);
    assert_eq!((settings.pool.max_idle, settings.pool.max_pending), (3, 2));
    assert_eq!(settings.pool.idle_timeout, Some(Duration::from_secs(1)));
    assert_eq!(settings.timeouts.connect, None);
    assert_eq!(settings.timeouts.idle, Some(Duration::from_secs(2)));
    assert_eq!(settings.timeouts.request, Some(Duration::from_secs(1)));
    assert_eq!(settings.retry.attempts, 5);
    assert_eq!(settings.body_bytes_max, Some(None));
    let response = &settings.headers.response;
    let set = response.set.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
    let set: Vec<String> = set.map(|(name, value)| format!("{name}: {value}")).collect();
    assert_eq!(set, ["x-a: route"]);
    assert_eq!(response.remove.iter().map(ToString::to_string).collect::<Vec<_>>(), ["server", "x-b"]);
}

#[test]
fn layers_that_contradict_each_other_leave_the_smaller_number() {
    let text = MINIMAL.replace("routes: [{", "routes: [{ pool: { max_connections: 8 },");
    let config = parse(&text).unwrap().config;
    let pool = config.settings_of(&config.routes[0]).pool;
    assert_eq!((pool.max_connections, pool.max_idle, pool.min_idle), (8, 8, 0));
}

#[test]
fn paths_are_relative_to_the_folder_of_the_file() {
    let text = "
listeners:
  - address: 127.0.0.1:8443
    tls:
      certificates: [{ cert: certs/a.pem, key: /keys/a.key }]
      client_auth: { ca: clients.pem }
routes:
  - upstream: { url: https://a, tls: { ca: ca.pem } }
telemetry: { access_log: { output: logs/access.log } }
";
    let config = parse(text).unwrap().config;
    let tls = config.listeners[0].tls.as_ref().unwrap();
    assert_eq!(tls.certificates[0].cert, Path::new("/etc/gateway/certs/a.pem"));
    assert_eq!(tls.certificates[0].key, Path::new("/keys/a.key"));
    assert_eq!(tls.client_auth.as_ref().unwrap().ca, Path::new("/etc/gateway/clients.pem"));
    let upstream = config.upstreams_of(&config.routes[0]).next().unwrap();
    assert_eq!(upstream.tls.ca.as_deref(), Some(Path::new("/etc/gateway/ca.pem")));
    let access_log = config.telemetry.access_log.as_on().unwrap();
    assert_eq!(access_log.output, LogOutput::File("/etc/gateway/logs/access.log".into()));
}

#[test]
fn variables_are_put_into_texts_and_numbers() {
    let text = MINIMAL.replace("127.0.0.1:8080", "'127.0.0.1:${PORT}'") + "workers: ${PORT}\n";
    let config = parse(&text).unwrap().config;
    assert_eq!(config.listeners[0].socket_address().inet().unwrap().port(), 8080);
    assert_eq!(config.workers, Workers::Count(8080.try_into().unwrap()));
    let quoted = parse(&format!("{MINIMAL}workers: '${{PORT}}'\n"));
    assert!(quoted.unwrap_err().to_string().contains("`workers` must be a whole number"));
    let nested = parse(&format!("{MINIMAL}workers: ${{NOPE:-${{NOT:-3}}}}\n")).unwrap().config;
    assert_eq!(nested.workers, Workers::Count(3.try_into().unwrap()));
}

#[test]
fn aliases_and_merges_work() {
    let text = "
listeners: [{ address: 127.0.0.1:8080 }]
routes:
  - { match: { path: /a }, upstream: &up { url: http://a }, pool: &pool { max_idle: 1, max_pending: 1 } }
  - { match: { path: /b }, upstream: *up, pool: { <<: *pool, max_idle: 2 } }
";
    let config = parse(text).unwrap().config;
    let pool = config.settings_of(&config.routes[1]).pool;
    assert_eq!((pool.max_idle, pool.max_pending), (2, 1));
    assert_eq!(config.routes[0].upstream, config.routes[1].upstream);
}

#[test]
fn top_level_keys_that_begin_with_x_are_a_place_for_anchors() {
    let text = "
x-pool: &pool { max_idle: 1, nonsense: 99999999999999999999999 }
x-routes:
  - &route { respond: { body: hello } }
x-: ~
listeners: [{ address: 127.0.0.1:8080 }]
routes: [*route, { <<: *route, name: b }]
";
    let config = parse(text).unwrap().config;
    assert_eq!(config.routes.len(), 2);
    assert_eq!(config.routes[1].respond.as_ref().unwrap().body, "hello");
    // Such keys are permitted only at the top level.
    let below = parse(&MINIMAL.replace("routes: [{", "routes: [{ x-a: 1,")).unwrap_err().to_string();
    assert!(below.contains("unknown key `x-a`"), "{below}");
    let other = parse(&format!("{MINIMAL}xa: 1\n")).unwrap_err().to_string();
    assert!(other.contains("unknown key `xa`"), "{other}");
    // An error in an anchor is reported where the anchor is used.
    let used = parse(&text.replace("*route, {", "{ <<: *route, pool: *pool }, {")).unwrap_err().to_string();
    assert!(used.contains("unknown key `nonsense`"), "{used}");
}

#[test]
fn a_header_has_one_value_or_several() {
    let text = MINIMAL.replace(
        "routes: [{",
        "routes: [{ headers: { response: { set: { set-cookie: [a=1, b=2] }, add: { vary: accept } } },",
    );
    let config = parse(&text).unwrap().config;
    let response = &config.routes[0].headers.response;
    let values =
        |values: &HeaderValues<HeaderTemplate>| values.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(values(&response.set[&"set-cookie".parse().unwrap()]), ["a=1", "b=2"]);
    assert_eq!(values(&response.add[&"vary".parse().unwrap()]), ["accept"]);
    for (keys, message) in [
        ("set-cookie: []", "`set-cookie` is empty"),
        ("set-cookie: [1]", "the item must be text of printable ASCII, not a number"),
        ("set-cookie: ['a\u{1}']", "a header value holds only printable ASCII"),
        ("set-cookie: { a: b }", "`set-cookie` must be text of printable ASCII or a list, not a mapping"),
        ("connection: [a, b]", "the header `connection` cannot be changed"),
    ] {
        let text = MINIMAL
            .replace("routes: [{", &format!("routes: [{{ headers: {{ request: {{ add: {{ {keys} }} }} }},"));
        let shown = parse(&text).unwrap_err().to_string();
        assert!(shown.contains(message), "{keys}\n{shown}");
    }
}

#[test]
fn matches_rewrites_and_endpoints_have_one_form() {
    let text = "
listeners: [{ address: 127.0.0.1:8080 }]
routes:
  - match: { template: '/users/{id}', host: '*.example.com', methods: [GET, POST] }
    rewrite: { template: '/v2/{id}' }
    upstream: { endpoints: [http://a, { url: https://b:8443, weight: 2 }] }
  - match: { prefix: /api }
    respond: { status: 503 }
";
    let config = parse(text).unwrap().config;
    let route = &config.routes[0];
    assert_eq!(route.name(), "GET,POST *.example.com/users/{id}");
    assert!(matches!(route.matches.path_match(), PathMatch::Template(_)));
    assert!(matches!(route.rewrite.as_ref().unwrap().form(), Some(RewriteForm::Template(_))));
    let endpoints = config.upstreams_of(route).next().unwrap().all_endpoints();
    let endpoints: Vec<_> = endpoints.map(|(url, weight)| (url.to_string(), weight.get())).collect();
    assert_eq!(endpoints, [("http://a".to_owned(), 1), ("https://b:8443".to_owned(), 2)]);
    assert_eq!(config.routes[1].name(), "/api/*");
    assert!(config.upstreams_of(&config.routes[1]).next().is_none());
}

#[test]
fn every_route_has_a_name_of_its_own() {
    let text = "
listeners: [{ name: web, address: 127.0.0.1:8080 }, { name: api, address: 127.0.0.1:8081 }]
routes:
  - { match: { prefix: /a }, respond: {} }
  - { match: { prefix: /a }, listeners: [web], respond: {} }
  - { match: { prefix: /a }, listeners: [api, web], respond: {} }
  - { match: { prefix: /a, headers: { x-key: secret } }, respond: {} }
  - { match: { prefix: /a, headers: { x-key: other }, query: { b: present, c: d } }, respond: {} }
  - { match: { prefix: /a, headers: { x-key: other } }, respond: {} }
  - { match: { prefix: /a, headers: { x-key: third } }, respond: {} }
  - { name: '/a/* x-key: (2)', match: { path: /b }, respond: {} }
";
    let names: Vec<String> = parse(text).unwrap().config.routes.iter().map(|route| route.name()).collect();
    assert_eq!(
        names,
        [
            "/a/*",
            "/a/* on web",
            "/a/* on api,web",
            "/a/* x-key:",
            "/a/* ?b ?c x-key:",
            "/a/* x-key: (3)",
            "/a/* x-key: (4)",
            "/a/* x-key: (2)",
        ]
    );
}

#[test]
fn later_stages_report_at_a_place_in_the_file() {
    let text = "
listeners:
  - name: web
    address: 127.0.0.1:8443
    tls: { certificates: [{ cert: a.pem, key: a.key }] }
routes: [{ respond: {} }]
";
    let source = parse(text).unwrap().source;
    let place = |error: &ConfigError| {
        let position = error.position().unwrap();
        (position.line, position.column)
    };
    let error = source.error(
        Code::FileUnreadable,
        &path!["listeners", 0, "tls", "certificates", 0, "key"],
        "cannot read a.key",
    );
    assert_eq!(place(&error), (5, 47));
    assert_eq!(error.message(), "cannot read a.key in listener \"web\", tls, certificates");
    // An error about a missing value is reported at the value around it.
    let error = source.error(Code::InvalidValue, &path!["listeners", 0, "limits", "connections"], "too many");
    assert_eq!(place(&error), (3, 5));
}
