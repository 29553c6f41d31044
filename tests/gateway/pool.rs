//! The connections of a pool: their lifetimes, the requests that get them, and the reasons why they end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use support::{Certificates, Connection, Gate, Origin, Signal, wait_until};

use crate::pooled::{self, OK, ROUTE, closed, number, settled};

#[tokio::test]
async fn requests_one_after_the_other_share_a_connection() {
    let origin = Origin::answer(OK);
    let gateway = pooled::to(origin.addr(), "").await;
    for _ in 0..4 {
        let mut client = gateway.client("web").await;
        for _ in 0..5 {
            assert_eq!(client.get("/").await.body, b"ok");
        }
    }
    assert_eq!(origin.accepted(), 1);
    assert!(origin.requests().iter().all(|request| !request.headers.has("connection")));
    let pool = settled(&gateway).await;
    assert_eq!(
        ["opened", "reused", "acquired", "idle"].map(|key| number(&pool, key)),
        [1, 19, 20, 1],
        "{pool:#}"
    );
}

#[tokio::test]
async fn without_keep_alive_each_request_has_a_connection_of_its_own() {
    for answer in [OK, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"] {
        let origin = Origin::answer(answer);
        let gateway = pooled::to(origin.addr(), "pool: { keep_alive: false }").await;
        let mut client = gateway.client("web").await;
        for _ in 0..3 {
            assert_eq!(client.get("/").await.body, b"ok");
        }
        origin.wait_for_open(0).await;
        assert_eq!(origin.accepted(), 3);
        assert!(origin.requests().iter().all(|request| request.headers.get("connection") == Some("close")));
        let pool = settled(&gateway).await;
        assert_eq!(["opened", "reused", "idle"].map(|key| number(&pool, key)), [3, 0, 0], "{pool:#}");
        assert_eq!(closed(&pool, "keep_alive_off"), 3, "{pool:#}");
    }
}

#[tokio::test]
async fn an_idle_connection_ends_when_its_time_is_up_or_the_server_would_end_it() {
    let cases = [
        ("", "idle_timeout: 200ms", Duration::from_millis(200)),
        ("keep-alive: timeout=9\r\n", "idle_timeout: 200ms", Duration::from_millis(200)),
        // A second before the server does.
        ("Keep-Alive: max=7, timeout=2\r\n", "idle_timeout: 10m", Duration::from_secs(1)),
        ("keep-alive: timeout=1\r\n", "idle_timeout: off", Duration::ZERO),
    ];
    pooled::all(cases.map(|(hint, settings, at_least)| async move {
        let origin = Origin::answer(format!("HTTP/1.1 200 OK\r\n{hint}content-length: 2\r\n\r\nok"));
        let gateway = pooled::to(origin.addr(), &format!("pool: {{ {settings} }}")).await;
        let mut client = gateway.client("web").await;
        // Before the connection turns idle: what is measured is never less than it was idle for.
        let began = Instant::now();
        assert_eq!(client.get("/").await.status, 200);
        origin.wait_for_open(0).await;
        let kept = began.elapsed();
        assert!(kept >= at_least, "{hint}{settings}: {kept:?}");
        assert_eq!(closed(&settled(&gateway).await, "idle_timeout"), 1, "{hint}{settings}");
        assert_eq!(client.get("/").await.status, 200);
        assert_eq!(origin.accepted(), 2);
    }))
    .await;
}

