//! Requests whose endpoint cannot be connected to: they go to each other endpoint, and attempts buy further tries.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use support::serde_json::{Value, from_str};
use support::{
    Certificates, Client, Connection, Gate, Gateway, Origin, SilentListener, unused_address, wait_until,
    with_longer_and_longer,
};
use tokio::task::JoinSet;

use crate::pooled::{self, OK, number, refusal};

/// So many different addresses that refuse connections.
fn closed_ports(count: usize) -> Vec<SocketAddr> {
    let mut ports = BTreeSet::new();
    while ports.len() < count {
        ports.insert(unused_address());
    }
    ports.into_iter().collect()
}

/// The YAML of an upstream with these endpoints.
fn upstream(urls: impl IntoIterator<Item = String>) -> String {
    let urls: Vec<String> = urls.into_iter().map(|url| format!("'{url}'")).collect();
    format!("{{ endpoints: [{}], balance: round_robin, health: {{ passive: off }} }}", urls.join(", "))
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// A number of each pool, in the order of the endpoints.
async fn numbers(gateway: &Gateway, key: &str) -> Vec<u64> {
    gateway.pools().await.iter().map(|pool| number(pool, key)).collect()
}

#[tokio::test]
async fn each_endpoint_is_asked_once_where_all_refuse_and_again_for_each_attempt() {
    for (attempts, asked) in [(0, [1, 1, 1]), (1, [2, 1, 1]), (3, [2, 2, 2]), (5, [3, 3, 2])] {
        let all_closed = upstream(closed_ports(3).into_iter().map(url));
        let keys = format!("retry: {{ attempts: {attempts}, backoff: 1ms }}");
        let gateway = pooled::builder(1, &all_closed, &keys).start().await;
        let mut client = gateway.client("web").await;
        let response = client.request("POST", "/", &[], b"body").await;
        assert_eq!(refusal(&response), (503, "upstream.connect"), "{attempts}");
        assert_eq!(numbers(&gateway, "connect_failed").await, asked, "{attempts}");
        // The last failure is followed by no other try.
        assert_eq!(numbers(&gateway, "retried").await.iter().sum::<u64>(), 2 + attempts, "{attempts}");
        // Each endpoint is named once: further warnings within ten seconds are held back.
        let warnings = || gateway.logs().iter().filter(|line| line.contains("upstream failed")).count();
        wait_until("a warning of each endpoint", async || warnings() >= 3).await;
        assert_eq!(warnings(), 3, "{attempts}");
    }
}

#[tokio::test]
async fn a_request_finds_the_only_endpoint_that_accepts_body_included() {
    let origin = Origin::echo();
    let mut urls: Vec<String> = closed_ports(2).into_iter().map(url).collect();
    urls.push(origin.url());
    let gateway = pooled::builder(1, &upstream(urls), "retry: { attempts: 0 }").start().await;
    let mut client = gateway.client("web").await;
    // Round robin begins each at another endpoint.
    for _ in 0..3 {
        assert_eq!(client.request("POST", "/", &[], b"body").await.body, b"body");
    }
    for _ in 0..3 {
        client
            .send_raw("PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n")
            .await;
        assert_eq!(client.read_response().await.body, b"body");
    }
    assert_eq!(origin.requests().len(), 6);
    // Of three requests one begins at the first, which fails at both, and one at the second.
    assert_eq!(numbers(&gateway, "connect_failed").await, [2, 4, 0]);
    assert_eq!(numbers(&gateway, "retried").await, [2, 4, 0]);
}

#[tokio::test]
async fn the_access_log_counts_each_endpoint_that_was_asked() {
    let origin = Origin::answer(OK);
    let mut urls: Vec<String> = closed_ports(2).into_iter().map(url).collect();
    urls.push(origin.url());
    let config = format!(
        "workers: 1\nlisteners: [{{ name: web, address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\n\
         telemetry: {{ access_log: {{ format: json }} }}\nroutes: [{{ upstream: {} }}]",
        upstream(urls)
    );
    let gateway = crate::gateway(config).start().await;
    assert_eq!(gateway.client("web").await.get("/asked").await.status, 200);
    let line: Value = from_str(&gateway.wait_for_stdout("/asked").await).unwrap();
    assert_eq!((&line["attempts"], &line["endpoint"]), (&3.into(), &origin.url().into()), "{line}");
}

#[tokio::test]
async fn an_endpoint_whose_tls_handshake_fails_is_passed_over() {
    let (certificates, others) = (Certificates::new(), Certificates::new());
    let [bad, good] = [&others, &certificates].map(|authority| {
        let identity = authority.server(&["localhost", "127.0.0.1"]);
        Origin::builder().tls(authority.server_config(&identity)).echo()
    });
    let tls = format!(", tls: {{ ca: {} }} }}", certificates.ca().display());
    // By address: a name that is not looked up yet has no endpoint.
    let upstream = upstream([&bad, &good].map(|origin| format!("https://{}", origin.addr())));
    let upstream = upstream.strip_suffix(" }").unwrap().to_owned() + &tls;
    let gateway = pooled::builder(1, &upstream, "retry: { attempts: 0 }").start().await;
    let mut client = gateway.client("web").await;
    for _ in 0..4 {
        assert_eq!(client.request("POST", "/", &[], b"body").await.body, b"body");
    }
    assert_eq!((bad.requests().len(), good.requests().len()), (0, 4));
    assert_eq!(numbers(&gateway, "connect_failed").await, [2, 0]);
}

#[tokio::test]
async fn a_kept_connection_that_is_dead_leads_to_the_next_endpoint_where_its_own_is_closed() {
    let gate = Gate::new();
    let script = gate.clone();
    let dying = Origin::script(move |mut connection: Connection| {
        let gate = script.clone();
        async move {
            connection.read_request().await;
            connection.write(OK).await;
            // The second request ends it, once nothing listens any more.
            connection.read_request().await;
            gate.pass().await;
        }
    });
    let alive = Origin::answer(OK);
    let gateway = pooled::builder(1, &upstream([dying.url(), alive.url()]), "").start().await;
    let mut client = gateway.client("web").await;
    for _ in 0..2 {
        assert_eq!(client.get("/").await.status, 200);
    }
    client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    gate.arrivals(1).await;
    dying.stop().await;
    assert_eq!(refusal(&client.read_response().await), (200, "-"));
    assert_eq!((dying.requests().len(), alive.requests().len()), (2, 2));
    assert_eq!(numbers(&gateway, "connect_failed").await, [1, 0]);
    assert_eq!(numbers(&gateway, "retried").await, [2, 0], "the dead connection, and the closed port");
}

#[tokio::test]
async fn a_connect_failure_is_final_where_retries_leave_it_out() {
    for on in ["[]", "[stale]"] {
        let origin = Origin::answer(OK);
        let upstream = upstream([url(unused_address()), origin.url()]);
        let keys = format!("retry: {{ attempts: 5, on: {on} }}");
        let gateway = pooled::builder(1, &upstream, &keys).start().await;
        let mut client = gateway.client("web").await;
        assert_eq!(refusal(&client.get("/").await), (503, "upstream.connect"), "{on}");
        assert_eq!(refusal(&client.get("/").await), (200, "-"), "{on}");
    }
}

#[tokio::test]
async fn a_pool_at_its_limit_is_no_connect_failure() {
    for (limits, expected) in [
        ("pool: { max_connections: 1, max_pending: 0 }", (503, "pool.max_pending")),
        ("pool: { max_connections: 1, acquire_timeout: 100ms }", (503, "pool.acquire_timeout")),
        (
            // It holds for the other endpoint, too, and for the response whose body has yet to come.
            "pool: { max_connections: 1, acquire_timeout: 1m }\ntimeouts: { per_try: 3s }",
            (504, "timeouts.per_try"),
        ),
    ] {
        let gate = Gate::new();
        let script = gate.clone();
        let busy = Origin::script(move |mut connection: Connection| {
            let gate = script.clone();
            async move {
                connection.read_request().await;
                connection.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n").await;
                gate.pass().await;
                connection.write("ok").await;
            }
        });
        let free = Origin::answer(OK);
        let gateway = pooled::builder(1, &upstream([busy.url(), free.url()]), limits).start().await;
        // The first request holds the only connection of its endpoint.
        let mut first = gateway.client("web").await;
        first.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        gate.arrivals(1).await;
        let mut client = gateway.client("web").await;
        assert_eq!(client.get("/").await.status, 200, "{limits}");
        assert_eq!(refusal(&client.get("/").await), expected, "{limits}");
        assert_eq!(free.requests().len(), 1, "{limits}");
        gate.release_all();
        assert_eq!(first.read_response().await.status, 200, "{limits}");
    }
}

/// The first request keeps dialling the silent endpoint, and the third, whose turn it is there too, would wait for that dial.
#[tokio::test]
async fn a_request_does_not_wait_for_an_endpoint_to_which_no_connection_is_open() {
    // `per_try` also holds for the response of the other endpoint.
    with_longer_and_longer(does_not_wait_for_a_dial).await;
}

async fn does_not_wait_for_a_dial(limit: Duration) {
    let per_try = format!("connect: 10m, per_try: {}ms", limit.as_millis());
    let silent = SilentListener::start().await;
    for (limits, timeouts) in [
        ("max_connecting: 1, acquire_timeout: 200ms", "connect: 1m"),
        ("max_connections: 1, max_idle: 1, acquire_timeout: 200ms", "connect: 1m"),
        ("max_connecting: 1, acquire_timeout: 10m", "connect: 100ms"),
        ("max_connecting: 1, acquire_timeout: off", "connect: 100ms"),
        ("max_connecting: 1, acquire_timeout: 10m", &*per_try),
        ("max_connecting: 1, max_pending: 0", "connect: 1m"),
    ] {
        let origin = Origin::answer(OK);
        let gateway = pooled::gateway(&format!(
            "workers: 1\nupstreams: {{ app: {{ endpoints: ['http://{}', '{}'], balance: round_robin, pool: {{ {limits} }} }} }}\nroutes:\n\
             - {{ name: dials, match: {{ prefix: /dials }}, upstream: app, timeouts: {{ connect: 10m }} }}\n\
             - {{ name: waits, match: {{ prefix: / }}, upstream: app, retry: {{ attempts: 0 }}, timeouts: {{ {timeouts} }} }}",
            silent.addr(),
            origin.url()
        ))
        .start()
        .await;
        let mut first = gateway.client("web").await;
        first.send_raw("GET /dials HTTP/1.1\r\nhost: a\r\n\r\n").await;
        wait_until("the first request to dial", async || numbers(&gateway, "connecting").await == [1, 0])
            .await;
        let mut client = gateway.client("web").await;
        for request in 2..=5 {
            let response = client.request("POST", "/", &[], b"body").await;
            assert_eq!(refusal(&response), (200, "-"), "{limits}, {timeouts}: {request}");
        }
        assert_eq!(origin.requests().len(), 4, "{limits}, {timeouts}");
        assert_eq!(numbers(&gateway, "connecting").await, [1, 0], "{limits}, {timeouts}");
        assert_eq!(numbers(&gateway, "retried").await, [2, 0], "{limits}, {timeouts}");
    }
}

#[tokio::test]
async fn attempts_with_backoff_outlast_a_restart_of_all_endpoints() {
    let addresses = closed_ports(2);
    let keys = "retry: { attempts: 99, backoff: 20ms }";
    let gateway = pooled::builder(1, &upstream(addresses.iter().copied().map(url)), keys).start().await;
    let mut client = gateway.client("web").await;
    client.send_raw("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody").await;
    wait_until("a second round", async || numbers(&gateway, "connect_failed").await.iter().sum::<u64>() > 2)
        .await;
    let origin = Origin::builder().address(addresses[1]).echo();
    assert_eq!(client.read_response().await.body, b"body");
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn timeouts_end_the_search_for_an_endpoint() {
    let silent =
        [SilentListener::start().await, SilentListener::start().await, SilentListener::start().await];
    let urls = silent.each_ref().map(|listener| url(listener.addr()));
    for (keys, expected, failed) in [
        ("timeouts: { connect: 1m, request: 300ms }", (504, "timeouts.request"), 0),
        ("timeouts: { connect: 200ms, request: 500ms }", (504, "timeouts.request"), 2),
        ("timeouts: { connect: 100ms, request: 1m }\nretry: { attempts: 5 }", (503, "timeouts.connect"), 7),
        // Two of them take all the time of the round. A third costs an attempt.
        ("timeouts: { connect: 100ms }\nretry: { attempts: 0 }", (503, "timeouts.connect"), 2),
        ("timeouts: { connect: 100ms }\nretry: { attempts: 1 }", (503, "timeouts.connect"), 3),
    ] {
        let gateway = pooled::builder(1, &upstream(urls.clone()), keys).start().await;
        let response = gateway.client("web").await.request("POST", "/", &[], b"body").await;
        assert_eq!(refusal(&response), expected, "{keys}");
        let connect_failed = numbers(&gateway, "connect_failed").await.iter().sum::<u64>();
        // On a machine that stands still for a moment, two limits are over at once.
        assert!(connect_failed <= failed, "{keys}: {connect_failed}");
    }
}

#[tokio::test]
async fn requests_at_once_all_pass_a_dead_endpoint() {
    let origins = [Origin::answer(OK), Origin::answer(OK)];
    let urls = [url(unused_address()), origins[0].url(), origins[1].url()];
    let gateway = pooled::builder(2, &upstream(urls), "retry: { attempts: 0 }").start().await;
    let address = gateway.addr("web");
    let mut requests = JoinSet::new();
    for _ in 0..100 {
        requests
            .spawn(async move { Client::connect(address).await.request("POST", "/", &[], b"body").await });
    }
    while let Some(response) = requests.join_next().await {
        assert_eq!(refusal(&response.unwrap()), (200, "-"));
    }
    let asked: usize = origins.iter().map(|origin| origin.requests().len()).sum();
    assert_eq!(asked, 100);
    // A dead endpoint is asked by the requests whose turn it is, and by no other.
    let failed = numbers(&gateway, "connect_failed").await;
    assert!(matches!(failed[..], [33 | 34, 0, 0]), "{failed:?}");
}
