//! Limits and timeouts of a listener that change while its connections are open: from their next request on.

use support::bytes::Bytes;
use support::{Client, Gateway, Http2Client, http, wait_until, with_longer_and_longer};

use crate::load::post_reload;
use crate::pooled::refusal;

/// The listener `web` with these keys; what it answers is an answer of its own.
fn config(keys: &str) -> String {
    let keys = if keys.is_empty() { String::new() } else { format!(", {keys}") };
    format!(
        "listeners: [{{ name: web, address: 127.0.0.1:0{keys} }}]\nadmin: {{ address: 127.0.0.1:0 }}\nworkers: 2\n\
         telemetry: {{ access_log: off }}\nroutes: [{{ respond: {{ body: hello }} }}]\n"
    )
}

async fn start(keys: &str) -> Gateway {
    crate::gateway(config(keys)).start().await
}

async fn change(gateway: &Gateway, keys: &str) {
    gateway.rewrite_config(&config(keys));
    post_reload(gateway).await;
}

/// An open connection, with a request behind it.
async fn used(gateway: &Gateway) -> Client {
    let mut client = gateway.client("web").await;
    assert_eq!(client.get("/").await.status, 200);
    client
}

/// A further connection is closed, whatever it sends.
async fn expect_no_room(gateway: &Gateway) {
    let mut client = gateway.client("web").await;
    drop(client.try_send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await);
    client.expect_closed().await;
}

async fn wait_connections(gateway: &Gateway, count: f64) {
    let series = "gateway_listener_connections{listener=\"web\"";
    wait_until("the connections", async || gateway.metric(series).await == Some(count)).await;
}

#[tokio::test]
async fn limits_of_requests_change_for_open_connections() {
    let long = format!("/{}", "x".repeat(50));
    let path = long.as_str();
    let fields = [("x-a", path), ("x-b", "1"), ("x-c", "1")];
    for (limit, reason, status) in [
        ("limits: { headers: 3 }", "limits.headers", 431),
        ("limits: { header_bytes: 80B }", "limits.header_bytes", 431),
        ("limits: { target_bytes: 50B }", "limits.target_bytes", 414),
        ("limits: { body: 10B }", "limits.body", 413),
    ] {
        let gateway = start("").await;
        let mut clients = [used(&gateway).await, used(&gateway).await, used(&gateway).await];
        let [one, other, third] = &mut clients;
        assert_eq!(one.request("POST", path, &fields, &[b'x'; 11]).await.status, 200, "{limit}");
        change(&gateway, limit).await;
        for client in [one, other] {
            let response = client.request("POST", path, &fields, &[b'x'; 11]).await;
            assert_eq!(refusal(&response), (status, reason));
            assert!(response.headers.lists("connection", "close"), "{limit}");
        }
        change(&gateway, "").await;
        assert_eq!(third.request("POST", path, &fields, &[b'x'; 11]).await.status, 200, "{limit}");
    }
}

#[tokio::test]
async fn limits_of_streams_change_for_open_http2_connections() {
    let gateway = start("").await;
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    for (limit, status) in [("", 200), ("limits: { body: 10B }", 413), ("limits: { body: 11B }", 200)] {
        change(&gateway, limit).await;
        let request = http::Request::post("http://gateway.test/").header("content-length", 11);
        let request = request.body(Bytes::from_static(&[b'x'; 11]));
        assert_eq!(client.request(request.unwrap()).await.status, status, "{limit}");
    }
    for (limit, status) in
        [("limits: { target_bytes: 50B }", 414), ("limits: { headers: 1 }", 431), ("", 200)]
    {
        change(&gateway, limit).await;
        let request = http::Request::get(format!("http://gateway.test/{}", "x".repeat(50)));
        let request = request.header("x-a", "1").header("x-b", "1").body(Bytes::new());
        assert_eq!(client.request(request.unwrap()).await.status, status, "{limit}");
    }
}

#[tokio::test]
async fn timeouts_change_for_open_connections_with_their_next_request() {
    let gateway = start("").await;
    let [mut idle, mut header, mut body] = [used(&gateway).await, used(&gateway).await, used(&gateway).await];
    let mut http2 = Http2Client::connect(gateway.addr("web")).await;
    assert_eq!(http2.get("http://gateway.test/").await.status, 200);
    change(&gateway, "timeouts: { keep_alive: 100ms, request_header: 100ms, request_body: 100ms }").await;
    assert_eq!(http2.get("http://gateway.test/").await.status, 200);
    http2.closed().await.unwrap();
    header.send_raw("GET / HTTP/1.1\r\n").await;
    assert_eq!(refusal(&header.read_response().await), (408, "timeouts.request_header"));
    body.send_raw("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nx").await;
    let response = body.read_response().await;
    // The answer does not depend on the body; the connection does.
    assert_eq!(response.status, 200);
    idle.get("/").await;
    for mut client in [idle, header, body] {
        client.expect_closed().await;
    }
}