#[tokio::test]
async fn a_connection_that_is_too_old_ends_when_it_is_idle_and_not_before() {
    let gate = Gate::new();
    let origin = pooled::gated(&gate);
    let gateway = pooled::to(origin.addr(), "pool: { max_lifetime: 300ms }").await;
    let began = Instant::now();
    let busy = pooled::ask(&gateway, "/busy").await;
    gate.arrivals(1).await;
    let short = pooled::ask(&gateway, "/short").await;
    gate.arrivals(2).await;
    gate.release();
    assert_eq!(busy.await.unwrap().status, 200);
    origin.wait_for_open(1).await;
    assert!(began.elapsed() >= Duration::from_millis(270), "{:?}", began.elapsed());
    let pool =
        gateway.wait_for_pool(ROUTE, "the idle one closed", |pool| closed(pool, "max_lifetime") == 1).await;
    assert_eq!(number(&pool, "active"), 1, "the other is in use: {pool:#}");
    gate.release();
    assert_eq!(short.await.unwrap().body, b"ok");
    origin.wait_for_open(0).await;
    assert_eq!(closed(&settled(&gateway).await, "max_lifetime"), 2);
}

#[tokio::test]
async fn a_connection_serves_max_requests() {
    let origin = Origin::answer(OK);
    let gateway = pooled::to(origin.addr(), "pool: { max_requests: 3 }").await;
    let mut client = gateway.client("web").await;
    for _ in 0..7 {
        assert_eq!(client.get("/").await.status, 200);
    }
    let served: Vec<usize> = origin.requests().iter().map(|request| request.connection).collect();
    assert_eq!(served, [0, 0, 0, 1, 1, 1, 2]);
    let pool = settled(&gateway).await;
    assert_eq!((closed(&pool, "max_requests"), number(&pool, "idle")), (2, 1), "{pool:#}");
}

#[tokio::test]
async fn connections_over_max_idle_are_closed_when_they_come_back() {
    for workers in [1, 2] {
        let gate = Gate::new();
        let origin = pooled::gated(&gate);
        let gateway = pooled::with_workers(workers, origin.addr(), "pool: { max_idle: 2 }").await;
        let mut asked = Vec::new();
        for _ in 0..5 {
            asked.push(pooled::ask(&gateway, "/").await);
        }
        gate.arrivals(5).await;
        gate.release_all();
        for answer in asked {
            assert_eq!(answer.await.unwrap().status, 200);
        }
        origin.wait_for_open(2).await;
        let pool = settled(&gateway).await;
        assert_eq!((number(&pool, "idle"), closed(&pool, "max_idle")), (2, 3), "{workers} workers: {pool:#}");
    }
}

#[tokio::test]
async fn the_connection_that_was_used_last_is_used_next() {
    let gate = Gate::new();
    let origin = pooled::gated(&gate);
    let gateway = pooled::to(origin.addr(), "").await;
    let mut asked = Vec::new();
    for count in 1..=3 {
        asked.push(pooled::ask(&gateway, "/").await);
        gate.arrivals(count).await;
    }
    // They turn idle in the order of their numbers.
    for answer in asked {
        gate.release();
        assert_eq!(answer.await.unwrap().status, 200);
    }
    gate.release_all();
    let mut client = gateway.client("web").await;
    for _ in 0..4 {
        assert_eq!(client.get("/").await.status, 200);
    }
    let served: Vec<usize> = origin.requests().iter().skip(3).map(|request| request.connection).collect();
    assert_eq!(served, [2, 2, 2, 2]);
}

/// An origin whose connections answer one request, wait at the gate, and end in `ending`.
fn ending<F, Fut>(origin: support::OriginBuilder, gate: &Gate, ending: F) -> Origin
where
    F: Fn(Connection) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send,
{
    let (gate, ending) = (gate.clone(), Arc::new(ending));
    origin.script(move |mut connection| {
        let (gate, ending) = (gate.clone(), Arc::clone(&ending));
        async move {
            if connection.read_request().await.is_some() {
                connection.write(OK).await;
                gate.pass().await;
                ending(connection).await;
            }
        }
    })
}

