//! Limits that gateways share in Redis: exactness, failures, batches, and the ways to a server.

mod server;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::time::{Duration, Instant};

use support::{Certificates, Client, Gateway, GatewayBuilder, Signal, wait_until};

use self::server::{Redis, Sentinel, start_cluster};
use crate::gateway;
use crate::pooled::refusal;
use crate::reloading::check_errors;

const REFUSED: (u16, &str) = (429, "rate_limit");

/// Returns a configuration with a store of these settings, and the route `r` with this limit in it.
fn config(store: &str, limit: &str) -> String {
    format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
admin: {{ address: 127.0.0.1:0 }}
workers: 2
stores: {{ shared: {{ {store} }} }}
routes: [{{ name: r, respond: {{ body: ok }}, rate_limit: {limit} }}]"
    )
}

fn builder(store: &str, limit: &str) -> GatewayBuilder {
    gateway(config(store, limit))
}

/// Returns the settings of a store at this URL. A decision takes long only if a test wants it to.
fn at(url: &str) -> String {
    format!("url: '{url}', timeout: 60s")
}

async fn start(url: &str, limit: &str) -> Gateway {
    builder(&at(url), limit).start().await
}

async fn get(gateway: &Gateway) -> u16 {
    gateway.client("web").await.get("/").await.status
}

async fn decisions(gateway: &Gateway, result: &str) -> f64 {
    let name = format!("gateway_rate_limit_store_decisions_total{{store=\"shared\",result=\"{result}\"}}");
    gateway.metric(&name).await.unwrap()
}

async fn is_up(gateway: &Gateway) -> bool {
    gateway.metric("gateway_rate_limit_store_up{store=\"shared\"}").await == Some(1.0)
}

/// The requests of clients that send without a pause.
#[derive(Default)]
struct Counts {
    sent: AtomicU32,
    admitted: AtomicU32,
    refused: AtomicU32,
    unavailable: AtomicU32,
    is_over: AtomicBool,
}

impl Counts {
    async fn send(&self, address: std::net::SocketAddr, enough: impl Fn(&Self) -> bool) {
        let mut client = Client::connect(address).await;
        while !enough(self) && !self.is_over.load(SeqCst) {
            self.sent.fetch_add(1, SeqCst);
            let response = client.get("/").await;
            let count = match refusal(&response) {
                (200, _) => &self.admitted,
                REFUSED => &self.refused,
                (503, "rate_limit.store") => &self.unavailable,
                other => panic!("{other:?}"),
            };
            count.fetch_add(1, SeqCst);
        }
    }
}

