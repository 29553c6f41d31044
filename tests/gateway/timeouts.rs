//! `timeouts` of a route: which of them ends what, under which name, and what becomes of the connection.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use support::{Client, Gate, Gateway, Origin, SilentListener, with_longer_and_longer};

use crate::pooled::{self, OK, ROUTE, closed, number, refusal, refused, settled};

/// An origin that reads a request, sends this much, and then nothing more.
fn stalling(sent: &'static str) -> Origin {
    Origin::script(move |mut connection| async move {
        if connection.read_request().await.is_some() {
            connection.write(sent).await;
            connection.wait_closed().await;
        }
    })
}

async fn refused_after(gateway: &Gateway, at_least: Duration, expected: (u16, &str, &str)) -> Client {
    let mut client = gateway.client("web").await;
    let began = Instant::now();
    let response = client.get("/").await;
    let (status, reason, text) = expected;
    assert_eq!(refusal(&response), (status, reason));
    assert_eq!(response.text(), format!("{reason}: {text}\n"));
    let took = began.elapsed();
    assert!(took >= at_least, "{reason}: {took:?}");
    client
}

#[tokio::test]
async fn each_wait_for_an_answer_has_its_own_limit_and_name() {
    const LIMIT: Duration = Duration::from_millis(200);
    let silent = SilentListener::start().await;
    for (keys, expected) in [
        (
            "timeouts: { connect: 200ms }\nretry: { attempts: 0 }",
            (503, "timeouts.connect", "connect timed out"),
        ),
        (
            "timeouts: { per_try: 200ms }\nretry: { attempts: 0 }",
            (504, "timeouts.per_try", "attempt took too long"),
        ),
        ("timeouts: { request: 200ms }", (504, "timeouts.request", "request took too long")),
    ] {
        let gateway = pooled::to(silent.addr(), keys).await;
        refused_after(&gateway, LIMIT, expected).await;
        if expected.1 == "timeouts.connect" {
            let line = gateway.wait_for_log("upstream failed").await;
            assert!(line.contains("WARN") && line.contains(&silent.addr().to_string()), "{line}");
        }
        let pool = settled(&gateway).await;
        assert_eq!((number(&pool, "opened"), number(&pool, "idle")), (0, 0), "{keys}: {pool:#}");
    }
    let cases = [
        ("response_header: 200ms", "", (504, "timeouts.response_header", "response header too late")),
        // Half a header is none.
        (
            "response_header: 200ms",
            "HTTP/1.1 200 OK\r\n",
            (504, "timeouts.response_header", "response header too late"),
        ),
        ("per_try: 200ms", "", (504, "timeouts.per_try", "attempt took too long")),
        ("request: 200ms", "", (504, "timeouts.request", "request took too long")),
        (
            "request: 200ms, per_try: 9s, response_header: 9s",
            "",
            (504, "timeouts.request", "request took too long"),
        ),
        (
            "request: 9s, per_try: 200ms, response_header: 9s",
            "",
            (504, "timeouts.per_try", "attempt took too long"),
        ),
    ];
    pooled::all(cases.map(|(keys, sent, expected)| async move {
        let origin = stalling(sent);
        let gateway =
            pooled::to(origin.addr(), &format!("timeouts: {{ {keys} }}\nretry: {{ attempts: 3 }}")).await;
        let mut client = refused_after(&gateway, LIMIT, expected).await;
        origin.wait_for_open(0).await;
        let pool = settled(&gateway).await;
        assert_eq!((closed(&pool, "timeout"), number(&pool, "idle")), (1, 0), "{keys}: {pool:#}");
        assert_eq!(origin.accepted(), 1, "what may have been received is not sent again: {keys}");
        // The client's connection is none the worse.
        assert_eq!(client.get("/").await.status, expected.0, "{keys}");
    }))
    .await;
}

#[tokio::test]
async fn a_tls_handshake_is_part_of_connecting() {
    // It accepts, and never says a word.
    let origin = Origin::script(|mut connection| async move { drop(connection.wait_closed().await) });
    let upstream = format!("{{ url: 'https://{}' }}", origin.addr());
    let keys = "timeouts: { connect: 200ms }\nretry: { attempts: 0 }";
    let gateway = pooled::builder(1, &upstream, keys).start().await;
    let expected = (503, "timeouts.connect", "connect timed out");
    refused_after(&gateway, Duration::from_millis(200), expected).await;
    origin.wait_for_open(0).await;
    assert_eq!(number(&settled(&gateway).await, "connect_failed"), 1);
}

