//! The limits of a pool: they hold exactly, for the whole process, and who has to wait is served in turn.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use support::{Certificates, Gate, Origin, SilentListener, within};
use tokio::task::JoinSet;

use crate::pooled::{self, OK, ROUTE, closed, number, refusal, refused, settled};

#[tokio::test]
async fn max_connections_holds_for_the_whole_process() {
    for (workers, keep_alive) in [(1, true), (2, true), (4, true), (1, false), (2, false), (4, false)] {
        let (gate, now, peak) = (Gate::new(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let origin = {
            let (gate, now, peak) = (gate.clone(), Arc::clone(&now), Arc::clone(&peak));
            Origin::script(move |mut connection| {
                let (gate, now, peak) = (gate.clone(), Arc::clone(&now), Arc::clone(&peak));
                async move {
                    while connection.read_request().await.is_some() {
                        peak.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                        gate.pass().await;
                        now.fetch_sub(1, SeqCst);
                        connection.write(OK).await;
                    }
                }
            })
        };
        let keys = format!("pool: {{ max_connections: 3, keep_alive: {keep_alive}, acquire_timeout: 10m }}");
        let gateway = pooled::with_workers(workers, origin.addr(), &keys).await;
        let mut asked = Vec::new();
        for _ in 0..16 {
            asked.push(pooled::ask(&gateway, "/").await);
        }
        gateway.wait_for_pool(ROUTE, "thirteen waiting", |pool| number(pool, "pending") == 13).await;
        gate.arrivals(3).await;
        let case = format!("{workers} workers, keep_alive {keep_alive}");
        for served in 1..=16 {
            if served % 4 == 0 {
                assert!(pooled::sockets(&gateway, origin.addr()).await <= 3, "{case}");
            }
            gate.release();
            gate.arrivals((3 + served).min(16)).await;
            if served >= 14 {
                let done = |pool: &support::serde_json::Value| number(pool, "active") == 16 - served as u64;
                gateway.wait_for_pool(ROUTE, "one less in use", done).await;
            }
        }
        for answer in asked {
            assert_eq!(answer.await.unwrap().status, 200, "{case}");
        }
        assert_eq!(peak.load(SeqCst), 3, "{case}");
        assert_eq!(origin.accepted(), if keep_alive { 3 } else { 16 }, "{case}");
        settled(&gateway).await;
    }
}

#[tokio::test]
async fn an_idle_connection_moves_to_the_worker_that_needs_it() {
    let certificates = Certificates::new();
    let tls =
        Origin::builder().tls(certificates.server_config(&certificates.server(&["localhost"]))).answer(OK);
    for origin in [Origin::answer(OK), tls] {
        let upstream = pooled::upstream(&origin, &certificates);
        let gateway =
            pooled::builder(4, &upstream, "pool: { max_connections: 1, max_pending: 0 }").start().await;
        // The kernel spreads them over the workers: that all are at one is as likely as 4 to the power of -23.
        for _ in 0..24 {
            assert_eq!(gateway.client("web").await.get("/").await.status, 200, "{}", origin.url());
        }
        assert_eq!(origin.accepted(), 1, "{}", origin.url());
        let pool = settled(&gateway).await;
        assert_eq!((number(&pool, "reused"), number(&pool, "idle")), (23, 1), "{pool:#}");
        assert!(origin.errors().is_empty(), "{:?}", origin.errors());
    }
}

#[tokio::test]
async fn two_requests_of_a_worker_get_the_idle_connections_of_two_others() {
    let gate = Gate::new();
    let origin = pooled::gated(&gate);
    let keys = "pool: { max_connections: 2, acquire_timeout: 10m }";
    let gateway = pooled::with_workers(4, origin.addr(), keys).await;
    let mut clients = Vec::new();
    for _ in 0..12 {
        clients.push(gateway.client("web").await);
    }
    // Which worker has a client is up to the kernel: among all pairs there are those that matter.
    let mut asked = 0;
    for distance in 1..clients.len() {
        for first in 0..clients.len() {
            let pair = [first, (first + distance) % clients.len()];
            for client in pair {
                clients[client].send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            }
            asked += 2;
            gate.arrivals(asked).await;
            gate.release();
            gate.release();
            for client in pair {
                assert_eq!(refusal(&clients[client].read_response().await), (200, "-"), "{pair:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_refused_request_names_the_pool_limit_that_it_met() {
    for workers in [1, 2] {
        let gate = Gate::new();
        let origin = pooled::gated(&gate);
        let keys = "pool: { max_connections: 1, max_pending: 1, acquire_timeout: 10m }";
        let gateway = pooled::with_workers(workers, origin.addr(), keys).await;
        let served = pooled::ask(&gateway, "/served").await;
        gate.arrivals(1).await;
        let waits = pooled::ask(&gateway, "/waits").await;
        gateway.wait_for_pool(ROUTE, "one waiting", |pool| number(pool, "pending") == 1).await;
        let mut client = gateway.client("web").await;
        let full = client.get("/full").await;
        assert_eq!(refusal(&full), (503, "pool.max_pending"));
        assert_eq!(full.text(), "pool.max_pending: too many requests wait for a connection\n");
        gate.release_all();
        assert_eq!((served.await.unwrap().status, waits.await.unwrap().status), (200, 200));
        assert_eq!(client.get("/").await.status, 200, "a refusal keeps the client's connection");
        let pool = settled(&gateway).await;
        assert_eq!(refused(&pool, "pool.max_pending"), 1, "{pool:#}");
        assert_eq!((origin.accepted(), number(&pool, "idle")), (1, 1));
        // A limit that refuses is not silent.
        gateway.wait_for_log("pool.max_pending").await;
    }
}

#[tokio::test]
async fn a_request_that_waits_too_long_for_a_connection_names_acquire_timeout() {
    for workers in [1, 2] {
        let gate = Gate::new();
        let origin = pooled::gated(&gate);
        let keys = "pool: { max_connections: 1, acquire_timeout: 300ms }";
        let gateway = pooled::with_workers(workers, origin.addr(), keys).await;
        let served = pooled::ask(&gateway, "/served").await;
        gate.arrivals(1).await;
        let mut client = gateway.client("web").await;
        let waited = client.get("/waits").await;
        assert_eq!(refusal(&waited), (503, "pool.acquire_timeout"));
        assert_eq!(waited.text(), "pool.acquire_timeout: no connection became free in time\n");
        gate.release_all();
        assert_eq!(served.await.unwrap().status, 200);
        assert_eq!(client.get("/").await.status, 200, "a refusal keeps the client's connection");
        let pool = settled(&gateway).await;
        assert_eq!(refused(&pool, "pool.acquire_timeout"), 1, "{pool:#}");
        assert_eq!((origin.accepted(), number(&pool, "idle")), (1, 1));
    }
}

#[tokio::test]
async fn waiting_requests_are_served_first_come_first_served() {
    for (workers, keep_alive) in [(1, true), (2, true), (2, false)] {
        let gate = Gate::new();
        let origin = pooled::gated(&gate);
        let keys = format!("pool: {{ max_connections: 1, acquire_timeout: 10m, keep_alive: {keep_alive} }}");
        let gateway = pooled::with_workers(workers, origin.addr(), &keys).await;
        let mut asked = vec![pooled::ask(&gateway, "/0").await];
        gate.arrivals(1).await;
        for number_waiting in 1..8 {
            asked.push(pooled::ask(&gateway, &format!("/{number_waiting}")).await);
            let waits = |pool: &support::serde_json::Value| number(pool, "pending") == number_waiting;
            gateway.wait_for_pool(ROUTE, "one more waiting", waits).await;
        }
        gate.release_all();
        for answer in asked {
            assert_eq!(answer.await.unwrap().status, 200);
        }
        let order: Vec<String> = origin.requests().iter().map(|request| request.target.clone()).collect();
        assert_eq!(order, ["/0", "/1", "/2", "/3", "/4", "/5", "/6", "/7"], "{workers} workers");
    }
}

#[tokio::test]
async fn a_request_that_leaves_the_queue_takes_no_connection_along() {
    for workers in [1, 2] {
        let gate = Gate::new();
        let origin = pooled::gated(&gate);
        let keys = "pool: { max_connections: 1, acquire_timeout: 10m }";
        let gateway = pooled::with_workers(workers, origin.addr(), keys).await;
        let served = pooled::ask(&gateway, "/served").await;
        gate.arrivals(1).await;
        let mut leaving = Vec::new();
        for _ in 0..2 {
            let mut client = gateway.client("web").await;
            client.send_raw("GET /leaves HTTP/1.1\r\nhost: a\r\n\r\n").await;
            leaving.push(client);
        }
        gateway.wait_for_pool(ROUTE, "two waiting", |pool| number(pool, "pending") == 2).await;
        let stays = pooled::ask(&gateway, "/stays").await;
        gateway.wait_for_pool(ROUTE, "three waiting", |pool| number(pool, "pending") == 3).await;
        drop(leaving);
        gateway.wait_for_pool(ROUTE, "one waiting", |pool| number(pool, "pending") == 1).await;
        gate.release_all();
        assert_eq!(served.await.unwrap().status, 200);
        assert_eq!(stays.await.unwrap().status, 200);
        let pool = settled(&gateway).await;
        assert_eq!(
            (origin.accepted(), origin.requests().len(), number(&pool, "idle")),
            (1, 2, 1),
            "{pool:#}"
        );
    }
}

#[tokio::test]
async fn a_client_that_leaves_gives_its_connection_up_and_its_place_to_the_next() {
    let gate = Gate::new();
    let origin = pooled::gated(&gate);
    let gateway = pooled::to(origin.addr(), "pool: { max_connections: 1, acquire_timeout: 10m }").await;
    let mut leaves = gateway.client("web").await;
    leaves.send_raw("GET /leaves HTTP/1.1\r\nhost: a\r\n\r\n").await;
    gate.arrivals(1).await;
    let next = pooled::ask(&gateway, "/next").await;
    gateway.wait_for_pool(ROUTE, "one waiting", |pool| number(pool, "pending") == 1).await;
    drop(leaves);
    gate.arrivals(2).await;
    gate.release_all();
    assert_eq!(next.await.unwrap().status, 200);
    let pool = settled(&gateway).await;
    assert_eq!((closed(&pool, "cancelled"), number(&pool, "idle"), origin.accepted()), (1, 1, 2), "{pool:#}");
}

#[tokio::test]
async fn no_more_than_max_connecting_are_opened_at_once() {
    pooled::all([1, 2].map(|workers| async move {
        let silent = SilentListener::start().await;
        let keys = "pool: { max_connecting: 2, acquire_timeout: 300ms }\ntimeouts: { connect: 10m }\nretry: { attempts: 0 }";
        let gateway = pooled::with_workers(workers, silent.addr(), keys).await;
        let mut asked = JoinSet::new();
        for _ in 0..6 {
            let mut client = gateway.client("web").await;
            asked.spawn(async move { client.get("/").await });
        }
        // Those that wait for a turn to connect are refused, and those that connect go on.
        for _ in 0..4 {
            let response = within("a refusal", asked.join_next()).await.unwrap().unwrap();
            assert_eq!(refusal(&response), (503, "pool.acquire_timeout"));
        }
        let pool = gateway.pool(ROUTE).await;
        let numbers = ["connecting", "pending", "opened", "connect_failed"].map(|key| number(&pool, key));
        assert_eq!(numbers, [2, 0, 0, 0], "{pool:#}");
        // One more is the listener's own, which fills its queue.
        assert!(pooled::sockets(&gateway, silent.addr()).await <= 3);
    }))
    .await;
}

#[tokio::test]
async fn a_dial_that_ends_lets_the_next_one_begin() {
    let gate = Gate::new();
    let origin = pooled::gated(&gate);
    let gateway = pooled::to(origin.addr(), "pool: { max_connecting: 1, acquire_timeout: 10m }").await;
    let mut asked = Vec::new();
    for _ in 0..8 {
        asked.push(pooled::ask(&gateway, "/").await);
    }
    // No connection comes back before each has its own.
    gate.arrivals(8).await;
    gate.release_all();
    for answer in asked {
        assert_eq!(answer.await.unwrap().status, 200);
    }
    settled(&gateway).await;

    // Also where it fails: each has its own try, one after the other.
    let keys = "pool: { max_connecting: 1, acquire_timeout: 10m }\nretry: { attempts: 0 }\ntimeouts: { connect: 100ms }";
    let silent = SilentListener::start().await;
    let gateway = pooled::to(silent.addr(), keys).await;
    let began = std::time::Instant::now();
    let mut asked = Vec::new();
    for _ in 0..4 {
        asked.push(pooled::ask(&gateway, "/").await);
    }
    for answer in asked {
        assert_eq!(refusal(&answer.await.unwrap()), (503, "timeouts.connect"));
    }
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
    assert_eq!(number(&settled(&gateway).await, "connect_failed"), 4);
}
