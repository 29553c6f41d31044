//! Stopping: nothing new, and what has begun comes to its end.

use std::time::{Duration, Instant};

use support::http::Request;
use support::{
    Certificates, Client, Gate, Gateway, Http2Client, Origin, PATIENCE, Response, Signal, wait_until,
};

use crate::gateway;
use crate::pooled::gated;

/// A gateway that drains for this long, with a route `/local` of its own and all others to `origin`.
async fn start(drain: &str, origin: &Origin) -> Gateway {
    gateway(
        "
listeners: [{ name: web, address: 127.0.0.1:0 }]
admin: { address: 127.0.0.1:0 }
shutdown: { drain: {drain} }
routes:
  - { name: local, match: { path: /local }, respond: { body: hello } }
  - { name: up, match: { prefix: / }, upstream: { url: '{origin}' } }",
    )
    .set("drain", drain)
    .set("origin", origin.url())
    .start()
    .await
}

fn told(response: &Response) -> (u16, Option<&str>) {
    (response.status, response.header("connection"))
}

#[tokio::test]
async fn requests_in_flight_end_and_say_close_while_all_else_ends_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let gate = Gate::new();
        let origin = gated(&gate);
        let mut gateway = start("30s", &origin).await;
        let address = gateway.addr("web");
        assert_eq!(gateway.admin("/ready").await.status, 200);

        let mut idle = gateway.client("web").await;
        assert_eq!(told(&idle.get("/local").await), (200, None));
        let mut silent = gateway.client("web").await;
        let mut begun = gateway.client("web").await;
        begun.send_raw("GET /local HTTP/1.1\r\nho").await;
        let mut busy = gateway.client("web").await;
        busy.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\nGET /local HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let mut idle_h2 = Http2Client::connect(address).await;
        idle_h2.get("http://a/local").await;
        let mut busy_h2 = Http2Client::connect(address).await;
        let (response_h2, _) = busy_h2.open(Request::get("http://a/").body(()).unwrap(), true).await.unwrap();
        gate.arrivals(2).await;

        gateway.signal(signal);
        wait_until("/ready answers 503", async || gateway.admin("/ready").await.status == 503).await;
        assert_eq!(gateway.admin("/ready").await.text(), "draining\n");
        assert_eq!(gateway.admin("/live").await.status, 200);
        idle.expect_closed().await;
        silent.expect_closed().await;
        idle_h2.closed().await.unwrap();
        wait_until("no new connection", async || Client::try_connect(address).await.is_err()).await;
        // A request that had begun to come is one in flight.
        begun.send_raw("st: a\r\n\r\n").await;
        assert_eq!(told(&begun.read_response().await), (200, Some("close")));
        begun.expect_closed().await;

        gate.release_all();
        assert_eq!(told(&busy.read_response().await), (200, Some("close")));
        assert_eq!(Http2Client::read(response_h2).await.unwrap().body, b"ok");
        busy_h2.closed().await.unwrap();
        let status = gateway.wait_exit(PATIENCE).await;
        assert!(status.success(), "{status}");
        let last = r#""target":"/","version":"HTTP/2.0""#;
        assert!(gateway.stdout_lines().iter().any(|line| line.contains(last)), "{}", gateway.output());
    }
}

#[tokio::test]
async fn requests_that_had_arrived_before_the_signal_are_answered() {
    let origin = Origin::echo();
    let mut gateway = start("30s", &origin).await;
    let mut kept = gateway.client("web").await;
    kept.get("/local").await;
    // While the program stands still, the kernel accepts and takes in for it.
    gateway.signal(Signal::STOP);
    let mut new = gateway.client("web").await;
    for client in [&mut kept, &mut new] {
        client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    }
    gateway.signal(Signal::TERM);
    gateway.signal(Signal::CONT);
    for client in [&mut kept, &mut new] {
        assert_eq!(client.read_response().await.status, 200);
    }
    assert!(gateway.wait_exit(PATIENCE).await.success());
}

#[tokio::test]
async fn a_streaming_response_continues_to_its_end() {
    let gate = Gate::new();
    let at_gate = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let gate = at_gate.clone();
        async move {
            connection.read_request().await;
            connection.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n").await;
            gate.pass().await;
            connection.write("3\r\ntwo\r\n0\r\n\r\n").await;
        }
    });
    let mut gateway = start("30s", &origin).await;
    let mut client = gateway.client("web").await;
    client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.read_head().await;
    gateway.signal(Signal::TERM);
    gateway.wait_for_log("stopping").await;
    gate.release();
    assert_eq!(client.read_to_end().await.unwrap(), b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n");
    assert!(gateway.wait_exit(PATIENCE).await.success());
}