#[tokio::test]
async fn the_end_of_an_idle_connection_is_noticed_without_a_request() {
    let certificates = Certificates::new();
    let identity = certificates.server(&["localhost"]);
    let tls = || Origin::builder().tls(certificates.server_config(&identity));
    for case in ["close", "reset", "TLS close", "TLS cut", "TLS reset", "bytes", "TLS bytes"] {
        let gate = Gate::new();
        let builder = if case.starts_with("TLS") { tls() } else { Origin::builder() };
        let origin = ending(builder, &gate, move |mut connection| async move {
            match case {
                "close" | "TLS close" => connection.close().await,
                "reset" | "TLS reset" => connection.reset(),
                "TLS cut" => drop(connection),
                _ => {
                    connection.write("HTTP/1.1 408 Request Timeout\r\n\r\n").await;
                    connection.wait_closed().await;
                }
            }
        });
        let upstream = pooled::upstream(&origin, &certificates);
        let gateway = pooled::builder(1, &upstream, "").start().await;
        let mut client = gateway.client("web").await;
        assert_eq!(client.get("/").await.status, 200, "{case}");
        gate.arrivals(1).await;
        assert_eq!(number(&settled(&gateway).await, "idle"), 1, "{case}");
        gate.release();
        gateway.wait_for_pool(ROUTE, "no idle connection", |pool| number(pool, "idle") == 0).await;
        let reason = if case.ends_with("bytes") { "unexpected_bytes" } else { "peer" };
        let pool = settled(&gateway).await;
        assert_eq!(closed(&pool, reason), 1, "{case}: {pool:#}");
        origin.wait_for_open(0).await;
        let again = client.get("/").await;
        assert_eq!((again.status, again.body), (200, b"ok".to_vec()), "{case}");
        assert_eq!((origin.accepted(), number(&gateway.pool(ROUTE).await, "retried")), (2, 0), "{case}");
    }
}

/// Even a request that must not be sent twice is safe from what had ended before the request was read.
#[tokio::test]
async fn a_connection_that_ended_while_the_gateway_was_busy_is_not_used() {
    let gate = Gate::new();
    let origin = ending(Origin::builder(), &gate, |connection| connection.close());
    let gateway = pooled::to(origin.addr(), "").await;
    let mut client = gateway.client("web").await;
    assert_eq!(client.request("POST", "/", &[], b"once").await.status, 200);
    gate.arrivals(1).await;
    assert_eq!(number(&settled(&gateway).await, "idle"), 1);
    pooled::freeze(&gateway).await;
    client.send_raw("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nonce").await;
    gate.release();
    origin.wait_for_open(0).await;
    gateway.signal(Signal::CONT);
    assert_eq!(client.read_response().await.status, 200);
    let pool = gateway.pool(ROUTE).await;
    assert_eq!((closed(&pool, "peer"), number(&pool, "retried")), (1, 0), "{pool:#}");
}

#[tokio::test]
async fn a_connection_is_not_reused_after_connection_close_or_unexpected_bytes() {
    for (answer, reason) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n", "unexpected_bytes"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n!", "unexpected_bytes"),
        ("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", "peer"),
        ("HTTP/1.1 200 OK\r\nConnection: x, Close\r\ncontent-length: 2\r\n\r\nok", "peer"),
        ("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", "peer"),
    ] {
        // The origin itself keeps the connection: the gateway has to end it.
        let origin = Origin::script(move |mut connection| async move {
            while connection.read_request().await.is_some() {
                connection.write(answer).await;
            }
        });
        let gateway = pooled::to(origin.addr(), "").await;
        let mut client = gateway.client("web").await;
        for _ in 0..3 {
            assert_eq!(client.get("/").await.body, b"ok", "{answer}");
        }
        origin.wait_for_open(0).await;
        let pool = settled(&gateway).await;
        assert_eq!((origin.accepted(), closed(&pool, reason)), (3, 3), "{answer}: {pool:#}");
    }
    let origin = Origin::answer("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok");
    let gateway = pooled::to(origin.addr(), "").await;
    let mut client = gateway.client("web").await;
    for _ in 0..3 {
        assert_eq!(client.get("/").await.body, b"ok");
    }
    assert_eq!(origin.accepted(), 1, "HTTP/1.0 can keep a connection, too");
}

