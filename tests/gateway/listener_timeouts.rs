//! Limits on the time that a client may take.

use std::time::{Duration, Instant};

use support::{Certificates, Client, Gateway, Origin, with_longer_and_longer};

use crate::gateway;

const SHORT: Duration = Duration::from_millis(300);

/// A gateway whose listener `web` has these timeouts, with a route `/local` of its own and all others to `origin`.
async fn start(timeouts: &str, origin: &Origin) -> Gateway {
    gateway(
        "
listeners: [{ name: web, address: 127.0.0.1:0, protocols: [h1], timeouts: { {timeouts} } }]
admin: { address: 127.0.0.1:0 }
routes:
  - { name: local, match: { path: /local }, respond: { body: hello } }
  - { name: up, match: { prefix: / }, upstream: { url: '{origin}' } }",
    )
    .set("timeouts", timeouts)
    .set("origin", origin.url())
    .start()
    .await
}

async fn wait_closed_for(gateway: &Gateway, reason: &str, times: u32) {
    let series = format!("gateway_listener_closed_total{{listener=\"web\",reason=\"{reason}\"}}");
    support::wait_until(&series, async || gateway.metric(&series).await == Some(times.into())).await;
}

#[tokio::test]
async fn a_tls_handshake_that_does_not_come_ends_the_connection() {
    let certificates = Certificates::new();
    let identity = certificates.server(&["a.test"]);
    let gateway = gateway(
        "
listeners:
  - name: web
    address: 127.0.0.1:0
    tls: { certificates: [{ cert: '{cert}', key: '{key}' }] }
    timeouts: { tls_handshake: 300ms }
admin: { address: 127.0.0.1:0 }
routes: [{ match: { prefix: / }, respond: { body: hello } }]",
    )
    .set("cert", identity.cert.display())
    .set("key", identity.key.display())
    .start()
    .await;
    let began = Instant::now();
    let mut client = gateway.client("web").await;
    // The beginning of a ClientHello.
    client.send_raw(b"\x16\x03\x01\x02\x00\x01").await;
    client.expect_closed().await;
    assert!(began.elapsed() >= SHORT, "after {:?}", began.elapsed());
    wait_closed_for(&gateway, "timeouts.tls_handshake", 1).await;
}

#[tokio::test]
async fn a_header_that_does_not_come_is_408_and_nothing_at_all_is_a_silent_close() {
    with_longer_and_longer(header_that_does_not_come).await;
}

async fn header_that_does_not_come(limit: Duration) {
    let origin = Origin::echo();
    let timeouts = format!("request_header: {}ms, keep_alive: 20m", limit.as_millis());
    let gateway = start(&timeouts, &origin).await;
    for before in [None, Some("GET /local HTTP/1.1\r\nhost: a\r\n\r\n")] {
        let mut client = gateway.client("web").await;
        if let Some(before) = before {
            client.send_raw(before).await;
            assert_eq!(client.read_response().await.status, 200);
        }
        let began = Instant::now();
        client.send_raw("GET /local HTTP/1.1\r\nhost: a\r\n").await;
        let response = client.read_response().await;
        assert_eq!(
            (response.status, response.header("x-gateway-error"), response.header("connection")),
            (408, Some("timeouts.request_header"), Some("close"))
        );
        assert!(began.elapsed() >= limit, "after {:?}", began.elapsed());
        client.expect_closed().await;
    }
    let began = Instant::now();
    gateway.client("web").await.expect_closed().await;
    assert!(began.elapsed() >= limit, "after {:?}", began.elapsed());
    wait_closed_for(&gateway, "timeouts.request_header", 3).await;
}

#[tokio::test]
async fn a_client_that_drips_a_header_gains_no_time() {
    with_longer_and_longer(async |limit| {
        let origin = Origin::echo();
        let gateway = start(&format!("request_header: {}ms", limit.as_millis()), &origin).await;
        let mut client = gateway.client("web").await;
        client.send_raw("GET /local HTTP/1.1\r\nx-drip: ").await;
        let mut drops = tokio::time::interval(limit / 10);
        let mut sent = 0;
        let response = loop {
            // Each drop comes sooner than the limit after the one before.
            tokio::select! {
                biased;
                response = client.try_read_response() => break response.unwrap(),
                _ = drops.tick() => {}
            }
            assert!(client.try_send_raw("x").await.is_ok(), "it was closed without a response");
            sent += 1;
            assert!(sent < 100, "it is still served");
        };
        let told = (response.status, response.header("x-gateway-error"));
        assert_eq!(told, (408, Some("timeouts.request_header")));
        assert!(sent > 3, "the drops did come: {sent}");
        client.expect_closed().await;
    })
    .await;
}

