//! The handshake of WebSockets over HTTP/2 (RFC 8441) to upstreams that speak HTTP/1.1.

use support::{Client, Connection, Gateway, Head, Http2Client, Origin, Request, wait_until};

use crate::filtering::filtered;
use crate::one_route::{forwarding_to, forwarding_with};
use crate::raw_frames::*;
use crate::scripted::scripted;

pub(crate) const CONNECT: &[(&str, &str)] = &[
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "http"),
    (":authority", "a"),
    (":path", "/chat?room=1"),
    ("sec-websocket-protocol", "chat"),
    ("origin", "http://a"),
];

/// Returns the answer to the key of a handshake (RFC 6455 §4.2.2).
fn accept(key: &str) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    let bits: String = digest.as_ref().iter().map(|byte| format!("{byte:08b}")).collect();
    // 160 bits are 26 digits and a part of one.
    let digit = |at: usize| {
        let bits = format!("{:0<6}", &bits[at * 6..bits.len().min(at * 6 + 6)]);
        char::from(DIGITS[usize::from_str_radix(&bits, 2).unwrap()])
    };
    (0..27).map(digit).chain(['=']).collect()
}

/// Accepts the handshake of a WebSocket if it is complete, and refuses it otherwise. Returns true if it is.
pub(crate) async fn shake(connection: &mut Connection, head: &Head) -> bool {
    let headers = &head.headers;
    let key = headers.get("sec-websocket-key").unwrap_or_default();
    let is_complete = head.first_line.starts_with("GET ")
        && headers.all("connection") == ["upgrade"]
        && headers.all("upgrade").concat().eq_ignore_ascii_case("websocket")
        && headers.all("sec-websocket-version") == ["13"]
        && (key.len(), key.ends_with("==")) == (24, true);
    if !is_complete {
        connection.write("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
        return false;
    }
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-accept: {}\r\nsec-websocket-protocol: chat\r\n\r\n",
        accept(key)
    );
    connection.write(head).await;
    true
}

/// Reads a request and accepts it as [`shake`] does.
pub(crate) async fn read_and_shake(connection: &mut Connection) -> bool {
    let Some(head) = connection.read_head().await else { return false };
    connection.read_body(&head).await.is_some() && shake(connection, &head).await
}

/// An origin that sends back all that it gets in WebSockets.
pub(crate) fn echoing() -> Origin {
    Origin::script(async |mut connection| {
        if read_and_shake(&mut connection).await {
            connection.echo().await;
        }
    })
}

/// Opens a WebSocket on a new connection.
pub(crate) async fn open(gateway: &Gateway) -> Frames {
    let mut client = Frames::connect(gateway).await;
    client.headers(1, 0, CONNECT).await;
    let head = client.next_of(HEADERS).await;
    assert_eq!((head.flags, head.payload[0]), (END_HEADERS, STATUS_200), "{head:?}");
    client
}

/// Reads data of stream 1, until there are `length` bytes.
pub(crate) async fn read(client: &mut Frames, length: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < length {
        let data = client.next_of(DATA).await;
        for stream in [0, 1] {
            if !data.payload.is_empty() {
                let increment = u32::try_from(data.payload.len()).unwrap();
                client.send(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes()).await;
            }
        }
        all.extend(data.payload);
    }
    all
}

pub(crate) async fn wait_until_unused(gateway: &Gateway) {
    gateway.wait_for_pool("all", "no connection in use", |pool| pool["active"] == 0).await;
}

#[tokio::test]
async fn extended_connect_is_offered_and_becomes_the_handshake_of_http_1() {
    let origin = echoing();
    let gateway = forwarding_to(&origin).await;
    let mut client = Frames::connect(&gateway).await;
    let settings = client.next_of(SETTINGS).await.payload;
    assert!(settings.chunks(6).any(|setting| setting == [0, 8, 0, 0, 0, 1]), "{settings:?}");
    client.headers(1, 0, CONNECT).await;
    assert_eq!(client.next_of(HEADERS).await.payload[0], STATUS_200);
    client.send(DATA, 0, 1, b"hello").await;
    assert_eq!(read(&mut client, 5).await, b"hello");

    let sent = origin.requests().pop().unwrap();
    assert_eq!((sent.method.as_str(), sent.target.as_str()), ("GET", "/chat?room=1"));
    assert_eq!(sent.headers.all("sec-websocket-protocol"), ["chat"]);
    assert_eq!(sent.headers.all("origin"), ["http://a"]);
    assert_eq!(sent.headers.all("x-forwarded-host"), ["a"]);
    assert!(!sent.headers.has("content-length") && !sent.headers.has("transfer-encoding"), "{sent:?}");
}

