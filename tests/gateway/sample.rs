//! The gateway.yaml that newcomers start with.

use support::{GatewayBuilder, Origin, unused_address, wait_until};

use crate::gateway;

const SAMPLE: &str = include_str!("../../gateway.yaml");

/// The plugin that it names, as it is kept.
const PLUGIN: (&str, &[u8]) =
    ("plugins/prebuilt/uppercase.wasm", include_bytes!("../../plugins/prebuilt/uppercase.wasm"));

fn sample(text: String) -> GatewayBuilder {
    let (path, module) = PLUGIN;
    gateway(text).file(path, module)
}

#[tokio::test]
async fn the_sample_serves_spike_through_a_kept_connection() {
    // Its ports are fixed. The upstream's has to be known beforehand, the others need not be.
    let upstream = unused_address();
    let mut text = SAMPLE.to_owned();
    for (written, times, here) in [
        ("address: 127.0.0.1:9901", 1, "address: 127.0.0.1:0".to_owned()),
        ("address: 127.0.0.1:8080", 1, "address: 127.0.0.1:0".to_owned()),
        ("address: 127.0.0.1:8081", 1, format!("address: {upstream}")),
        ("http://127.0.0.1:8081", 2, format!("http://{upstream}")),
    ] {
        assert_eq!(text.matches(written).count(), times, "{written}");
        text = text.replace(written, &here);
    }
    let gateway = sample(text).start().await;
    let mut client = gateway.client("web").await;
    for _ in 0..3 {
        let response = client.get("/spike").await;
        assert_eq!((response.status, response.text().as_str()), (200, "hello from the upstream\n"));
    }
    let pool = gateway.wait_for_pool("spike", "an idle connection", |pool| pool["idle"] == 1).await;
    assert_eq!((&pool["opened"], &pool["reused"]), (&1.into(), &2.into()), "{pool:#}");
    let accepted = "gateway_listener_accepted_total{listener=\"origin\"}";
    wait_until("one connection was accepted", async || gateway.metric(accepted).await == Some(1.0)).await;
    assert!(gateway.stdout_lines().iter().any(|line| line == &format!("route spike: http://{upstream}")));
    assert_eq!(gateway.client("web").await.get("/").await.status, 404);
    let shouted = client.get("/shout").await;
    assert_eq!((shouted.status, shouted.text().as_str()), (200, "HELLO FROM THE UPSTREAM\n"));
}

#[tokio::test]
async fn the_https_route_of_the_sample_is_rewritten_as_it_says() {
    // Without a network, and with a stand-in for the other side.
    let origin = Origin::echo();
    let text = SAMPLE
        .replace("127.0.0.1:9901", "127.0.0.1:0")
        .replace("127.0.0.1:8080", "127.0.0.1:0")
        .replace("address: 127.0.0.1:8081", "address: 127.0.0.1:0")
        .replace("https://example.com", &origin.url());
    let gateway = sample(text).start().await;
    assert_eq!(gateway.client("web").await.get("/example").await.status, 200);
    assert_eq!(origin.requests()[0].target, "/");
}
