//! Advice about settings: each test brings a situation about, reads the advice, follows it, and sees that it has helped.
//!
//! Nothing waits for the samples of the history: sums reach from the last one up to the moment of the question.

use std::time::Duration;

use support::serde_json::{Value, from_slice};
use support::{Certificates, Connection, Gate, Gateway, Origin, SilentListener, wait_for};

use crate::pooled::{self, OK, ROUTE, closed, number, refused, settled};

/// Returns the advice about the route's pool: the settings, the values that would have sufficed, and the sentences.
async fn advice(gateway: &Gateway) -> Vec<(String, String, String)> {
    let response = gateway.admin("/api/advice").await;
    assert_eq!(response.status, 200);
    let report: Value = from_slice(&response.body).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let advice = report["advice"].as_array().unwrap().iter().map(|advice| {
        assert_eq!(advice["pool"], ROUTE);
        (text(&advice["setting"]), text(&advice["suffices"]), text(&advice["text"]))
    });
    advice.collect()
}

/// Waits for the only advice, and returns its sentence.
async fn advised(gateway: &Gateway, setting: &str, suffices: &str) -> String {
    let what = format!("advice about {setting}");
    let found =
        wait_for(&what, async || Some(advice(gateway).await).filter(|advice| !advice.is_empty())).await;
    let [(of, value, text)] = &found[..] else { panic!("not one advice: {found:#?}") };
    assert_eq!((of.as_str(), value.as_str()), (setting, suffices), "{text}");
    text.clone()
}

/// A gateway before an origin, of which each request waits at the gate.
struct Held {
    gate: Gate,
    origin: Origin,
    gateway: Gateway,
    upstream: String,
    /// The requests that have arrived at the origin.
    arrived: usize,
}

impl Held {
    async fn start(keys: &str) -> Self {
        Self::start_with("", keys).await
    }

    /// Starts with further keys of the upstream.
    async fn start_with(upstream_keys: &str, keys: &str) -> Self {
        let gate = Gate::new();
        let origin = pooled::gated(&gate);
        let upstream = format!("{{ url: '{}'{upstream_keys} }}", origin.url());
        let gateway = pooled::builder(1, &upstream, keys).start().await;
        Self { gate, origin, gateway, upstream, arrived: 0 }
    }

    async fn follow(&self, keys: &str) {
        self.follow_with(&self.upstream, keys).await;
    }

    async fn follow_with(&self, upstream: &str, keys: &str) {
        self.gateway.reload(&pooled::whole(&pooled::to_upstream(1, upstream, keys))).await;
        assert_eq!(advice(&self.gateway).await, [], "it was followed");
    }

    /// Sends so many requests at once, of which all reach the origin before one is served.
    async fn serve_at_once(&mut self, requests: usize) {
        let mut asked = Vec::new();
        for _ in 0..requests {
            asked.push(pooled::ask(&self.gateway, "/").await);
        }
        self.arrived += requests;
        self.gate.arrivals(self.arrived).await;
        (0..requests).for_each(|_| self.gate.release());
        for answer in asked {
            assert_eq!(answer.await.unwrap().status, 200);
        }
        settled(&self.gateway).await;
    }

    /// Sends so many requests at once, some of which have to wait, reads the advice meanwhile, and lets all be served.
    async fn serve_with_waits(&mut self, requests: usize, setting: &str, suffices: &str) -> String {
        let mut asked = Vec::new();
        for _ in 0..requests {
            asked.push(pooled::ask(&self.gateway, "/").await);
        }
        self.gateway.wait_for_pool(ROUTE, "requests that wait", |pool| number(pool, "pending") > 0).await;
        let text = advised(&self.gateway, setting, suffices).await;
        for _ in 0..requests {
            self.arrived += 1;
            self.gate.arrivals(self.arrived).await;
            self.gate.release();
        }
        for answer in asked {
            assert_eq!(answer.await.unwrap().status, 200);
        }
        settled(&self.gateway).await;
        text
    }
}

#[tokio::test]
async fn max_connections_that_suffices_ends_waits() {
    let mut held = Held::start("pool: { max_connections: 2, acquire_timeout: 10m }").await;
    let text = held.serve_with_waits(6, "pool.max_connections", "6").await;
    assert!(
        text.starts_with("max_connections 2 was reached ") && text.ends_with(": 6 would have sufficed"),
        "{text}"
    );
    held.follow("pool: { max_connections: 6, acquire_timeout: 10m }").await;
    let before = settled(&held.gateway).await["max_connections_reached_seconds"].clone();
    held.serve_at_once(6).await;
    assert_eq!(held.gateway.pool(ROUTE).await["max_connections_reached_seconds"], before, "nothing waited");
    assert_eq!(held.origin.accepted(), 6);
}

