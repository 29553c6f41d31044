//! Limits on the size and the number of a client's requests and connections.

use std::time::Duration;

use support::{Client, Gateway, Origin, Response, wait_until};

use crate::gateway;

/// A gateway whose listener `web` has these limits, with a route `/local` of its own and all others to `origin`.
async fn start(limits: &str, origin: &Origin) -> Gateway {
    gateway(
        "
listeners: [{ name: web, address: 127.0.0.1:0, limits: { {limits} } }]
admin: { address: 127.0.0.1:0 }
routes:
  - { name: local, match: { path: /local }, respond: { body: hello } }
  - { name: roomy, match: { path: /roomy }, upstream: { url: '{origin}' }, limits: { body: 1MiB } }
  - { name: boundless, match: { path: /boundless }, upstream: { url: '{origin}' }, limits: { body: off } }
  - { name: up, match: { prefix: / }, upstream: { url: '{origin}' } }",
    )
    .set("limits", limits)
    .set("origin", origin.url())
    .start()
    .await
}

async fn wait_for_connections(gateway: &Gateway, count: u32) {
    let what = format!("{count} open connections");
    let series = "gateway_listener_connections{listener=\"web\"}";
    wait_until(&what, async || gateway.metric(series).await == Some(count.into())).await;
}

#[tokio::test]
async fn one_connection_more_than_the_limit_waits_until_another_ends() {
    let origin = Origin::echo();
    let gateway = start("connections: 2", &origin).await;
    let (mut first, mut second) = (gateway.client("web").await, gateway.client("web").await);
    for client in [&mut first, &mut second] {
        assert_eq!(client.get("/local").await.status, 200);
    }
    let mut third = gateway.client("web").await;
    third.send_raw("GET /local HTTP/1.1\r\nhost: a\r\n\r\n").await;
    gateway.wait_for_log("limits.connections").await;
    assert_eq!(first.get("/local").await.status, 200, "those inside are served on");
    assert!(!third.is_closed());
    wait_for_connections(&gateway, 2).await;
    drop(second);
    assert_eq!(third.read_response().await.text(), "hello");
    // The place is used again and again.
    for _ in 0..10 {
        drop(third);
        third = gateway.client("web").await;
        assert_eq!(third.get("/local").await.status, 200);
    }
}

#[tokio::test]
async fn a_client_with_as_many_connections_as_it_may_is_closed_and_others_are_not() {
    let origin = Origin::echo();
    let gateway = start("connections_per_client: 2", &origin).await;
    let address = gateway.addr("web");
    let mut mine = Vec::new();
    for _ in 0..2 {
        let mut client = Client::connect_from([127, 0, 0, 2].into(), address).await;
        assert_eq!(client.get("/local").await.status, 200);
        mine.push(client);
    }
    Client::connect_from([127, 0, 0, 2].into(), address).await.expect_closed().await;
    gateway.wait_for_log("limits.connections_per_client").await;
    let mut other = Client::connect_from([127, 0, 0, 3].into(), address).await;
    assert_eq!(other.get("/local").await.status, 200);
    drop(mine.pop());
    wait_for_connections(&gateway, 2).await;
    let mut again = Client::connect_from([127, 0, 0, 2].into(), address).await;
    assert_eq!(again.get("/local").await.status, 200);
}

#[tokio::test]
async fn the_last_request_that_a_connection_may_serve_says_close() {
    let origin = Origin::echo();
    let gateway = start("requests_per_connection: 3", &origin).await;
    let mut client = gateway.client("web").await;
    for connection in [None, None, Some("close")] {
        assert_eq!(client.get("/local").await.header("connection"), connection);
    }
    client.expect_closed().await;
}

fn told(response: &Response) -> (u16, Option<&str>, Option<&str>) {
    (response.status, response.header("x-gateway-error"), response.header("connection"))
}

