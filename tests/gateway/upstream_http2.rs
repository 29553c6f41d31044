//! Upstreams that speak HTTP/2: requests share connections, within the limits of the pool.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use support::h2::SendStream;
use support::h2::server::Builder;
use support::http::{HeaderMap, Request, Response, StatusCode};
use support::{Gate, Gateway, Http2Client, Http2Exchange, Origin, bytes::Bytes};

use crate::pooled::{self, ROUTE, closed, number, refusal, settled};

/// Starts a gateway with so many workers and one endpoint that speaks HTTP/2 without TLS.
async fn start(workers: usize, origin: &Origin, keys: &str) -> Gateway {
    let upstream = format!("{{ url: '{}', protocol: h2 }}", origin.url());
    pooled::builder(workers, &upstream, keys).start().await
}

/// Returns an origin that holds each request at the gate, and takes so many at once on a connection.
fn gated(gate: &Gate, streams_max: Option<u32>) -> Origin {
    let gate = gate.clone();
    let mut settings = Builder::new();
    if let Some(max) = streams_max {
        settings.max_concurrent_streams(max);
    }
    Origin::builder().http2(settings, move |exchange: Http2Exchange| {
        let gate = gate.clone();
        async move {
            gate.pass().await;
            exchange.respond("ok");
        }
    })
}

/// Returns an origin that responds with the number of the connection.
fn numbered() -> Origin {
    Origin::http2(async |exchange: Http2Exchange| {
        let number = exchange.connection.to_string();
        exchange.respond(number);
    })
}

async fn echo(mut exchange: Http2Exchange) {
    if let Some(body) = exchange.read_body().await {
        exchange.respond(body);
    }
}

/// Sends pieces of this size as fast as the client takes them, and the end.
async fn send_slowly(stream: &mut SendStream<Bytes>, bytes: usize, pieces: usize) {
    for _ in 0..pieces {
        stream.reserve_capacity(bytes);
        while stream.capacity() < bytes {
            if !matches!(std::future::poll_fn(|cx| stream.poll_capacity(cx)).await, Some(Ok(_))) {
                return;
            }
        }
        stream.send_data(vec![b'x'; bytes].into(), false).unwrap();
    }
    stream.send_data(Bytes::new(), true).unwrap();
}

