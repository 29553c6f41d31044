//! The day an upstream dies: one of three endpoints is killed, stalls or answers 500 only, under load, and no request fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use support::{Client, Gate, Gateway, Origin, wait_until};
use tokio::task::JoinSet;

use crate::pooled::{OK, ROUTE, number};

/// The clients, each of which has one request under way at any time.
const CLIENTS: usize = 24;

/// The way in which the endpoint fails.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Failure {
    Killed,
    Stalls,
    Answers500,
}

/// The configuration, with something in it that a reload changes.
fn config(origins: &[&Origin], generation: usize) -> String {
    let urls: Vec<String> = origins.iter().map(|origin| format!("'{}'", origin.url())).collect();
    format!(
        "workers: 2
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
admin: {{ address: 127.0.0.1:0 }}
telemetry: {{ access_log: off }}
routes:
  - name: {ROUTE}
    match: {{ prefix: / }}
    upstream:
      endpoints: [{}]
      health: {{ passive: {{ on: [connect, reset, timeout, 500, 502, 503, 504] }} }}
    timeouts: {{ per_try: 300ms }}
    retry: {{ on: [connect, stale, reset, timeout, 500, gateway_error] }}
  - {{ name: other, match: {{ path: /other }}, respond: {{ body: '{generation}' }} }}
",
        urls.join(", ")
    )
}

/// Clients that ask without a pause, and what they were answered.
struct Load {
    clients: JoinSet<()>,
    answered: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
}

impl Load {
    fn begin(gateway: &Gateway) -> Self {
        let (answered, failed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let is_over = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let (answered, failed, is_over) = (answered.clone(), failed.clone(), is_over.clone());
            let address = gateway.addr("web");
            clients.spawn(async move {
                let mut client = Client::connect(address).await;
                while !is_over.load(Ordering::SeqCst) {
                    let response = client.get("/").await;
                    answered.fetch_add(1, Ordering::SeqCst);
                    failed.fetch_add(usize::from(response.status != 200), Ordering::SeqCst);
                }
            });
        }
        Self { clients, answered, failed, is_over }
    }

    fn answered(&self) -> usize {
        self.answered.load(Ordering::SeqCst)
    }

    /// Waits until so many more requests are answered.
    async fn goes_on(&self, requests: usize) {
        let until = self.answered() + requests;
        wait_until("the load to go on", async || self.answered() >= until).await;
    }

    /// Returns the requests that failed, and all.
    async fn end(mut self) -> (usize, usize) {
        self.is_over.store(true, Ordering::SeqCst);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
        (self.failed.load(Ordering::SeqCst), self.answered())
    }
}

/// Returns an origin that serves until it `fails`, and then does so in one way.
fn failing(failure: Failure, fails: &Arc<AtomicBool>, gate: &Gate) -> Origin {
    let (fails, gate) = (fails.clone(), gate.clone());
    Origin::script(move |mut connection| {
        let (fails, gate) = (fails.clone(), gate.clone());
        async move {
            while connection.read_request().await.is_some() {
                match failure {
                    Failure::Stalls if fails.load(Ordering::SeqCst) => gate.pass().await,
                    Failure::Answers500 if fails.load(Ordering::SeqCst) => {
                        connection.write("HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n").await;
                        continue;
                    }
                    _ => {}
                }
                if connection.try_write(OK).await.is_err() {
                    return;
                }
            }
        }
    })
}

async fn fails_under_load(failure: Failure, reloads: bool) {
    let (fails, gate) = (Arc::new(AtomicBool::new(false)), Gate::new());
    let (one, two, bad) = (Origin::answer(OK), Origin::answer(OK), failing(failure, &fails, &gate));
    let origins = [&one, &two, &bad];
    let gateway = crate::gateway(config(&origins, 0)).start().await;
    let load = Load::begin(&gateway);
    load.goes_on(500).await;
    assert!(origins.iter().all(|origin| !origin.requests().is_empty()), "all of them serve");

    fails.store(true, Ordering::SeqCst);
    if failure == Failure::Killed {
        bad.stop().await;
    }
    let (began, mut generation) = (Instant::now(), 0);
    let mut reload = async || {
        if reloads {
            generation += 1;
            gateway.reload(&config(&origins, generation)).await;
        }
    };
    // An endpoint that fails fast counts as slow from the first failure on, and may get too few requests to be ejected.
    let served = bad.requests().len();
    let is_avoided = async || {
        let pool = gateway.pool_at(ROUTE, &bad.url()).await;
        let has_failed = match failure {
            Failure::Killed => number(&pool, "connect_failed") > 0,
            Failure::Stalls => false,
            Failure::Answers500 => bad.requests().len() > served,
        };
        pool["health"] == "ejected" || has_failed
    };
    while !is_avoided().await {
        reload().await;
        assert!(began.elapsed() < Duration::from_secs(5), "{failure:?}: it is not avoided");
    }
    // Those that were on their way.
    load.goes_on(2 * CLIENTS).await;
    let before = bad.requests().len();
    for _ in 0..3 {
        reload().await;
        load.goes_on(500).await;
    }
    // Not more than the failures that eject it.
    assert!(bad.requests().len() <= before + 5, "{failure:?}: it gets requests still");
    gate.release_all();
    let (failed, all) = load.end().await;
    assert_eq!(failed, 0, "{failure:?}: of {all}");
}

#[tokio::test]
async fn killed_endpoint_fails_no_request() {
    fails_under_load(Failure::Killed, false).await;
}

#[tokio::test]
async fn stalling_endpoint_fails_no_request() {
    fails_under_load(Failure::Stalls, false).await;
}

#[tokio::test]
async fn endpoint_that_answers_500_fails_no_request() {
    fails_under_load(Failure::Answers500, false).await;
}

#[tokio::test]
async fn endpoint_that_fails_while_the_gateway_reloads_fails_no_request() {
    for failure in [Failure::Killed, Failure::Stalls, Failure::Answers500] {
        fails_under_load(failure, true).await;
    }
}
