//! Values of environment variables, which errors of `check`, the start and a reload do not show.

use std::process::{Command, Output};

use support::{Gateway, Origin};

use crate::PROGRAM;
use crate::filtering::configured;
use crate::reloading::{file, post, replace};
use crate::scripted::scripted;

/// Runs `gateway check` on a file with these routes, with `SECRET` set to a value. Returns the errors.
fn check(routes: &str, value: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.yaml");
    std::fs::write(&file, format!("listeners: [{{ address: 127.0.0.1:0 }}]\nroutes: [{routes}]\n")).unwrap();
    let output = Command::new(PROGRAM).arg("check").arg(&file).env("SECRET", value).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{routes}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn errors_of_check_show_no_value_with_backticks_in_urls_headers_and_paths() {
    for (value, route) in [
        ("user:4711@a", "upstream: { url: 'http://${SECRET}/' }"),
        ("4711`a`4711", "upstream: { url: 'http://${SECRET}' }"),
        ("\u{1}4711`x", "respond: { headers: { x-key: '${SECRET}' } }"),
        ("\u{1}4711`x", "respond: {}, headers: { response: { set: { x-key: '${SECRET}' } } }"),
        ("4711`4711%2f", "match: { path: '/${SECRET}' }, respond: {}"),
        ("4711%2f", "match: { path: '/${SECRET}' }, respond: {}"),
        ("4711/..;4711", "match: { prefix: '/${SECRET}' }, respond: {}"),
        ("http://4711`{4711", "redirect: { to: '${SECRET}' }"),
        ("http://a/{4711`4711}", "redirect: { to: '${SECRET}' }"),
        ("/4711%5C", "upstream: { url: 'http://a' }, rewrite: { path: '${SECRET}' }"),
        ("4711", "match: { template: '/{x4711}' }, redirect: { to: '/{x${SECRET}y}' }"),
    ] {
        let errors = check(&format!("{{ {route} }}"), value);
        assert!(errors.contains("${SECRET}"), "{route}\n{errors}");
        let said = errors.lines().filter(|line| !line.contains(" | ")).collect::<Vec<_>>().join("\n");
        assert!(!said.replace("x4711", "").contains("4711"), "{route}\n{errors}");
        // A name that is like the value would reveal most of it.
        assert!(!said.contains("did you mean"), "{route}\n{errors}");
    }
}

#[test]
fn a_short_value_leaves_the_words_of_an_error_alone() {
    for value in ["a", "e", "path", "1"] {
        let errors = check("{ match: { path: '/a%2f${SECRET}' }, respond: {} }", value);
        let expected = "no request can have the path `/a%2f${SECRET}`: the path has an encoded slash, which a route accepts only \
                        with `paths: { encoded_slash: keep }`";
        assert!(errors.contains(expected), "{value}\n{errors}");
    }
}

#[test]
fn a_file_that_was_tried_is_named_in_full() {
    for route in [
        "{ upstream: { url: 'https://a', tls: { ca: '${SECRET}' } } }",
        "{ respond: {}, filters: [{ wasm: '${SECRET}', config: { key: '${SECRET}' } }] }",
    ] {
        let errors = check(route, "/nowhere/missing");
        assert!(errors.contains("`/nowhere/missing`"), "{errors}");
    }
}

const FILTERED: &str = "
workers: 1
filters: { test: { wasm: test.wasm, env: { SEED: '${SECRET}' }, config: { key: '${SECRET}', pin: '${PIN}' } } }
routes:
  - { name: one, match: { path: /one }, respond: {}, filters: [test] }
  - { name: two, respond: {}, filters: [{ use: test, config: { other: '${SECRET}', pin: '${PIN}' } }] }";

#[tokio::test]
async fn a_plugin_that_logs_its_configuration_shows_no_value() {
    let script = "get_buffer 7 0 4096 -> bytes\nsay\nreturn 0";
    let module = scripted(&[("proxy_on_configure", script)]);
    for (secret, pin) in [("hunter2-hunter2", "4711"), ("hunter`2\"\\hunter\n", "9"), ("Hunter\u{1}22", "a")]
    {
        let gateway = configured(FILTERED, &[("test", &module)]).env("SECRET", secret).env("PIN", pin);
        let Output { status, stderr, .. } = gateway.run_to_exit().await;
        let said = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(1), "{said}");
        for key in ["key", "other"] {
            let expected = format!("\"{key}\":\"${{SECRET}}\",\"pin\":\"${{PIN}}\"");
            assert!(said.contains(&expected), "{expected}\n{said}");
        }
        assert!(!said.to_lowercase().contains("hunter"), "{said}");
    }
}

#[tokio::test]
async fn a_reload_that_cannot_resolve_an_upstream_shows_its_url_as_written() {
    let origin = Origin::echo();
    let config = |url: &str| {
        format!(
            "listeners: [{{ name: web, address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\n\
             routes: [{{ name: all, upstream: named }}]\nupstreams:\n  named: {{ url: '{url}' }}\n"
        )
    };
    let gateway = Gateway::builder(PROGRAM, config(&origin.url()));
    let gateway = gateway.env("SECRET", "hunter2-hunter2.invalid").start().await;
    replace(&file(&gateway), config("http://${SECRET}.:81"));
    let answer = post(&gateway).await;
    assert_ne!(answer.status, 200);
    let answer = answer.text();
    assert!(answer.contains("`http://${SECRET}.:81` cannot be resolved"), "{answer}");
    assert!(!answer.contains("hunter2"), "{answer}");
    gateway.wait_for_log("cannot be resolved; the previous endpoints continue to serve").await;
    let log = gateway.output();
    let refusal = log.lines().filter(|line| line.contains("previous endpoints continue to serve"));
    assert!(
        refusal.clone().count() > 0 && refusal.into_iter().all(|line| !line.contains("hunter2")),
        "{log}"
    );
}

#[tokio::test]
async fn lines_of_listeners_show_a_variable_in_their_name_and_not_its_value() {
    let config = |more: &str| {
        format!(
            "
admin: {{ address: 127.0.0.1:0 }}
listeners:
  - {{ name: 'web-${{SECRET}}', address: 127.0.0.1:0 }}
  - {{ address: 127.0.0.1:0 }}
{more}
routes: [{{ listeners: ['web-${{SECRET}}'], respond: {{}} }}]"
        )
    };
    let gateway = crate::gateway(config("")).env("SECRET", "hunter2").start().await;
    assert_eq!(gateway.client("web-${SECRET}").await.get("/").await.status, 200);
    assert!(gateway.addr("127.0.0.1:0").port() > 0);
    gateway.reload(&config("  - { name: '${SECRET}', address: 127.0.0.1:0 }")).await;
    gateway.wait_for_stdout(" (${SECRET})").await;
    let lines = gateway.stdout_lines();
    let announced = |line: &&String| line.contains("listening on") || line.contains("curl");
    let announced: Vec<&String> = lines.iter().filter(announced).collect();
    assert_eq!(announced.len(), 2 + 1 + 1, "{lines:?}");
    assert!(!announced.iter().any(|line| line.contains("hunter2")), "{announced:?}");
}