#[tokio::test]
async fn a_body_that_stalls_is_408_whether_it_is_forwarded_or_not() {
    let origin = Origin::echo();
    let gateway = start("request_body: 300ms", &origin).await;
    for framing in ["content-length: 10\r\n\r\nabc", "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"] {
        let began = Instant::now();
        let mut client = gateway.client("web").await;
        client.send_raw(format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}")).await;
        let response = client.read_response().await;
        assert_eq!(
            (response.status, response.header("x-gateway-error"), response.header("connection")),
            (408, Some("timeouts.request_body"), Some("close")),
            "{framing}"
        );
        assert!(began.elapsed() >= SHORT, "after {:?}", began.elapsed());
        client.expect_closed().await;
    }
    assert_eq!(origin.requests(), [], "half a body was taken for a whole one");
    gateway.wait_for_pool("up", "nothing in use", |pool| pool["active"] == 0 && pool["idle"] == 0).await;
}

#[tokio::test]
async fn a_body_that_moves_takes_as_long_as_it_likes() {
    with_longer_and_longer(async |limit| {
        let origin = Origin::echo();
        let limit_ms = limit.as_millis();
        let timeouts =
            format!("request_body: {limit_ms}ms, request_header: {limit_ms}ms, keep_alive: {limit_ms}ms");
        let gateway = start(&timeouts, &origin).await;
        let mut client = gateway.client("web").await;
        client.send_raw("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 20\r\n\r\n").await;
        let mut drops = tokio::time::interval(limit / 8);
        for _ in 0..20 {
            drops.tick().await;
            client.send_raw("x").await;
        }
        assert_eq!(client.read_response().await.body.len(), 20);
    })
    .await;
}

/// Returns an origin that sends a body without an end, as fast as it is read.
fn endless() -> Origin {
    Origin::script(async |mut connection| {
        connection.read_request().await;
        connection.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
        while connection.try_write(&chunk).await.is_ok() {}
    })
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_cut_off_and_its_upstream_with_it() {
    let origin = endless();
    let gateway = start("response_write: 300ms", &origin).await;
    let mut client = gateway.client("web").await;
    client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    wait_closed_for(&gateway, "timeouts.response_write", 1).await;
    origin.wait_for_open(0).await;
    gateway.wait_for_stdout(r#""error":"timeouts.response_write""#).await;
    // No end that could be taken for the body's.
    assert!(client.try_read_response().await.is_err());
}

#[tokio::test]
async fn a_client_that_reads_slowly_is_served() {
    with_longer_and_longer(async |limit| {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 30000000\r\n\r\n".as_slice();
        let origin = Origin::answer([head, &vec![b'x'; 30_000_000]].concat());
        let gateway = start(&format!("response_write: {}ms", limit.as_millis()), &origin).await;
        let mut client = gateway.client("web").await;
        client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        client.read_head().await;
        let mut pauses = tokio::time::interval(limit / 6);
        for _ in 0..15 {
            pauses.tick().await;
            client.read_exact(2_000_000).await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_keep_alive() {
    let origin = Origin::echo();
    let gateway = start("keep_alive: 300ms, request_header: 20s", &origin).await;
    let mut client = gateway.client("web").await;
    // Before the connection turns idle: what is measured is never less than it was idle for.
    let began = Instant::now();
    client.get("/local").await;
    client.expect_closed().await;
    assert!(began.elapsed() >= SHORT, "after {:?}", began.elapsed());
    wait_closed_for(&gateway, "timeouts.keep_alive", 1).await;
}

#[tokio::test]
async fn timeouts_that_are_off_never_fire_and_those_of_others_do_not_instead() {
    let origin = Origin::echo();
    let gateway = start("request_header: off, request_body: off, keep_alive: 300ms", &origin).await;
    let mut slow = gateway.client("web").await;
    slow.send_raw("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n").await;
    let mut idle = gateway.client("web").await;
    idle.get("/local").await;
    // By now the first has waited longer than any limit that is on.
    idle.expect_closed().await;
    slow.send_raw("\r\na").await;
    let mut idle = Client::connect(gateway.addr("web")).await;
    idle.get("/local").await;
    idle.expect_closed().await;
    slow.send_raw("bc").await;
    assert_eq!(slow.read_response().await.text(), "abc");
}
