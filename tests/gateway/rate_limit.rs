//! Limits on the rate of requests, and on those in progress.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use support::bytes::Bytes;
use support::http::Request;
use support::{Client, Gate, Gateway, Http2Client, PATIENCE, Response, Signal, wait_until};

use crate::gateway;
use crate::pooled::{self, refusal};

const REFUSED: (u16, &str) = (429, "rate_limit");
const CROWDED: (u16, &str) = (429, "concurrent");

/// Returns a configuration with the route `r`, which responds by itself, and these settings of it.
fn config(top: &str, route: &str) -> String {
    format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
admin: {{ address: 127.0.0.1:0 }}
{top}
routes:
  - {{ name: r, respond: {{ body: ok }}, {route} }}"
    )
}

async fn start(top: &str, route: &str) -> Gateway {
    gateway(config(top, route)).start().await
}

/// Requests with these fields, one after the other on one connection, and returns the statuses.
async fn statuses(client: &mut Client, fields: &[(&str, &str)], count: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(client.request("GET", "/", fields, b"").await.status);
    }
    statuses
}

/// Sends requests from several clients at once, each on connections of its own, until `enough` returns true. Returns the number of
/// those that were admitted.
async fn flood(
    gateway: &Gateway,
    clients: usize,
    enough: impl Fn(u32, u32) -> bool + Copy + Send + 'static,
) -> u32 {
    let (sent, admitted) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let mut tasks = Vec::new();
    for _ in 0..clients {
        let (sent, admitted, address) = (sent.clone(), admitted.clone(), gateway.addr("web"));
        tasks.push(tokio::spawn(async move {
            let mut client = Client::connect(address).await;
            while !enough(sent.fetch_add(1, SeqCst), admitted.load(SeqCst)) {
                match client.get("/").await.status {
                    200 => admitted.fetch_add(1, SeqCst),
                    429 => 0,
                    status => panic!("{status}"),
                };
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    admitted.load(SeqCst)
}

#[tokio::test]
async fn burst_is_exact_over_all_workers() {
    let gateway = start("workers: 4", "rate_limit: { rate: 1/h, burst: 100 }").await;
    assert_eq!(flood(&gateway, 24, |sent, _| sent >= 1000).await, 100);
    assert_eq!(gateway.metric("gateway_rate_limit_keys").await, Some(1.0));
    let refused = gateway.metric("gateway_request_errors_total{route=\"r\",reason=\"rate_limit\"}").await;
    assert_eq!(refused, Some(900.0));
}

#[tokio::test]
async fn rate_is_held_under_pressure() {
    let gateway = start("workers: 4", "rate_limit: { rate: 100/s, burst: 10 }").await;
    let began = Instant::now();
    let admitted = flood(&gateway, 8, |_, admitted| admitted >= 60).await;
    // The clock's error is 10 ms.
    let permitted = 10.0 + 100.0 * (began.elapsed().as_secs_f64() + 0.01);
    assert!(f64::from(admitted) <= permitted, "{admitted} of {permitted}");
}

#[tokio::test]
async fn response_tells_the_limit_and_a_refusal_the_time_to_wait() {
    let gateway = start("", "rate_limit: { rate: 2/m }").await;
    let mut client = gateway.client("web").await;
    let response = client.get("/").await;
    assert_eq!(response.header("ratelimit-policy"), Some(r#""minute";q=2;w=60"#));
    assert_eq!(response.header("ratelimit"), Some(r#""minute";r=1;t=30"#));
    assert_eq!((response.status, response.header("retry-after")), (200, None));
    client.get("/").await;
    let response = client.get("/").await;
    assert_eq!(refusal(&response), REFUSED);
    assert!(response.header("ratelimit").unwrap().starts_with(r#""minute";r=0;t="#));
    let wait: u32 = response.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
}

#[tokio::test]
async fn refused_grpc_call_is_one_of_exhausted_resources() {
    let gateway = start("", "rate_limit: { rate: 1/h }").await;
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    client.get("http://a/").await;
    let request = Request::post("http://a/s/m").header("content-type", "application/grpc");
    let response = client.request(request.body(Bytes::new()).unwrap()).await;
    assert_eq!(
        (response.status.as_u16(), response.headers.get("grpc-status").unwrap()),
        (200, &"8".parse().unwrap())
    );
}

#[tokio::test]
async fn forwarded_address_counts_only_behind_a_trusted_proxy() {
    let limit = "rate_limit: { rate: 1/h }";
    let forged =
        [("x-forwarded-for", "192.0.2.1"), ("x-real-ip", "192.0.2.1"), ("forwarded", "for=192.0.2.1")];
    let gateway = start("", limit).await;
    let mut client = gateway.client("web").await;
    assert_eq!(statuses(&mut client, &[], 1).await, [200]);
    assert_eq!(statuses(&mut client, &forged, 1).await, [429]);

    let gateway = start("trusted_proxies: [127.0.0.1]", limit).await;
    let mut client = gateway.client("web").await;
    let mut of = async |address: &str| statuses(&mut client, &[("x-forwarded-for", address)], 1).await[0];
    assert_eq!([of("192.0.2.1").await, of("192.0.2.2").await, of("192.0.2.1").await], [200, 200, 429]);
    assert_eq!(of("203.0.113.9, 192.0.2.1").await, 429, "only the address that the proxy has seen counts");
    // A network of an IPv6 client counts as one.
    assert_eq!(
        [of("2001:db8::1").await, of("2001:db8::ffff:2").await, of("2001:db8:0:1::1").await],
        [200, 429, 200]
    );
}

#[tokio::test]
async fn addresses_count_apart() {
    let gateway = start("", "rate_limit: { rate: 2/h }").await;
    for last in [1, 2] {
        let address = IpAddr::from([127, 0, 0, last]);
        let mut client = Client::connect_from(address, gateway.addr("web")).await;
        assert_eq!(statuses(&mut client, &[], 3).await, [200, 200, 429]);
    }
}

#[tokio::test]
async fn field_is_a_key_and_a_request_without_one_counts_by_its_address() {
    let gateway = start("", "rate_limit: { rate: 1/h, by: 'header:x-tenant' }").await;
    let mut client = gateway.client("web").await;
    assert_eq!(statuses(&mut client, &[("x-tenant", "a")], 2).await, [200, 429]);
    assert_eq!(statuses(&mut client, &[("x-tenant", "b")], 2).await, [200, 429]);
    assert_eq!(statuses(&mut client, &[], 2).await, [200, 429]);
    assert_eq!(statuses(&mut client, &[("x-tenant", "")], 1).await, [429]);
    assert_eq!(statuses(&mut client, &[("x-tenant", "c"), ("x-tenant", "d")], 1).await, [429]);
}

#[tokio::test]
async fn identity_is_a_key() {
    // The digests of `k1` and `k2`.
    let keys = "
- { id: acme, key: 'sha256:6ab9f1eb8f7d3388f4f9d586f66e99fd54080df2c446f0e58668b09c08a16dd0' }
- { id: umbrella, key: 'sha256:015f7e6bc5aeaf483724089e9252cc13b50951a6b69412522765cff4d780306e' }";
    let top = "auth: { partners: { api_key: { header: x-api-key, keys: keys.yaml } } }";
    let route = "auth: [partners], rate_limit: { rate: 1/h, by: identity }";
    let gateway = gateway(config(top, route)).file("keys.yaml", keys).start().await;
    let mut client = gateway.client("web").await;
    assert_eq!(statuses(&mut client, &[("x-api-key", "k1")], 2).await, [200, 429]);
    assert_eq!(statuses(&mut client, &[("x-api-key", "k2")], 2).await, [200, 429]);
    assert_eq!(
        statuses(&mut client, &[("x-api-key", "k3")], 2).await,
        [401, 401],
        "no limit is asked before"
    );
}

#[tokio::test]
async fn request_that_one_of_several_limits_refuses_is_charged_to_none() {
    let limits = "rate_limit: [{ rate: 3/h, by: route }, { rate: 1/h, by: 'header:x-tenant' }]";
    let gateway = start("", limits).await;
    let mut client = gateway.client("web").await;
    assert_eq!(statuses(&mut client, &[("x-tenant", "a")], 6).await, [200, 429, 429, 429, 429, 429]);
    for (tenant, status) in [("b", 200), ("c", 200), ("d", 429)] {
        assert_eq!(statuses(&mut client, &[("x-tenant", tenant)], 1).await, [status], "{tenant}");
    }
}

#[tokio::test]
async fn request_beyond_the_limit_waits_for_its_turn() {
    let gateway = start("", "rate_limit: { rate: 10/s, burst: 1, queue: 30s }").await;
    let mut client = gateway.client("web").await;
    let began = Instant::now();
    assert_eq!(statuses(&mut client, &[], 4).await, [200; 4]);
    assert!(began.elapsed() >= Duration::from_millis(290), "{:?}", began.elapsed());
    // A request that comes late need not wait.
    let delayed = gateway.metric("gateway_rate_limit_delayed_total{route=\"r\"}").await.unwrap();
    assert!((1.0..=3.0).contains(&delayed), "{delayed}");
}

#[tokio::test]
async fn client_that_leaves_the_queue_gives_its_turn_back_and_shutdown_ends_the_wait() {
    let limit = "rate_limit: { rate: 1/m, burst: 1, queue: 60s }";
    let mut gateway = start("shutdown: { drain: 100ms }", limit).await;
    let delayed =
        async |gateway: &Gateway| gateway.metric("gateway_rate_limit_delayed_total{route=\"r\"}").await;
    let mut client = gateway.client("web").await;
    assert_eq!(client.get("/").await.status, 200);
    let mut leaves = gateway.client("web").await;
    leaves.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    wait_until("it waits", async || delayed(&gateway).await == Some(1.0)).await;
    assert_eq!(refusal(&client.get("/").await), REFUSED);
    drop(leaves);
    // Refused requests are not counted as delayed; the first that is not refused waits.
    let waits = tokio::spawn({
        let address = gateway.addr("web");
        async move {
            let mut client = Client::connect(address).await;
            loop {
                client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
                match client.try_read_response().await {
                    Ok(Response { status: 429, .. }) => {}
                    other => return other.map(|response| response.status),
                }
            }
        }
    });
    wait_until("another waits", async || delayed(&gateway).await == Some(2.0)).await;
    gateway.signal(Signal::TERM);
    assert!(gateway.wait_exit(PATIENCE).await.success());
    assert!(waits.await.unwrap().is_err(), "its connection was closed");
}

#[tokio::test]
async fn state_survives_a_reload_and_a_changed_rate_applies_at_once() {
    let gateway = start("", "rate_limit: { rate: 1/h }").await;
    let mut client = gateway.client("web").await;
    assert_eq!(statuses(&mut client, &[], 2).await, [200, 429]);
    gateway
        .reload(&config("", "rate_limit: { rate: 1/h }, headers: { response: { set: { x-new: '1' } } }"))
        .await;
    let mut after = gateway.client("web").await;
    assert_eq!(refusal(&after.get("/").await), REFUSED);
    gateway.reload(&config("", "rate_limit: { rate: 3600/h, burst: 1 }")).await;
    wait_until("the new rate applies", async || gateway.client("web").await.get("/").await.status == 200)
        .await;
}

#[tokio::test]
async fn default_holds_for_each_route_apart_unless_it_is_off() {
    let gateway = gateway(
        "
listeners: [{ name: web, address: 127.0.0.1:0 }]
admin: { address: 127.0.0.1:0 }
defaults: { rate_limit: { rate: 1/h }, concurrent: 5 }
routes:
  - { match: { path: /a }, respond: {} }
  - { match: { path: /b }, respond: {} }
  - { match: { path: /free }, respond: {}, rate_limit: off, concurrent: off }",
    )
    .start()
    .await;
    let mut client = gateway.client("web").await;
    for (path, statuses) in [("/a", [200, 429]), ("/b", [200, 429]), ("/free", [200, 200])] {
        for status in statuses {
            assert_eq!(client.get(path).await.status, status, "{path}");
        }
    }
}

/// A gateway whose route forwards to an origin that holds each request at the gate.
async fn gated(gate: &Gate, route: &str) -> (Gateway, support::Origin) {
    let origin = pooled::gated(gate);
    let config = format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
admin: {{ address: 127.0.0.1:0 }}
workers: 4
routes: [{{ name: r, upstream: {{ url: '{}' }}, {route} }}]",
        origin.url()
    );
    (gateway(config).start().await, origin)
}

#[tokio::test]
async fn requests_in_progress_are_limited_and_their_ends_free_places() {
    let gate = Gate::new();
    let (gateway, _origin) = gated(&gate, "concurrent: 2").await;
    let first = [pooled::ask(&gateway, "/").await, pooled::ask(&gateway, "/").await];
    gate.arrivals(2).await;
    for _ in 0..8 {
        assert_eq!(refusal(&gateway.client("web").await.get("/").await), CROWDED);
    }
    let mut other = Client::connect_from(IpAddr::from([127, 0, 0, 2]), gateway.addr("web")).await;
    other.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    gate.arrivals(3).await;
    gate.release_all();
    for asked in first {
        assert_eq!(asked.await.unwrap().status, 200);
    }
    assert_eq!(other.read_response().await.status, 200);
    wait_until("a place is free", async || gateway.client("web").await.get("/").await.status == 200).await;
}

#[tokio::test]
async fn clients_that_abort_leave_no_place_behind() {
    let gate = Gate::new();
    let (gateway, _origin) = gated(&gate, "concurrent: { limit: 3, by: route }").await;
    for round in 0..5 {
        let mut clients = Vec::new();
        for _ in 0..2 {
            let mut client = gateway.client("web").await;
            client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            clients.push(client);
        }
        let mut http2 = Http2Client::connect(gateway.addr("web")).await;
        let stream = http2.open(Request::get("http://a/").body(()).unwrap(), true).await.unwrap();
        gate.arrivals(3 * (round + 1)).await;
        assert_eq!(refusal(&gateway.client("web").await.get("/").await), CROWDED);
        for client in clients {
            client.reset();
        }
        drop((stream, http2));
        let in_flight = async || gateway.metric("gateway_requests_in_flight{route=\"r\"}").await;
        wait_until("all have ended", async || in_flight().await == Some(0.0)).await;
    }
}

#[tokio::test]
async fn requests_that_began_before_a_reload_count_after_it() {
    let gate = Gate::new();
    let (gateway, origin) = gated(&gate, "concurrent: 2").await;
    let first = pooled::ask(&gateway, "/").await;
    gate.arrivals(1).await;
    let config = format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
admin: {{ address: 127.0.0.1:0 }}
workers: 4
routes: [{{ name: r, upstream: {{ url: '{}' }}, concurrent: 1 }}]",
        origin.url()
    );
    gateway.reload(&config).await;
    assert_eq!(refusal(&gateway.client("web").await.get("/").await), CROWDED);
    gate.release_all();
    assert_eq!(first.await.unwrap().status, 200);
}
