//! The server's idle timeout, learned from the connections that it closes.

use std::time::Duration;

use support::serde_json::Value;
use support::{Connection, Origin};

use crate::pooled::{self, OK, ROUTE, number};

/// Returns an origin that closes a connection after so much time without a request.
fn closing(after: Duration, keep_alive: &'static str) -> Origin {
    Origin::script(move |mut connection: Connection| async move {
        while let Ok(Some(_)) = tokio::time::timeout(after, connection.read_request()).await {
            connection.write(format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n{keep_alive}\r\nok")).await;
        }
        connection.close().await;
    })
}

fn closed(pool: &Value, reason: &str) -> u64 {
    pool["closed"][reason].as_u64().unwrap_or_default()
}

#[tokio::test]
async fn connections_are_closed_before_the_server_does_once_its_timeout_is_known() {
    let origin = closing(Duration::from_millis(800), "");
    let gateway = pooled::to(origin.addr(), "").await;
    let mut client = gateway.client("web").await;
    for count in 1..=3 {
        assert_eq!(client.get("/").await.status, 200);
        gateway.wait_for_pool(ROUTE, "a close by the server", |pool| closed(pool, "peer") == count).await;
    }
    let log = gateway.wait_for_log("the server closes idle connections after").await;
    assert!(log.contains(&origin.addr().to_string()), "{log}");
    let pool = gateway.pool(ROUTE).await;
    let learned = pool["learned_idle_timeout_seconds"].as_f64().unwrap();
    // A tenth of a second less, at least; a busy machine sees closes later.
    assert!(learned > 0.6 && learned < 1.4, "{learned}");
    assert_eq!(number(&pool, "learned_from"), 3);
    assert_eq!(client.get("/").await.status, 200);
    gateway.wait_for_pool(ROUTE, "a close by the pool", |pool| closed(pool, "idle_timeout") == 1).await;
    assert_eq!(closed(&gateway.pool(ROUTE).await, "peer"), 3);
}

#[tokio::test]
async fn server_that_tells_its_timeout_is_believed_instead() {
    let origin = closing(Duration::from_millis(600), "keep-alive: timeout=60\r\n");
    let gateway = pooled::to(origin.addr(), "").await;
    let mut client = gateway.client("web").await;
    for count in 1..=4 {
        assert_eq!(client.get("/").await.status, 200);
        gateway.wait_for_pool(ROUTE, "a close by the server", |pool| closed(pool, "peer") == count).await;
    }
    assert_eq!(gateway.pool(ROUTE).await["learned_idle_timeout_seconds"], Value::Null);
}

#[tokio::test]
async fn restart_of_the_server_teaches_nothing() {
    let gate = support::Gate::new();
    let held = gate.clone();
    let origin = Origin::script(move |mut connection: Connection| {
        let gate = held.clone();
        async move {
            while connection.read_request().await.is_some() {
                gate.pass().await;
                connection.write(OK).await;
            }
        }
    });
    let gateway = pooled::to(origin.addr(), "").await;
    let mut asked = Vec::new();
    for _ in 0..8 {
        asked.push(pooled::ask(&gateway, "/").await);
    }
    gate.arrivals(8).await;
    gate.release_all();
    for asked in asked {
        assert_eq!(asked.await.unwrap().status, 200);
    }
    gateway.wait_for_pool(ROUTE, "eight idle connections", |pool| number(pool, "idle") == 8).await;
    // So that they are old enough to count.
    let began = std::time::Instant::now();
    let is_old = async || began.elapsed() > Duration::from_millis(600);
    support::wait_until("idle connections of some age", is_old).await;
    origin.stop().await;
    let pool = gateway.wait_for_pool(ROUTE, "all of them closed", |pool| closed(pool, "peer") == 8).await;
    assert_eq!(pool["learned_idle_timeout_seconds"], Value::Null);
}

#[tokio::test]
async fn first_request_of_a_client_rides_a_kept_connection_only_if_it_can_go_again() {
    for (reuse, opened) in [("always", 1), ("safe", 3)] {
        let origin = Origin::answer(OK);
        let gateway = pooled::to(origin.addr(), &format!("pool: {{ reuse: {reuse} }}")).await;
        assert_eq!(gateway.client("web").await.get("/").await.status, 200);
        // One that can be sent again, and two that cannot: by its method, and by its size.
        gateway.client("web").await.get("/").await;
        let mut client = gateway.client("web").await;
        assert_eq!(client.request("POST", "/", &[], b"once").await.status, 200);
        let large = vec![b'x'; 100_000];
        assert_eq!(gateway.client("web").await.request("PUT", "/", &[], &large).await.status, 200);
        assert_eq!(number(&gateway.pool(ROUTE).await, "opened"), opened, "{reuse}");
        // A later request of the client may.
        assert_eq!(client.request("POST", "/", &[], b"again").await.status, 200);
        assert_eq!(number(&gateway.pool(ROUTE).await, "opened"), opened, "{reuse}");
    }
}
