//! WebSockets to upstreams that speak HTTP/2: another gateway, which takes extended CONNECT (RFC 8441).

use support::{Certificates, Client, Gateway, Http2Exchange, Origin};

use crate::PROGRAM;
use crate::pooled::{self, ROUTE, number, refusal, settled};
use crate::raw_frames::*;
use crate::websocket_http2::shake;

const HANDSHAKE: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// An origin behind both gateways that sends back all that it gets in WebSockets, until the client ends its half.
fn echoing() -> Origin {
    Origin::script(async |mut connection| {
        let Some(head) = connection.read_head().await else { return };
        if head.first_line.contains("/forbidden") {
            return connection.write("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno").await;
        }
        if shake(&mut connection, &head).await {
            connection.echo().await;
            connection.write("bye").await;
            connection.half_close().await;
        }
    })
}

/// Starts the gateway that is the upstream, and the one before it, with so many workers.
async fn start(origin: &Origin, workers: usize, keys: &str) -> (Gateway, Gateway) {
    let back = pooled::to(origin.addr(), "").await;
    let upstream = format!("{{ url: 'http://{}', protocol: h2 }}", back.addr("web"));
    (pooled::builder(workers, &upstream, keys).start().await, back)
}

/// Opens a WebSocket over HTTP/1.1.
async fn open(gateway: &Gateway) -> Client {
    open_at(gateway, "/chat").await
}

/// Opens a WebSocket over HTTP/1.1 at this path.
pub(crate) async fn open_at(gateway: &Gateway, path: &str) -> Client {
    let mut client = gateway.client("web").await;
    client.send_raw(HANDSHAKE.replace("/chat", path)).await;
    let head = client.read_head().await;
    assert!(head.raw.starts_with(b"HTTP/1.1 101 "), "{head:?}");
    assert_eq!(head.headers.get("upgrade"), Some("websocket"));
    // RFC 6455 §1.3 has this key.
    assert_eq!(head.headers.get("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    client
}

/// Sends `length` bytes and reads them back.
async fn exchange(client: &mut Client, length: usize) {
    let sent: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
    for piece in sent.chunks(4096) {
        client.send_raw(piece).await;
        assert!(client.read_exact(piece.len()).await == piece);
    }
}

#[tokio::test]
async fn websockets_of_http_1_share_a_connection_of_http_2() {
    let origin = echoing();
    let (gateway, _back) = start(&origin, 1, "").await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(open(&gateway).await);
    }
    let pool = gateway.pool(ROUTE).await;
    assert_eq!(["active", "streams"].map(|key| number(&pool, key)), [1, 5], "{pool:#}");
    for client in &mut clients {
        exchange(client, 100_000).await;
    }
    // Each half ends by itself.
    for mut client in clients {
        client.half_close().await;
        assert_eq!(client.read_to_end().await.unwrap(), b"bye");
    }
    assert_eq!(number(&settled(&gateway).await, "streams"), 0);
}

#[tokio::test]
async fn a_server_that_ends_its_half_still_gets_what_the_client_sends() {
    let origin = Origin::script(async |mut connection| {
        let Some(head) = connection.read_head().await else { return };
        if shake(&mut connection, &head).await {
            connection.write("bye").await;
            connection.half_close().await;
            assert_eq!(connection.wait_closed().await, b"still here");
        }
    });
    let (gateway, _back) = start(&origin, 1, "").await;
    let mut client = open(&gateway).await;
    assert_eq!(client.read_to_end().await.unwrap(), b"bye");
    client.send_raw("still here").await;
    client.half_close().await;
    origin.wait_for_open(0).await;
    assert_eq!(origin.errors(), Vec::<String>::new());
}

#[tokio::test]
async fn websockets_of_http_2_pass_as_such() {
    let origin = echoing();
    let (gateway, _back) = start(&origin, 1, "").await;
    let mut client = Frames::connect(&gateway).await;
    let connect = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/chat"),
    ];
    client.headers(1, 0, &connect).await;
    assert_eq!(client.next_of(HEADERS).await.payload[0], 0x88, "`:status: 200`");
    client.send(DATA, 0, 1, b"hello").await;
    assert_eq!(client.next_of(DATA).await.payload, b"hello");
    client.send(DATA, END_STREAM, 1, b"").await;
    assert_eq!(client.next_of(DATA).await.payload, b"bye");
}