/// Sends requests to gateways at once, with so many clients to each, until `enough` returns true.
async fn flood(
    gateways: &[&Gateway],
    clients: usize,
    enough: impl Fn(&Counts) -> bool + Copy + Send + 'static,
) -> Arc<Counts> {
    let counts = Arc::new(Counts::default());
    let mut tasks = Vec::new();
    for gateway in gateways.iter().cycle().take(clients * gateways.len()) {
        let (counts, address) = (counts.clone(), gateway.addr("web"));
        tasks.push(tokio::spawn(async move { counts.send(address, enough).await }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    counts
}

#[tokio::test]
async fn two_gateways_admit_one_burst_together() {
    let redis = Redis::start().await;
    let limit = "{ rate: 1/h, burst: 500, by: route, store: shared }";
    let (one, other) = (start(&redis.url(), limit).await, start(&redis.url(), limit).await);
    let counts = flood(&[&one, &other], 12, |counts| counts.sent.load(SeqCst) >= 2000).await;
    assert_eq!(counts.admitted.load(SeqCst), 500);
    let here = [decisions(&one, "admitted").await, decisions(&other, "admitted").await];
    assert!(here[0] > 0.0 && here[1] > 0.0 && here[0] + here[1] == 500.0, "{here:?}");
    assert_eq!([decisions(&one, "missed").await, decisions(&other, "missed").await], [0.0; 2]);
}

#[tokio::test]
async fn two_gateways_hold_a_rate_within_one_percent() {
    let redis = Redis::start().await;
    // A pause of the machine of less than a second loses no credit.
    let limit = "{ rate: 400/s, burst: 400, by: route, store: shared }";
    let (one, other) = (start(&redis.url(), limit).await, start(&redis.url(), limit).await);
    let began = Instant::now();
    let counts = flood(&[&one, &other], 8, |counts| counts.admitted.load(SeqCst) >= 1600).await;
    let permitted = 400.0 + 400.0 * began.elapsed().as_secs_f64();
    let admitted = f64::from(counts.admitted.load(SeqCst));
    assert!(admitted <= permitted, "{admitted} of {permitted}");
    assert!(counts.refused.load(SeqCst) > 0);
    assert!(admitted >= 0.99 * permitted - 1.0, "{admitted} of {permitted}");
}

#[tokio::test]
async fn requests_of_a_hot_key_share_commands() {
    let redis = Redis::start().await;
    let gateway = start(&redis.url(), "{ rate: 1/h, burst: 15, by: route, store: shared }").await;
    assert_eq!(get(&gateway).await, 200);
    let before = redis.calls("evalsha").await;
    redis.signal(Signal::STOP);
    let requests: Vec<_> = (0..20)
        .map(|_| {
            let address = gateway.addr("web");
            tokio::spawn(async move { Client::connect(address).await.get("/").await.status })
        })
        .collect();
    let in_flight = async || gateway.metric("gateway_requests_in_flight{route=\"r\"}").await;
    wait_until("all wait for a decision", async || in_flight().await == Some(20.0)).await;
    redis.signal(Signal::CONT);
    let mut admitted = 0;
    for request in requests {
        admitted += u32::from(request.await.unwrap() == 200);
    }
    assert_eq!(admitted, 14);
    // The first one, all that came during its command, and perhaps one that was counted a moment before it asked.
    let calls = redis.calls("evalsha").await - before;
    assert!((1..=3).contains(&calls), "{calls}");
}

#[tokio::test]
async fn keys_differ_by_client_and_expire_by_themselves() {
    let redis = Redis::start().await;
    let gateway = start(&redis.url(), "{ rate: 1/m, by: 'header:x-tenant', store: shared }").await;
    let mut client = gateway.client("web").await;
    for (tenant, statuses) in [("a", [200, 429]), ("b", [200, 429])] {
        for status in statuses {
            assert_eq!(client.request("GET", "/", &[("x-tenant", tenant)], b"").await.status, status);
        }
    }
    let keys = redis.command("KEYS gateway:*").await;
    let keys: Vec<&str> = keys.lines().filter(|key| !key.ends_with("probe")).collect();
    assert_eq!(keys.len(), 2, "{keys:?}");
    for key in keys {
        assert!(key.starts_with("gateway:{") && key.len() == 32, "{key}");
        let left: u64 = redis.command(&format!("PTTL {key}")).await.parse().unwrap();
        assert!((1..=60_001).contains(&left), "{left}");
    }
    gateway.reload(&config(&at(&redis.url()), "{ rate: 10/s, burst: 1, by: route, store: shared }")).await;
    redis.command("FLUSHALL").await;
    assert_eq!(get(&gateway).await, 200);
    wait_until("the key has expired", async || redis.command("DBSIZE").await == "0").await;
}

#[tokio::test]
async fn refusals_and_fields_follow_the_store() {
    let redis = Redis::start().await;
    let limit = "{ rate: 2/m, store: shared }";
    let (one, other) = (start(&redis.url(), limit).await, start(&redis.url(), limit).await);
    let response = one.client("web").await.get("/").await;
    assert_eq!(response.header("ratelimit-policy"), Some(r#""minute";q=2;w=60"#));
    assert_eq!(response.header("ratelimit"), Some(r#""minute";r=1;t=30"#));
    assert_eq!(other.client("web").await.get("/").await.status, 200);
    let response = one.client("web").await.get("/").await;
    assert_eq!(refusal(&response), REFUSED);
    let wait: u32 = response.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
}

#[tokio::test]
async fn request_that_one_of_several_limits_refuses_is_charged_to_none() {
    let redis = Redis::start().await;
    let limits = "[{ rate: 3/h, by: route, store: shared }, { rate: 1/h, by: 'header:x-tenant', store: shared }, { rate: 5/h, by: route }]";
    let gateway = start(&redis.url(), limits).await;
    let mut client = gateway.client("web").await;
    let mut of = async |tenant: &str| client.request("GET", "/", &[("x-tenant", tenant)], b"").await.status;
    assert_eq!([of("a").await, of("a").await, of("a").await, of("a").await], [200, 429, 429, 429]);
    assert_eq!([of("b").await, of("c").await, of("d").await], [200, 200, 429]);
    // The third limit is this gateway's own.
    let other = start(&redis.url(), limits).await;
    assert_eq!(get(&other).await, 429);
}

#[tokio::test]
async fn requests_of_two_gateways_wait_for_turns_of_one_queue() {
    let redis = Redis::start().await;
    let limit = "{ rate: 10/s, burst: 1, queue: 30s, by: route, store: shared }";
    let (one, other) = (start(&redis.url(), limit).await, start(&redis.url(), limit).await);
    let began = Instant::now();
    let counts = flood(&[&one, &other], 2, |counts| counts.sent.load(SeqCst) >= 4).await;
    // Each client sends at least one request.
    let sent = counts.sent.load(SeqCst);
    assert_eq!(counts.admitted.load(SeqCst), sent);
    let least = Duration::from_millis(100) * (sent - 1) - Duration::from_millis(10);
    assert!(began.elapsed() >= least, "{:?} for {sent}", began.elapsed());
}

#[tokio::test]
async fn client_that_leaves_the_queue_gives_its_turn_back() {
    let redis = Redis::start().await;
    let gateway = start(&redis.url(), "{ rate: 1/m, burst: 1, queue: 60s, by: route, store: shared }").await;
    assert_eq!(get(&gateway).await, 200);
    let mut leaves = gateway.client("web").await;
    leaves.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let delayed = async || gateway.metric("gateway_rate_limit_delayed_total{route=\"r\"}").await;
    wait_until("it waits", async || delayed().await == Some(1.0)).await;
    assert_eq!(get(&gateway).await, 429);
    let began = Instant::now();
    drop(leaves);
    wait_until("the turn is back", async || {
        let keys = redis.command("KEYS gateway:*").await;
        let Some(key) = keys.lines().find(|key| !key.ends_with("probe")) else { return false };
        // With the turn it would be two minutes.
        redis.command(&format!("PTTL {key}")).await.parse::<i64>().unwrap() <= 60_001
    })
    .await;
    // It would be so by itself a minute later.
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
}

#[tokio::test]
async fn store_that_dies_under_load_is_replaced_by_the_fallback_and_used_again() {
    for (on_error, word) in [("local", "local"), ("open", "open"), ("closed", "closed")] {
        let mut redis = Redis::start().await;
        let limit = format!("{{ rate: 1/h, burst: 50, by: route, store: shared, on_error: {on_error} }}");
        let gateway = start(&redis.url(), &limit).await;
        let (counts, address) = (Arc::new(Counts::default()), gateway.addr("web"));
        let clients: Vec<_> = (0..8)
            .map(|_| {
                let counts = counts.clone();
                tokio::spawn(async move { counts.send(address, |_| false).await })
            })
            .collect();
        let of = |count: &AtomicU32| count.load(SeqCst);
        wait_until("the limit is met", async || of(&counts.refused) > 100).await;
        assert_eq!(of(&counts.admitted), 50, "{word}");
        redis.kill();
        wait_until("the store is away", async || !is_up(&gateway).await).await;
        let before = of(&counts.sent);
        wait_until("requests go on", async || of(&counts.sent) > before + 500).await;
        match on_error {
            // Once more, by the table of the gateway.
            "local" => assert_eq!((of(&counts.admitted), of(&counts.unavailable)), (100, 0)),
            "open" => assert!(of(&counts.admitted) > 500 && of(&counts.unavailable) == 0),
            _ => assert!(of(&counts.admitted) == 50 && of(&counts.unavailable) > 400),
        }
        redis.restart().await;
        wait_until("the store is back", async || is_up(&gateway).await).await;
        let admitted = decisions(&gateway, "admitted").await;
        // It has forgotten all keys. The metric may be a moment ahead of the first decision.
        wait_until("the store decides", async || decisions(&gateway, "admitted").await == 100.0).await;
        assert!(admitted <= 100.0);
        counts.is_over.store(true, SeqCst);
        for client in clients {
            client.await.unwrap();
        }
        let lines = |text: &str| gateway.logs().iter().filter(|line| line.contains(text)).count();
        assert_eq!(lines("the store of rate limits does not respond"), 1, "{:#?}", gateway.logs());
        assert_eq!(lines("the store of rate limits responds"), 2);
        let losses = gateway.metric("gateway_rate_limit_store_losses_total{store=\"shared\"}").await;
        assert_eq!(losses, Some(1.0));
    }
}

#[tokio::test]
async fn stalled_store_costs_its_timeout_once_and_then_nothing() {
    let redis = Redis::start().await;
    let timeout = Duration::from_secs(1);
    let store = format!("url: '{}', timeout: 1s", redis.url());
    let gateway = builder(&store, "{ rate: 1000/s, store: shared }").start().await;
    assert_eq!(get(&gateway).await, 200);
    redis.signal(Signal::STOP);
    let began = Instant::now();
    assert_eq!(get(&gateway).await, 200);
    assert!(began.elapsed() >= timeout - Duration::from_millis(20), "{:?}", began.elapsed());
    let began = Instant::now();
    for _ in 0..30 {
        assert_eq!(get(&gateway).await, 200);
    }
    assert!(began.elapsed() < timeout, "{:?}", began.elapsed());
    assert_eq!(decisions(&gateway, "missed").await, 31.0);
    redis.signal(Signal::CONT);
    wait_until("the store is back", async || is_up(&gateway).await).await;
    assert_eq!(get(&gateway).await, 200);
    assert_eq!(decisions(&gateway, "admitted").await, 2.0);
}

#[tokio::test]
async fn store_that_is_away_delays_no_start_and_is_used_once_it_is_there() {
    let mut redis = Redis::start().await;
    redis.kill();
    let gateway = start(&redis.url(), "{ rate: 1/h, burst: 2, store: shared }").await;
    assert_eq!([get(&gateway).await, get(&gateway).await, get(&gateway).await], [200, 200, 429]);
    gateway.wait_for_log("the store of rate limits does not respond").await;
    redis.restart().await;
    wait_until("the store is there", async || is_up(&gateway).await).await;
    assert_eq!([get(&gateway).await, get(&gateway).await, get(&gateway).await], [200, 200, 429]);
}

#[tokio::test]
async fn script_that_the_server_has_forgotten_is_sent_again() {
    let redis = Redis::start().await;
    let gateway = start(&redis.url(), "{ rate: 1/h, burst: 2, store: shared }").await;
    assert_eq!(get(&gateway).await, 200);
    redis.command("SCRIPT FLUSH").await;
    let before = redis.calls("eval").await;
    assert_eq!([get(&gateway).await, get(&gateway).await], [200, 429]);
    assert_eq!(redis.calls("eval").await, before + 1);
    assert_eq!(decisions(&gateway, "missed").await, 0.0);
}

#[tokio::test]
async fn password_and_user_open_the_store_and_show_nowhere() {
    let user = "user gateway on >p@ss/w0rd ~gateway:* +evalsha +eval +get +set +del +time";
    let arguments: Vec<&str> = ["--user"].into_iter().chain(user.split(' ').skip(1)).collect();
    let redis = Redis::start_with_password("s3cret", &arguments).await;
    let limit = "{ rate: 1/h, store: shared }";
    for (credentials, secret) in [(":${PASSWORD}", "s3cret"), ("gateway:${PASSWORD}", "p%40ss%2Fw0rd")] {
        redis.command("FLUSHALL").await;
        let url = format!("redis://{credentials}@{}", redis.host());
        let gateway = builder(&at(&url), limit).env("PASSWORD", secret).start().await;
        assert_eq!([get(&gateway).await, get(&gateway).await], [200, 429], "{credentials}");
        assert_eq!(decisions(&gateway, "missed").await, 0.0, "{credentials}");
        let shown =
            [gateway.admin("/config").await.text(), gateway.output(), gateway.metrics().await].concat();
        assert!(!shown.contains(secret) && !shown.contains("p@ss/w0rd"), "{shown}");
        assert!(shown.contains(":(hidden)@"), "{shown}");
    }
    let url = format!("redis://:${{PASSWORD}}@{}", redis.host());
    let gateway = builder(&at(&url), limit).env("PASSWORD", "hunter2").start().await;
    let line = gateway.wait_for_log("the store of rate limits does not respond").await;
    assert!(line.contains("WRONGPASS") || line.contains("uthentication"), "{line}");
    assert!(!gateway.output().contains("hunter2"));
}

#[tokio::test]
async fn store_is_reached_by_tls_with_a_certificate_of_the_client() {
    let certificates = Certificates::new();
    let (server, client) = (certificates.server(&["127.0.0.1", "localhost"]), certificates.client("gateway"));
    let ca = certificates.ca().display().to_string();
    let port = server::free_port();
    let (port_text, cert, key) =
        (port.to_string(), server.cert.display().to_string(), server.key.display().to_string());
    let redis = Redis::start_with(&[
        "--tls-port",
        &port_text,
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
    ])
    .await;
    let store = |ca: &str| {
        let (cert, key) = (client.cert.display(), client.key.display());
        let tls = format!("tls: {{ ca: '{ca}', client: {{ cert: '{cert}', key: '{key}' }} }}");
        format!("url: 'rediss://localhost:{port}', timeout: 60s, {tls}")
    };
    let gateway = builder(&store(&ca), "{ rate: 1/h, store: shared }").start().await;
    assert_eq!([get(&gateway).await, get(&gateway).await], [200, 429]);
    assert_eq!(decisions(&gateway, "missed").await, 0.0);
    let others = Certificates::new();
    let other = others.ca().display().to_string();
    let gateway = builder(&store(&other), "{ rate: 1/h, store: shared }").start().await;
    gateway.wait_for_log("the store of rate limits does not respond").await;
    assert!(!is_up(&gateway).await);
    drop(redis);
}

#[tokio::test]
async fn store_is_found_on_a_socket_behind_a_sentinel_and_in_a_cluster() {
    let redis = Redis::start().await;
    let sentinel = Sentinel::start(&redis).await;
    let cluster = start_cluster().await;
    for url in [
        format!("redis+unix://{}", redis.socket()),
        sentinel.url(),
        format!("redis+cluster://{}", cluster.host()),
        format!("redis://{}/3", redis.host()),
    ] {
        redis.command("FLUSHALL").await;
        cluster.command("FLUSHALL").await;
        let limit = "{ rate: 1/h, burst: 2, by: 'header:x-tenant', store: shared }";
        let (one, other) = (start(&url, limit).await, start(&url, limit).await);
        for tenant in ["a", "b", "c", "d"] {
            let mut statuses = Vec::new();
            for gateway in [&one, &other, &one] {
                let mut client = gateway.client("web").await;
                statuses.push(client.request("GET", "/", &[("x-tenant", tenant)], b"").await.status);
            }
            assert_eq!(statuses, [200, 200, 429], "{url} {tenant}");
        }
        assert_eq!(decisions(&one, "missed").await, 0.0, "{url}");
    }
}

#[tokio::test]
async fn reload_keeps_the_connection_of_a_store_and_applies_a_changed_one() {
    let (redis, other) = (Redis::start().await, Redis::start().await);
    let store = |redis: &Redis| format!("{}, pool: {{ max_connections: 2 }}", at(&redis.url()));
    let gateway = builder(&store(&redis), "{ rate: 1/h, store: shared }").start().await;
    assert_eq!([get(&gateway).await, get(&gateway).await], [200, 429]);
    let connections = redis.connections().await;
    assert_eq!(connections.len(), 2);
    gateway.reload(&config(&store(&redis), "{ rate: 3600/h, burst: 3, store: shared }")).await;
    wait_until("the changed limit applies", async || get(&gateway).await == 200).await;
    assert_eq!(redis.connections().await, connections);
    gateway.reload(&config(&store(&other), "{ rate: 1/h, store: shared }")).await;
    assert_eq!([get(&gateway).await, get(&gateway).await], [200, 429]);
    assert_eq!(decisions(&gateway, "admitted").await, 1.0);
    wait_until("the connections are closed", async || redis.connections().await.is_empty()).await;
}

#[tokio::test]
async fn mistakes_are_refused_with_advice() {
    let gateway = start("redis://127.0.0.1:1", "{ rate: 1/h, store: shared }").await;
    for (store, limit, message, help) in [
        (
            "url: 'redis://a'",
            "{ rate: 1/h, store: share }",
            "unknown store `share`",
            "did you mean `shared`?",
        ),
        (
            "url: 'redis://a'",
            "{ rate: 1/h, on_error: open }",
            "`on_error` has no effect without `store`",
            "name the store",
        ),
        ("url: 'redis://:hunter2@a'", "{ rate: 1/h }", "the password cannot be written out", "${PASSWORD}"),
        (
            "url: 'redis://a', tls: { ca: a.pem }",
            "{ rate: 1/h }",
            "`ca` has no effect without a `rediss` URL",
            "take it out",
        ),
        ("url: 'rediss://a', tls: { ca: none.pem }", "{ rate: 1/h }", "none.pem", ""),
        ("url: 'redis://a', timeout: 2m", "{ rate: 1/h }", "`timeout` must be at most 1m", "a request waits"),
        (
            "url: 'http://a'",
            "{ rate: 1/h }",
            "the URL of the store has an unknown scheme",
            "write `redis://HOST:PORT`",
        ),
    ] {
        gateway.rewrite_config(&config(store, limit));
        let errors = check_errors(&gateway).await;
        assert!(errors.contains(message) && errors.contains(help), "{errors}");
        assert!(!errors.contains("hunter2"), "{errors}");
    }
}
