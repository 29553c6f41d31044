//! HTTP/2 clients that send frames by hand.

use std::collections::BTreeMap;

use support::{Gate, Gateway, Origin, Signal, wait_until};

use crate::gateway;
use crate::raw_frames::*;

async fn start(origin: &Origin) -> Gateway {
    gateway(
        "
listeners: [{ name: web, address: 127.0.0.1:0 }]
admin: { address: 127.0.0.1:0 }
routes:
  - { name: local, match: { path: /local }, respond: { body: hello } }
  - { name: up, match: { prefix: / }, upstream: { url: '{origin}' } }",
    )
    .set("origin", origin.url())
    .start()
    .await
}

#[tokio::test]
async fn interim_responses_of_an_upstream_pass() {
    let origin = Origin::script(async |mut connection| {
        connection.read_request().await;
        connection.write("HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n").await;
        connection.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    });
    let gateway = start(&origin).await;
    let mut client = Frames::connect(&gateway).await;
    client.headers(1, END_STREAM, GET).await;
    let interim = client.next_of(HEADERS).await;
    assert_eq!(interim.flags, END_HEADERS);
    assert!(interim.payload.windows(3).any(|bytes| bytes == b"103"), "{interim:?}");
    let last = client.next_of(HEADERS).await;
    assert_eq!(last.payload[0], 0x88, "the index of `:status: 200`");
    let data = client.next_of(DATA).await;
    assert_eq!((data.flags, data.payload), (END_STREAM, b"ok".to_vec()));
}

#[tokio::test]
async fn a_client_that_expects_100_gets_it_when_its_body_is_wanted() {
    let origin = Origin::echo();
    let gateway = start(&origin).await;
    let mut client = Frames::connect(&gateway).await;
    client.headers(1, 0, &[POST, &[("expect", "100-continue")]].concat()).await;
    let interim = client.next_of(HEADERS).await;
    assert!(interim.payload.windows(3).any(|bytes| bytes == b"100"), "{interim:?}");
    client.send(DATA, END_STREAM, 1, b"body").await;
    assert_eq!(client.next_of(HEADERS).await.payload[0], 0x88);
    assert_eq!(origin.requests()[0].body, b"body");
}

#[tokio::test]
async fn pseudo_fields_in_trailers_are_malformed_and_end_the_upstream_exchange() {
    let gate = Gate::new();
    let at_gate = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let gate = at_gate.clone();
        async move {
            gate.pass().await;
            connection.wait_closed().await;
        }
    });
    let gateway = start(&origin).await;
    let mut client = Frames::connect(&gateway).await;
    client.headers(1, 0, POST).await;
    client.send(DATA, 0, 1, b"body").await;
    gate.arrivals(1).await;
    gate.release();
    client.headers(1, END_STREAM, &[(":path", "/other")]).await;
    let reset = client.next_of(RST_STREAM).await;
    assert_eq!((reset.stream, reset.number(0)), (1, PROTOCOL_ERROR));
    origin.wait_for_open(0).await;
    // The connection serves others.
    client.headers(3, END_STREAM, &[GET[0], GET[1], GET[2], (":path", "/local")]).await;
    assert_eq!(client.next_of(DATA).await.payload, b"hello");
}

#[tokio::test]
async fn characters_that_no_uri_has_are_escaped_and_a_fragment_is_malformed() {
    let origin = Origin::echo();
    let gateway = start(&origin).await;
    let mut client = Frames::connect(&gateway).await;
    client.headers(1, END_STREAM, &[GET[0], GET[1], GET[2], (":path", "/a<b>?c=\"d\"")]).await;
    client.next_of(HEADERS).await;
    assert_eq!(origin.requests()[0].target, "/a%3Cb%3E?c=%22d%22");
    client.headers(3, END_STREAM, &[GET[0], GET[1], GET[2], (":path", "/a#b")]).await;
    let reset = client.next_of(RST_STREAM).await;
    assert_eq!((reset.stream, reset.number(0)), (3, PROTOCOL_ERROR));
}

#[tokio::test]
async fn a_flood_of_resets_ends_the_connection_and_is_counted() {
    let origin = Origin::echo();
    let gateway = start(&origin).await;
    let mut client = Frames::connect(&gateway).await;
    let mut flood = Vec::new();
    for stream in (1..2001).step_by(2) {
        flood.extend(frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(GET)));
        flood.extend(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
    }
    drop(client.client.try_send_raw(&flood).await);
    let goaway = client.next_of(GOAWAY).await;
    assert_eq!(goaway.number(4), ENHANCE_YOUR_CALM);
    assert_eq!(goaway.payload[8..], *b"http2.resets");
    drop(client.client.read_to_end().await);
    gateway.wait_for_log("http2.resets").await;
    let counted = r#"gateway_listener_closed_total{listener="web",reason="http2.resets"}"#;
    wait_until("the end is counted", async || gateway.metric(counted).await == Some(1.0)).await;
}