#[tokio::test]
async fn max_concurrent_that_suffices_ends_waits() {
    let keys = "pool: { acquire_timeout: 10m }";
    let mut held = Held::start_with(", max_concurrent: 1", keys).await;
    let text = held.serve_with_waits(3, "max_concurrent", "3").await;
    assert!(text.contains("3 would have sufficed, if the server can serve as many"), "{text}");
    held.follow_with(&held.upstream.replace("max_concurrent: 1", "max_concurrent: 3"), keys).await;
    let before = settled(&held.gateway).await["max_concurrent_reached_seconds"].clone();
    held.serve_at_once(3).await;
    assert_eq!(held.gateway.pool(ROUTE).await["max_concurrent_reached_seconds"], before, "nothing waited");
}

#[tokio::test]
async fn max_pending_that_suffices_ends_refusals() {
    let silent = SilentListener::start().await;
    let keys = |pending: u32| {
        format!(
            "pool: {{ max_connecting: 1, max_pending: {pending}, acquire_timeout: 10m }}\ntimeouts: {{ connect: 10m }}"
        )
    };
    let gateway = pooled::to(silent.addr(), &keys(1)).await;
    let mut asked = vec![pooled::ask(&gateway, "/").await];
    gateway.wait_for_pool(ROUTE, "a dial", |pool| number(pool, "connecting") == 1).await;
    asked.push(pooled::ask(&gateway, "/").await);
    gateway.wait_for_pool(ROUTE, "one waiting", |pool| number(pool, "pending") == 1).await;
    assert_eq!(pooled::statuses(&gateway, 1).await, [503]);
    advised(&gateway, "pool.max_pending", "2").await;
    let upstream = format!("{{ url: 'http://{}' }}", silent.addr());
    gateway.reload(&pooled::whole(&pooled::to_upstream(1, &upstream, &keys(2)))).await;
    assert_eq!(advice(&gateway).await, []);
    asked.push(pooled::ask(&gateway, "/").await);
    let pool = gateway.wait_for_pool(ROUTE, "two waiting", |pool| number(pool, "pending") == 2).await;
    assert_eq!(refused(&pool, "pool.max_pending"), 1, "{pool:#}");
    asked.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn keep_alive_that_is_on_reuses_connections() {
    let origin = Origin::answer(OK);
    let gateway = pooled::to(origin.addr(), "pool: { keep_alive: false }").await;
    assert_eq!(pooled::statuses(&gateway, 10).await, [200; 10]);
    settled(&gateway).await;
    let text = advised(&gateway, "pool.keep_alive", "true").await;
    assert!(text.starts_with("keep_alive false closed 10 connections in the last "), "{text}");
    let upstream = format!("{{ url: '{}' }}", origin.url());
    gateway.reload(&pooled::whole(&pooled::to_upstream(1, &upstream, "pool: { keep_alive: true }"))).await;
    assert_eq!(advice(&gateway).await, []);
    assert_eq!(pooled::statuses(&gateway, 10).await, [200; 10]);
    assert_eq!(number(&settled(&gateway).await, "opened"), 11);
}

#[tokio::test]
async fn max_idle_that_suffices_keeps_connections() {
    let mut held = Held::start("pool: { max_idle: 1 }").await;
    for _ in 0..4 {
        held.serve_at_once(4).await;
    }
    advised(&held.gateway, "pool.max_idle", "4").await;
    held.follow("pool: { max_idle: 4 }").await;
    held.serve_at_once(4).await;
    let before = settled(&held.gateway).await;
    held.serve_at_once(4).await;
    let after = settled(&held.gateway).await;
    assert_eq!((number(&after, "opened"), closed(&after, "max_idle")), (number(&before, "opened"), 12));
}

#[tokio::test]
async fn max_lifetime_of_ten_minutes_keeps_connections() {
    let mut held = Held::start("pool: { max_lifetime: 300ms }").await;
    held.serve_at_once(10).await;
    let all = |pool: &Value| closed(pool, "max_lifetime") == 10;
    held.gateway.wait_for_pool(ROUTE, "the end of all connections", all).await;
    advised(&held.gateway, "pool.max_lifetime", "10m").await;
    held.follow("pool: { max_lifetime: 10m }").await;
    held.serve_at_once(10).await;
    held.serve_at_once(10).await;
    let pool = settled(&held.gateway).await;
    assert_eq!((number(&pool, "opened"), closed(&pool, "max_lifetime")), (20, 10), "{pool:#}");
}

#[tokio::test]
async fn max_requests_that_suffices_keeps_connections() {
    let origin = Origin::answer(OK);
    let gateway = pooled::to(origin.addr(), "pool: { max_requests: 2 }").await;
    assert_eq!(pooled::statuses(&gateway, 20).await, [200; 20]);
    settled(&gateway).await;
    advised(&gateway, "pool.max_requests", "100").await;
    let upstream = format!("{{ url: '{}' }}", origin.url());
    gateway.reload(&pooled::whole(&pooled::to_upstream(1, &upstream, "pool: { max_requests: 100 }"))).await;
    assert_eq!(advice(&gateway).await, []);
    assert_eq!(pooled::statuses(&gateway, 20).await, [200; 20]);
    assert_eq!(number(&settled(&gateway).await, "opened"), 11);
}

#[tokio::test]
async fn min_idle_that_suffices_takes_tls_handshakes_out_of_requests_way() {
    let (certificates, gate) = (Certificates::new(), Gate::new());
    let tls = certificates.server_config(&certificates.server(&["localhost"]));
    let origin = Origin::builder().tls(tls).script({
        let gate = gate.clone();
        move |connection: Connection| pooled::serve_gated(connection, gate.clone())
    });
    let upstream = pooled::upstream(&origin, &certificates);
    let gateway = pooled::builder(1, &upstream, "pool: { idle_timeout: 200ms }").start().await;
    let mut held = Held { gate, origin, gateway, upstream, arrived: 0 };
    for round in 1..=5 {
        held.serve_at_once(2).await;
        let gone = |pool: &Value| closed(pool, "idle_timeout") == 2 * round;
        held.gateway.wait_for_pool(ROUTE, "idle connections to be closed", gone).await;
    }
    let text = advised(&held.gateway, "pool.min_idle", "2").await;
    let expected = "min_idle 2 would have saved 100 % of the 10 TLS handshakes in requests' way in the last ";
    assert!(text.starts_with(expected), "{text}");
    // The spare connections must not expire between the look at them and the requests.
    held.follow("pool: { idle_timeout: 1m, min_idle: 2 }").await;
    held.gateway.wait_for_pool(ROUTE, "spare connections", |pool| number(pool, "idle") == 2).await;
    held.serve_at_once(2).await;
    let pool = settled(&held.gateway).await;
    assert_eq!(
        (number(&pool, "tls_handshakes_awaited"), number(&pool, "tls_handshakes")),
        (10, 12),
        "{pool:#}"
    );
    assert_eq!(held.origin.accepted(), 12);
}

#[tokio::test]
async fn idle_timeout_below_the_servers_closes_first_from_the_start() {
    let origin = Origin::script(|mut connection: Connection| async move {
        let patience = Duration::from_millis(1_500);
        while let Ok(Some(_)) = tokio::time::timeout(patience, connection.read_request()).await {
            connection.write(OK).await;
        }
        connection.close().await;
    });
    let gateway = pooled::to(origin.addr(), "").await;
    for count in 1..=3 {
        assert_eq!(pooled::statuses(&gateway, 1).await, [200]);
        gateway.wait_for_pool(ROUTE, "a close by the server", |pool| closed(pool, "peer") == count).await;
    }
    let text = advised(&gateway, "pool.idle_timeout", "1s").await;
    assert!(
        text.starts_with("the server closes idle connections after 1.") && text.contains("seen 3 times"),
        "{text}"
    );
    let gateway = pooled::to(origin.addr(), "pool: { idle_timeout: 1s }").await;
    assert_eq!(pooled::statuses(&gateway, 1).await, [200]);
    let pool = gateway.wait_for_pool(ROUTE, "a close", |pool| number(pool, "idle") == 0).await;
    assert_eq!((closed(&pool, "peer"), closed(&pool, "idle_timeout")), (0, 1), "{pool:#}");
    assert_eq!(advice(&gateway).await, []);
}
