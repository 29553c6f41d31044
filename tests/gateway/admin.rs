//! The admin listener of a gateway that serves.

use support::serde_json::{Value, from_slice, json};
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
    let routes = routes["routes"].as_array().unwrap();
    let names = routes.iter().map(|route| route["name"].as_str().unwrap());
    assert_eq!(names.collect::<Vec<_>>(), ["exact", "prefix", "local", "-"], "in order of precedence");
    let of = |key: &str| routes.iter().map(|route| route[key].clone()).collect::<Vec<_>>();
    assert_eq!(of("match"), ["/exact", "/p/*", "/*", ""]);
    assert_eq!(of("upstreams"), [json!(["exact"]), json!(["shared"]), json!([]), json!([])]);
    assert_eq!(of("action"), ["upstream", "upstream", "respond", "none"]);
    assert_eq!(of("requests"), [json!({ "2xx": 2 }), json!({ "2xx": 1 }), json!({ "2xx": 1 }), json!({})]);
}

#[tokio::test]
async fn every_report_is_as_the_description_of_the_api_says() {
    let origin = Origin::echo();
    let gateway = gateway(CONFIG).set("origin", origin.url()).env("SECRET", "hunter2").start().await;
    let mut client = gateway.client("web").await;
    assert_eq!(client.get("/exact").await.status, 200);
    gateway.rewrite_config("routes: [");
    let refused = post(&gateway, "/api/reload").await;
    assert_eq!(refused.status, 422);

    let document: Value = from_slice(&gateway.admin("/api/openapi.json").await.body).unwrap();
    assert_eq!(document, from_slice::<Value>(include_bytes!("../../docs/openapi.json")).unwrap());
    let validator = |schema: &Value| {
        // The schemas refer to each other by their places in the document.
        let mut whole = document.clone();
        whole["$ref"] = schema["$ref"].clone();
        jsonschema::validator_for(&whole).unwrap()
    };
    let mut validated = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let response = gateway.admin(path).await;
        assert!(response.status == 200, "{path}: {response:?}");
        let schema = &operations["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        if schema.is_null() {
            continue;
        }
        let report: Value = from_slice(&response.body).unwrap();
        let validator = validator(schema);
        assert!(
            validator.is_valid(&report),
            "{path}: {:?}\n{report:#}",
            validator.iter_errors(&report).next()
        );
        assert!(!validator.is_valid(&json!({})), "{path}: its schema accepts anything");
        validated += 1;
    }
    assert_eq!(validated, 13);
    let problem: Value = from_slice(&refused.body).unwrap();
    assert!(validator(&json!({ "$ref": "#/components/schemas/Problem" })).is_valid(&problem), "{problem:#}");
    assert_eq!(problem["errors"][0]["line"], 1, "{problem:#}");
    let status: Value = from_slice(&gateway.admin("/api/status").await.body).unwrap();
    assert_eq!(
        (&status["problems"][0]["about"], &status["in_sync"]),
        (&json!("configuration"), &json!(false))
    );
}

#[tokio::test]
async fn reports_show_no_value_of_a_variable_and_no_name_of_a_type() {
    let origin = Origin::echo();
    let gateway = gateway(CONFIG).set("origin", origin.url()).env("SECRET", "hunter2").start().await;
    for path in
        ["pools", "routes", "upstreams", "filters", "listeners", "config", "reloads", "reload", "status"]
    {
        let text = gateway.admin(&format!("/api/{path}")).await.text();
        for forbidden in ["hunter2", "Some(", "None", " { "] {
            assert!(
                path == "config" && forbidden == " { " || !text.contains(forbidden),
                "{forbidden} in {text}"
            );
        }
    }
}

#[tokio::test]
async fn reloads_are_remembered_with_their_changes_and_errors() {
    let origin = Origin::echo();
    let config = CONFIG.replace("{origin}", &origin.url()).replace("${SECRET}", "a");
    let gateway = gateway(config.clone()).start().await;
    gateway.rewrite_config(&config.replace("max_connections: 7", "max_connections: 8"));
    assert_eq!(post(&gateway, "/api/reload").await.status, 200);
    gateway.rewrite_config("routes: 7");
    assert_eq!(post(&gateway, "/reload").await.status, 422);
    let reloads: Value = from_slice(&gateway.admin("/api/reloads").await.body).unwrap();
    let [refused, active] = reloads["reloads"].as_array().unwrap().as_slice() else { panic!("{reloads:#}") };
    assert_eq!((&refused["outcome"], &refused["generation"]), (&json!("refused"), &json!(2)));
    assert!(refused["errors"][0]["file"].as_str().unwrap().ends_with("gateway.yaml"), "{refused:#}");
    assert_eq!((&active["outcome"], &active["generation"]), (&json!("active"), &json!(2)));
    assert_eq!(active["changes"]["routes"]["changed"][0]["name"], "exact", "{active:#}");
}