#[tokio::test]
async fn a_real_client_gets_a_head_without_the_fields_of_http_1() {
    let origin = echoing();
    let gateway = forwarding_with(&origin, ", match: { prefix: /, methods: [GET] }").await;
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    assert_eq!(client.get("http://a/").await.status, 400, "an ordinary request is none");
    let (response, mut sending) = client.connect_protocol("http://a/chat", "websocket").await.unwrap();
    assert_eq!(response.status(), 200);
    let headers = response.headers();
    assert_eq!(headers["sec-websocket-protocol"], "chat");
    assert!(headers.contains_key("date"));
    for name in ["connection", "upgrade", "sec-websocket-accept", "sec-websocket-key", "content-length"] {
        assert!(!headers.contains_key(name), "{name}: {headers:?}");
    }
    let mut receiving = response.into_body();
    sending.send_data("hello".into(), false).unwrap();
    assert_eq!(receiving.data().await.unwrap().unwrap(), "hello");
    sending.send_data("bye".into(), true).unwrap();
    assert_eq!(receiving.data().await.unwrap().unwrap(), "bye");
    let rest = receiving.data().await;
    assert!(rest.is_none_or(|rest| rest.unwrap().is_empty()), "the end passes in both directions");
    // A GET and its 101 in the log, as over HTTP/1.1.
    let line = gateway.wait_for_stdout("/chat").await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["method"], &line["status"]), (&"GET".into(), &101.into()), "{line}");
    assert_eq!((&line["request_bytes"], &line["response_bytes"]), (&8.into(), &8.into()), "{line}");
    wait_until_unused(&gateway).await;
    assert_eq!(gateway.pool("all").await["closed"]["upgraded"], 1);
}

#[tokio::test]
async fn each_handshake_has_a_key_of_its_own() {
    let origin = echoing();
    let gateway = forwarding_to(&origin).await;
    drop((open(&gateway).await, open(&gateway).await));
    let key = |request: &Request| request.headers.get("sec-websocket-key").map(str::to_owned);
    let keys: Vec<_> = origin.requests().iter().map(key).collect();
    assert_eq!(keys.len(), 2);
    assert_ne!(keys[0], keys[1]);
}

#[tokio::test]
async fn other_responses_pass_and_those_that_would_open_a_tunnel_do_not() {
    let origin = Origin::script(async |mut connection| {
        while let Some(request) = connection.read_request().await {
            let (status, more) = request.target[1..].split_once('/').unwrap_or((&request.target[1..], ""));
            let more = more.replace(';', "\r\n");
            let body = match status {
                "101" | "204" => "\r\n",
                _ => "content-length: 2\r\n\r\nno",
            };
            connection.write(format!("HTTP/1.1 {status} Any\r\n{more}{body}")).await;
            if status == "101" {
                connection.wait_closed().await;
                return;
            }
        }
    });
    let gateway = forwarding_to(&origin).await;
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    client.get("http://a/404").await;
    let switch = "connection:upgrade;upgrade:websocket;";
    for (path, status, error) in [
        ("403".to_owned(), 403, None),
        ("404".to_owned(), 404, None),
        ("302/location:other;".to_owned(), 302, None),
        ("426/upgrade:websocket;connection:upgrade;".to_owned(), 426, None),
        ("200".to_owned(), 502, Some("upstream.upgrade")),
        ("204".to_owned(), 502, Some("upstream.upgrade")),
        // A handshake that does not respond to the key, or to nothing.
        (
            format!("101/{switch}sec-websocket-accept:s3pPLMBiTxaQ9kYGzzhZRbK+xOo=;"),
            502,
            Some("upstream.upgrade"),
        ),
        (format!("101/{switch}"), 502, Some("upstream.upgrade")),
        ("101/connection:upgrade;upgrade:other;".to_owned(), 502, Some("upstream.upgrade")),
    ] {
        let (response, _) = client.connect_protocol(&format!("http://a/{path}"), "websocket").await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        let reason = response.headers().get("x-gateway-error").map(|reason| reason.to_str().unwrap());
        assert_eq!(reason, error, "{path}");
        for name in ["connection", "upgrade"] {
            assert!(!response.headers().contains_key(name), "{path}: {name}");
        }
        if error.is_none() {
            assert_eq!(response.into_body().data().await.unwrap().unwrap(), "no", "{path}");
        }
    }
}

