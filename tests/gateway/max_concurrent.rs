//! The limit on requests at once to one endpoint, on connections of either version.

use support::{Gate, Gateway, Http2Exchange, Origin};

use crate::pooled::{self, ROUTE, number, refusal, refused, settled};

/// Returns an origin that holds each request at the gate.
fn gated(version: &str, gate: &Gate) -> Origin {
    if version == "h1" {
        return pooled::gated(gate);
    }
    let gate = gate.clone();
    Origin::http2(move |exchange: Http2Exchange| {
        let gate = gate.clone();
        async move {
            gate.pass().await;
            exchange.respond("ok");
        }
    })
}

async fn start(version: &str, origins: &[&Origin], limit: &str, keys: &str) -> Gateway {
    let urls: Vec<String> = origins.iter().map(|origin| format!("'{}'", origin.url())).collect();
    let upstream = format!(
        "{{ endpoints: [{}], balance: round_robin, protocol: {version}, max_concurrent: {limit} }}",
        urls.join(", ")
    );
    pooled::builder(1, &upstream, keys).start().await
}

#[tokio::test]
async fn requests_over_the_limit_wait_in_order() {
    for version in ["h1", "h2"] {
        let gate = Gate::new();
        let origin = gated(version, &gate);
        let gateway = start(version, &[&origin], "2", "pool: { acquire_timeout: 30s }").await;
        let mut asked = Vec::new();
        for _ in 0..5 {
            asked.push(pooled::ask(&gateway, "/").await);
        }
        gate.arrivals(2).await;
        gateway.wait_for_pool(ROUTE, "three that wait", |pool| number(pool, "pending") == 3).await;
        for served in 3..=5 {
            gate.release();
            gate.arrivals(served).await;
        }
        gate.release_all();
        for asked in asked {
            assert_eq!(asked.await.unwrap().status, 200);
        }
        assert_eq!(number(&settled(&gateway).await, "pending"), 0);
    }
}

#[tokio::test]
async fn request_over_the_limit_goes_to_another_endpoint_first() {
    for version in ["h1", "h2"] {
        let gate = Gate::new();
        let (one, other) = (gated(version, &gate), gated(version, &gate));
        let gateway = start(version, &[&one, &other], "1", "retry: { attempts: 0 }").await;
        let mut asked = Vec::new();
        for count in 1..=2 {
            asked.push(pooled::ask(&gateway, "/").await);
            gate.arrivals(count).await;
        }
        assert_eq!((one.accepted(), other.accepted()), (1, 1));
        // Round robin begins each of these at an endpoint that is full.
        asked.push(pooled::ask(&gateway, "/").await);
        gate.release_all();
        for asked in asked {
            assert_eq!(asked.await.unwrap().status, 200);
        }
    }
}

#[tokio::test]
async fn limit_that_ends_a_wait_is_named() {
    for (keys, reason) in [
        ("pool: { acquire_timeout: 50ms }", "max_concurrent"),
        ("pool: { max_pending: 0 }", "pool.max_pending"),
    ] {
        let gate = Gate::new();
        let origin = gated("h1", &gate);
        let gateway = start("h1", &[&origin], "1", keys).await;
        let first = pooled::ask(&gateway, "/").await;
        gate.arrivals(1).await;
        assert_eq!(refusal(&gateway.client("web").await.get("/").await), (503, reason));
        gate.release_all();
        assert_eq!(first.await.unwrap().status, 200);
        assert_eq!(refused(&settled(&gateway).await, reason), 1);
    }
}

#[tokio::test]
async fn request_that_leaves_while_it_waits_takes_no_place() {
    let gate = Gate::new();
    let origin = gated("h1", &gate);
    let gateway = start("h1", &[&origin], "1", "pool: { acquire_timeout: 30s }").await;
    let first = pooled::ask(&gateway, "/").await;
    gate.arrivals(1).await;
    let mut leaves = gateway.client("web").await;
    leaves.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    gateway.wait_for_pool(ROUTE, "one that waits", |pool| number(pool, "pending") == 1).await;
    drop(leaves);
    gateway.wait_for_pool(ROUTE, "none that waits", |pool| number(pool, "pending") == 0).await;
    let last = pooled::ask(&gateway, "/").await;
    gateway.wait_for_pool(ROUTE, "one that waits", |pool| number(pool, "pending") == 1).await;
    gate.release_all();
    assert_eq!((first.await.unwrap().status, last.await.unwrap().status), (200, 200));
    assert_eq!(origin.requests().len(), 2);
}
