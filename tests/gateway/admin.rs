//! The admin listener of a gateway that serves.

use support::serde_json::{Value, from_slice};
use support::{Client, Origin, wait_until};

use crate::gateway;

const CONFIG: &str = "
listeners: [{ name: web, address: 127.0.0.1:0 }]
admin: { address: 127.0.0.1:0 }
upstreams: { shared: { endpoints: ['{origin}'] } }
routes:
  - { name: exact, match: { path: /exact }, upstream: { url: '{origin}' }, pool: { max_connections: 7 } }
  - { name: prefix, match: { prefix: /p }, upstream: shared }
  - { name: local, match: { prefix: / }, respond: { headers: { x-a: '${SECRET}' }, body: hello } }
";

#[tokio::test]
async fn every_admin_page_describes_the_running_process() {
    let origin = Origin::echo();
    let gateway = gateway(CONFIG).set("origin", origin.url()).env("SECRET", "hunter2").start().await;
    let mut client = gateway.client("web").await;
    for path in ["/exact", "/exact", "/p/1", "/other"] {
        assert_eq!(client.get(path).await.status, 200, "{path}");
    }
    assert_eq!(gateway.admin("/live").await.status, 200);
    assert_eq!(gateway.admin("/ready").await.text(), "ready\n");

    let pool = gateway.wait_for_pool("exact", "an idle connection", |pool| pool["idle"] == 1).await;
    for (key, value) in [("active", 0), ("pending", 0), ("opened", 1), ("reused", 1), ("max_connections", 7)]
    {
        assert_eq!(pool[key], value, "{key} in {pool:#}");
    }
    assert_eq!(pool["endpoint"], origin.url(), "{pool:#}");
    assert_eq!(pool["closed"], Value::Object(Default::default()), "{pool:#}");
    assert_eq!(gateway.pool("prefix").await["opened"], 1);
    origin.stop().await;
    let closed = |pool: &Value| pool["closed"]["peer"] == 1;
    gateway.wait_for_pool("exact", "the reason of its death", closed).await;

    let metrics = gateway.admin("/metrics").await;
    let content_type = metrics.header("content-type").unwrap();
    assert!(content_type.starts_with("application/openmetrics-text; version=1.0.0"), "{content_type}");
    let metrics = metrics.text();
    assert!(metrics.ends_with("# EOF\n"));
    let requests = "gateway_requests_total{route=\"exact\",code=\"2xx\"}";
    wait_until("both are counted", async || gateway.metric(requests).await == Some(2.0)).await;
    assert_eq!(gateway.metric("gateway_requests_total{route=\"local\",code=\"2xx\"}").await, Some(1.0));
    assert_eq!(gateway.metric("gateway_listener_connections{listener=\"web\"}").await, Some(1.0));
    assert_eq!(gateway.metric("gateway_listener_accepted_total{listener=\"web\"}").await, Some(1.0));

    let config = gateway.admin("/config").await.text();
    assert!(config.contains("max_connections: 7") && !config.contains("hunter2"), "{config}");
    let routes: Value = from_slice(&gateway.admin("/routes").await.body).unwrap();
    let names = routes.as_array().unwrap().iter().map(|route| route["route"].as_str().unwrap());
    assert_eq!(names.collect::<Vec<_>>(), ["exact", "prefix", "local"], "in order of precedence");
    assert_eq!(routes[0]["specificity"]["path"], "exact");
    assert!(routes[1]["specificity"]["path"]["prefix"]["bytes"].is_number(), "{routes}");
}

#[tokio::test]
async fn unknown_admin_pages_are_404_and_other_methods_405() {
    let gateway = gateway(CONFIG).set("origin", "http://127.0.0.1:1").env("SECRET", "x").start().await;
    for (method, path, status) in [
        ("GET", "/", 200),
        ("GET", "/nothing", 404),
        ("GET", "/pools/", 404),
        ("GET", "/exact", 404),
        ("POST", "/pools", 405),
        ("DELETE", "/nothing", 405),
        ("HEAD", "/live", 200),
    ] {
        let mut client = Client::connect(gateway.admin_addr()).await;
        let response = client.request(method, path, &[("host", "127.0.0.1")], b"").await;
        assert_eq!(response.status, status, "{method} {path}");
    }
    let mut rebound = Client::connect(gateway.admin_addr()).await;
    assert_eq!(rebound.request("GET", "/config", &[("host", "evil.test")], b"").await.status, 403);
}

#[tokio::test]
async fn without_an_admin_section_nothing_listens() {
    let gateway = gateway(
        "
listeners: [{ name: web, address: 127.0.0.1:0 }]
routes: [{ match: { prefix: / }, respond: { body: hello } }]",
    )
    .start()
    .await;
    assert!(!gateway.stdout_lines().iter().any(|line| line.starts_with("admin on")));
    assert_eq!(gateway.client("web").await.get("/metrics").await.text(), "hello");
}