#[tokio::test]
async fn requests_at_the_same_time_share_a_connection() {
    let gate = Gate::new();
    let origin = gated(&gate, None);
    let gateway = start(1, &origin, "").await;
    let mut asked = Vec::new();
    for _ in 0..20 {
        asked.push(pooled::ask(&gateway, "/").await);
    }
    gate.arrivals(20).await;
    let pool = gateway.pool(ROUTE).await;
    assert_eq!(
        ["active", "idle", "streams", "opened"].map(|key| number(&pool, key)),
        [1, 0, 20, 1],
        "{pool:#}"
    );
    let labels = format!("pool=\"{ROUTE}\",endpoint=\"{}\",address=\"{}\"", origin.url(), origin.addr());
    assert_eq!(gateway.metric(&format!("gateway_pool_streams{{{labels}}}")).await, Some(20.0));
    gate.release_all();
    for asked in asked {
        assert_eq!(asked.await.unwrap().body, b"ok");
    }
    let pool = settled(&gateway).await;
    assert_eq!(["idle", "streams", "acquired"].map(|key| number(&pool, key)), [1, 0, 20], "{pool:#}");
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn another_connection_is_opened_when_all_streams_are_taken() {
    // The smaller of both limits holds.
    for (ours, theirs) in [(3, None), (100, Some(3))] {
        let gate = Gate::new();
        let origin = gated(&gate, theirs);
        let gateway = start(1, &origin, &format!("pool: {{ max_streams: {ours} }}")).await;
        let mut asked = Vec::new();
        for count in 1..=7 {
            asked.push(pooled::ask(&gateway, "/").await);
            gate.arrivals(count).await;
        }
        let pool = gateway.pool(ROUTE).await;
        assert_eq!(["active", "streams"].map(|key| number(&pool, key)), [3, 7], "{pool:#}");
        gate.release_all();
        for asked in asked {
            assert_eq!(asked.await.unwrap().status, 200);
        }
    }
}

#[tokio::test]
async fn the_eleventh_request_waits_for_one_of_ten_streams_and_is_counted() {
    let gate = Gate::new();
    let origin = gated(&gate, None);
    let gateway = start(1, &origin, "pool: { max_connections: 1, max_streams: 10 }").await;
    let mut asked = Vec::new();
    for count in 1..=10 {
        asked.push(pooled::ask(&gateway, "/").await);
        gate.arrivals(count).await;
    }
    asked.push(pooled::ask(&gateway, "/").await);
    let pool = gateway.wait_for_pool(ROUTE, "a waiting request", |pool| number(pool, "pending") == 1).await;
    assert_eq!(["active", "streams"].map(|key| number(&pool, key)), [1, 10], "{pool:#}");
    gate.release();
    gate.arrivals(11).await;
    gate.release_all();
    for asked in asked {
        assert_eq!(asked.await.unwrap().status, 200);
    }
    let pool = settled(&gateway).await;
    assert!(pool["acquire_wait_seconds"].as_f64().unwrap() > 0.0, "{pool:#}");
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn a_request_that_gets_no_stream_names_the_limit() {
    for (limits, reason) in
        [("max_pending: 0", "pool.max_pending"), ("acquire_timeout: 50ms", "pool.acquire_timeout")]
    {
        let gate = Gate::new();
        let origin = gated(&gate, None);
        let keys = format!("pool: {{ max_connections: 1, max_streams: 1, {limits} }}");
        let gateway = start(1, &origin, &keys).await;
        let first = pooled::ask(&gateway, "/").await;
        gate.arrivals(1).await;
        let second = pooled::ask(&gateway, "/").await.await.unwrap();
        assert_eq!(refusal(&second), (503, reason));
        gate.release_all();
        assert_eq!(first.await.unwrap().status, 200);
        assert_eq!(pooled::refused(&settled(&gateway).await, reason), 1);
    }
}

#[tokio::test]
async fn a_thousand_requests_share_as_few_connections_as_they_need() {
    let (workers, gate) = (2, Gate::new());
    let origin = gated(&gate, None);
    let gateway = start(workers, &origin, "timeouts: { connect: 30s }").await;
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let mut client = Http2Client::connect(gateway.addr("web")).await;
        for _ in 0..100 {
            let request = Request::get("http://gateway/").body(()).unwrap();
            let (response, _) = client.open(request, true).await.unwrap();
            asked.spawn(async move { Http2Client::read(response).await.unwrap().status });
        }
    }
    gate.arrivals(1000).await;
    let pool = gateway.pool(ROUTE).await;
    assert_eq!(number(&pool, "streams"), 1000, "{pool:#}");
    let connections = number(&pool, "active");
    assert!((10..=10 + workers as u64 - 1).contains(&connections), "{pool:#}");
    gate.release_all();
    while let Some(status) = asked.join_next().await {
        assert_eq!(status.unwrap(), StatusCode::OK);
    }
}

/// The worker that has no connection sends its requests to the other one.
#[tokio::test]
async fn two_workers_share_the_only_connection_and_no_request_starves() {
    let origin = Origin::http2(echo);
    let keys = "pool: { max_connections: 1, max_streams: 2, acquire_timeout: 30s }";
    let gateway = start(2, &origin, keys).await;
    let mut asked = tokio::task::JoinSet::new();
    let body: Vec<u8> = (0..300_000).map(|at| (at % 251) as u8).collect();
    for _ in 0..24 {
        let mut client = gateway.client("web").await;
        let body = body.clone();
        asked.spawn(async move {
            for _ in 0..5 {
                let response = client.request("POST", "/", &[], &body).await;
                assert_eq!((response.status, response.body.len()), (200, body.len()));
                assert!(response.body == body);
            }
        });
    }
    while let Some(asked) = asked.join_next().await {
        asked.unwrap();
    }
    let pool = settled(&gateway).await;
    assert_eq!(["opened", "acquired"].map(|key| number(&pool, key)), [1, 120], "{pool:#}");
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn messages_pass_with_bodies_and_trailers_of_any_kind() {
    let seen: Arc<Mutex<Vec<(Request<()>, HeaderMap)>>> = Arc::default();
    let origin = {
        let seen = seen.clone();
        Origin::http2(move |mut exchange: Http2Exchange| {
            let seen = seen.clone();
            async move {
                let body = exchange.read_body().await.unwrap();
                let trailers = exchange.trailers().await;
                let (head, _) = exchange.request.into_parts();
                seen.lock().unwrap().push((Request::from_parts(head, ()), trailers));
                let head = Response::builder().header("x-from", "origin").body(()).unwrap();
                let mut stream = exchange.responder.send_response(head, false).unwrap();
                stream.send_data(body.into(), false).unwrap();
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", "0".parse().unwrap());
                stream.send_trailers(trailers).unwrap();
            }
        })
    };
    let gateway = start(1, &origin, "host: preserve").await;
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    let request = Request::post("http://api.example/path?q=1").header("te", "trailers").body(()).unwrap();
    let (response, mut stream) = client.open(request, false).await.unwrap();
    stream.send_data(Bytes::from_static(b"hello"), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    stream.send_trailers(trailers).unwrap();
    let response = Http2Client::read(response).await.unwrap();
    assert_eq!((response.status, &*response.body), (StatusCode::OK, &b"hello"[..]));
    assert_eq!(
        (&response.headers["x-from"], &response.trailers["grpc-status"]),
        (&"origin".parse().unwrap(), &"0".parse().unwrap())
    );

    let mut client = gateway.client("web").await;
    let chunked = "POST /up HTTP/1.1\r\nhost: api.example\r\ntransfer-encoding: chunked\r\nte: trailers\r\n\r\n\
                   3\r\nabc\r\n0\r\nx-sum: 8\r\n\r\n";
    client.send_raw(chunked).await;
    let response = client.read_response().await;
    assert_eq!((response.status, &*response.body), (200, &b"abc"[..]));
    assert!(client.get("/empty").await.body.is_empty());

    let seen = seen.lock().unwrap();
    let (first, second) = (&seen[0], &seen[1]);
    assert_eq!(first.0.uri(), "http://api.example/path?q=1");
    assert_eq!(
        (&first.0.headers()["te"], &first.1["x-sum"]),
        (&"trailers".parse().unwrap(), &"7".parse().unwrap())
    );
    assert_eq!((second.0.uri().path(), &second.1["x-sum"]), ("/up", &"8".parse().unwrap()));
    for name in ["host", "connection", "transfer-encoding", "keep-alive"] {
        assert!(seen.iter().all(|(request, _)| !request.headers().contains_key(name)), "{name}");
    }
}

#[tokio::test]
async fn a_body_is_taken_no_faster_than_the_client_reads_it() {
    let origin = Origin::http2(async |mut exchange: Http2Exchange| {
        let head = Response::builder().body(()).unwrap();
        let mut stream = exchange.responder.send_response(head, false).unwrap();
        // More than all buffers on the way together.
        send_slowly(&mut stream, 64 * 1024, 1024).await;
    });
    let gateway = start(1, &origin, "").await;
    let mut slow = gateway.client("web").await;
    slow.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(slow.read_response_to_head().await.status, 200);
    // Other requests go on on the same connection, with a bounded memory.
    let mut quick = gateway.client("web").await;
    let before = gateway.memory("VmRSS");
    assert_eq!(quick.get("/").await.body.len(), 64 * 1024 * 1024);
    let grown = gateway.memory("VmRSS").saturating_sub(before);
    assert!(grown < 40 * 1024 * 1024, "{grown} bytes");
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_stream_at_once_and_not_the_connection() {
    let (arrived, codes) = (Gate::new(), Arc::new(Mutex::new(Vec::new())));
    let origin = {
        let (arrived, codes) = (arrived.clone(), codes.clone());
        Origin::http2(move |mut exchange: Http2Exchange| {
            let (arrived, codes) = (arrived.clone(), codes.clone());
            async move {
                if exchange.request.uri().path() == "/quick" {
                    return exchange.respond("ok");
                }
                arrived.release();
                let code = exchange.wait_reset().await;
                codes.lock().unwrap().push(code);
                arrived.release();
            }
        })
    };
    let gateway = start(1, &origin, "").await;
    let mut client = gateway.client("web").await;
    client.send_raw("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
    arrived.pass().await;
    drop(client);
    arrived.pass().await;
    assert_eq!(*codes.lock().unwrap(), [Some(support::h2::Reason::CANCEL)]);
    assert_eq!(gateway.client("web").await.get("/quick").await.body, b"ok");
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn a_connection_ends_for_the_reasons_of_its_pool() {
    let cases = [
        ("idle_timeout: 100ms", "idle_timeout", 1),
        ("max_lifetime: 100ms", "max_lifetime", 1),
        ("max_requests: 1", "max_requests", 1),
        ("keep_alive: false", "keep_alive_off", 1),
        ("max_idle: 0", "max_idle", 1),
    ];
    pooled::all(cases.map(|(setting, reason, count)| async move {
        let origin = numbered();
        let gateway = start(1, &origin, &format!("pool: {{ {setting} }}")).await;
        let mut client = gateway.client("web").await;
        assert_eq!(client.get("/").await.body, b"0", "{setting}");
        origin.wait_for_open(0).await;
        assert_eq!(closed(&settled(&gateway).await, reason), count, "{setting}");
        assert_eq!(client.get("/").await.body, b"1", "{setting}");
    }))
    .await;
}

#[tokio::test]
async fn a_connection_serves_exactly_as_many_requests_as_it_may() {
    let origin = numbered();
    let gateway = start(2, &origin, "pool: { max_requests: 7 }").await;
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let mut client = gateway.client("web").await;
        asked.spawn(async move {
            let mut connections = Vec::new();
            for _ in 0..7 {
                connections.push(String::from_utf8(client.get("/").await.body).unwrap());
            }
            connections
        });
    }
    let mut served = std::collections::BTreeMap::<String, usize>::new();
    while let Some(connections) = asked.join_next().await {
        connections.unwrap().into_iter().for_each(|number| *served.entry(number).or_default() += 1);
    }
    assert!(served.values().all(|count| *count <= 7), "{served:?}");
}

#[tokio::test]
async fn connections_are_kept_warm() {
    let origin = numbered();
    let gateway = start(1, &origin, "pool: { min_idle: 2 }").await;
    gateway.wait_for_pool(ROUTE, "two idle connections", |pool| number(pool, "idle") == 2).await;
    assert_eq!(gateway.client("web").await.get("/").await.status, 200);
    assert_eq!(origin.accepted(), 2);
}

#[tokio::test]
async fn a_reload_keeps_connections_and_applies_limits_to_them() {
    let gate = Gate::new();
    let origin = gated(&gate, None);
    let config = |keys: &str| {
        format!(
            "routes:\n  - name: {ROUTE}\n    match: {{ prefix: / }}\n    \
             upstream: {{ url: '{}', protocol: h2 }}\n    {keys}",
            origin.url()
        )
    };
    let gateway = pooled::gateway(&config("")).start().await;
    let whole = |keys: &str| {
        format!(
            "listeners: [{{ name: web, address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\n\
             telemetry: {{ access_log: off }}\nworkers: 1\n{}",
            config(keys)
        )
    };
    drop(gateway);
    let gateway = Gateway::builder(env!("CARGO_BIN_EXE_gateway"), whole("")).start().await;
    let mut asked = Vec::new();
    for count in 1..=4 {
        asked.push(pooled::ask(&gateway, "/").await);
        gate.arrivals(count).await;
    }
    gateway.reload(&whole("pool: { max_streams: 2 }")).await;
    asked.push(pooled::ask(&gateway, "/").await);
    gate.arrivals(5).await;
    let pool = gateway.pool(ROUTE).await;
    assert_eq!(["active", "streams"].map(|key| number(&pool, key)), [2, 5], "{pool:#}");
    gateway.reload(&whole("pool: { max_streams: 2, max_connections: 1 }")).await;
    gate.release_all();
    for asked in asked {
        assert_eq!(asked.await.unwrap().status, 200);
    }
    let pool = settled(&gateway).await;
    assert_eq!((number(&pool, "idle"), closed(&pool, "max_connections")), (1, 1), "{pool:#}");
}

#[tokio::test]
async fn streams_of_a_removed_route_end_in_their_own_time() {
    let gate = Gate::new();
    let origin = gated(&gate, None);
    let gateway = start(1, &origin, "").await;
    let asked = pooled::ask(&gateway, "/").await;
    gate.arrivals(1).await;
    gateway
        .reload(
            "listeners: [{ name: web, address: 127.0.0.1:0 }]\nadmin: { address: 127.0.0.1:0 }\n\
             telemetry: { access_log: off }\nworkers: 1\n\
             routes: [{ match: { path: /other }, respond: { body: other } }]\n",
        )
        .await;
    gate.release_all();
    assert_eq!(asked.await.unwrap().body, b"ok");
    origin.wait_for_open(0).await;
}

#[tokio::test]
async fn timeouts_hold_as_on_http_1() {
    let cases = [
        ("timeouts: { response_header: 100ms }", "/head", (504, "timeouts.response_header")),
        ("timeouts: { request: 100ms }", "/head", (504, "timeouts.request")),
        ("timeouts: { per_try: 100ms }\nretry: { attempts: 0 }", "/head", (504, "timeouts.per_try")),
    ];
    pooled::all(cases.map(|(keys, path, expected)| async move {
        let origin = Origin::http2(async |mut exchange: Http2Exchange| {
            exchange.wait_reset().await;
        });
        let gateway = start(1, &origin, keys).await;
        let response = gateway.client("web").await.get(path).await;
        assert_eq!(refusal(&response), expected);
    }))
    .await;
    let origin = Origin::http2(async |mut exchange: Http2Exchange| {
        let head = Response::builder().body(()).unwrap();
        let mut stream = exchange.responder.send_response(head, false).unwrap();
        stream.send_data(Bytes::from_static(b"begun"), false).unwrap();
        drop(std::future::poll_fn(|cx| stream.poll_reset(cx)).await);
    });
    let gateway = start(1, &origin, "timeouts: { idle: 100ms }").await;
    let mut client = gateway.client("web").await;
    client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.read_response_to_head().await.status, 200);
    let began = Instant::now();
    assert!(client.read_to_end().await.is_ok_and(|bytes| !bytes.ends_with(b"0\r\n\r\n")));
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn clients_that_do_not_read_do_not_stop_the_others() {
    let origin = Origin::http2(async |mut exchange: Http2Exchange| {
        let pieces = if exchange.request.uri().path() == "/large" { 64 } else { 1 };
        let head = Response::builder().body(()).unwrap();
        let mut stream = exchange.responder.send_response(head, false).unwrap();
        send_slowly(&mut stream, 100_000, pieces).await;
    });
    let gateway = start(1, &origin, "").await;
    let mut slow = Vec::new();
    for _ in 0..40 {
        let mut client = gateway.client("web").await;
        client.send_raw("GET /large HTTP/1.1\r\nhost: a\r\n\r\n").await;
        client.read_head().await;
        slow.push(client);
    }
    for _ in 0..3 {
        assert_eq!(gateway.client("web").await.get("/").await.body.len(), 100_000);
    }
}

#[tokio::test]
async fn without_keep_alive_requests_do_not_wait_for_one_another() {
    let gate = Gate::new();
    let origin = gated(&gate, None);
    let gateway = start(1, &origin, "pool: { keep_alive: false, max_connecting: 64 }").await;
    let mut asked = Vec::new();
    for _ in 0..50 {
        asked.push(pooled::ask(&gateway, "/").await);
    }
    gate.arrivals(50).await;
    gate.release_all();
    for asked in asked {
        assert_eq!(asked.await.unwrap().status, 200);
    }
    assert_eq!(number(&settled(&gateway).await, "opened"), 50);
}

#[tokio::test]
async fn spare_connections_are_no_requests() {
    let origin = numbered();
    let gateway = start(1, &origin, "pool: { min_idle: 1, max_requests: 1 }").await;
    gateway.wait_for_pool(ROUTE, "a spare connection", |pool| number(pool, "idle") == 1).await;
    assert_eq!(gateway.client("web").await.get("/").await.body, b"0");
    gateway.wait_for_pool(ROUTE, "the next", |pool| number(pool, "idle") == 1).await;
    assert_eq!((origin.accepted(), closed(&gateway.pool(ROUTE).await, "max_requests")), (2, 1));
}
