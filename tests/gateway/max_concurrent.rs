//! The limit on requests at once to one endpoint, on connections of either version.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use support::{Gate, Gateway, Http2Exchange, Origin};
use tokio::sync::Semaphore;

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

/// Returns an origin that serves four requests at once; further ones wait in it. It counts the most that it has had.
fn slowing(most: &Arc<AtomicUsize>) -> Origin {
    let (places, here) = (Arc::new(Semaphore::new(4)), Arc::new(AtomicUsize::new(0)));
    let most = most.clone();
    Origin::script(move |mut connection| {
        let (places, here, most) = (places.clone(), here.clone(), most.clone());
        async move {
            while connection.read_request().await.is_some() {
                most.fetch_max(here.fetch_add(1, SeqCst) + 1, SeqCst);
                let place = places.acquire().await.unwrap();
                // The work that it does for a request.
                tokio::time::sleep(Duration::from_millis(10)).await;
                drop(place);
                here.fetch_sub(1, SeqCst);
                if connection.try_write(pooled::OK).await.is_err() {
                    return;
                }
            }
        }
    })
}

#[tokio::test]
async fn automatic_limit_keeps_an_endpoint_from_slowing_down() {
    for (limit, is_flooded) in [("off", true), ("auto", false)] {
        let most = Arc::new(AtomicUsize::new(0));
        let origin = slowing(&most);
        let gateway = start("h1", &[&origin], limit, "pool: { acquire_timeout: 30s }").await;
        let (address, answered) = (gateway.addr("web"), Arc::new(AtomicUsize::new(0)));
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let answered = answered.clone();
            clients.spawn(async move {
                let mut client = support::Client::connect(address).await;
                loop {
                    assert_eq!(client.get("/").await.status, 200);
                    answered.fetch_add(1, SeqCst);
                }
            });
        }
        support::wait_until("requests enough to adapt", async || answered.load(SeqCst) > 400).await;
        most.store(0, SeqCst);
        let before = answered.load(SeqCst);
        support::wait_until("further requests", async || answered.load(SeqCst) > before + 400).await;
        // All hundred wait in it, or in the gateway.
        let most = most.load(SeqCst);
        assert_eq!(most > 60, is_flooded, "{limit}: {most}");
        let shown = &gateway.pool(ROUTE).await["max_concurrent"];
        assert_eq!(shown.is_null(), is_flooded, "{limit}: {shown}");
        clients.abort_all();
    }
}