#[tokio::test]
async fn protocols_that_the_route_does_not_list_are_refused() {
    let origin = echoing();
    let gateway = Gateway::builder(
        crate::PROGRAM,
        "
listeners: [{ name: web, address: 127.0.0.1:0 }]
admin: { address: 127.0.0.1:0 }
routes:
  - { name: none, match: { prefix: /none }, upstream: { url: '{origin}' }, upgrade: [] }
  - { name: own, match: { prefix: /own }, respond: { body: hello } }
  - { name: forbidden, match: { prefix: /forbidden }, respond: { status: 403 } }
  - { name: all, match: { prefix: /, headers: { upgrade: present } }, upstream: { url: '{origin}' } }",
    )
    .set("origin", origin.url())
    .start()
    .await;
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    assert_eq!(client.get("http://a/").await.status, 404, "the route wants an upgrade");
    for (path, protocol, status, reason) in [
        ("none", "websocket", 501, Some("request.protocol")),
        ("", "connect-udp", 501, Some("request.protocol")),
        ("", "h2c", 501, Some("request.protocol")),
        ("own", "websocket", 501, Some("request.protocol")),
        ("forbidden", "websocket", 403, None),
        ("", "websocket", 200, None),
        ("", "WebSocket", 200, None),
    ] {
        let (response, _) = client.connect_protocol(&format!("http://a/{path}"), protocol).await.unwrap();
        let found = response.headers().get("x-gateway-error").map(|reason| reason.to_str().unwrap());
        assert_eq!((response.status().as_u16(), found), (status, reason), "{path} {protocol}");
    }
    let mut client = Frames::connect(&gateway).await;
    let (path, call) = ((":path", "/none"), ("content-type", "application/grpc"));
    client.headers(1, 0, &[&CONNECT[..4], &[path, call, ("te", "trailers")]].concat()).await;
    gateway.wait_for_stdout(r#""status":501"#).await;
    assert_ne!(client.next_of(HEADERS).await.payload[0], STATUS_200, "an error of gRPC would be one");
    // CONNECT without a protocol is for proxies.
    let mut client = Frames::connect(&gateway).await;
    client.headers(1, 0, &[(":method", "CONNECT"), (":authority", "a:80")]).await;
    gateway.wait_for_stdout(r#""error":"request.method""#).await;
    assert_ne!(client.next_of(HEADERS).await.payload[0], STATUS_200);
}

#[tokio::test]
async fn bytes_right_behind_the_request_belong_to_the_new_protocol() {
    let origin = echoing();
    let gateway = forwarding_to(&origin).await;
    let mut client = Frames::connect(&gateway).await;
    let head = frame(HEADERS, END_HEADERS, 1, &block(CONNECT));
    client.client.send_raw([head, frame(DATA, 0, 1, b"early")].concat()).await;
    assert_eq!(client.next_of(HEADERS).await.payload[0], STATUS_200);
    assert_eq!(read(&mut client, 5).await, b"early");
    // An empty frame is no end.
    client.send(DATA, 0, 1, b"").await;
    client.send(DATA, 0, 1, b"late").await;
    assert_eq!(read(&mut client, 4).await, b"late");
    wait_until("the tunnel is open", async || origin.open() == 1).await;
    let mut plain = Client::connect(gateway.addr("web")).await;
    assert_eq!(plain.get("/").await.status, 400);
}

#[tokio::test]
async fn filters_see_the_get_of_http_1() {
    let origin = Origin::script(async |mut connection| {
        read_and_shake(&mut connection).await;
        connection.echo().await;
    });
    let reads = [":method", ":path", "connection", "upgrade"]
        .map(|name| format!("get_field 0 {name} -> bytes\n"))
        .concat();
    let request = format!("{reads}say\nset_field 0 x-seen yes");
    let gateway = filtered(&origin, &scripted(&[("proxy_on_request_headers", &request)]), "").await;
    let mut client = open(&gateway).await;
    let log = gateway.wait_for_log("websocket").await;
    for part in ["GET", "/chat?room=1", "upgrade", "websocket"] {
        assert!(log.contains(part), "{part}: {log}");
    }
    assert_eq!(origin.requests()[0].headers.all("x-seen"), ["yes"]);
    client.send(DATA, 0, 1, b"hello").await;
    assert_eq!(read(&mut client, 5).await, b"hello");
    // A filter's own 200 opens no tunnel.
    let own = "text own\nanswer\nreturn 1";
    let gateway = filtered(&origin, &scripted(&[("proxy_on_request_headers", own)]), "").await;
    let mut client = Frames::connect(&gateway).await;
    client.headers(1, 0, CONNECT).await;
    assert_ne!(client.next_of(HEADERS).await.payload[0], STATUS_200);
    gateway.wait_for_stdout(r#""error":"request.protocol""#).await;
}
