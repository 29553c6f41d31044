//! The circuit breaker of an upstream.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use support::{Gateway, Http2Client, Origin, unused_address, wait_until};

use crate::pooled::{self, OK, ROUTE, refusal};

const FAILURE: &str = "HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n";

/// Returns an origin that fails until it is told to recover.
fn recovering() -> (Origin, Arc<AtomicBool>) {
    let is_sound = Arc::new(AtomicBool::new(false));
    let sound = is_sound.clone();
    (Origin::respond(move |_| if sound.load(Ordering::SeqCst) { OK } else { FAILURE }.into()), is_sound)
}

async fn ask(gateway: &Gateway, requests: usize) -> Vec<(u16, String)> {
    let mut client = gateway.client("web").await;
    let mut answers = Vec::new();
    for _ in 0..requests {
        let response = client.get("/").await;
        let (status, reason) = refusal(&response);
        answers.push((status, reason.to_owned()));
    }
    answers
}

fn times(answer: (u16, &str), count: usize) -> Vec<(u16, String)> {
    vec![(answer.0, answer.1.to_owned()); count]
}

#[tokio::test]
async fn open_breaker_refuses_at_once_until_a_request_succeeds() {
    let (origin, is_sound) = recovering();
    let upstream = format!("{{ url: '{}', breaker: {{ min_requests: 6, open_for: 300ms }} }}", origin.url());
    let gateway = pooled::builder(2, &upstream, "").start().await;
    assert_eq!(ask(&gateway, 6).await, times((500, "-"), 6));
    assert_eq!(ask(&gateway, 5).await, times((503, "upstream.breaker"), 5));
    assert_eq!(origin.requests().len(), 6, "it gets none");
    assert_eq!(gateway.pool(ROUTE).await["breaker"], "open");
    let log = gateway.wait_for_log("breaker open for 300ms").await;
    assert!(log.contains("6 of 6 requests failed within 10s"), "{log}");
    let labels = format!("pool=\"{ROUTE}\",endpoint=\"{}\",address=\"{}\"", origin.url(), origin.addr());
    assert_eq!(gateway.metric(&format!("gateway_pool_breaker_open{{{labels}}}")).await, Some(1.0));

    // The one that is let pass fails, and the breaker is open for as long again.
    let is_half_open = async || gateway.pool(ROUTE).await["breaker"] == "half_open";
    wait_until("the end of that time", is_half_open).await;
    assert_eq!(ask(&gateway, 2).await, [times((500, "-"), 1), times((503, "upstream.breaker"), 1)].concat());
    is_sound.store(true, Ordering::SeqCst);
    wait_until("the end of that time", is_half_open).await;
    assert_eq!(ask(&gateway, 20).await, times((200, "-"), 20));
    assert_eq!(gateway.pool(ROUTE).await["breaker"], "closed");
    gateway.wait_for_log("breaker closed").await;
}

#[tokio::test]
async fn refused_connections_count_and_refusals_of_the_gateway_do_not() {
    let upstream = format!("{{ url: 'http://{}', breaker: {{ min_requests: 4 }} }}", unused_address());
    let gateway = pooled::builder(1, &upstream, "retry: { attempts: 0 }").start().await;
    ask(&gateway, 4).await;
    assert_eq!(ask(&gateway, 1).await, times((503, "upstream.breaker"), 1));

    let gate = support::Gate::new();
    let busy = pooled::gated(&gate);
    let upstream = format!("{{ url: '{}', breaker: {{ min_requests: 4 }} }}", busy.url());
    let gateway = pooled::builder(1, &upstream, "pool: { max_connections: 1, max_pending: 0 }").start().await;
    let first = pooled::ask(&gateway, "/").await;
    gate.arrivals(1).await;
    assert_eq!(ask(&gateway, 10).await, times((503, "pool.max_pending"), 10));
    gate.release_all();
    assert_eq!(first.await.unwrap().status, 200);
}

#[tokio::test]
async fn share_of_failures_decides() {
    let served = std::sync::atomic::AtomicUsize::new(0);
    let half = Origin::respond(move |_| {
        if served.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) { FAILURE } else { OK }.into()
    });
    for (percent, is_open) in [(60, false), (50, true)] {
        let breaker = format!("breaker: {{ failure_percent: {percent}, min_requests: 10 }}");
        let gateway =
            pooled::builder(1, &format!("{{ url: '{}', {breaker} }}", half.url()), "").start().await;
        ask(&gateway, 20).await;
        assert_eq!(gateway.pool(ROUTE).await["breaker"] == "open", is_open, "{percent}");
    }
}

#[tokio::test]
async fn breaker_stays_open_across_a_reload() {
    let (origin, _) = recovering();
    let config = |balance: &str| {
        let upstream = format!(
            "{{ url: '{}', balance: {balance}, breaker: {{ min_requests: 4, open_for: 1h }} }}",
            origin.url()
        );
        pooled::whole(&pooled::to_upstream(1, &upstream, ""))
    };
    let gateway = crate::gateway(config("p2c")).start().await;
    ask(&gateway, 4).await;
    gateway.reload(&config("random")).await;
    assert_eq!(ask(&gateway, 2).await, times((503, "upstream.breaker"), 2));
}

#[tokio::test]
async fn grpc_call_is_refused_as_unavailable() {
    let upstream =
        format!("{{ url: 'http://{}', protocol: h2, breaker: {{ min_requests: 1 }} }}", unused_address());
    let config = format!(
        "workers: 1\nlisteners: [{{ name: web, address: 127.0.0.1:0, protocols: [h2] }}]\n\
         routes: [{{ match: {{ prefix: / }}, upstream: {upstream}, retry: {{ attempts: 0 }} }}]"
    );
    let gateway = crate::gateway(config).start().await;
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    for _ in 0..2 {
        let request = support::http::Request::post("http://a/s/m")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(support::bytes::Bytes::new())
            .unwrap();
        let response = client.request(request).await;
        assert_eq!(
            (response.status, &response.headers["grpc-status"]),
            (support::http::StatusCode::OK, &"14".parse().unwrap())
        );
    }
}
