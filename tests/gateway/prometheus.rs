//! A real Prometheus: it scrapes a gateway, and runs every query of the dashboard and of the alert rules in `docs/`.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use support::serde_json::{Value, from_slice};
use support::{Certificates, Client, Origin, Response, run_to_exit, unused_address, wait_until};
use tokio::process::{Child, Command};

use crate::auth_api_key::entry;
use crate::gateway;

const CONFIG: &str = "
listeners:
  - { name: web, address: 127.0.0.1:0 }
  - { name: secure, address: 127.0.0.1:0, tls: { certificates: [{ cert: '{cert}', key: '{key}' }] } }
admin: { address: 127.0.0.1:0 }
filters: { uppercase: { wasm: '{uppercase}' } }
auth: { partners: { api_key: { header: x-api-key, keys: keys.yaml } } }
upstreams:
  shared: { endpoints: ['{origin}', 'http://127.0.0.1:9'], health: { active: { tcp: true, interval: 1s } } }
routes:
  - { name: spike, match: { path: /spike }, upstream: { url: '{origin}' } }
  - { name: tls, match: { path: /tls }, upstream: { url: '{encrypted}', tls: { ca: '{ca}' } } }
  - { name: users, match: { path: /users }, upstream: shared, filters: [uppercase] }
  - { name: limited, match: { path: /limited }, respond: { body: a }, rate_limit: { rate: 1/m } }
  - { name: queued, match: { path: /queued }, respond: { body: a }, rate_limit: { rate: 100/s, burst: 1, queue: 1s } }
  - { name: partners, match: { path: /partners }, respond: { body: a }, auth: [partners] }
  - name: full
    match: { path: /full }
    upstream: { url: '{silent}' }
    pool: { max_connections: 1, acquire_timeout: 10ms, max_lifetime: 1s }
    timeouts: { response_header: 300ms }
";

/// Metrics that have no series before their first event, which this test does not bring about. Their queries run, and have no result.
const RARE: [&str; 3] =
    ["gateway_filter_failures", "gateway_listener_tls_failures", "gateway_rate_limit_store_up"];

struct Prometheus {
    _process: Child,
    address: std::net::SocketAddr,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// Starts a server that scrapes a gateway every second, in the form that its version prefers.
    async fn start(gateway: std::net::SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = unused_address();
        let config = format!(
            "global: {{ scrape_interval: 1s }}\nscrape_configs:\n  - job_name: gateway\n    static_configs: [{{ targets: ['{gateway}'] }}]\n"
        );
        std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        let argument = |name: &str, value: &str| format!("--{name}={value}");
        let process = Command::new("prometheus")
            .arg(argument("config.file", folder.path().join("prometheus.yml").to_str().unwrap()))
            .arg(argument("storage.tsdb.path", folder.path().join("data").to_str().unwrap()))
            .arg(argument("web.listen-address", &address.to_string()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("there is no prometheus: bash scripts/clients.sh");
        let prometheus = Self { _process: process, address, _folder: folder };
        wait_until("Prometheus", async || Client::try_connect(address).await.is_ok()).await;
        prometheus
    }

    /// Returns the series of a query.
    async fn query(&self, query: &str) -> Vec<Value> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let response =
            Client::connect(self.address).await.get(&format!("/api/v1/query?query={encoded}")).await;
        let answer: Value = from_slice(&response.body).unwrap();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        answer["data"]["result"].as_array().unwrap().clone()
    }
}

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)
}

