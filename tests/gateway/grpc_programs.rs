//! Calls by clients of gRPC to servers of gRPC, through the gateway: in the clear on both sides, and with TLS on both sides. The
//! programs of each library do the same. `scripts/clients.sh` installs the libraries and builds the programs.

use std::path::PathBuf;

use support::{Certificates, Gateway};

use crate::gateway;
use crate::pooled::{ROUTE, number};
use crate::programs::{Server, peer, python, run, script};

const LIBRARIES: [Library; 3] = [Library::Python, Library::Go, Library::Tonic];

/// The calls that are under way at once in the case `many` of `client.py`, and the workers of the gateway.
const CONCURRENCY: u64 = 200;
const WORKERS: u64 = 2;
const MAX_STREAMS: u64 = 50;

#[derive(Clone, Copy)]
enum Library {
    /// gRPC's core, in C.
    Python,
    Go,
    /// Rust's, on hyper.
    Tonic,
}

impl Library {
    fn program(self) -> PathBuf {
        match self {
            Self::Python => python(),
            Self::Go => peer("go-grpc"),
            Self::Tonic => peer("tonic/debug/probe"),
        }
    }

    /// Returns the first argument of the program.
    fn role(self, role: &str) -> String {
        match self {
            Self::Python => script(&format!("grpc_programs/{role}.py")),
            Self::Go | Self::Tonic => role.to_owned(),
        }
    }
}

/// A server of a library, and a gateway before it. Both speak TLS, or neither does.
struct Site {
    library: Library,
    gateway: Gateway,
    server: Server,
    certificates: Certificates,
    tls: bool,
}

impl Site {
    async fn start(library: Library, tls: bool) -> Self {
        let certificates = Certificates::new();
        let identity = certificates.server(&["localhost"]);
        let (cert, key) = (identity.cert.display().to_string(), identity.key.display().to_string());
        let role = library.role("server");
        let arguments: &[&str] = if tls { &[&role, &cert, &key] } else { &[&role] };
        let server = Server::start(&library.program(), arguments).await;
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
        Self { library, gateway, server, certificates, tls }
    }

    /// Runs a case of the library's client.
    async fn client(&self, case: &str) {
        let port = self.gateway.addr("web").port();
        let role = self.library.role("client");
        let ca = self.certificates.ca().display().to_string();
        let plain = format!("127.0.0.1:{port}");
        let secure = format!("localhost:{port}");
        let arguments: &[&str] = if self.tls { &[&role, case, &secure, &ca] } else { &[&role, case, &plain] };
        assert_eq!(run(&self.library.program(), arguments).await, "done\n");
    }
}

/// Runs a case of each library's client in the clear and with TLS.
async fn all(case: &str) {
    for library in LIBRARIES {
        for tls in [false, true] {
            Site::start(library, tls).await.client(case).await;
        }
    }
}

#[tokio::test]
async fn calls_of_each_kind_pass() {
    all("kinds").await;
}

#[tokio::test]
async fn errors_have_their_status_details_and_metadata() {
    all("errors").await;
}

#[tokio::test]
async fn deadline_of_the_client_cancels_the_call_at_the_server() {
    all("deadline").await;
}

#[tokio::test]
async fn cancel_of_the_client_cancels_the_call_at_the_server() {
    all("cancel").await;
}

#[tokio::test]
async fn messages_of_4_mib_pass_in_both_directions() {
    all("large").await;
}

#[tokio::test]
async fn server_that_is_down_is_unavailable() {
    for library in LIBRARIES {
        for tls in [false, true] {
            let mut site = Site::start(library, tls).await;
            site.client("kinds").await;
            site.server.kill();
            site.client("down").await;
        }
    }
}

async fn ten_thousand(tls: bool) {
    let site = Site::start(Library::Python, tls).await;
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
