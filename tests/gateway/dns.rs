//! Names of upstreams: lookups follow the records' lifetime, failures keep addresses, and SRV records state endpoints.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use support::{DnsFailure, DnsServer, Gateway, Origin, PATIENCE, Service, unused_port, wait_until};

use crate::pooled::{self, OK};

/// Starts a gateway whose one route goes to `upstream`, and that asks `dns`.
async fn start(dns: &DnsServer, upstream: &str, keys: &str) -> Gateway {
    let address = dns.addr();
    pooled::gateway(&format!(
        "workers: 1\ndns: {{ servers: ['{address}'], search: []{keys} }}\n\
         routes: [{{ name: pooled, match: {{ prefix: / }}, upstream: {upstream} }}]"
    ))
    .start()
    .await
}

/// Returns an origin at this address that responds with its own address.
fn origin(address: &str) -> Origin {
    let origin = Origin::builder().address(address.parse().unwrap());
    origin.respond({
        let address = address.to_owned();
        move |_| {
            let ip = address.rsplit_once(':').unwrap().0;
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{ip}", ip.len()).into()
        }
    })
}

/// Returns the addresses of the endpoints that get requests, sorted.
async fn addresses(gateway: &Gateway) -> Vec<String> {
    let pools = gateway.pools().await;
    let pools = pools.iter().filter(|pool| pool["draining"] != true);
    let addresses: BTreeSet<String> =
        pools.map(|pool| pool["address"].as_str().unwrap().to_owned()).collect();
    addresses.into_iter().collect()
}

async fn wait_for(gateway: &Gateway, expected: &[&str]) {
    wait_until("addresses", async || addresses(gateway).await == expected).await;
}

#[tokio::test]
async fn name_is_asked_for_again_when_its_records_expire_and_gone_addresses_drain() {
    let dns = DnsServer::start().await;
    dns.addresses("api.internal", 1, &["127.0.0.1", "127.0.0.2"]);
    let port = unused_port();
    let first = origin(&format!("127.0.0.1:{port}"));
    let _second = origin(&format!("127.0.0.2:{port}"));
    let gateway =
        start(&dns, &format!("{{ url: 'http://api.internal:{port}', balance: round_robin }}"), "").await;
    let mut client = gateway.client("web").await;
    let bodies = [client.get("/").await.body, client.get("/").await.body];
    assert_ne!(bodies[0], bodies[1]);
    dns.addresses("api.internal", 3600, &["127.0.0.2"]);
    wait_for(&gateway, &[&format!("127.0.0.2:{port}")]).await;
    for _ in 0..3 {
        assert_eq!(client.get("/").await.body, b"127.0.0.2");
    }
    first.wait_for_open(0).await;
    // The new records live for an hour.
    let asked = dns.asked("api.internal", "A");
    dns.addresses("api.internal", 1, &["127.0.0.1"]);
    tokio::time::timeout(
        std::time::Duration::from_millis(1500),
        dns.wait_for_asked("api.internal", "A", asked + 1),
    )
    .await
    .unwrap_err();
}

#[tokio::test]
async fn name_that_stops_resolving_keeps_its_addresses() {
    for failure in [DnsFailure::NoSuchName, DnsFailure::ServerFailure, DnsFailure::Silence] {
        let dns = DnsServer::start().await;
        dns.addresses("api.internal", 0, &["127.0.0.1"]);
        let origin = Origin::answer(OK);
        let port = origin.addr().port();
        let gateway = start(&dns, &format!("{{ url: 'http://api.internal:{port}' }}"), ", timeout: 1s").await;
        let mut client = gateway.client("web").await;
        assert_eq!(client.get("/").await.body, b"ok");
        dns.fail("api.internal", &["A", "AAAA"], failure);
        let warned =
            || gateway.logs().iter().any(|line| line.contains("its last known addresses remain in use"));
        wait_until("a warning", async || warned()).await;
        assert_eq!(client.get("/").await.body, b"ok", "{failure:?}");
        assert_eq!(addresses(&gateway).await, [origin.addr().to_string()], "{failure:?}");
        dns.addresses("api.internal", 0, &["127.0.0.3"]);
        wait_for(&gateway, &[&format!("127.0.0.3:{port}")]).await;
    }
}

