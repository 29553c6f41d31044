//! The choice of an endpoint: each balancer's distribution, its reaction to load, and the keys of hashing.

use std::collections::BTreeMap;

use support::{Gate, Gateway, Origin};

use crate::pooled::{self, OK, ROUTE, number};

/// The YAML of an upstream with these endpoints and weights, and further keys.
fn upstream(endpoints: &[(&Origin, u32)], keys: &str) -> String {
    let endpoints: Vec<String> = endpoints
        .iter()
        .map(|(origin, weight)| format!("{{ url: '{}', weight: {weight} }}", origin.url()))
        .collect();
    format!("{{ endpoints: [{}], {keys} }}", endpoints.join(", "))
}

async fn start(endpoints: &[(&Origin, u32)], keys: &str) -> Gateway {
    pooled::builder(1, &upstream(endpoints, keys), "").start().await
}

/// Returns the number of the origin that has got the request with this path.
fn reached(origins: &[Origin], path: &str) -> usize {
    let has = |origin: &Origin| origin.requests().iter().any(|request| request.target == path);
    origins.iter().position(has).unwrap()
}

#[tokio::test]
async fn idle_endpoints_get_requests_by_weight() {
    // The other one weighs response times, too, which chance has its part in.
    for balance in ["round_robin", "least_request", "random"] {
        let (heavy, light) = (Origin::answer(OK), Origin::answer(OK));
        let gateway = start(&[(&heavy, 3), (&light, 1)], &format!("balance: {balance}")).await;
        let mut client = gateway.client("web").await;
        for _ in 0..400 {
            assert_eq!(client.get("/").await.status, 200);
        }
        let heavy = heavy.requests().len();
        // Seven standard deviations of 400 draws; round robin is exact.
        let allowed = if balance == "round_robin" { 300..=300 } else { 240..=360 };
        assert!(allowed.contains(&heavy), "{balance}: {heavy}");
    }
}

#[tokio::test]
async fn busy_endpoint_is_passed_over() {
    let gate = Gate::new();
    let (busy, idle) = (pooled::gated(&gate), Origin::answer(OK));
    let gateway = start(&[(&busy, 1), (&idle, 1)], "balance: least_request").await;
    let mut asked = Vec::new();
    while busy.requests().is_empty() {
        asked.push(pooled::ask(&gateway, "/").await);
        let served = async || busy.requests().len() + idle.requests().len() == asked.len();
        support::wait_until("the request at one of them", served).await;
    }
    let mut client = gateway.client("web").await;
    for _ in 0..30 {
        assert_eq!(client.get("/").await.status, 200);
    }
    assert_eq!(busy.requests().len(), 1);
    assert_eq!(number(&gateway.pool_at(ROUTE, &busy.url()).await, "requests"), 1);
    gate.release_all();
    for asked in asked {
        assert_eq!(asked.await.unwrap().status, 200);
    }
    let is_idle = async || number(&gateway.pool_at(ROUTE, &busy.url()).await, "requests") == 0;
    support::wait_until("the end of the requests", is_idle).await;
}

#[tokio::test]
async fn fast_failures_do_not_attract_requests() {
    let broken = Origin::answer("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n");
    let sound = Origin::answer(OK);
    // Passive health does not count a 500 by itself.
    let gateway = start(&[(&broken, 1), (&sound, 1)], "balance: p2c").await;
    let mut client = gateway.client("web").await;
    for _ in 0..60 {
        client.get("/").await;
    }
    let (broken, sound) = (broken.requests().len(), sound.requests().len());
    assert_eq!(broken + sound, 60);
    assert!(broken <= 2, "{broken}");
}

