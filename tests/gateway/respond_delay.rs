//! Routes that answer by themselves, after a time.

use std::time::{Duration, Instant};

use support::http::Request;
use support::{Gateway, Http2Client, PATIENCE, Signal, wait_until};

use crate::gateway;

/// A gateway whose `/slow` answers after 300 ms, `/slower` after a minute, and `/` at once.
async fn start() -> Gateway {
    let config = "
listeners: [{ name: web, address: 127.0.0.1:0 }]
admin: { address: 127.0.0.1:0 }
routes:
  - { name: slow, match: { path: /slow }, respond: { delay: 300ms, body: slow } }
  - { name: slower, match: { path: /slower }, respond: { delay: 1m, body: slower } }
  - { name: now, respond: { body: now } }";
    gateway(config).start().await
}

const DELAY: Duration = Duration::from_millis(300);

async fn active(gateway: &Gateway) -> f64 {
    gateway.metric("gateway_listener_connections{listener=\"web\"}").await.unwrap_or(-1.0)
}

#[tokio::test]
async fn delayed_response_comes_after_its_time_and_in_the_order_of_its_requests() {
    let gateway = start().await;
    let mut client = gateway.client("web").await;
    let began = Instant::now();
    client.send_raw("GET /slow HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.read_response().await.text(), "slow");
    assert!(began.elapsed() >= DELAY, "{:?}", began.elapsed());
    assert_eq!(client.read_response().await.text(), "now");
    assert_eq!(client.get("/slow").await.text(), "slow", "the connection goes on");
}

#[tokio::test]
async fn delayed_responses_of_one_worker_wait_side_by_side() {
    let gateway = start().await;
    let mut http2 = Http2Client::connect(gateway.addr("web")).await;
    // One connection is served by one worker. If one delay waited for the others to end, a later response would take minutes.
    let mut slower = Vec::new();
    for _ in 0..20 {
        let request = Request::get("http://a/slower").body(()).unwrap();
        slower.push(http2.open(request, true).await.unwrap().0);
    }
    let in_flight = async || gateway.metric("gateway_requests_in_flight{route=\"slower\"}").await;
    wait_until("all wait", async || in_flight().await == Some(20.0)).await;
    assert_eq!(http2.get("http://a/slow").await.body, b"slow");
    assert_eq!(http2.get("http://a/").await.body, b"now");
    assert_eq!(in_flight().await, Some(20.0));
    drop(slower);
}

#[tokio::test]
async fn client_that_leaves_ends_the_delay() {
    let gateway = start().await;
    let requests = [
        "GET /slower HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST /slower HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc",
        "POST /slower HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\na",
        "POST /slower HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "POST /slower HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ];
    for request in requests {
        let mut client = gateway.client("web").await;
        client.send_raw(request).await;
        wait_until("the request is served", async || active(&gateway).await == 1.0).await;
        drop(client);
        wait_until("its connection is gone", async || active(&gateway).await == 0.0).await;
    }
}

#[tokio::test]
async fn stream_that_is_reset_ends_the_delay() {
    let gateway = start().await;
    let mut http2 = Http2Client::connect(gateway.addr("web")).await;
    let request = Request::get("http://a/slower").body(()).unwrap();
    let (response, body) = http2.open(request, true).await.unwrap();
    assert_eq!(http2.get("http://a/").await.body, b"now");
    drop((response, body));
    let closed = gateway.wait_for_stdout("client.closed").await;
    assert!(closed.contains("slower"), "{closed}");
}

#[tokio::test]
async fn delayed_response_is_in_flight_while_the_gateway_drains_and_reloads() {
    let mut gateway = start().await;
    let mut client = gateway.client("web").await;
    client.send_raw("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
    wait_until("the request is served", async || active(&gateway).await == 1.0).await;
    let without = "
listeners: [{ name: web, address: 127.0.0.1:0 }]
admin: { address: 127.0.0.1:0 }
routes: [{ name: now, respond: { body: now } }]";
    gateway.reload(without).await;
    gateway.signal(Signal::TERM);
    let response = client.read_response().await;
    assert_eq!((response.status, response.text().as_str()), (200, "slow"));
    assert!(gateway.wait_exit(PATIENCE).await.success());
}

#[tokio::test]
async fn body_is_read_and_discarded_during_the_delay() {
    let gateway = start().await;
    let mut client = gateway.client("web").await;
    // More than the buffers of two sockets hold: it can only be sent if it is read.
    let body = vec![b'x'; 8 << 20];
    let response = client.request("POST", "/slow", &[], &body).await;
    assert_eq!(response.text(), "slow");
    assert_eq!(client.get("/").await.text(), "now", "the connection is kept");
}
