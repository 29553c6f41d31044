//! Calls by gRPC's own client to gRPC's own server, through the gateway: in the clear on both sides, and with TLS on both sides.
//! `scripts/clients.sh` installs gRPC for Python.

use support::{Certificates, Gateway};

use crate::gateway;
use crate::pooled::{ROUTE, number};
use crate::programs::{Server, python, run, script};

/// The calls that are under way at once in the case `many` of `client.py`, and the workers of the gateway.
const CONCURRENCY: u64 = 200;
const WORKERS: u64 = 2;
const MAX_STREAMS: u64 = 50;

/// A server, and a gateway before it. Both speak TLS, or neither does.
struct Site {
    gateway: Gateway,
    server: Server,
    certificates: Certificates,
    tls: bool,
}

impl Site {
    async fn start(tls: bool) -> Self {
        let certificates = Certificates::new();
        let identity = certificates.server(&["localhost"]);
        let (cert, key) = (identity.cert.display().to_string(), identity.key.display().to_string());
        let server = script("grpc_programs/server.py");
        let arguments: &[&str] = if tls { &[&server, &cert, &key] } else { &[&server] };
        let server = Server::start(&python(), arguments).await;
        let upstream = if tls {
            format!(
                "url: 'https://localhost:{}', protocol: auto, tls: {{ ca: '{}' }}",
                server.address().port(),
                certificates.ca().display()
            )
        } else {
            format!("url: 'http://{}', protocol: h2", server.address())
        };
        let listener = if tls {
            format!(", tls: {{ certificates: [{{ cert: '{cert}', key: '{key}' }}] }}")
        } else {
            String::new()
        };
        let gateway = gateway(format!(
            "
workers: {WORKERS}
listeners: [{{ name: web, address: 127.0.0.1:0{listener} }}]
admin: {{ address: 127.0.0.1:0 }}
telemetry: {{ access_log: off }}
routes:
  - name: {ROUTE}
    match: {{ prefix: /probe.Probe/ }}
    upstream: {{ {upstream} }}
    pool: {{ max_streams: {MAX_STREAMS} }}
    timeouts: {{ idle: off }}"
        ))
        .start()
        .await;
        Self { gateway, server, certificates, tls }
    }

    /// Runs a case of `client.py`.
    async fn client(&self, case: &str) {
        let port = self.gateway.addr("web").port();
        let client = script("grpc_programs/client.py");
        let ca = self.certificates.ca().display().to_string();
        let plain = format!("127.0.0.1:{port}");
        let secure = format!("localhost:{port}");
        let arguments: &[&str] =
            if self.tls { &[&client, case, &secure, &ca] } else { &[&client, case, &plain] };
        assert_eq!(run(&python(), arguments).await, "done\n");
    }
}

/// Runs a case of `client.py` in the clear and with TLS.
async fn both(case: &str) {
    for tls in [false, true] {
        Site::start(tls).await.client(case).await;
    }
}

#[tokio::test]
async fn calls_of_each_kind_pass() {
    both("kinds").await;
}

#[tokio::test]
async fn errors_have_their_status_details_and_metadata() {
    both("errors").await;
}

#[tokio::test]
async fn deadline_of_the_client_cancels_the_call_at_the_server() {
    both("deadline").await;
}

#[tokio::test]
async fn cancel_of_the_client_cancels_the_call_at_the_server() {
    both("cancel").await;
}

#[tokio::test]
async fn messages_of_4_mib_pass_in_both_directions() {
    both("large").await;
}

#[tokio::test]
async fn server_that_is_down_is_unavailable() {
    for tls in [false, true] {
        let mut site = Site::start(tls).await;
        site.client("kinds").await;
        site.server.kill();
        site.client("down").await;
    }
}

async fn ten_thousand(tls: bool) {
    let site = Site::start(tls).await;
    site.client("many").await;
    let pool = site.gateway.pool(ROUTE).await;
    let opened = number(&pool, "opened");
    assert!(opened < CONCURRENCY.div_ceil(MAX_STREAMS) + WORKERS, "{pool:#}");
    assert_eq!(pool["refused"], support::serde_json::json!({}), "{pool:#}");
    // Nothing of them is left.
    site.gateway.wait_for_pool(ROUTE, "no streams", |pool| number(pool, "streams") == 0).await;
}

#[tokio::test]
async fn ten_thousand_calls_share_few_connections() {
    ten_thousand(false).await;
}

#[tokio::test]
async fn ten_thousand_calls_share_few_connections_with_tls() {
    ten_thousand(true).await;
}