#[tokio::test]
async fn the_wait_in_the_queue_counts_for_the_request() {
    let gate = Gate::new();
    let origin = pooled::gated(&gate);
    for (limit, reason) in [("request: 300ms", "timeouts.request"), ("per_try: 300ms", "timeouts.per_try")] {
        let keys =
            format!("pool: {{ max_connections: 1 }}\ntimeouts: {{ {limit} }}\nretry: {{ attempts: 0 }}");
        let gateway = pooled::to(origin.addr(), &keys).await;
        let held = pooled::ask(&gateway, "/").await;
        let waiting = pooled::ask(&gateway, "/").await;
        assert_eq!(refusal(&held.await.unwrap()), (504, reason));
        let waited = waiting.await.unwrap();
        assert_eq!(refusal(&waited), (504, reason));
        let pool = settled(&gateway).await;
        assert_eq!((refused(&pool, "pool.acquire_timeout"), number(&pool, "idle")), (0, 0), "{pool:#}");
    }
}

#[tokio::test]
async fn the_time_for_a_response_header_begins_when_the_request_is_out() {
    with_longer_and_longer(async |limit| {
        let keys = format!("timeouts: {{ response_header: {}ms }}", limit.as_millis());
        let origin = Origin::echo();
        let gateway = pooled::to(origin.addr(), &keys).await;
        let mut client = gateway.client("web").await;
        client.send_raw("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbo").await;
        // Another request, refused by the same limit, tells that it has passed.
        let slow = stalling("");
        let other = pooled::to(slow.addr(), &keys).await;
        assert_eq!(other.client("web").await.get("/").await.status, 504);
        client.send_raw("dy").await;
        assert_eq!(client.read_response().await.body, b"body");
    })
    .await;
}

#[tokio::test]
async fn a_body_that_stalls_or_is_late_is_cut_and_never_looks_complete() {
    const LENGTH: &str = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf";
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    const UNTIL_CLOSE: &str = "HTTP/1.0 200 OK\r\n\r\nhalf";
    let mut cases = Vec::new();
    for limit in ["idle: 200ms", "request: 200ms"] {
        for sent in [LENGTH, CHUNKED, UNTIL_CLOSE] {
            cases.extend([true, false].map(|keep_alive| cut_short(limit, sent, keep_alive)));
        }
    }
    pooled::all(cases).await;
}

async fn cut_short(limit: &'static str, sent: &'static str, keep_alive: bool) {
    let case = format!("{limit} {sent} {keep_alive}");
    let origin = stalling(sent);
    let keys = format!("timeouts: {{ {limit} }}\npool: {{ keep_alive: {keep_alive} }}");
    let gateway = pooled::to(origin.addr(), &keys).await;
    let mut client = gateway.client("web").await;
    let began = Instant::now();
    client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    match client.try_read_response().await {
        // On a busy machine the time is over before the head has gone out.
        Ok(response) => assert_eq!(response.status, 504, "{case}"),
        Err(cut) => assert!(
            matches!(cut.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset),
            "{case}: {cut}"
        ),
    }
    assert!(began.elapsed() >= Duration::from_millis(200), "{case}");
    origin.wait_for_open(0).await;
    let pool = settled(&gateway).await;
    assert_eq!((closed(&pool, "timeout"), number(&pool, "idle")), (1, 0), "{case}: {pool:#}");
}

#[tokio::test]
async fn a_body_that_keeps_moving_may_take_longer_than_its_stalls() {
    with_longer_and_longer(async |limit| {
        let origin = Origin::script(move |mut connection| async move {
            drop(connection.read_request().await);
            connection.write("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n").await;
            for byte in ["b", "o", "d", "y"] {
                // This is what the origin is about: a slow one.
                tokio::time::sleep(limit / 3).await;
                connection.write(byte).await;
            }
        });
        let gateway =
            pooled::to(origin.addr(), &format!("timeouts: {{ idle: {}ms }}", limit.as_millis())).await;
        assert_eq!(gateway.client("web").await.get("/").await.body, b"body");
    })
    .await;
}

#[tokio::test]
async fn an_upstream_that_does_not_take_the_request_is_given_up() {
    let gate = Gate::new();
    let origin = {
        let gate = gate.clone();
        Origin::script(move |connection| {
            let gate = gate.clone();
            async move {
                gate.pass().await;
                drop(connection);
            }
        })
    };
    let gateway = pooled::to(origin.addr(), "timeouts: { idle: 300ms }").await;
    let mut client = gateway.client("web").await;
    // More than all the buffers on the way take.
    let body = vec![b'x'; 32 << 20];
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
    client.send_raw(head).await;
    // The gateway stops reading, answers and closes while this still writes.
    drop(client.try_send_raw(&body).await);
    let response = client.try_read_response().await.unwrap();
    assert_eq!(refusal(&response), (504, "timeouts.idle"));
    let pool = settled(&gateway).await;
    assert_eq!(closed(&pool, "timeout"), 1, "{pool:#}");
    gate.release_all();
}