#[tokio::test]
async fn both_families_are_asked_and_one_that_fails_keeps_its_addresses() {
    let dns = DnsServer::start().await;
    dns.addresses("api.internal", 0, &["127.0.0.1", "::1"]);
    let gateway = start(&dns, "{ url: 'http://api.internal' }", "").await;
    wait_for(&gateway, &["127.0.0.1:80", "[::1]:80"]).await;
    dns.addresses("api.internal", 0, &["127.0.0.2"]);
    dns.fail("api.internal", &["AAAA"], DnsFailure::ServerFailure);
    wait_for(&gateway, &["127.0.0.2:80", "[::1]:80"]).await;
    dns.addresses("api.internal", 0, &["127.0.0.2"]);
    wait_for(&gateway, &["127.0.0.2:80"]).await;
}

#[tokio::test]
async fn family_without_an_answer_does_not_keep_the_other_one_waiting() {
    let dns = DnsServer::start().await;
    dns.addresses("api.internal", 3600, &["127.0.0.1"]);
    dns.fail("api.internal", &["AAAA"], DnsFailure::Silence);
    let origin = Origin::answer(OK);
    let port = origin.addr().port();
    let gateway = start(&dns, &format!("{{ url: 'http://api.internal:{port}' }}"), ", timeout: 1h").await;
    assert_eq!(gateway.client("web").await.get("/").await.body, b"ok");
}

#[tokio::test]
async fn answer_that_does_not_fit_comes_over_tcp() {
    let dns = DnsServer::start().await;
    let many: Vec<String> = (1..=100).map(|host| format!("127.0.1.{host}")).collect();
    dns.addresses("api.internal", 3600, &many.iter().map(String::as_str).collect::<Vec<_>>());
    dns.truncate();
    let gateway = start(&dns, "{ url: 'http://api.internal' }", "").await;
    wait_until("addresses", async || addresses(&gateway).await.len() == 100).await;
    assert!(dns.questions().iter().any(|question| question.tcp && question.kind == "A"));
}

#[tokio::test]
async fn aliases_are_followed_and_their_lifetime_counts() {
    let dns = DnsServer::start().await;
    dns.alias("api.internal", 0, "node.internal");
    dns.addresses("node.internal", 3600, &["127.0.0.1"]);
    dns.addresses("other.internal", 3600, &["127.0.0.2"]);
    let gateway = start(&dns, "{ url: 'http://api.internal' }", "").await;
    wait_for(&gateway, &["127.0.0.1:80"]).await;
    dns.alias("api.internal", 0, "other.internal");
    wait_for(&gateway, &["127.0.0.2:80"]).await;
}

#[tokio::test]
async fn names_with_few_dots_are_searched_in_the_domains_in_order() {
    let dns = DnsServer::start().await;
    dns.addresses("api.b.internal", 3600, &["127.0.0.1"]);
    let keys = ", search: [a.internal, b.internal], ndots: 1".to_owned();
    let gateway = pooled::gateway(&format!(
        "workers: 1\ndns: {{ servers: ['{}']{keys} }}\n\
         routes: [{{ name: pooled, match: {{ prefix: / }}, upstream: {{ url: 'http://api' }} }}]",
        dns.addr()
    ));
    let gateway = gateway.start().await;
    wait_for(&gateway, &["127.0.0.1:80"]).await;
    let mut names: Vec<String> = dns.questions().into_iter().map(|question| question.name).collect();
    names.dedup();
    assert_eq!(names, ["api.a.internal", "api.b.internal"]);
}

/// A service at a port.
fn service(priority: u16, weight: u16, port: u16, target: &'static str) -> Service {
    Service { priority, weight, port, target }
}

#[tokio::test]
async fn srv_records_state_ports_and_weights_and_change_without_a_reload() {
    let [heavy, light] = ["127.0.0.1", "127.0.0.2"].map(|ip| origin(&format!("{ip}:{}", unused_port())));
    let dns = DnsServer::start().await;
    let ports = [&heavy, &light].map(|origin| origin.addr().port());
    dns.addresses("a.internal", 3600, &["127.0.0.1"]);
    dns.addresses("b.internal", 3600, &["127.0.0.2"]);
    let services = [service(10, 3, ports[0], "a.internal"), service(10, 1, ports[1], "b.internal")];
    dns.services("_http._tcp.api.internal", 1, &services);
    let gateway = start(&dns, "{ srv: _http._tcp.api.internal, balance: round_robin }", "").await;
    wait_until("endpoints", async || addresses(&gateway).await.len() == 2).await;
    let mut client = gateway.client("web").await;
    for _ in 0..8 {
        assert_eq!(client.get("/").await.status, 200);
    }
    assert_eq!([&heavy, &light].map(|origin| origin.requests().len()), [6, 2]);
    assert_eq!(heavy.requests()[0].headers.get("host"), Some("api.internal"));
    // The heavy one keeps its pool, and with it its connection.
    dns.services("_http._tcp.api.internal", 3600, &services[..1]);
    wait_for(&gateway, &[&heavy.addr().to_string()]).await;
    assert_eq!(client.get("/").await.body, b"127.0.0.1");
    assert_eq!(heavy.accepted(), 1);
    light.wait_for_open(0).await;
}