#[tokio::test]
async fn equal_keys_have_the_same_endpoint() {
    let cases = [
        ("header:x-user", "GET / HTTP/1.1\r\nhost: a\r\nx-user: KEY\r\n\r\n"),
        ("cookie:user", "GET / HTTP/1.1\r\nhost: a\r\ncookie: a=b; user=KEY\r\n\r\n"),
        ("query:user", "GET /?a=b&user=KEY HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("path", "GET /KEY?OTHER HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("client_ip", "GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 10.0.0.KEY\r\n\r\n"),
    ];
    for (hash_on, request) in cases {
        let origins: Vec<Origin> = (0..3).map(|number| Origin::answer(answer(number))).collect();
        let endpoints: Vec<_> = origins.iter().map(|origin| (origin, 1)).collect();
        let upstream = upstream(&endpoints, &format!("balance: hash, hash_on: '{hash_on}'"));
        let config = format!(
            "workers: 2\ntrusted_proxies: [127.0.0.1]\nroutes: [{{ name: {ROUTE}, match: {{ prefix: / }}, upstream: {upstream} }}]"
        );
        let gateway = pooled::gateway(&config).start().await;
        let mut chosen = BTreeMap::new();
        for round in 0..3 {
            let mut client = gateway.client("web").await;
            for key in 0..20 {
                let request = request.replace("KEY", &key.to_string()).replace("OTHER", &round.to_string());
                client.send_raw(request).await;
                let origin = client.read_response().await.text();
                assert_eq!(*chosen.entry(key).or_insert_with(|| origin.clone()), origin, "{hash_on} {key}");
            }
        }
        let used: std::collections::BTreeSet<&String> = chosen.values().collect();
        assert_eq!(used.len(), 3, "{hash_on}: {chosen:?}");
    }
}

fn answer(number: usize) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{number}")
}

#[tokio::test]
async fn only_the_keys_of_an_endpoint_that_leaves_move() {
    const KEYS: usize = 200;
    let origins: Vec<Origin> = (0..4).map(|number| Origin::answer(answer(number))).collect();
    let config = |count: usize| {
        // In another order, as a list may come from elsewhere.
        let endpoints: Vec<_> = origins[..count].iter().rev().map(|origin| (origin, 1)).collect();
        let upstream = upstream(&endpoints, "balance: hash, hash_on: path");
        pooled::whole(&pooled::to_upstream(1, &upstream, ""))
    };
    let gateway = crate::gateway(config(4)).start().await;
    let mut client = gateway.client("web").await;
    let mut before = Vec::new();
    for key in 0..KEYS {
        before.push(client.get(&format!("/{key}")).await.text());
    }
    gateway.reload(&config(3)).await;
    let mut moved = 0;
    for (key, before) in before.iter().enumerate() {
        let now = client.get(&format!("/{key}")).await.text();
        assert!(*before == now || before == "3", "{key} moved from {before} to {now}");
        moved += usize::from(*before != now);
    }
    assert!((KEYS / 8..KEYS / 2).contains(&moved), "{moved} of {KEYS}");
}

#[tokio::test]
async fn keys_follow_the_weights_and_requests_without_one_go_anywhere() {
    let origins = [Origin::answer(OK), Origin::answer(OK)];
    let keys = "balance: hash, hash_on: 'header:x-user'";
    let gateway = start(&[(&origins[0], 4), (&origins[1], 1)], keys).await;
    let mut client = gateway.client("web").await;
    for key in 0..300 {
        client.request("GET", "/keyed", &[("x-user", &key.to_string())], b"").await;
    }
    let heavy = origins[0].requests().len();
    assert!((200..280).contains(&heavy), "{heavy}");
    for number in 0..60 {
        client.get(&format!("/{number}")).await;
    }
    let unkeyed: Vec<usize> = (0..60).map(|number| reached(&origins, &format!("/{number}"))).collect();
    assert!(unkeyed.contains(&0) && unkeyed.contains(&1));
}

#[tokio::test]
async fn balance_by_hash_and_its_key_belong_together() {
    for (keys, said) in [
        ("balance: hash", "`balance: hash` has no effect without `hash_on`"),
        ("hash_on: path", "`hash_on` has no effect without `balance: hash`"),
        ("balance: hash, hash_on: ip", "`ip` is no part of a request"),
    ] {
        let upstream = format!("{{ url: 'http://127.0.0.1:1', {keys} }}");
        let output = pooled::builder(1, &upstream, "").run_to_exit().await;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains(said), "{error}");
    }
}