#[tokio::test]
async fn min_idle_connections_are_kept_ready() {
    for workers in [1, 2] {
        let gate = Gate::new();
        let origin = pooled::gated(&gate);
        gate.release_all();
        let gateway = pooled::with_workers(workers, origin.addr(), "pool: { min_idle: 3 }").await;
        let warm = |pool: &support::serde_json::Value| number(pool, "idle") == 3;
        gateway.wait_for_pool(ROUTE, "three idle connections", warm).await;
        assert_eq!(gateway.client("web").await.get("/").await.status, 200);
        let pool = settled(&gateway).await;
        assert_eq!((number(&pool, "opened"), number(&pool, "reused")), (3, 1), "{workers}: {pool:#}");

        let address = origin.addr();
        origin.stop().await;
        gateway.wait_for_pool(ROUTE, "no idle connection", |pool| number(pool, "idle") == 0).await;
        let origin = Origin::builder().address(address).answer(OK);
        gateway.wait_for_pool(ROUTE, "three again", warm).await;
        // A connection is open to the gateway before its origin has accepted it.
        wait_until("three accepted connections", async || origin.accepted() == 3).await;
        assert_eq!(closed(&settled(&gateway).await, "peer"), 3);
    }
}

#[tokio::test]
async fn routes_share_the_pool_of_a_named_upstream_unless_they_have_their_own() {
    let origin = Origin::answer(OK);
    let gateway = pooled::gateway(
        "
workers: 1
upstreams: { users: { url: '{origin}', pool: { max_connections: 7 } } }
routes:
  - { name: a, match: { path: /a }, upstream: users }
  - { name: b, match: { path: /b }, upstream: users }
  - { name: own, match: { path: /own }, upstream: users, pool: { max_idle: 3 } }
  - { name: inline, match: { path: /inline }, upstream: { url: '{origin}' } }
  - { name: second, match: { path: /second }, upstream: { url: '{origin}' } }",
    )
    .set("origin", origin.url())
    .start()
    .await;
    let mut client = gateway.client("web").await;
    for path in ["/a", "/b", "/own", "/inline", "/second", "/b", "/own", "/second"] {
        assert_eq!(client.get(path).await.status, 200, "{path}");
    }
    let served: Vec<usize> = origin.requests().iter().map(|request| request.connection).collect();
    assert_eq!(served, [0, 0, 1, 2, 3, 0, 1, 3]);
    for (route, pool, limit) in [("a", "users", 7), ("own", "own", 7), ("inline", "inline", 256)] {
        let report = gateway.pool(route).await;
        assert_eq!(
            (report["pool"].as_str(), number(&report, "max_connections")),
            (Some(pool), limit),
            "{report:#}"
        );
    }
    assert_eq!(gateway.pool("users").await["routes"], support::serde_json::json!(["a", "b"]));
}

#[tokio::test]
async fn connection_that_its_worker_does_not_need_serves_another_one() {
    let certificates = Certificates::new();
    let tls = certificates.server_config(&certificates.server(&["localhost"]));
    for origin in [Origin::answer(OK), Origin::builder().tls(tls).answer(OK)] {
        let waits = "  - { match: { path: /wait }, respond: { delay: 1100ms, status: 204 } }\n";
        let config = pooled::to_upstream(4, &pooled::upstream(&origin, &certificates), "");
        let gateway = pooled::gateway(&format!("{config}{waits}")).start().await;
        wait_until("a connection from another worker", async || {
            let mut client = gateway.client("web").await;
            assert_eq!(client.get("/").await.body, b"ok");
            // Until no connection has been used for a second.
            assert_eq!(client.get("/wait").await.status, 204);
            number(&gateway.pool(ROUTE).await, "borrowed") > 0
        })
        .await;
        let pool = settled(&gateway).await;
        let [opened, reused, borrowed] = ["opened", "reused", "borrowed"].map(|key| number(&pool, key));
        assert!(borrowed <= reused && opened + reused == origin.requests().len() as u64, "{pool:#}");
    }
}
