//! The failures that a route retries beside those of connections: resets, timeouts and statuses, within a budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use support::{Client, Connection, Gate, Gateway, Http2Exchange, Origin};

use crate::pooled::{self, OK, ROUTE, number, refusal};

const FAILURE: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 6\r\n\r\nfailed";

/// Endpoints in turn, the first one first, and what the route retries.
async fn start(urls: &[String], retry: &str, keys: &str) -> Gateway {
    let urls: Vec<String> = urls.iter().map(|url| format!("'{url}'")).collect();
    let upstream =
        format!("{{ endpoints: [{}], balance: round_robin, health: {{ passive: off }} }}", urls.join(", "));
    pooled::builder(1, &upstream, &format!("retry: {{ {retry} }}\n{keys}")).start().await
}

/// Returns origins that fail each request in one way.
fn failing(how: &str, gate: &Gate) -> Origin {
    match how {
        "reset" => Origin::script(async |mut connection| {
            connection.read_request().await;
            connection.reset();
        }),
        "timeout" => pooled::gated(gate),
        "malformed" => Origin::answer("nonsense\r\n\r\n"),
        status => Origin::answer(format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n")),
    }
}

#[tokio::test]
async fn named_failures_go_to_the_next_endpoint() {
    let cases = [
        ("reset", "reset", 502),
        ("malformed", "reset", 502),
        ("timeout", "timeout", 504),
        ("502", "gateway_error", 502),
        ("503", "gateway_error", 503),
        ("504", "gateway_error", 504),
        ("500", "500", 500),
        ("429", "429", 429),
    ];
    for (how, name, unretried) in cases {
        let gate = Gate::new();
        for (on, expected) in [(name, 200), ("connect", unretried)] {
            let (bad, good) = (failing(how, &gate), Origin::answer(OK));
            let per_try = "timeouts: { per_try: 50ms }";
            let gateway = start(&[bad.url(), good.url()], &format!("on: [{on}]"), per_try).await;
            let mut client = gateway.client("web").await;
            assert_eq!(client.get("/").await.status, expected, "{how} with {on}");
            assert_eq!(bad.requests().len(), 1, "{how} with {on}");
            let retried = number(&gateway.pool_at(ROUTE, &bad.url()).await, "retried");
            assert_eq!(retried, u64::from(expected == 200), "{how} with {on}");
        }
        gate.release_all();
    }
}

#[tokio::test]
async fn stale_connection_leaves_the_attempt_for_another_endpoint() {
    // It serves one request, and dies with each further one.
    let dying = Origin::script(async |mut connection: Connection| {
        if connection.number() == 0 {
            connection.read_request().await;
            connection.write(OK).await;
        }
        connection.read_request().await;
    });
    let good = Origin::answer(OK);
    let gateway = start(&[dying.url(), good.url()], "on: [stale, reset]", "").await;
    assert_eq!(pooled::statuses(&gateway, 3).await, [200; 3]);
    let asked: Vec<usize> = dying.requests().iter().map(|request| request.connection).collect();
    assert_eq!((asked, good.requests().len()), (vec![0, 0, 1], 2));
}

#[tokio::test]
async fn request_goes_again_with_its_whole_body() {
    let bodies =
        ["content-length: 5\r\n\r\nwhole", "transfer-encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n"];
    for how in ["reset", "503"] {
        for body in bodies {
            let gate = Gate::new();
            let (bad, good) = (failing(how, &gate), Origin::echo());
            let gateway = start(&[bad.url(), good.url()], "on: [reset, gateway_error]", "").await;
            let mut client = gateway.client("web").await;
            client.send_raw(format!("PUT / HTTP/1.1\r\nhost: a\r\n{body}")).await;
            assert_eq!(client.read_response().await.text(), "whole", "{how}: {body}");
        }
    }
}

#[tokio::test]
async fn body_that_was_not_kept_does_not_go_again() {
    let (bad, good) = (Origin::answer(FAILURE), Origin::echo());
    let gateway = start(&[bad.url(), good.url()], "on: [gateway_error], keep_body: 4B", "").await;
    let mut client = gateway.client("web").await;
    let response = client.request("PUT", "/", &[], b"large").await;
    assert_eq!((response.status, response.text()), (503, "failed".to_owned()));
    assert_eq!(good.requests().len(), 0);
}

#[tokio::test]
async fn methods_that_are_not_idempotent_go_again_by_name_only() {
    for (methods, expected) in [("", 503), ("methods: [POST]", 200)] {
        let (bad, good) = (Origin::answer(FAILURE), Origin::echo());
        let gateway = start(&[bad.url(), good.url()], &format!("on: [gateway_error], {methods}"), "").await;
        let response = gateway.client("web").await.request("POST", "/", &[], b"body").await;
        assert_eq!(response.status, expected, "{methods}");
    }
    // What is named replaces what is built in.
    let (bad, good) = (Origin::answer(FAILURE), Origin::echo());
    let gateway = start(&[bad.url(), good.url()], "on: [gateway_error], methods: [POST]", "").await;
    assert_eq!(gateway.client("web").await.get("/").await.status, 503);
}

#[tokio::test]
async fn each_endpoint_is_tried_before_one_is_tried_again() {
    let origins: Vec<Origin> = (0..3).map(|_| Origin::answer(FAILURE)).collect();
    let urls: Vec<String> = origins.iter().map(Origin::url).collect();
    for (attempts, expected) in [(0, [1, 0, 0]), (2, [1, 1, 1]), (4, [2, 2, 1])] {
        let before: Vec<usize> = origins.iter().map(|origin| origin.requests().len()).collect();
        let retry = format!("on: [gateway_error], attempts: {attempts}, backoff: 1ms");
        let gateway = start(&urls, &retry, "").await;
        let response = gateway.client("web").await.get("/").await;
        assert_eq!(
            (response.status, response.text()),
            (503, "failed".to_owned()),
            "the last one is passed on"
        );
        let asked: Vec<usize> =
            origins.iter().zip(before).map(|(origin, n)| origin.requests().len() - n).collect();
        assert_eq!(asked, expected, "{attempts}");
        for url in &urls {
            // Each response was read to its end, so its connection was kept.
            assert!(number(&gateway.pool_at(ROUTE, url).await, "opened") <= 1);
        }
    }
}

#[tokio::test]
async fn retries_over_the_budget_are_not_made() {
    let origin = Origin::answer(FAILURE);
    let gateway = start(&[origin.url()], "on: [503], backoff: off, budget: { percent: 0, min: 1 }", "").await;
    let mut client = gateway.client("web").await;
    for _ in 0..30 {
        assert_eq!(client.get("/").await.status, 503);
    }
    let pool = gateway.pool(ROUTE).await;
    let (retried, over_budget) = (number(&pool, "retried"), number(&pool, "over_budget"));
    assert_eq!(retried + over_budget, 30);
    // One a second, of the last ten; a slow machine may take longer than one for the test.
    assert!((10..=12).contains(&retried), "{retried}");
    // Without a budget there is no end.
    let gateway = start(&[origin.url()], "on: [503], backoff: off, budget: off", "").await;
    let mut client = gateway.client("web").await;
    for _ in 0..130 {
        assert_eq!(client.get("/").await.status, 503);
    }
    assert_eq!(number(&gateway.pool(ROUTE).await, "retried"), 130);
}

/// Returns an origin that answers the first request with this, and all others with [`OK`].
fn first(answer: &'static str) -> Origin {
    let served = Arc::new(AtomicUsize::new(0));
    Origin::respond(move |_| if served.fetch_add(1, Ordering::SeqCst) == 0 { answer } else { OK }.into())
}

#[tokio::test]
async fn only_endpoint_gets_the_time_that_it_asks_for_if_the_request_has_it() {
    const BUSY: &str = "HTTP/1.1 503 Busy\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";
    let origin = first(BUSY);
    let gateway = start(&[origin.url()], "on: [503]", "timeouts: { request: 60s }").await;
    let began = Instant::now();
    assert_eq!(gateway.client("web").await.get("/").await.status, 200);
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    // Without that time it is for the client to wait, and another endpoint need not wait at all.
    for timeouts in ["", "timeouts: { request: 500ms }"] {
        let origin = first(BUSY);
        let gateway = start(&[origin.url()], "on: [503]", timeouts).await;
        let response = gateway.client("web").await.get("/").await;
        assert_eq!((response.status, response.header("retry-after")), (503, Some("1")), "{timeouts}");
    }
    let (busy, other) = (first(BUSY), Origin::answer(OK));
    let gateway = start(&[busy.url(), other.url()], "on: [503]", "").await;
    assert_eq!(gateway.client("web").await.get("/").await.status, 200);
}

#[tokio::test]
async fn http2_endpoints_are_retried_alike() {
    let failing = || {
        Origin::http2(async |mut exchange: Http2Exchange| {
            exchange.read_body().await;
            let response = support::http::Response::builder().status(503).body(()).unwrap();
            drop(exchange.responder.send_response(response, true));
        })
    };
    let good = Origin::http2(async |mut exchange: Http2Exchange| {
        let body = exchange.read_body().await.unwrap();
        exchange.respond(body);
    });
    let bad = failing();
    let upstream =
        format!("{{ endpoints: ['{}', '{}'], protocol: h2, balance: round_robin }}", bad.url(), good.url());
    let gateway = pooled::builder(1, &upstream, "retry: { on: [503] }").start().await;
    let response = gateway.client("web").await.request("PUT", "/", &[], b"whole").await;
    assert_eq!((response.status, response.text()), (200, "whole".to_owned()));
}

#[tokio::test]
async fn response_that_has_begun_is_not_retried() {
    let cut = Origin::script(async |mut connection| {
        connection.read_request().await;
        connection.write("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart").await;
        connection.close().await;
    });
    let other = Origin::answer(OK);
    let gateway =
        start(&[cut.url(), other.url()], "on: [reset, timeout, gateway_error], attempts: 3", "").await;
    let mut client = Client::connect(gateway.addr("web")).await;
    client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    // The gateway reports it in place of the head if it has not sent that yet.
    assert!(["HTTP/1.1 200 OK", "HTTP/1.1 502 Bad Gateway"].contains(&&*client.read_head().await.first_line));
    assert_eq!(other.requests().len(), 0);
}

#[tokio::test]
async fn failures_that_a_route_does_not_name_keep_their_reason() {
    let gate = Gate::new();
    for (how, reason) in [("reset", (502, "upstream.closed")), ("timeout", (504, "timeout.per_try"))] {
        let bad = failing(how, &gate);
        let gateway = start(&[bad.url()], "on: [connect]", "timeouts: { per_try: 20ms }").await;
        let response = gateway.client("web").await.get("/").await;
        assert_eq!(response.status, reason.0, "{:?}", refusal(&response));
    }
    gate.release_all();
}
