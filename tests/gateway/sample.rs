//! The gateway.yaml that newcomers start with.

use std::net::SocketAddr;

use support::{Gateway, GatewayBuilder, unused_address, wait_until};

use crate::gateway;

const SAMPLE: &str = include_str!("../../gateway.yaml");

/// The plugin that it names, as it is kept.
const PLUGIN: (&str, &[u8]) =
    ("plugins/prebuilt/uppercase.wasm", include_bytes!("../../plugins/prebuilt/uppercase.wasm"));

fn sample(text: String) -> GatewayBuilder {
    let (path, module) = PLUGIN;
    gateway(text).file(path, module)
}

/// Starts the sample on ports of its own; answers its upstream's address, too.
async fn start() -> (Gateway, SocketAddr) {
    // Its ports are fixed. The upstream's has to be known beforehand, the others need not be.
    let upstream = unused_address();
    let mut text = SAMPLE.to_owned();
    for (written, times, here) in [
        ("address: 127.0.0.1:9901", 1, "address: 127.0.0.1:0".to_owned()),
        ("address: 127.0.0.1:8080", 1, "address: 127.0.0.1:0".to_owned()),
        ("address: 127.0.0.1:8081", 1, format!("address: {upstream}")),
        ("http://127.0.0.1:8081", 4, format!("http://{upstream}")),
    ] {
        assert_eq!(text.matches(written).count(), times, "{written}");
        text = text.replace(written, &here);
    }
    (sample(text).start().await, upstream)
}

#[tokio::test]
async fn the_sample_serves_spike_through_a_kept_connection() {
    let (gateway, _) = start().await;
    let mut client = gateway.client("web").await;
    for _ in 0..3 {
        let response = client.get("/spike").await;
        assert_eq!((response.status, response.text().as_str()), (200, "hello from the upstream\n"));
    }
    let pool = gateway.wait_for_pool("spike", "an idle connection", |pool| pool["idle"] == 1).await;
    assert_eq!((&pool["opened"], &pool["reused"]), (&1.into(), &2.into()), "{pool:#}");
    let accepted = "gateway_listener_accepted_total{listener=\"origin\"}";
    wait_until("one connection was accepted", async || gateway.metric(accepted).await == Some(1.0)).await;
    assert_eq!(gateway.client("web").await.get("/").await.status, 404);
    let shouted = client.get("/shout").await;
    assert_eq!((shouted.status, shouted.text().as_str()), (200, "HELLO FROM THE UPSTREAM\n"));
}

#[tokio::test]
async fn the_sample_shows_a_slow_upstream_and_the_limit_that_it_meets() {
    let (gateway, _) = start().await;
    let mut slow = gateway.client("web").await;
    let mut late = gateway.client("web").await;
    slow.send_raw("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let response = late.get("/late").await;
    assert_eq!(
        (response.status, response.header("x-gateway-error")),
        (504, Some("timeouts.response_header"))
    );
    let response = slow.read_response().await;
    assert_eq!((response.status, response.text().as_str()), (200, "hello, two seconds later\n"));
}

#[tokio::test]
async fn the_sample_prints_a_command_for_each_route() {
    let (gateway, upstream) = start().await;
    let (web, lines) = (gateway.addr("web"), gateway.stdout_lines());
    for (path, name) in [("spike", "spike"), ("shout", "shout"), ("slow", "slow"), ("late", "late")] {
        let start = format!("curl -i http://{web}/{path} ");
        let line = lines.iter().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("{lines:?}"));
        assert!(line.ends_with(&format!("  # {name}: http://{upstream}")), "{line}");
    }
    assert!(
        lines.contains(&format!("curl -i http://{upstream}/slow   # slow origin: fixed response after 2s")),
        "{lines:?}"
    );
}

#[tokio::test]
async fn configurations_of_the_package_and_the_image_answer_as_they_are() {
    for text in
        [include_str!("../../packaging/gateway.yaml"), include_str!("../../packaging/container/gateway.yaml")]
    {
        let mut here = text.to_owned();
        for written in ["address: 127.0.0.1:9901", "address: 127.0.0.1:8080", "address: 0.0.0.0:8080"] {
            here = here.replace(written, "address: 127.0.0.1:0");
        }
        let gateway = gateway(here).start().await;
        let response = gateway.client("web").await.get("/").await;
        assert!(response.text().starts_with("The gateway runs."), "{response:?}");
        assert_eq!(gateway.admin("/ready").await.status, 200);
    }
}
