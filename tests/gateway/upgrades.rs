//! Connections that become another protocol's: only after the upstream's own 101 to a request that asked for it.

use support::{Client, Gate, Gateway, Http2Client, Origin, wait_until, with_longer_and_longer};

use crate::one_route::{forwarding_to, forwarding_with};

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                      sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A request for the protocol `websocket`.
async fn ask(client: &mut Client) {
    let request = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    client.send_raw(request).await;
}

/// An origin that switches protocols and then sends back all it gets.
fn echoing() -> Origin {
    Origin::script(|mut connection| async move {
        if connection.read_request().await.is_some() {
            // The first message of the new protocol comes in the same packet.
            connection.write([SWITCH, "early"].concat()).await;
            connection.echo().await;
        }
    })
}

/// Waits until the pool of the gateway's route has no connection in use.
async fn wait_until_unused(gateway: &Gateway) {
    gateway.wait_for_pool("all", "no connection in use", |pool| pool["active"] == 0).await;
}

#[tokio::test]
async fn a_websocket_carries_bytes_both_ways_until_either_side_ends() {
    let origin = echoing();
    let gateway = forwarding_to(&origin).await;
    let mut client = gateway.client("web").await;
    ask(&mut client).await;
    let head = client.read_head().await;
    assert_eq!(head.first_line, "HTTP/1.1 101 Switching Protocols");
    assert_eq!(head.headers.all("connection"), ["upgrade"]);
    assert_eq!(head.headers.all("upgrade"), ["websocket"]);
    assert_eq!(head.headers.all("sec-websocket-accept"), ["s3pPLMBiTxaQ9kYGzzhZRbK+xOo="]);
    assert!(!head.headers.has("content-length") && !head.headers.has("transfer-encoding"), "{head:?}");
    assert_eq!(client.read_exact(5).await, b"early");

    let sent = origin.requests().pop().unwrap().headers;
    assert_eq!(sent.all("connection"), ["upgrade"]);
    assert_eq!(sent.all("upgrade"), ["websocket"]);
    assert_eq!(sent.all("sec-websocket-key"), ["dGhlIHNhbXBsZSBub25jZQ=="]);

    for size in [1, 100, 300_000] {
        let message: Vec<u8> = (0..size).map(|byte| byte as u8).collect();
        client.send_raw(&message).await;
        assert_eq!(client.read_exact(size).await, message);
    }
    client.half_close().await;
    client.expect_closed().await;
    wait_until_unused(&gateway).await;
    let pool = gateway.pool("all").await;
    assert_eq!(pool["closed"]["upgraded"], 1, "{pool}");
}

#[tokio::test]
async fn bytes_right_behind_the_request_belong_to_the_new_protocol() {
    let gate = Gate::new();
    let script = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let gate = script.clone();
        async move {
            if connection.read_request().await.is_some() {
                gate.pass().await;
                connection.write(SWITCH).await;
                connection.echo().await;
            }
        }
    });
    let gateway = forwarding_to(&origin).await;
    let mut client = gateway.client("web").await;
    ask(&mut client).await;
    let early = "GET /not-a-request HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send_raw(early).await;
    gate.arrivals(1).await;
    gate.release();
    assert_eq!(client.read_head().await.first_line, "HTTP/1.1 101 Switching Protocols");
    assert_eq!(client.read_exact(early.len()).await, early.as_bytes());
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn each_side_may_end_its_half_first() {
    let origin = Origin::script(|mut connection| async move {
        if connection.read_request().await.is_some() {
            connection.write(SWITCH).await;
            connection.half_close().await;
            let received = connection.wait_closed().await;
            assert_eq!(received, b"after the other half");
        }
    });
    let gateway = forwarding_to(&origin).await;
    let mut client = gateway.client("web").await;
    ask(&mut client).await;
    assert_eq!(client.read_head().await.first_line, "HTTP/1.1 101 Switching Protocols");
    client.expect_closed().await;
    client.send_raw("after the other half").await;
    client.half_close().await;
    origin.wait_for_open(0).await;
    wait_until_unused(&gateway).await;
    assert_eq!(origin.errors(), [] as [String; 0]);
}

