//! Limits of a pool that change while it is used: they hold at once and exactly, and no request pays for it.

use std::net::SocketAddr;

use support::serde_json::Value;
use support::{Gate, Gateway, Origin, Response, wait_until, with_longer_and_longer};
use tokio::task::JoinHandle;

use crate::load::post_reload;
use crate::pooled::{self, OK, ROUTE, closed, number, refusal, refused, settled};

/// One route to `origin` with these keys of its pool.
fn config(workers: usize, origin: SocketAddr, pool: &str) -> String {
    let pool = if pool.is_empty() { String::new() } else { format!(", {pool}") };
    format!(
        "listeners: [{{ name: web, address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\nworkers: {workers}\n\
         telemetry: {{ access_log: off }}\n\
         routes: [{{ name: {ROUTE}, upstream: {{ url: 'http://{origin}' }}, pool: {{ max_connecting: 16{pool} }} }}]\n"
    )
}

/// A gateway with a pool whose limits change.
struct Changing {
    gateway: Gateway,
    workers: usize,
    origin: SocketAddr,
}

impl Changing {
    async fn start(workers: usize, origin: &Origin, pool: &str) -> Self {
        let gateway = crate::gateway(config(workers, origin.addr(), pool)).start().await;
        Self { gateway, workers, origin: origin.addr() }
    }

    /// The pool is the same afterwards: nothing of its counts is lost.
    async fn to(&self, pool: &str) {
        let before = self.pool().await;
        self.gateway.rewrite_config(&config(self.workers, self.origin, pool));
        post_reload(&self.gateway).await;
        let after = self.pool().await;
        for count in ["opened", "acquired"] {
            assert!(number(&after, count) >= number(&before, count), "{before:#} became {after:#}");
        }
    }

    async fn pool(&self) -> Value {
        self.gateway.pool(ROUTE).await
    }

    async fn wait(&self, what: &str, count: u64) {
        self.gateway
            .wait_for_pool(ROUTE, &format!("{count} {what}"), |pool| number(pool, what) == count)
            .await;
    }

    async fn wait_closed(&self, reason: &str, count: u64) {
        let what = format!("{count} closed for {reason}");
        self.gateway.wait_for_pool(ROUTE, &what, |pool| closed(pool, reason) == count).await;
    }

    /// So many requests at once.
    async fn ask(&self, count: usize) -> Vec<JoinHandle<Response>> {
        let mut asked = Vec::new();
        for _ in 0..count {
            asked.push(pooled::ask(&self.gateway, "/").await);
        }
        asked
    }

    /// Leaves so many connections idle.
    async fn idle(&self, gate: &Gate, count: usize, arrived: usize) {
        let asked = self.ask(count).await;
        gate.arrivals(arrived + count).await;
        (0..count).for_each(|_| gate.release());
        all_served(asked).await;
        self.wait("idle", count as u64).await;
    }
}

async fn all_served(asked: Vec<JoinHandle<Response>>) {
    for answer in asked {
        assert_eq!(refusal(&answer.await.unwrap()), (200, "-"));
    }
}

#[tokio::test]
async fn a_lower_max_connections_is_reached_as_requests_end_and_holds_exactly() {
    pooled::all([1, 2].map(async |workers| {
        let gate = Gate::new();
        let origin = pooled::gated(&gate);
        let changing = Changing::start(workers, &origin, "max_connections: 6, acquire_timeout: 10m").await;
        let mut asked = changing.ask(6).await;
        gate.arrivals(6).await;
        changing.to("max_connections: 2, acquire_timeout: 10m").await;
        asked.extend(changing.ask(4).await);
        changing.wait("pending", 4).await;
        // No waiter gets one of the four that are too many.
        for ended in 1..=4 {
            gate.release();
            changing.wait_closed("max_connections", ended).await;
            assert_eq!(number(&changing.pool().await, "pending"), 4);
        }
        for arrived in 7..=10 {
            gate.release();
            gate.arrivals(arrived).await;
        }
        gate.release_all();
        all_served(asked).await;
        let pool = settled(&changing.gateway).await;
        let counts = ["opened", "idle"].map(|count| number(&pool, count));
        assert_eq!((counts, closed(&pool, "max_connections")), ([6, 2], 4), "{pool:#}");
        origin.wait_for_open(2).await;
        // Idle ones go at once.
        changing.to("max_connections: 1").await;
        origin.wait_for_open(1).await;
        changing.wait("idle", 1).await;
    }))
    .await;
}

#[tokio::test]
async fn a_higher_max_connections_lets_waiting_requests_proceed_at_once() {
    pooled::all([1, 2].map(async |workers| {
        let gate = Gate::new();
        let origin = pooled::gated(&gate);
        let changing = Changing::start(workers, &origin, "max_connections: 1, acquire_timeout: 10m").await;
        let asked = changing.ask(4).await;
        changing.wait("pending", 3).await;
        for limit in [2, 4] {
            changing.to(&format!("max_connections: {limit}, acquire_timeout: 10m")).await;
            // Nothing has ended: they are on connections of their own.
            gate.arrivals(limit).await;
            assert_eq!(number(&changing.pool().await, "pending"), 4 - limit as u64);
        }
        gate.release_all();
        all_served(asked).await;
    }))
    .await;
}