#[tokio::test]
async fn token_protects_everything_but_the_probes_and_is_changed_without_a_restart() {
    let gateway = gateway(
        "
admin: { address: 127.0.0.1:0, token: file:admin.token, open: [metrics] }
listeners: [{ name: web, address: 127.0.0.1:0 }]
routes: [{ match: { prefix: / }, respond: { body: hello } }]",
    )
    .file("admin.token", "first-of-the-tokens\n")
    .start()
    .await;
    let ask = async |method: &str, path: &str, token: Option<&str>| {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let mut fields = vec![("host", "localhost")];
        fields.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        Client::connect(gateway.admin_addr()).await.request(method, path, &fields, b"").await
    };
    for (path, status) in
        [("/live", 200), ("/ready", 200), ("/metrics", 200), ("/api/pools", 401), ("/nothing", 401)]
    {
        assert_eq!(ask("GET", path, None).await.status, status, "{path}");
    }
    let refused = ask("POST", "/api/reload", Some("first-of-the-token")).await;
    assert_eq!(
        (refused.status, refused.header("www-authenticate")),
        (401, Some("Bearer realm=\"gateway admin\""))
    );
    assert_eq!(ask("GET", "/api/pools", Some("first-of-the-tokens")).await.status, 200);
    std::fs::write(gateway.folder().join("admin.token"), "second-of-the-tokens").unwrap();
    assert_eq!(ask("POST", "/api/reload", Some("first-of-the-tokens")).await.status, 200);
    assert_eq!(ask("GET", "/api/pools", Some("first-of-the-tokens")).await.status, 401);
    assert_eq!(ask("GET", "/api/pools", Some("second-of-the-tokens")).await.status, 200);
    assert!(!ask("GET", "/api/config", Some("second-of-the-tokens")).await.text().contains("of-the-tokens"));
}

#[tokio::test]
async fn without_a_token_an_address_off_loopback_serves_nothing_that_writes() {
    let gateway = gateway(
        "
admin: { address: 0.0.0.0:0, hosts: [admin.example.com] }
listeners: [{ name: web, address: 127.0.0.1:0 }]
routes: [{ match: { prefix: / }, respond: { body: hello } }]",
    )
    .start()
    .await;
    let warning = "everyone who reaches `admin.address` 0.0.0.0:0 can read the configuration";
    gateway.wait_for_log(warning).await;
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], gateway.admin_addr().port()));
    for (method, path, host, status) in [
        ("GET", "/api/config", "10.1.2.3", 200),
        ("GET", "/api/config", "admin.example.com", 200),
        ("GET", "/api/config", "evil.example", 403),
        ("GET", "/ready", "evil.example", 200),
        ("POST", "/api/reload", "localhost", 403),
        ("POST", "/api/drain", "localhost", 403),
        ("PUT", "/api/log", "localhost", 403),
    ] {
        let response = Client::connect(address).await.request(method, path, &[("host", host)], b"").await;
        assert_eq!(response.status, status, "{method} {path} {host}");
    }
}

#[tokio::test]
async fn level_of_the_log_changes_while_it_runs() {
    let gateway = gateway(CONFIG).set("origin", "http://127.0.0.1:1").env("SECRET", "x").start().await;
    let put = async |body: &str| {
        let mut client = Client::connect(gateway.admin_addr()).await;
        client.request("PUT", "/api/log", &[("host", "localhost")], body.as_bytes()).await
    };
    let shown: Value = from_slice(&gateway.admin("/api/log").await.body).unwrap();
    assert_eq!(shown, json!({ "level": "gateway=info" }));
    assert!(!gateway.logs().iter().any(|line| line.contains("DEBUG")));
    assert_eq!(put("{\"level\": \"gateway::downstream=debug\"}").await.status, 200);
    let mut client = gateway.client("web").await;
    assert_eq!(client.get("/exact").await.status, 503);
    drop(client);
    gateway.wait_for_log("DEBUG").await;
    for (body, status) in
        [("loud", 400), ("{}", 400), ("{\"level\": \"gateway=loud\"}", 422), ("{\"level\": \"\"}", 422)]
    {
        assert_eq!(put(body).await.status, status, "{body}");
    }
    let long = format!("{{\"level\": \"{}\"}}", "a".repeat(5000));
    assert_eq!(put(&long).await.status, 400);
    assert_eq!(put("{\"level\": \"off\"}").await.status, 200);
    let shown: Value = from_slice(&gateway.admin("/api/log").await.body).unwrap();
    assert_eq!(shown, json!({ "level": "gateway=off" }));
}

async fn post(gateway: &support::Gateway, path: &str) -> support::Response {
    Client::connect(gateway.admin_addr()).await.request("POST", path, &[("host", "localhost")], b"").await
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
        ("DELETE", "/nothing", 404),
        ("PUT", "/reload", 405),
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
