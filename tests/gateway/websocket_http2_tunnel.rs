//! The bytes in WebSockets over HTTP/2 (RFC 8441) to upstreams that speak HTTP/1.1: windows, limits and the ends of both sides.

use std::sync::{Arc, Mutex};

use support::{Gateway, Http2Client, Origin, Signal, with_longer_and_longer};

use crate::one_route::{forwarding_to, forwarding_with};
use crate::raw_frames::*;
use crate::websocket_http2::{CONNECT, echoing, open, read, read_and_shake, wait_until_unused};

#[tokio::test]
async fn each_side_may_end_its_half_first() {
    let received = Arc::new(Mutex::new(Vec::new()));
    let at_origin = received.clone();
    let origin = Origin::script(move |mut connection| {
        let received = at_origin.clone();
        async move {
            read_and_shake(&mut connection).await;
            connection.half_close().await;
            let all = connection.wait_closed().await;
            received.lock().unwrap().extend(all);
        }
    });
    let gateway = forwarding_to(&origin).await;
    let mut client = open(&gateway).await;
    let end = client.next_of(DATA).await;
    assert_eq!((end.flags, end.payload.len()), (END_STREAM, 0));
    client.send(DATA, 0, 1, b"after the other ").await;
    client.send(DATA, END_STREAM, 1, b"half").await;
    origin.wait_for_open(0).await;
    assert_eq!(*received.lock().unwrap(), b"after the other half");
    wait_until_unused(&gateway).await;

    // The client's half first, with the request's head or later.
    let origin = Origin::script(async |mut connection| {
        if read_and_shake(&mut connection).await {
            connection.wait_closed().await;
            connection.write("after the other half").await;
        }
    });
    let gateway = forwarding_to(&origin).await;
    for flags in [0, END_STREAM] {
        let mut client = Frames::connect(&gateway).await;
        client.headers(1, flags, CONNECT).await;
        assert_eq!(client.next_of(HEADERS).await.payload[0], STATUS_200);
        if flags == 0 {
            client.send(DATA, END_STREAM, 1, b"").await;
        }
        let (mut last, mut received) = (0, Vec::new());
        while last & END_STREAM == 0 {
            let data = client.next_of(DATA).await;
            last = data.flags;
            received.extend(data.payload);
        }
        assert_eq!(received, b"after the other half");
        wait_until_unused(&gateway).await;
        // The connection serves others.
        client.headers(3, END_STREAM, GET).await;
        client.next_of(HEADERS).await;
    }
}