#[tokio::test]
async fn a_lower_max_idle_closes_as_many_as_are_too_many() {
    pooled::all([1, 2].map(async |workers| {
        let gate = Gate::new();
        let origin = pooled::gated(&gate);
        let changing = Changing::start(workers, &origin, "max_idle: 6").await;
        changing.idle(&gate, 6, 0).await;
        changing.to("max_idle: 3").await;
        changing.wait_closed("max_idle", 3).await;
        origin.wait_for_open(3).await;
        changing.wait("idle", 3).await;
        changing.to("max_idle: 5").await;
        changing.idle(&gate, 5, 6).await;
        // One worker may have had to open another while the other had one idle.
        let pool = settled(&changing.gateway).await;
        assert_eq!(number(&pool, "opened") - 8, closed(&pool, "max_idle") - 3, "{pool:#}");
    }))
    .await;
}

#[tokio::test]
async fn idle_connections_end_by_the_limits_of_now() {
    let cases = [
        ("idle_timeout: 50ms", "idle_timeout"),
        ("max_lifetime: 50ms", "max_lifetime"),
        ("max_requests: 1", "max_requests"),
        ("keep_alive: false", "keep_alive_off"),
    ];
    pooled::all(cases.map(async |(limit, reason)| {
        let gate = Gate::new();
        let origin = pooled::gated(&gate);
        let changing = Changing::start(2, &origin, "").await;
        changing.idle(&gate, 4, 0).await;
        changing.to(limit).await;
        changing.wait_closed(reason, 4).await;
        origin.wait_for_open(0).await;
        gate.release_all();
        // The next one is judged alike.
        all_served(changing.ask(1).await).await;
        changing.wait_closed(reason, 5).await;
        // And taken back, it lets them be.
        changing.to("").await;
        all_served(changing.ask(1).await).await;
        changing.wait("idle", 1).await;
    }))
    .await;
}

#[tokio::test]
async fn an_idle_connection_outlives_the_timeout_that_it_began_with() {
    with_longer_and_longer(async |limit| {
        let origin = Origin::answer(OK);
        let config = |timeout: &str| {
            format!(
                "listeners: [{{ name: web, address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\nworkers: 1\n\
                 defaults: {{ pool: {{ idle_timeout: {1}ms }} }}\nroutes:\n\
                 - {{ name: changed, match: {{ prefix: /changed }}, upstream: {{ url: 'http://{0}' }}, pool: {{ {timeout} }} }}\n\
                 - {{ name: same, match: {{ prefix: /same }}, upstream: {{ url: 'http://{0}' }} }}\n",
                origin.addr(),
                limit.as_millis()
            )
        };
        let gateway = crate::gateway(config("")).start().await;
        let mut client = gateway.client("web").await;
        client.get("/changed").await;
        client.get("/same").await;
        gateway.rewrite_config(&config("idle_timeout: off"));
        post_reload(&gateway).await;
        // It was given back later.
        gateway.wait_for_pool("same", "nothing idle", |pool| closed(pool, "idle_timeout") == 1).await;
        let pool = gateway.pool("changed").await;
        assert_eq!((number(&pool, "idle"), number(&pool, "opened")), (1, 1), "{pool:#}");
    })
    .await;
}

#[tokio::test]
async fn max_pending_and_acquire_timeout_apply_to_the_next_requests() {
    pooled::all([1, 2].map(async |workers| {
        let gate = Gate::new();
        let origin = pooled::gated(&gate);
        let changing =
            Changing::start(workers, &origin, "max_connections: 1, max_pending: 1, acquire_timeout: 10m")
                .await;
        let mut asked = changing.ask(1).await;
        gate.arrivals(1).await;
        asked.extend(changing.ask(1).await);
        changing.wait("pending", 1).await;
        let mut client = changing.gateway.client("web").await;
        assert_eq!(refusal(&client.get("/").await), (503, "pool.max_pending"));
        changing.to("max_connections: 1, max_pending: 2, acquire_timeout: 10m").await;
        asked.extend(changing.ask(1).await);
        changing.wait("pending", 2).await;
        // A request that waits already continues under its old limits.
        changing.to("max_connections: 1, max_pending: 0, acquire_timeout: 10m").await;
        assert_eq!(refusal(&client.get("/").await), (503, "pool.max_pending"));
        changing.to("max_connections: 1, max_pending: 9, acquire_timeout: 50ms").await;
        assert_eq!(refusal(&client.get("/").await), (503, "pool.acquire_timeout"));
        assert_eq!(number(&changing.pool().await, "pending"), 2);
        gate.release_all();
        all_served(asked).await;
        let pool = settled(&changing.gateway).await;
        assert_eq!((number(&pool, "opened"), refused(&pool, "pool.max_pending")), (1, 2), "{pool:#}");
    }))
    .await;
}

#[tokio::test]
async fn min_idle_connections_are_opened_when_it_is_raised_and_left_to_their_time_when_lowered() {
    let origin = Origin::answer(OK);
    let changing = Changing::start(2, &origin, "").await;
    assert_eq!(origin.accepted(), 0);
    changing.to("min_idle: 3").await;
    changing.wait("idle", 3).await;
    changing.to("min_idle: 0, idle_timeout: 50ms").await;
    changing.wait_closed("idle_timeout", 3).await;
    wait_until("all to be closed", async || origin.open() == 0).await;
}
