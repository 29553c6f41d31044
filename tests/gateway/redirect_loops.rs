//! Redirects that lead to themselves: `check`, the start and a reload warn of them.

use std::fs;

use support::serde_json::{Value, from_slice};
use support::{Certificates, Identity, run_to_exit};

use crate::{PROGRAM, gateway};

/// The plain listener `web` and the TLS listener `tls`, with their ports.
fn listeners(identity: &Identity, [plain, tls]: [u16; 2]) -> String {
    let (cert, key) = (identity.cert.display(), identity.key.display());
    let certificates = format!("tls: {{ certificates: [{{ cert: {cert}, key: {key} }}] }}");
    format!(
        "listeners:
  - {{ name: web, address: '127.0.0.1:{plain}' }}
  - {{ name: tls, address: '127.0.0.1:{tls}', {certificates} }}
routes:
"
    )
}

async fn warnings(identity: &Identity, ports: [u16; 2], routes: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.yaml");
    let routes = routes.split('\n').map(|route| format!("  - {{ {route} }}\n"));
    fs::write(&file, listeners(identity, ports) + &routes.collect::<String>()).unwrap();
    let output = run_to_exit(PROGRAM, &["check", &file.display().to_string(), "--format", "json"]).await;
    assert!(output.status.success(), "{output:?}");
    let report: Value = from_slice(&output.stdout).unwrap();
    let loops = report["findings"].as_array().unwrap().iter().filter(|one| one["code"] == "redirect-loop");
    let text = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
    loops
        .map(|one| {
            format!(
                "{}; {}",
                text(one, "message").strip_prefix("the route ").unwrap(),
                text(one, "suggestion")
            )
        })
        .collect()
}

const TO_HTTPS: &str =
    "`a` redirects requests on listener `tls` to themselves, in a loop; write `listeners: [web]`";
const ON_TLS: &str = "`a` redirects requests on listener `tls` to themselves, in a loop; narrow its `match`";
const ON_WEB: &str = "`a` redirects requests on listener `web` to themselves, in a loop; narrow its `match`";

#[tokio::test]
async fn redirect_that_leads_back_to_its_route_is_warned_of() {
    let certificates = Certificates::new();
    let identity = certificates.server(&["a.test"]);
    for (routes, expected) in [
        ("name: a, redirect: { scheme: https }", TO_HTTPS),
        ("name: a, listeners: [web, tls], redirect: { scheme: https }", TO_HTTPS),
        (
            "name: a, redirect: { scheme: https, status: 301 }, match: { path: /x, query: { y: '1' } }",
            TO_HTTPS,
        ),
        ("name: a, redirect: { scheme: https, port: 443 }, match: { template: '/{x}/y' }", TO_HTTPS),
        ("name: a, redirect: { scheme: https, host: a.test }, match: { host: a.test }", TO_HTTPS),
        ("name: a, redirect: { scheme: https, port: 9443 }", TO_HTTPS),
        (
            "name: a, redirect: { scheme: https }, match: { prefix: / }\nmatch: { path: / }, respond: {}",
            TO_HTTPS,
        ),
        ("name: a, listeners: [tls], redirect: { scheme: https }", ON_TLS),
        ("name: a, listeners: [tls], redirect: { port: 443 }", ON_TLS),
        (
            "name: a, redirect: { scheme: http }",
            "`a` redirects requests on listener `web` to themselves, in a loop; write `listeners: [tls]`",
        ),
        ("name: a, listeners: [web], redirect: { port: 9080 }", ON_WEB),
        ("name: a, redirect: { host: a.test }, match: { host: a.test }", ON_WEB),
        ("name: a, redirect: { to: /x }, match: { prefix: /x }", ON_WEB),
        ("name: a, redirect: { to: '/x?y=1' }, match: { path: /x, methods: [GET, POST] }", ON_WEB),
        ("name: a, redirect: { to: 'http://a.test/' }, match: { host: a.test, prefix: / }", ON_WEB),
        ("name: a, redirect: { to: '/{x}' }, match: { template: '/{x}' }", ON_WEB),
    ] {
        let found = warnings(&identity, [9080, 9443], routes).await;
        assert_eq!(found, [expected], "{routes}");
    }
}

#[tokio::test]
async fn redirect_that_leads_elsewhere_is_not_warned_of() {
    let certificates = Certificates::new();
    let identity = certificates.server(&["a.test"]);
    for routes in [
        "name: a, listeners: [web], redirect: { scheme: https }",
        // The route of the TLS listener is more specific.
        "name: a, redirect: { scheme: https }\nname: b, listeners: [tls], match: { prefix: / }, respond: {}",
        "name: a, redirect: { scheme: https }, match: { headers: { x-forwarded-proto: http } }",
        "name: a, redirect: { scheme: https, host: a.test }",
        "name: a, redirect: { scheme: https, port: 9444 }",
        "name: a, redirect: { scheme: https, port: 9444 }, listeners: [tls]",
        "name: a, redirect: { scheme: https, host: b.test }, match: { host: a.test }",
        "name: a, redirect: { host: www.a.test }, match: { host: '*.a.test' }",
        "name: a, redirect: { to: 'https://www.a.test/' }",
        "name: a, redirect: { to: /y }, match: { prefix: /x }",
        "name: a, redirect: { to: /x }, match: { prefix: /x }\nname: b, match: { path: /x }, respond: {}",
        "name: a, redirect: { to: /x, status: 303 }, match: { path: /x, methods: [POST] }",
        "name: a, redirect: { to: '/x/{x}' }, match: { template: '/{x}' }",
        "name: a, redirect: { to: /x }, match: { path: /x, query: { y: present } }",
    ] {
        assert_eq!(warnings(&identity, [9080, 9443], routes).await, [""; 0], "{routes}");
    }
}

#[tokio::test]
async fn start_and_reload_warn_of_a_redirect_loop_once() {
    let certificates = Certificates::new();
    let identity = certificates.server(&["a.test"]);
    let config =
        |routes: &str| format!("admin: {{ address: 127.0.0.1:0 }}\n{}{routes}", listeners(&identity, [0, 0]));
    let one = "  - { match: { path: '/${KEY}' }, redirect: { scheme: https } }\n";
    let gateway = gateway(config(one)).env("KEY", "hunter2").start().await;
    let warned = || -> Vec<String> {
        let logs = gateway.logs().into_iter();
        logs.filter(|line| line.contains("to themselves")).collect()
    };
    let first = gateway.wait_for_log("to themselves").await;
    assert!(first.contains("the route `/${KEY}` redirects requests on listener `tls`"), "{first}");
    let many: String = (0..25)
        .map(|n| format!("  - {{ name: r{n}, match: {{ path: /{n} }}, redirect: {{ to: /{n} }} }}\n"))
        .collect();
    gateway.reload(&config(&(one.to_owned() + &many))).await;
    gateway.wait_for_log("there are 5 more warnings like these; `gateway check` lists them").await;
    assert_eq!(warned().len(), 1 + 20, "{:?}", warned());
}