#[tokio::test]
async fn a_worker_without_a_connection_opens_websockets_on_that_of_the_other() {
    let origin = echoing();
    let (gateway, _back) = start(&origin, 2, "pool: { max_connections: 1 }").await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(open(&gateway).await);
    }
    for client in &mut clients {
        exchange(client, 50_000).await;
    }
    for mut client in clients {
        client.half_close().await;
        assert_eq!(client.read_to_end().await.unwrap(), b"bye");
    }
    assert_eq!(number(&settled(&gateway).await, "opened"), 1);
}

/// A task that wakes itself would keep its worker running.
#[tokio::test]
async fn worker_sleeps_while_nothing_moves() {
    let origin = echoing();
    let (gateway, _back) = start(&origin, 2, "pool: { max_connections: 1 }").await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(open(&gateway).await);
    }
    for client in &mut clients {
        exchange(client, 10).await;
    }
    pooled::asleep(&gateway).await;
}

#[tokio::test]
async fn other_responses_to_a_handshake_pass() {
    let origin = echoing();
    let (gateway, _back) = start(&origin, 1, "").await;
    let mut client = gateway.client("web").await;
    client.send_raw(HANDSHAKE.replace("/chat", "/forbidden")).await;
    let response = client.read_response().await;
    assert_eq!((response.status, &*response.body), (403, &b"no"[..]));
    exchange(&mut open(&gateway).await, 10).await;
}

#[tokio::test]
async fn an_upstream_of_http_2_without_extended_connect_is_named() {
    let origin = Origin::http2(async |exchange: Http2Exchange| exchange.respond("plain"));
    let upstream = format!("{{ url: '{}', protocol: h2 }}", origin.url());
    let gateway = pooled::builder(1, &upstream, "").start().await;
    let mut client = gateway.client("web").await;
    client.send_raw(HANDSHAKE).await;
    assert_eq!(refusal(&client.read_response().await), (502, "upstream.upgrade"));
    assert_eq!(client.get("/").await.body, b"plain");
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn a_client_that_leaves_resets_its_stream_alone() {
    let origin = echoing();
    let (gateway, back) = start(&origin, 1, "").await;
    let mut stays = open(&gateway).await;
    drop(open(&gateway).await);
    back.wait_for_pool(ROUTE, "one WebSocket", |pool| number(pool, "active") == 1).await;
    exchange(&mut stays, 1000).await;
}

#[tokio::test]
async fn under_auto_a_websocket_shares_the_connection_once_the_server_is_known_to_take_it() {
    let certificates = Certificates::new();
    let identity = certificates.server(&["localhost"]);
    let origin = echoing();
    let back = Gateway::builder(
        PROGRAM,
        format!(
            "listeners: [{{ name: web, address: 127.0.0.1:0, tls: {{ certificates: [{{ cert: {}, key: {} }}] }} }}]\n\
             admin: {{ address: 127.0.0.1:0 }}\nroutes:\n  - {{ match: {{ path: /plain }}, respond: {{ body: plain }} }}\n  \
             - {{ name: {ROUTE}, match: {{ prefix: / }}, upstream: {{ url: '{}' }} }}\n",
            identity.cert.display(),
            identity.key.display(),
            origin.url()
        ),
    )
    .start()
    .await;
    let upstream = format!(
        "{{ url: 'https://localhost:{}', protocol: auto, tls: {{ ca: {} }} }}",
        back.addr("web").port(),
        certificates.ca().display()
    );
    let gateway = pooled::builder(1, &upstream, "").start().await;
    let mut first = open(&gateway).await;
    let pool = gateway.pool(ROUTE).await;
    assert_eq!(["active", "streams"].map(|key| number(&pool, key)), [1, 0], "{pool:#}");
    assert_eq!(gateway.client("web").await.get("/plain").await.body, b"plain");
    let mut second = open(&gateway).await;
    let pool = gateway.pool(ROUTE).await;
    assert_eq!(["active", "streams"].map(|key| number(&pool, key)), [2, 1], "{pool:#}");
    exchange(&mut first, 1000).await;
    exchange(&mut second, 1000).await;
}