#[tokio::test]
async fn a_drain_says_goaway_twice_and_serves_what_was_on_its_way() {
    let origin = Origin::echo();
    let gateway = start(&origin).await;
    let mut client = Frames::connect(&gateway).await;
    client.headers(1, END_STREAM, &[GET[0], GET[1], GET[2], (":path", "/local")]).await;
    client.next_of(DATA).await;
    gateway.signal(Signal::TERM);
    let first = client.next_of(GOAWAY).await;
    assert_eq!((first.number(0), first.number(4)), (0x7fff_ffff, 0));
    let ping = client.next_of(PING).await;
    // Sent before the client knew of the end.
    client.headers(3, END_STREAM, &[GET[0], GET[1], GET[2], (":path", "/local")]).await;
    client.send(PING, ACK, 0, &ping.payload).await;
    // In either order.
    let (mut second, mut data) = (None, None);
    while second.is_none() || data.is_none() {
        let frame = client.next().await;
        match frame.kind {
            GOAWAY => second = Some((frame.number(0), frame.number(4))),
            DATA => data = Some(frame.payload),
            _ => {}
        }
    }
    assert_eq!((second, data), (Some((3, 0)), Some(b"hello".to_vec())));
    drop(client.client.read_to_end().await);
}

#[tokio::test]
async fn a_client_that_breaks_the_protocol_and_reads_nothing_is_cut() {
    let origin = Origin::script(async |mut connection| {
        connection.read_request().await;
        connection.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
        while connection.try_write(&chunk).await.is_ok() {}
    });
    let gateway = gateway(
        "
listeners: [{ name: web, address: 127.0.0.1:0, timeouts: { response_write: off, keep_alive: off } }]
admin: { address: 127.0.0.1:0 }
routes: [{ name: up, upstream: { url: '{origin}' } }]",
    )
    .set("origin", origin.url())
    .start()
    .await;
    let mut client = Frames::connect(&gateway).await;
    for stream in [0, 1] {
        if stream == 1 {
            client.headers(1, END_STREAM, GET).await;
        }
        client.send(WINDOW_UPDATE, 0, stream, &(1u32 << 30).to_be_bytes()).await;
    }
    // The endless response fills the sockets, whatever of it has been read.
    client.next_of(DATA).await;
    client.send(DATA, 0, 0, b"wrong").await;
    origin.wait_for_open(0).await;
    let counted = r#"gateway_listener_closed_total{listener="web",reason="protocol"}"#;
    wait_until("the connection is cut", async || gateway.metric(counted).await == Some(1.0)).await;
}

#[tokio::test]
async fn a_frame_that_never_becomes_whole_ends_a_busy_connection() {
    let gate = Gate::new();
    let at_gate = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let gate = at_gate.clone();
        async move {
            gate.pass().await;
            connection.wait_closed().await;
        }
    });
    let gateway = gateway(
        "
listeners: [{ name: web, address: 127.0.0.1:0, timeouts: { request_header: 200ms } }]
admin: { address: 127.0.0.1:0 }
routes: [{ name: up, upstream: { url: '{origin}' } }]",
    )
    .set("origin", origin.url())
    .start()
    .await;
    let counted = r#"gateway_listener_closed_total{listener="web",reason="timeouts.request_header"}"#;
    let whole =
        [frame(PING, ACK, 0, &[0; 8]), frame(HEADERS, END_STREAM, 3, &block(GET)), frame(9, 0, 3, b"")];
    for (turn, whole) in whole.into_iter().enumerate() {
        let mut client = Frames::connect(&gateway).await;
        client.headers(1, END_STREAM, GET).await;
        gate.arrivals(turn + 1).await;
        client.client.send_raw(&whole[..whole.len() - 1]).await;
        drop(client.client.read_to_end().await);
        let expected = Some((turn + 1) as f64);
        wait_until("the connection is cut", async || gateway.metric(counted).await == expected).await;
    }
}

/// Returns the values of the settings of a new connection, by their numbers, and the increment of the connection's window.
async fn settings(gateway: &Gateway) -> (BTreeMap<u16, u32>, u32) {
    let mut client = Frames::connect(gateway).await;
    let settings = client.next_of(SETTINGS).await.payload;
    let settings = settings.chunks(6).map(|setting| {
        let (id, value) = setting.split_at(2);
        (u16::from_be_bytes(id.try_into().unwrap()), u32::from_be_bytes(value.try_into().unwrap()))
    });
    (settings.collect(), client.next_of(WINDOW_UPDATE).await.number(0))
}

#[tokio::test]
async fn windows_and_limits_are_those_of_the_listener_when_the_connection_begins() {
    const ROUTE: &str = "admin: { address: 127.0.0.1:0 }\nroutes: [{ name: all, respond: { body: hello } }]";
    let gateway =
        gateway(format!("listeners: [{{ name: web, address: 127.0.0.1:0 }}]\n{ROUTE}")).start().await;
    let (known, increment) = settings(&gateway).await;
    // The table has the size that clients assume, and needs no setting.
    assert_eq!((known.get(&1), known[&3], known[&4], increment), (None, 128, 2 << 20, (8 << 20) - 65_535));

    let mut client = Frames::connect(&gateway).await;
    let keys = "{ max_streams: 7, stream_window: 64KiB, connection_window: 128KiB, header_table: 8KiB }";
    let text = format!("listeners: [{{ name: web, address: 127.0.0.1:0, http2: {keys} }}]\n{ROUTE}");
    gateway.reload(&text).await;
    let (known, increment) = settings(&gateway).await;
    assert_eq!((known[&1], known[&3], known[&4]), (8 << 10, 7, 64 << 10));
    assert_eq!(increment, (128 << 10) - 65_535);
    client.headers(1, END_STREAM, GET).await;
    assert_eq!(client.next_of(DATA).await.payload, b"hello", "earlier connections stay");
}