/// Returns the queries of the dashboard and of the rules, with the variables as they are for all instances and routes. A rule's
/// comparison is left out: whether it holds depends on the day.
fn queries() -> Vec<String> {
    let dashboard: Value = from_slice(&std::fs::read(docs("grafana/gateway.json")).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let of_panels = targets.map(|target| target["expr"].as_str().unwrap().to_owned());
    let of_panels: Vec<String> = of_panels.collect();
    assert!(of_panels.len() > 40, "{of_panels:?}");
    let rules = std::fs::read_to_string(docs("prometheus/alerts.yaml")).unwrap();
    let rules: support::serde_json::Value = serde_yaml::from_str(&rules).unwrap();
    let rules =
        rules["groups"][0]["rules"].as_array().unwrap().iter().map(|rule| rule["expr"].as_str().unwrap());
    let without_comparison = |rule: &str| {
        let left =
            [" > ", " < ", " == "].iter().filter_map(|sign| rule.split_once(sign)).map(|(left, _)| left);
        left.min_by_key(|left| left.len()).unwrap().to_owned()
    };
    let of_rules: Vec<String> = rules.map(without_comparison).collect();
    assert!(of_rules.len() > 10, "{of_rules:?}");
    let annotation = dashboard["annotations"]["list"][0]["expr"].as_str().unwrap().replace(" > 0", "");
    let all = of_panels.into_iter().chain(of_rules).chain([annotation]);
    all.map(|query| {
        let query =
            query.replace("$instance", ".+").replace("$route", ".+").replace("$__rate_interval", "30s");
        query.replace("\"gateway\"", "\".*\"").replace("up{job=", "up{job=~")
    })
    .collect()
}

#[tokio::test]
async fn every_query_of_the_dashboard_and_the_rules_has_series() {
    let origin = Origin::echo();
    let silent = Origin::script(|connection| async move {
        let _open = connection;
        std::future::pending().await
    });
    let certificates = Certificates::new();
    let identity = certificates.server(&["localhost"]);
    let encrypted = Origin::builder().tls(certificates.server_config(&identity)).echo();
    let uppercase = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/prebuilt/uppercase.wasm");
    let gateway = gateway(CONFIG)
        .set("origin", origin.url())
        .set("silent", silent.url())
        .set("uppercase", uppercase.display())
        .set("encrypted", encrypted.url())
        .set("ca", certificates.ca().display())
        .set("cert", identity.cert.display())
        .set("key", identity.key.display())
        .file("keys.yaml", entry("acme", "key-of-acme", "{}"))
        .start()
        .await;
    let prometheus = Prometheus::start(gateway.admin_addr()).await;
    let missing: RefCell<BTreeSet<String>> = RefCell::new(queries().into_iter().collect());
    // Each round is another second, in which counters grow.
    wait_until("series of every query", async || {
        let mut client = gateway.client("web").await;
        for path in ["/spike", "/tls", "/users", "/limited", "/partners", "/nothing"] {
            client.get(path).await;
        }
        let (mut one, mut other) = (gateway.client("web").await, gateway.client("web").await);
        tokio::join!(one.get("/full"), other.get("/full"));
        tokio::join!(one.get("/queued"), other.get("/queued"));
        let queries = missing.borrow().clone();
        for query in queries {
            let series = prometheus.query(&query).await;
            if !series.is_empty() || RARE.iter().any(|rare| query.contains(rare)) {
                missing.borrow_mut().remove(&query);
            }
        }
        eprintln!("without series: {:#?}", missing.borrow());
        missing.borrow().is_empty()
    })
    .await;

    let expires = |value: &Value| value.as_u64().unwrap() as f64;
    let series = format!(
        "gateway_listener_certificate_expiry_seconds{{listener=\"secure\",file=\"{}\"}}",
        identity.cert.display()
    );
    let listeners: Value = from_slice(&gateway.admin("/api/listeners").await.body).unwrap();
    let certificate = &listeners["listeners"][1]["certificates"][0];
    assert_eq!(certificate["names"][0], "localhost", "{listeners:#}");
    assert_eq!(gateway.metric(&series).await, Some(expires(&certificate["not_after"])));
    let upstreams: Value = from_slice(&gateway.admin("/api/upstreams").await.body).unwrap();
    let servers = upstreams["upstreams"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["endpoints"][0]["certificate_expires"]);
    let known: Vec<f64> = servers.filter(|at| !at.is_null()).map(expires).collect();
    assert_eq!(
        known,
        [expires(&certificate["not_after"])],
        "the only server with a certificate has the same"
    );
}

#[tokio::test]
async fn promtool_finds_no_fault_in_metrics_and_rules() {
    let origin = Origin::echo();
    let gateway = gateway(
        "
listeners: [{ name: web, address: 127.0.0.1:0 }]
admin: { address: 127.0.0.1:0 }
routes: [{ name: 'all \"of\\them\"', upstream: { url: '{origin}' } }]",
    )
    .set("origin", origin.url())
    .start()
    .await;
    assert_eq!(gateway.client("web").await.get("/").await.status, 200);
    let text = scrape(&gateway, "text/plain").await;
    assert_eq!(text.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("metrics");
    std::fs::write(&file, &text.body).unwrap();
    let check = format!("promtool check metrics < {}", file.display());
    let rules = docs("prometheus/alerts.yaml").display().to_string();
    let tests = docs("prometheus/alerts.test.yaml").display().to_string();
    for command in [
        &["sh", "-c", &check][..],
        &["promtool", "check", "rules", &rules],
        &["promtool", "test", "rules", &tests],
    ] {
        let output = run_to_exit(command[0], &command[1..]).await;
        assert!(output.status.success(), "{command:?}: {output:?}");
    }
    let open = scrape(&gateway, "application/openmetrics-text").await;
    assert!(open.text().ends_with("# EOF\n"));
}

async fn scrape(gateway: &support::Gateway, accept: &str) -> Response {
    let mut client = Client::connect(gateway.admin_addr()).await;
    client.request("GET", "/metrics", &[("host", "localhost"), ("accept", accept)], b"").await
}
