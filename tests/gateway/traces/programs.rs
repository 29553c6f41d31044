//! Receivers that others have written: a collector, and the generated server of OpenTelemetry's own definitions.

use std::path::Path;

use support::{Gateway, unused_address, wait_for, wait_until};

use super::builder;
use crate::programs::{Server, python, run, script};

const ROUTES: &str = "routes: [{ name: shop, match: { prefix: /api }, respond: { body: ok } }]";

async fn start(otlp: &str, protocol: &str) -> Gateway {
    builder(&format!("{{ otlp: '{otlp}', protocol: {protocol}, service: edge }}"), ROUTES).start().await
}

/// Rotel takes spans by both protocols and prints them.
#[tokio::test]
async fn collector_takes_spans_by_both_protocols() {
    let [grpc, http] = [unused_address(), unused_address()];
    let package = run(&python(), &["-c", "import os, rotel; print(os.path.dirname(rotel.__file__))"]).await;
    let folder = tempfile::tempdir().unwrap();
    let printed = folder.path().join("printed");
    let command = format!(
        "cd '{}' && exec '{}/rotel-agent' start --pid-file pid --log-file log \
         --otlp-grpc-endpoint {grpc} --otlp-http-endpoint {http} \
         --debug-log traces --debug-log-verbosity detailed --exporter blackhole >printed 2>&1",
        folder.path().display(),
        package.trim()
    );
    let _collector = Server::spawn(Path::new("sh"), &["-c", &command], 0);
    for (protocol, address) in [("grpc", grpc), ("http", http)] {
        let gateway = start(&format!("http://{address}"), protocol).await;
        let path = format!("/api/{protocol}");
        gateway.client("web").await.get(&path).await;
        let shown = format!("url.path: Str({path})");
        let text = wait_for("a span", async || {
            // It is complete with its last attribute.
            let text = std::fs::read_to_string(&printed).ok()?;
            let (_, rest) = text.split_once(&shown)?;
            rest.contains("gateway.route: Str(shop)").then(|| text.clone())
        })
        .await;
        let span = text.rsplit("Span #").find(|span| span.contains(&shown)).unwrap();
        for part in ["GET /api/*", "SPAN_KIND_SERVER", "http.response.status_code: Int(200)"] {
            assert!(span.contains(part), "{part} in {span}");
        }
        assert!(text.contains("service.name: Str(edge)"), "{text}");
        let exported = "gateway_traces_exported_spans_total";
        wait_until("the count", async || gateway.metric(exported).await == Some(1.0)).await;
    }
}

#[tokio::test]
async fn generated_server_of_grpc_takes_spans() {
    let folder = tempfile::tempdir().unwrap();
    let spans = folder.path().join("spans");
    let server = Server::start(&python(), &[&script("traces/server.py"), &spans.display().to_string()]).await;
    let gateway = start(&format!("http://{}", server.address()), "grpc").await;
    gateway.client("web").await.get("/api/b?c").await;
    let line =
        wait_for("a span", async || std::fs::read_to_string(&spans).ok().filter(|text| text.ends_with('\n')));
    let line = line.await;
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!((words[0], words[1].len(), &words[2..]), ("edge", 32, &["2", "GET", "/api/*", "/api/b"][..]));
    let exported = "gateway_traces_exported_spans_total";
    wait_until("the count", async || gateway.metric(exported).await == Some(1.0)).await;
}