#[tokio::test]
async fn a_reset_of_either_side_ends_the_tunnel() {
    let origin = echoing();
    let gateway = forwarding_to(&origin).await;
    let mut client = gateway.client("web").await;
    ask(&mut client).await;
    client.read_head().await;
    client.reset();
    wait_until_unused(&gateway).await;
    origin.wait_for_open(0).await;
    gateway.wait_for_stdout(r#""error":"client.closed""#).await;

    let origin = Origin::script(|mut connection| async move {
        if connection.read_request().await.is_some() {
            connection.write(SWITCH).await;
            connection.read_exact(1).await;
            connection.reset();
        }
    });
    let gateway = forwarding_to(&origin).await;
    let mut client = gateway.client("web").await;
    ask(&mut client).await;
    client.read_head().await;
    client.send_raw("x").await;
    client.expect_closed().await;
    wait_until_unused(&gateway).await;
    gateway.wait_for_stdout(r#""error":"upstream.closed""#).await;
}

#[tokio::test]
async fn a_tunnel_in_which_nothing_moves_ends_at_the_idle_timeout() {
    with_longer_and_longer(async |limit| {
        let origin = echoing();
        let (idle, request) = (limit.as_millis() * 2, limit.as_millis());
        let keys = format!(", timeouts: {{ idle: {idle}ms, request: {request}ms }}");
        let gateway = forwarding_with(&origin, &keys).await;
        let mut client = gateway.client("web").await;
        let began = std::time::Instant::now();
        ask(&mut client).await;
        assert_eq!(client.read_head().await.first_line, "HTTP/1.1 101 Switching Protocols");
        client.read_exact(5).await;
        // `request` is not for upgrades: it has passed before the idle timeout does.
        client.expect_closed().await;
        assert!(began.elapsed() >= limit * 2, "{:?}", began.elapsed());
        wait_until_unused(&gateway).await;
    })
    .await;
}

#[tokio::test]
async fn an_upstream_that_does_not_switch_answers_as_usual() {
    let origin = Origin::answer(
        "HTTP/1.1 426 Upgrade Required\r\nupgrade: websocket\r\nconnection: upgrade\r\ncontent-length: 2\r\n\r\nno",
    );
    let gateway = forwarding_to(&origin).await;
    let mut client = gateway.client("web").await;
    for _ in 0..2 {
        ask(&mut client).await;
        let response = client.read_response().await;
        assert_eq!((response.status, response.text().as_str()), (426, "no"));
        assert_eq!(response.header("connection"), None);
    }
    assert_eq!(origin.accepted(), 1, "both connections were used again");
}

#[tokio::test]
async fn no_protocol_is_asked_for_that_the_route_does_not_allow() {
    let origin = Origin::answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    let closed = forwarding_with(&origin, ", upgrade: []").await;
    let usual = forwarding_to(&origin).await;
    let cases: [(&Gateway, &str, &[(&str, &str)]); 6] = [
        (&closed, "upgrade: []", &[("connection", "upgrade"), ("upgrade", "websocket")]),
        (
            &usual,
            "h2c",
            &[("connection", "upgrade, http2-settings"), ("upgrade", "h2c"), ("http2-settings", "AAMAAABk")],
        ),
        (&usual, "TLS", &[("connection", "upgrade"), ("upgrade", "TLS/1.3, HTTP/2.0")]),
        (&usual, "another", &[("connection", "upgrade"), ("upgrade", "irc/6.9")]),
        (&usual, "not named by Connection", &[("upgrade", "websocket")]),
        (&usual, "nothing", &[("connection", "upgrade")]),
    ];
    for (gateway, what, fields) in cases {
        let mut client = gateway.client("web").await;
        assert_eq!(client.request("GET", "/", fields, b"").await.status, 200, "{what}");
        let sent = origin.requests().pop().unwrap().headers;
        for field in ["connection", "upgrade", "http2-settings"] {
            assert!(!sent.has(field), "{what}: {field}");
        }
    }
    // HTTP/1.0 and HTTP/2 have no upgrades (RFC 9110 §7.8, RFC 9113 §8.6).
    let mut old = usual.client("web").await;
    old.send_raw("GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    assert_eq!(old.read_response().await.status, 200);
    assert!(!origin.requests().pop().unwrap().headers.has("upgrade"));
}

#[tokio::test]
async fn a_switch_that_was_not_asked_for_is_a_bad_gateway() {
    let origin = Origin::script(|mut connection| async move {
        if let Some(request) = connection.read_request().await {
            let to = request.headers.get("x-to").unwrap_or("x: y").replace('|', "\r\n");
            connection.write(format!("HTTP/1.1 101 Switching Protocols\r\n{to}\r\n\r\n")).await;
            connection.wait_closed().await;
        }
    });
    let gateway = forwarding_to(&origin).await;
    let asked = [("connection", "upgrade"), ("upgrade", "websocket")];
    for (fields, to) in [
        (&[][..], "connection: upgrade\r\nupgrade: websocket"),
        (&asked, "connection: upgrade\r\nupgrade: h2c"),
        (&asked, "connection: upgrade\r\nupgrade: websocket, h2c"),
        (&asked, "connection: upgrade"),
        (&asked, "upgrade: websocket"),
    ] {
        let mut client = gateway.client("web").await;
        let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        client
            .send_raw(format!(
                "GET / HTTP/1.1\r\nHost: a\r\n{lines}x-to: {}\r\n\r\n",
                to.replace("\r\n", "|")
            ))
            .await;
        let response = client.read_response().await;
        assert_eq!(
            (response.status, response.header("x-gateway-error")),
            (502, Some("upstream.upgrade")),
            "{to:?}"
        );
        assert_eq!(
            client.request("GET", "/", &[], b"").await.status,
            502,
            "{to:?}: the client's connection stays"
        );
    }
    let mut http2 = Http2Client::connect(gateway.addr("web")).await;
    assert_eq!(http2.get("http://a/").await.status, 502);
    wait_until("all upstream connections are closed", async || origin.open() == 0).await;
}