#[tokio::test]
async fn exchanges_that_outlast_the_drain_time_are_cut_off() {
    let gate = Gate::new();
    let at_gate = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let gate = at_gate.clone();
        async move {
            let Some(request) = connection.read_request().await else { return };
            if request.target == "/begun" {
                connection.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nbegun").await;
            }
            gate.pass().await;
        }
    });
    let mut gateway = start("300ms", &origin).await;
    let (mut client, mut begun) = (gateway.client("web").await, gateway.client("web").await);
    client.send_raw("GET /silent HTTP/1.1\r\nhost: a\r\n\r\n").await;
    begun.send_raw("GET /begun HTTP/1.1\r\nhost: a\r\n\r\n").await;
    begun.read_head().await;
    let mut client_h2 = Http2Client::connect(gateway.addr("web")).await;
    let (response_h2, _) =
        client_h2.open(Request::get("http://a/begun").body(()).unwrap(), true).await.unwrap();
    let response_h2 = response_h2.await.unwrap();
    gate.arrivals(3).await;
    let began = Instant::now();
    gateway.signal(Signal::TERM);
    client.expect_closed().await;
    assert!(began.elapsed() >= Duration::from_millis(300), "after {:?}", began.elapsed());
    // No client leaves before the last worker has ended: that would be the client's doing.
    assert!(gateway.wait_exit(PATIENCE).await.success());
    drop((begun.read_to_end().await, response_h2));
    gateway.wait_for_log("did not end in time and are cut off").await;
    // Each with the status that its client got.
    let lines: Vec<serde_json::Value> =
        gateway.stdout_lines().iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let mut ends: Vec<_> = lines
        .iter()
        .map(|line| (&line["target"], &line["version"], &line["status"], &line["error"]))
        .map(|(target, version, status, error)| format!("{target} {version} {status} {error}"))
        .collect();
    ends.sort();
    assert_eq!(
        ends,
        [
            r#""/begun" "HTTP/1.1" 200 "shutdown.drain""#,
            r#""/begun" "HTTP/2.0" 200 "shutdown.drain""#,
            r#""/silent" "HTTP/1.1" 0 "shutdown.drain""#
        ],
        "{}",
        gateway.output()
    );
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    for drain in ["60s", "off"] {
        let gate = Gate::new();
        let origin = gated(&gate);
        let mut gateway = start(drain, &origin).await;
        let mut client = gateway.client("web").await;
        client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        gate.arrivals(1).await;
        gateway.signal(Signal::TERM);
        gateway.wait_for_log("stopping").await;
        gateway.signal(Signal::INT);
        gateway.wait_exit(PATIENCE).await;
        gateway.wait_for_log("second signal").await;
        client.expect_closed().await;
    }
}

#[tokio::test]
async fn clients_that_have_not_come_to_http_hold_nothing_up() {
    let certificates = Certificates::new();
    let identity = certificates.server(&["a.test"]);
    let mut gateway = gateway(
        "
listeners:
  - name: secure
    address: 127.0.0.1:0
    tls: { certificates: [{ cert: '{cert}', key: '{key}' }] }
    timeouts: { tls_handshake: off, request_header: off }
  - { name: proxied, address: 127.0.0.1:0, proxy_protocol: accept, timeouts: { tls_handshake: off } }
  - { name: h2, address: 127.0.0.1:0, protocols: [h2], timeouts: { request_header: off } }
trusted_proxies: [127.0.0.0/8]
admin: { address: 127.0.0.1:0 }
shutdown: { drain: off }
routes: [{ match: { prefix: / }, respond: { body: hello } }]",
    )
    .set("cert", identity.cert.display())
    .set("key", identity.key.display())
    .start()
    .await;
    let mut clients = Vec::new();
    for (listener, bytes) in
        [("secure", ""), ("secure", "\x16\x03\x01"), ("proxied", ""), ("proxied", "PROXY"), ("h2", "")]
    {
        let mut client = gateway.client(listener).await;
        client.send_raw(bytes).await;
        clients.push(client);
    }
    // All of HTTP/2's preface, but no answer to any frame; and over TLS, not even that.
    let mut client = gateway.client("h2").await;
    client.send_raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    clients.push(client);
    let config = certificates.client_config(&["h2"]);
    clients.push(Client::connect_tls(gateway.addr("secure"), &config, "a.test").await);
    let open = |metrics: String| {
        let lines = metrics.lines().filter(|line| line.starts_with("gateway_listener_connections{"));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum::<usize>()
    };
    let expected = clients.len();
    wait_until("all are in", async || open(gateway.metrics().await) == expected).await;
    gateway.signal(Signal::TERM);
    assert!(gateway.wait_exit(PATIENCE).await.success());
}