#[tokio::test]
async fn a_longer_keep_alive_holds_from_the_next_request_on() {
    with_longer_and_longer(async |limit| {
        let short = format!("{}ms", limit.as_millis());
        let config = |timeout: &str| {
            format!(
                "listeners:\n- {{ name: web, address: 127.0.0.1:0, timeouts: {{ keep_alive: {timeout} }} }}\n\
                 - {{ name: other, address: 127.0.0.1:0, timeouts: {{ keep_alive: {short} }} }}\n\
                 admin: {{ address: 127.0.0.1:0 }}\nroutes: [{{ respond: {{ body: hello }} }}]\n"
            )
        };
        let gateway = crate::gateway(config("10m")).start().await;
        let (mut client, mut other) = (used(&gateway).await, gateway.client("other").await);
        for timeout in [&*short, "off"] {
            gateway.rewrite_config(&config(timeout));
            post_reload(&gateway).await;
            assert_eq!(client.get("/").await.status, 200, "{timeout}");
        }
        other.get("/").await;
        other.expect_closed().await;
        assert_eq!(client.get("/").await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn requests_that_a_connection_has_had_count_for_a_limit_that_comes_later() {
    let gateway = start("").await;
    let mut clients = [used(&gateway).await, used(&gateway).await];
    clients[1].get("/").await;
    clients[1].get("/").await;
    change(&gateway, "limits: { requests_per_connection: 3 }").await;
    // The second has had as many already.
    for (client, is_last) in [(0, false), (1, true), (0, true)] {
        let response = clients[client].get("/").await;
        assert_eq!((response.status, response.headers.lists("connection", "close")), (200, is_last));
    }
    for mut client in clients {
        client.expect_closed().await;
    }
    let mut http2 = Http2Client::connect(gateway.addr("web")).await;
    for _ in 0..2 {
        assert_eq!(http2.get("http://gateway.test/").await.status, 200);
    }
    change(&gateway, "limits: { requests_per_connection: 4 }").await;
    for _ in 0..2 {
        assert_eq!(http2.get("http://gateway.test/").await.status, 200);
    }
    http2.closed().await.unwrap();
}

#[tokio::test]
async fn fewer_connections_are_reached_as_they_end_and_more_are_let_in_at_once() {
    for before in ["", "limits: { connections: off }", "limits: { connections: 4 }"] {
        let gateway = start(before).await;
        let mut open = Vec::new();
        for _ in 0..4 {
            open.push(used(&gateway).await);
        }
        change(&gateway, "limits: { connections: 2 }").await;
        // None is cut, and no new one is let in before there are fewer than two.
        for client in &mut open {
            assert_eq!(client.get("/").await.status, 200);
        }
        let mut next = gateway.client("web").await;
        next.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        for left in [3.0, 2.0] {
            drop(open.pop());
            wait_connections(&gateway, left).await;
            assert!(!next.is_closed());
        }
        drop(open.pop());
        assert_eq!(next.read_response().await.status, 200);
        wait_connections(&gateway, 2.0).await;
        let mut third = gateway.client("web").await;
        third.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(open[0].get("/").await.status, 200);
        wait_connections(&gateway, 2.0).await;
        change(&gateway, "limits: { connections: 3 }").await;
        assert_eq!(third.read_response().await.status, 200);
    }
}

#[tokio::test]
async fn connections_per_client_count_those_that_came_while_there_was_a_limit() {
    let gateway = start("limits: { connections_per_client: 1 }").await;
    let mut first = used(&gateway).await;
    expect_no_room(&gateway).await;
    change(&gateway, "limits: { connections_per_client: 2 }").await;
    let mut second = used(&gateway).await;
    expect_no_room(&gateway).await;
    // A lower limit cuts no connection.
    change(&gateway, "limits: { connections_per_client: 1 }").await;
    expect_no_room(&gateway).await;
    for client in [&mut first, &mut second] {
        assert_eq!(client.get("/").await.status, 200);
    }
    change(&gateway, "").await;
    let mut third = used(&gateway).await;
    // Connections that came while there was no limit do not count.
    change(&gateway, "limits: { connections_per_client: 3 }").await;
    let mut fourth = used(&gateway).await;
    for client in [&mut third, &mut fourth] {
        assert_eq!(client.get("/").await.status, 200);
    }
}