#[tokio::test]
async fn a_head_over_a_limit_is_refused_and_one_at_the_limit_is_not() {
    let origin = Origin::echo();
    let gateway = start("headers: 10, header_bytes: 1KiB, target_bytes: 100B", &origin).await;
    let fields = |count: usize| "x: y\r\n".repeat(count);
    let target = |length: usize| format!("GET /local?{} HTTP/1.1\r\nhost: a\r\n\r\n", "q".repeat(length - 7));
    let sized = |length: usize| {
        let rest = "GET /local HTTP/1.1\r\nhost: a\r\nx: \r\n\r\n".len();
        format!("GET /local HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(length - rest))
    };
    for (head, told_to_the_client) in [
        (format!("GET /local HTTP/1.1\r\nhost: a\r\n{}\r\n", fields(9)), (200, None, None)),
        (
            format!("GET /local HTTP/1.1\r\nhost: a\r\n{}\r\n", fields(10)),
            (431, Some("limits.headers"), Some("close")),
        ),
        (target(100), (200, None, None)),
        (target(101), (414, Some("limits.target_bytes"), Some("close"))),
        (sized(1024), (200, None, None)),
        (sized(1025), (431, Some("limits.header_bytes"), Some("close"))),
        // It has no end, and the gateway does not wait for one.
        (format!("GET /{}", "q".repeat(1000)), (414, Some("limits.target_bytes"), Some("close"))),
        (
            format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(1025)),
            (431, Some("limits.header_bytes"), Some("close")),
        ),
    ] {
        let mut client = gateway.client("web").await;
        client.send_raw(&head).await;
        let response = client.read_response().await;
        assert_eq!(told(&response), told_to_the_client, "{head}");
        if response.status != 200 {
            client.expect_closed().await;
        }
    }
    // The first refusal by each limit is in the log; a frequent one does not silence another.
    for limit in ["limits.target_bytes", "limits.header_bytes"] {
        gateway.wait_for_log(limit).await;
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_in_every_framing() {
    let origin = Origin::echo();
    let gateway = start("body: 10B", &origin).await;
    let refused = (413, Some("limits.body"), Some("close"));
    let sized = |path: &str, length: usize| {
        format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{}", "x".repeat(length))
    };
    let chunked = |path: &str, chunks: &[usize]| {
        let chunks = chunks.iter().map(|size| format!("{size:x}\r\n{}\r\n", "x".repeat(*size)));
        let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
        head + &chunks.collect::<String>() + "0\r\n\r\n"
    };
    for (request, told_to_the_client) in [
        (sized("/", 10), (200, None, None)),
        (sized("/", 11), refused),
        (chunked("/", &[5, 5]), (200, None, None)),
        (chunked("/", &[5, 5, 1]), refused),
        (chunked("/", &[11]), refused),
        (sized("/local", 11), refused),
        (sized("/roomy", 1_000_000), (200, None, None)),
        (sized("/roomy", 1_048_577), refused),
        (sized("/boundless", 2_000_000), (200, None, None)),
    ] {
        let mut client = gateway.client("web").await;
        // A refusal may come, and the connection end, before all is sent.
        let shown = &request[..request.len().min(200)];
        drop(client.try_send_raw(&request).await);
        let response = client.read_response().await;
        assert_eq!(told(&response), told_to_the_client, "{shown}");
        if response.status != 200 {
            client.expect_closed().await;
        }
    }
    for request in origin.requests() {
        assert!(request.body.len() <= 10 || request.target != "/", "a refused body was sent to its end");
    }
    wait_until("no connection in use", async || gateway.pools().await.iter().all(|pool| pool["active"] == 0))
        .await;
}

#[tokio::test]
async fn a_body_that_is_refused_by_its_length_is_not_asked_for() {
    let origin = Origin::echo();
    let gateway = start("body: 10B", &origin).await;
    let mut client = gateway.client("web").await;
    client.send_raw("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 11\r\n\r\n").await;
    let response = client.read_response().await;
    assert_eq!((response.status, response.informational.len()), (413, 0));
    assert_eq!(origin.accepted(), 0);
}

/// Clock ticks that the process has spent in user and kernel mode (proc(5), fields 14 and 15).
fn cpu_ticks(gateway: &Gateway) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", gateway.pid())).unwrap();
    let (_, after_name) = stat.rsplit_once(')').unwrap();
    after_name.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

#[tokio::test]
async fn without_file_descriptors_accepting_pauses_and_then_recovers() {
    let gateway = gateway(
        "
listeners: [{ name: web, address: 127.0.0.1:0 }]
workers: 2
routes: [{ match: { prefix: / }, respond: { body: hello } }]",
    )
    .open_files_max(60)
    .start()
    .await;
    let mut inside = Vec::new();
    // More than there are descriptors: the kernel completes them, the program can't accept them.
    for _ in 0..80 {
        inside.push(gateway.client("web").await);
    }
    gateway.wait_for_log("not accepting: the open file limit of the process is reached").await;
    let before = cpu_ticks(&gateway);
    // Half a second of real time is what this is about: a spin would show as some 50 ticks of each worker.
    let mut late = gateway.client("web").await;
    late.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(
        tokio::time::timeout(Duration::from_millis(500), late.read_some()).await.is_err(),
        "it was let in"
    );
    let spent = cpu_ticks(&gateway) - before;
    assert!(spent < 15, "{spent} ticks in half a second without descriptors");
    let warnings = gateway
        .logs()
        .iter()
        .filter(|line| line.contains("not accepting: the open file limit of the process is reached"))
        .count();
    assert_eq!(warnings, 1, "{:?}", gateway.logs());
    // Those that are inside are served meanwhile, and all others once these have gone.
    assert_eq!(inside[0].get("/").await.text(), "hello");
    drop(inside);
    assert_eq!(late.read_response().await.text(), "hello");
    assert_eq!(gateway.client("web").await.get("/").await.text(), "hello");
}