#[tokio::test]
async fn srv_target_that_fails_to_resolve_keeps_its_addresses_and_one_that_is_gone_does_not() {
    let dns = DnsServer::start().await;
    dns.addresses("a.internal", 0, &["127.0.0.1"]);
    dns.addresses("b.internal", 0, &["127.0.0.2"]);
    let services = [service(0, 0, 8001, "a.internal"), service(0, 0, 8002, "b.internal")];
    dns.services("api.service.consul", 0, &services);
    let gateway = start(&dns, "{ srv: api.service.consul }", "").await;
    let both = ["127.0.0.1:8001", "127.0.0.2:8002"];
    wait_for(&gateway, &both).await;
    dns.fail("b.internal", &["A", "AAAA"], DnsFailure::ServerFailure);
    let asked = dns.asked("b.internal", "A");
    dns.wait_for_asked("b.internal", "A", asked + 3).await;
    assert_eq!(addresses(&gateway).await, both);
    dns.fail("b.internal", &["A", "AAAA"], DnsFailure::NoSuchName);
    wait_for(&gateway, &both[..1]).await;
}

#[tokio::test]
async fn srv_targets_of_a_higher_priority_get_requests_only_while_none_of_a_lower_one_can() {
    let ports = [unused_port(), unused_port()];
    let [main, standby] = [0, 1].map(|at| format!("127.0.0.{}:{}", at + 1, ports[at]));
    let dns = DnsServer::start().await;
    dns.addresses("a.internal", 3600, &["127.0.0.1"]);
    dns.addresses("b.internal", 3600, &["127.0.0.2"]);
    let services = [service(20, 9, ports[1], "b.internal"), service(10, 1, ports[0], "a.internal")];
    dns.services("_http._tcp.api.internal", 3600, &services);
    let first = origin(&main);
    let second = origin(&standby);
    let passive = "{ passive: { failures: 1, on: [connect], eject_for: 1s }, slow_start: off }";
    let gateway = start(&dns, &format!("{{ srv: _http._tcp.api.internal, health: {passive} }}"), "").await;
    wait_until("endpoints", async || addresses(&gateway).await.len() == 2).await;
    let mut client = gateway.client("web").await;
    for _ in 0..5 {
        assert_eq!(client.get("/").await.body, b"127.0.0.1");
    }
    first.stop().await;
    for _ in 0..5 {
        assert_eq!(client.get("/").await.body, b"127.0.0.2");
    }
    assert_eq!(gateway.pool_at("pooled", &main).await["ejections"], 1);
    // It is back, and the ejection ends.
    let _again = origin(&main);
    let back = async { while client.get("/").await.body != b"127.0.0.1" {} };
    tokio::time::timeout(PATIENCE, back).await.unwrap();
    let served = second.requests().len();
    for _ in 0..5 {
        assert_eq!(client.get("/").await.body, b"127.0.0.1");
    }
    assert_eq!(second.requests().len(), served);
}

#[tokio::test]
async fn change_of_the_servers_holds_from_the_next_lookup_of_unchanged_upstreams() {
    let (before, after) = (DnsServer::start().await, DnsServer::start().await);
    before.addresses("api.internal", 0, &["127.0.0.1"]);
    after.addresses("api.internal", 0, &["127.0.0.2"]);
    let config = |dns: SocketAddr| {
        format!(
            "listeners: [{{ name: web, address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\n\
             dns: {{ servers: ['{dns}'] }}\n\
             routes: [{{ match: {{ prefix: / }}, upstream: {{ url: 'http://api.internal' }} }}]"
        )
    };
    let gateway = Gateway::builder(env!("CARGO_BIN_EXE_gateway"), config(before.addr())).start().await;
    wait_for(&gateway, &["127.0.0.1:80"]).await;
    gateway.rewrite_config(&config(after.addr()));
    wait_for(&gateway, &["127.0.0.2:80"]).await;
}