#[tokio::test]
async fn a_reset_of_the_stream_closes_the_connection_behind_it() {
    // Also if the client has ended its half before, and the upstream has nothing to say.
    for ends_first in [false, true] {
        let origin = Origin::script(move |mut connection| async move {
            read_and_shake(&mut connection).await;
            connection.read_some().await;
            if ends_first {
                connection.write("x").await;
                std::future::pending::<()>().await;
            }
        });
        let gateway = forwarding_to(&origin).await;
        let mut client = open(&gateway).await;
        if ends_first {
            client.send(DATA, END_STREAM, 1, b"").await;
            client.next_of(DATA).await;
        }
        client.send(RST_STREAM, 0, 1, &CANCEL.to_be_bytes()).await;
        gateway.wait_for_stdout(r#""error":"client.closed""#).await;
        wait_until_unused(&gateway).await;
        if !ends_first {
            origin.wait_for_open(0).await;
        }
    }
    // So does the end of the client's connection.
    let origin = echoing();
    let gateway = forwarding_to(&origin).await;
    let client = open(&gateway).await;
    client.client.reset();
    origin.wait_for_open(0).await;
    wait_until_unused(&gateway).await;
}

#[tokio::test]
async fn a_reset_of_the_upstream_connection_resets_the_stream_alone() {
    let origin = Origin::script(async |mut connection| {
        read_and_shake(&mut connection).await;
        connection.read_exact(1).await;
        connection.reset();
    });
    let gateway = forwarding_to(&origin).await;
    let mut client = open(&gateway).await;
    client.send(DATA, 0, 1, b"x").await;
    let reset = client.next_of(RST_STREAM).await;
    assert_eq!((reset.stream, reset.number(0)), (1, CANCEL));
    gateway.wait_for_stdout(r#""error":"upstream.closed""#).await;
    client.headers(3, END_STREAM, CONNECT).await;
    assert_eq!(client.next_of(HEADERS).await.payload[0], STATUS_200);
}

#[tokio::test]
async fn a_tunnel_in_which_nothing_moves_ends_at_the_idle_timeout() {
    with_longer_and_longer(async |limit| {
        let origin = echoing();
        let (idle, request) = (limit.as_millis() * 2, limit.as_millis());
        let keys = format!(", timeouts: {{ idle: {idle}ms, request: {request}ms }}");
        let gateway = forwarding_with(&origin, &keys).await;
        let began = std::time::Instant::now();
        let mut client = open(&gateway).await;
        client.send(DATA, 0, 1, b"hello").await;
        read(&mut client, 5).await;
        let reset = client.next_of(RST_STREAM).await;
        assert_eq!((reset.stream, reset.number(0)), (1, CANCEL));
        assert!(began.elapsed() >= limit * 2, "{:?}", began.elapsed());
        gateway.wait_for_stdout(r#""error":"timeouts.idle""#).await;
        wait_until_unused(&gateway).await;
    })
    .await;
}

#[tokio::test]
async fn a_reload_leaves_an_open_tunnel_and_a_limit_ends_that_of_a_removed_route() {
    let origin = echoing();
    let route = format!("{{ name: all, upstream: {{ url: '{}' }} }}", origin.url());
    let with = |routes: &str, shutdown: &str| {
        format!(
            "listeners: [{{ name: web, address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\n\
             shutdown: {{ {shutdown} }}\nroutes: [{routes}]"
        )
    };
    let other = "{ name: other, respond: { body: other } }";
    let drains = "drain: 300ms, drain_removed_routes: true";
    for (shutdown, is_cut) in [("drain: 30s", false), (drains, true)] {
        let gateway = Gateway::builder(crate::PROGRAM, with(&route, shutdown)).start().await;
        let mut client = open(&gateway).await;
        gateway
            .reload(&with(
                &format!("{route}, {}", other.replace("other,", "other, match: { path: /o },")),
                shutdown,
            ))
            .await;
        client.send(DATA, 0, 1, b"one").await;
        assert_eq!(read(&mut client, 3).await, b"one");
        gateway.reload(&with(other, shutdown)).await;
        client.send(DATA, 0, 1, b"two").await;
        assert_eq!(read(&mut client, 3).await, b"two");
        if is_cut {
            assert_eq!(client.next_of(RST_STREAM).await.number(0), CANCEL);
            gateway.wait_for_stdout(r#""error":"shutdown.drain_removed_routes""#).await;
        }
        // New requests find the new routes, on the same connection.
        client.headers(3, END_STREAM, GET).await;
        assert_eq!(client.next_of(DATA).await.payload, b"other");
    }
}

#[tokio::test]
async fn a_shutdown_waits_for_a_tunnel() {
    let origin = echoing();
    let mut gateway = forwarding_to(&origin).await;
    let mut client = open(&gateway).await;
    gateway.signal(Signal::TERM);
    let goaway = client.next_of(GOAWAY).await;
    assert_eq!(goaway.number(4), 0);
    client.send(DATA, 0, 1, b"hello").await;
    assert_eq!(read(&mut client, 5).await, b"hello");
    client.send(DATA, END_STREAM, 1, b"").await;
    while client.next_of(DATA).await.flags & END_STREAM == 0 {}
    drop(client.client);
    assert!(gateway.wait_exit(support::PATIENCE).await.success());
}

#[tokio::test]
async fn much_data_passes_through_small_windows_both_ways() {
    const BYTES: usize = 3_000_000;
    let origin = echoing();
    let keys = "stream_window: 64KiB, connection_window: 64KiB";
    let gateway = Gateway::builder(
        crate::PROGRAM,
        format!(
            "listeners: [{{ name: web, address: 127.0.0.1:0, http2: {{ {keys} }} }}]\n\
             admin: {{ address: 127.0.0.1:0 }}\nroutes: [{{ name: all, upstream: {{ url: '{}' }} }}]",
            origin.url()
        ),
    )
    .start()
    .await;
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    client.get("http://a/").await;
    let (response, mut sending) = client.connect_protocol("http://a/", "websocket").await.unwrap();
    let message: Vec<u8> = (0..BYTES).map(|at| (at / 7) as u8).collect();
    let expected = message.clone();
    // All of it waits in the client, and goes out as windows open. The client's own windows are 64 KiB, too.
    sending.send_data(message.into(), true).unwrap();
    let mut receiving = response.into_body();
    let mut received = Vec::new();
    while let Some(data) = receiving.data().await {
        let data = data.unwrap();
        receiving.flow_control().release_capacity(data.len()).unwrap();
        received.extend_from_slice(&data);
    }
    assert_eq!(received.len(), expected.len());
    assert!(received == expected);
    let line = gateway.wait_for_stdout("101").await;
    assert!(
        line.contains(&format!(r#""request_bytes":{BYTES}"#))
            && line.contains(&format!(r#""response_bytes":{BYTES}"#)),
        "{line}"
    );
}

#[tokio::test]
async fn a_client_that_reads_nothing_stops_the_upstream_and_is_cut_when_nothing_moves() {
    with_longer_and_longer(async |limit| {
        let sent = Arc::new(Mutex::new(0));
        let at_origin = sent.clone();
        let origin = Origin::script(move |mut connection| {
            let sent = at_origin.clone();
            async move {
                read_and_shake(&mut connection).await;
                while connection.try_write([0; 65_536]).await.is_ok() {
                    *sent.lock().unwrap() += 65_536;
                }
            }
        });
        let gateway =
            forwarding_with(&origin, &format!(", timeouts: {{ idle: {}ms }}", limit.as_millis())).await;
        let mut client = open(&gateway).await;
        // Its window has 64 KiB; the rest waits in the gateway's buffers and in the sockets.
        let reset = client.next_of(RST_STREAM).await;
        assert_eq!(reset.number(0), CANCEL);
        origin.wait_for_open(0).await;
        let line = gateway.wait_for_stdout(r#""error":"timeouts.idle""#).await;
        assert!(line.contains(r#""response_bytes":65535"#), "{line}");
        assert!(*sent.lock().unwrap() < 32 << 20, "{sent:?}");
    })
    .await;
}

#[tokio::test]
async fn trailers_have_no_place_in_a_tunnel() {
    let origin = echoing();
    let gateway = forwarding_to(&origin).await;
    let mut client = open(&gateway).await;
    client.headers(1, END_STREAM, &[("x-end", "1")]).await;
    let reset = client.next_of(RST_STREAM).await;
    assert_eq!((reset.stream, reset.number(0)), (1, PROTOCOL_ERROR));
    origin.wait_for_open(0).await;
}

#[tokio::test]
async fn an_upstream_that_reads_nothing_stops_the_client() {
    with_longer_and_longer(async |limit| {
        let origin = Origin::script(|mut connection| async move {
            if read_and_shake(&mut connection).await {
                std::future::pending::<()>().await;
            }
        });
        let gateway =
            forwarding_with(&origin, &format!(", timeouts: {{ idle: {}ms }}", limit.as_millis())).await;
        let mut client = Http2Client::connect(gateway.addr("web")).await;
        client.get("http://a/").await;
        let (response, mut sending) = client.connect_protocol("http://a/", "websocket").await.unwrap();
        assert_eq!(response.status(), 200);
        // It goes out as windows open.
        sending.send_data(vec![0; 64 << 20].into(), true).unwrap();
        let ended = response.into_body().data().await.unwrap();
        assert_eq!(ended.unwrap_err().reason(), Some(support::h2::Reason::CANCEL));
        let line = gateway.wait_for_stdout(r#""error":"timeouts.idle""#).await;
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        // The sockets of the upstream took some.
        let passed = line["request_bytes"].as_u64().unwrap();
        assert!((1..32 << 20).contains(&passed), "{line}");
    })
    .await;
}