#[tokio::test]
async fn the_time_of_a_request_also_ends_an_answer_that_the_client_reads_slowly() {
    with_longer_and_longer(async |limit| {
        let origin = Origin::script(|mut connection| async move {
            drop(connection.read_request().await);
            connection.write("HTTP/1.1 200 OK\r\n\r\n").await;
            let body = vec![b'x'; 64 << 10];
            while connection.try_write(&body).await.is_ok() {}
        });
        let keys = format!("timeouts: {{ request: {}ms }}", limit.as_millis());
        let gateway = pooled::to(origin.addr(), &keys).await;
        let mut client = gateway.client("web").await;
        let began = Instant::now();
        client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(client.read_head().await.first_line, "HTTP/1.1 200 OK");
        // It never ends by itself.
        let received = client.read_to_end().await.unwrap();
        assert!(!received.ends_with(b"\r\n0\r\n\r\n"), "a cut, not an end");
        assert!(began.elapsed() >= limit);
        origin.wait_for_open(0).await;
        assert_eq!(closed(&settled(&gateway).await, "timeout"), 1);
    })
    .await;
}

#[tokio::test]
async fn event_streams_and_tunnels_outlive_the_time_of_a_request() {
    with_longer_and_longer(outlive_the_time_of_a_request).await;
}

async fn outlive_the_time_of_a_request(limit: Duration) {
    let gate = Gate::new();
    for kind in ["text/event-stream", "Text/Event-Stream; charset=utf-8", "websocket"] {
        let held = gate.clone();
        let origin = Origin::script(move |mut connection| {
            let gate = held.clone();
            async move {
                drop(connection.read_request().await);
                if kind == "websocket" {
                    let switched = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
                    connection.write(switched).await;
                } else {
                    connection.write(format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n\r\n")).await;
                }
                gate.pass().await;
                connection.write("late").await;
                connection.wait_closed().await;
            }
        });
        // An ordinary answer beside it is what tells that the time has passed.
        let ordinary = stalling("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n");
        let gateway = pooled::gateway(
            "
defaults: { timeouts: { request: {limit} } }
routes:
  - { name: pooled, match: { path: /long }, upstream: { url: '{long}' }, upgrade: [websocket] }
  - { name: short, match: { path: /short }, upstream: { url: '{short}' } }",
        )
        .set("limit", format!("{}ms", limit.as_millis()))
        .set("long", origin.url())
        .set("short", ordinary.url())
        .start()
        .await;
        let mut client = gateway.client("web").await;
        let upgrade = if kind == "websocket" { "connection: upgrade\r\nupgrade: websocket\r\n" } else { "" };
        client.send_raw(format!("GET /long HTTP/1.1\r\nhost: a\r\n{upgrade}\r\n")).await;
        let head = client.read_head().await;
        assert!(head.first_line.starts_with(if upgrade.is_empty() {
            "HTTP/1.1 200"
        } else {
            "HTTP/1.1 101"
        }));
        let mut short = gateway.client("web").await;
        short.send_raw("GET /short HTTP/1.1\r\nhost: a\r\n\r\n").await;
        short.try_read_response().await.unwrap_err();
        gate.release();
        if upgrade.is_empty() {
            assert_eq!(client.read_exact(7).await, b"4\r\nlate", "{kind}");
        } else {
            assert_eq!(client.read_exact(4).await, b"late");
        }
        drop(client);
        origin.wait_for_open(0).await;
        let pool = settled(&gateway).await;
        let reason = if upgrade.is_empty() { "cancelled" } else { "upgraded" };
        assert_eq!(closed(&pool, reason), 1, "{kind}: {pool:#}");
    }
}

#[tokio::test]
async fn a_limit_that_is_off_never_ends_anything() {
    let gate = Gate::new();
    let origin = pooled::gated(&gate);
    let keys = "timeouts: { connect: off, response_header: off, idle: off, request: off, per_try: off }";
    let gateway = pooled::to(origin.addr(), keys).await;
    let asked = pooled::ask(&gateway, "/").await;
    gate.arrivals(1).await;
    gate.release();
    assert_eq!(asked.await.unwrap().text(), "ok");
    assert_eq!(number(&gateway.pool(ROUTE).await, "idle"), 1);
    assert!(OK.ends_with("ok"));
}
