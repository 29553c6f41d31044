//! Several addresses of one name: one that refuses or is silent costs a moment, once, and neither an attempt nor the budget.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use support::serde_json::Value;
use support::{DnsServer, Gate, Gateway, Origin, PATIENCE, SilentListener, unused_port, wait_until};

use crate::pooled::{self, OK, number, refusal};

/// A name with the addresses 127.0.0.1 and 127.0.0.2, and a gateway whose route does not retry.
struct Name {
    gateway: Gateway,
    port: u16,
    _dns: DnsServer,
}

impl Name {
    async fn start(port: u16, keys: &str) -> Self {
        Self::with(port, keys, "").await
    }

    /// With these further keys of the file.
    async fn with(port: u16, keys: &str, others: &str) -> Self {
        let dns = DnsServer::start().await;
        dns.addresses("api.internal", 3600, &["127.0.0.1", "127.0.0.2"]);
        let config = format!(
            "workers: 1\ndns: {{ servers: ['{}'] }}\nroutes:\n  - name: pooled\n    match: {{ prefix: / }}\n    \
             upstream: {{ url: 'http://api.internal:{port}', {keys} }}\n    retry: {{ attempts: 0, on: [] }}\n{others}",
            dns.addr()
        );
        let gateway = pooled::gateway(&config).start().await;
        wait_until("both addresses", async || gateway.pools().await.len() == 2).await;
        Self { gateway, port, _dns: dns }
    }

    fn address(&self, ip: &str) -> SocketAddr {
        address(ip, self.port)
    }

    async fn pool(&self, ip: &str) -> Value {
        self.gateway.pool_at("pooled", &self.address(ip).to_string()).await
    }
}

fn address(ip: &str, port: u16) -> SocketAddr {
    format!("{ip}:{port}").parse().unwrap()
}

fn origin(at: SocketAddr) -> Origin {
    Origin::builder().address(at).answer(OK)
}

/// Each request goes to one address in turn. Without passive health, nothing but the dials keeps requests from one that is down.
const IN_TURN: &str = "balance: round_robin, health: { passive: off }";

#[tokio::test]
async fn address_that_refuses_is_replaced_by_another_one_without_an_attempt() {
    let port = unused_port();
    let there = origin(address("127.0.0.2", port));
    let name = Name::start(port, IN_TURN).await;
    let mut client = name.gateway.client("web").await;
    for _ in 0..6 {
        assert_eq!(client.get("/").await.body, b"ok");
    }
    assert_eq!(there.requests().len(), 6);
    let (refusing, serving) = (name.pool("127.0.0.1").await, name.pool("127.0.0.2").await);
    assert_eq!((number(&refusing, "retried"), number(&serving, "retried")), (0, 0));
    assert_eq!((number(&serving, "opened"), number(&serving, "connect_failed")), (1, 0));
    // The first dial, and one that finds out if it is back.
    assert!((1..=2).contains(&number(&refusing, "connect_failed")), "{refusing}");
    let attempts = async |name_of: &str, ip: &str| {
        let labels = format!("endpoint=\"http://api.internal:{port}\",address=\"{ip}:{port}\"");
        let series = format!("gateway_endpoint_{name_of}_total{{pool=\"pooled\",{labels}");
        name.gateway.metric(&series).await
    };
    assert_eq!(attempts("responses", "127.0.0.2").await, Some(6.0));
    assert_eq!(attempts("responses", "127.0.0.1").await, None, "it took no request");
    assert_eq!(attempts("failures", "127.0.0.1").await, Some(1.0));
    assert_eq!(attempts("failures", "127.0.0.2").await, None);
}

#[tokio::test]
async fn silent_address_costs_a_quarter_of_a_second_once() {
    let silent = SilentListener::start().await;
    let port = silent.addr().port();
    let there = origin(address("127.0.0.2", port));
    let name = Name::start(port, IN_TURN).await;
    let mut client = name.gateway.client("web").await;
    let began = Instant::now();
    for _ in 0..10 {
        assert_eq!(client.get("/").await.body, b"ok");
    }
    let took = began.elapsed();
    // One such wait, and not one for every other request.
    assert!(took >= Duration::from_millis(200) && took < Duration::from_millis(900), "{took:?}");
    assert_eq!(there.requests().len(), 10);
    let (dead, serving) = (name.pool("127.0.0.1").await, name.pool("127.0.0.2").await);
    assert_eq!((number(&dead, "opened"), number(&dead, "retried")), (0, 0));
    assert_eq!((number(&serving, "opened"), number(&serving, "connect_failed")), (1, 0));
    name.gateway.wait_for_log("no connection within 250 ms").await;
}

#[tokio::test]
async fn address_that_is_back_gets_requests_again() {
    let port = unused_port();
    let _there = origin(address("127.0.0.2", port));
    let name = Name::start(port, IN_TURN).await;
    let mut client = name.gateway.client("web").await;
    for _ in 0..4 {
        assert_eq!(client.get("/").await.body, b"ok");
    }
    let back = origin(address("127.0.0.1", port));
    let requests = async {
        while back.requests().len() < 2 {
            assert_eq!(client.get("/").await.body, b"ok");
        }
    };
    tokio::time::timeout(PATIENCE, requests).await.unwrap();
}

#[tokio::test]
async fn request_fails_once_all_addresses_have_refused() {
    let name = Name::start(unused_port(), IN_TURN).await;
    let mut client = name.gateway.client("web").await;
    let began = Instant::now();
    assert_eq!(refusal(&client.get("/").await), (503, "upstream.connect"));
    assert!(began.elapsed() < Duration::from_secs(2));
    for ip in ["127.0.0.1", "127.0.0.2"] {
        let pool = name.pool(ip).await;
        assert_eq!((number(&pool, "connect_failed"), number(&pool, "retried")), (1, 0), "{ip}");
    }
}

#[tokio::test]
async fn endpoints_of_different_names_are_not_dialled_for_each_other() {
    let there = Origin::answer(OK);
    let refusing = support::unused_address();
    let upstream = format!("{{ endpoints: ['http://{refusing}', '{}'], {IN_TURN} }}", there.url());
    let gateway = pooled::builder(1, &upstream, "retry: { attempts: 0, on: [] }").start().await;
    let mut client = gateway.client("web").await;
    let mut statuses = [client.get("/").await.status, client.get("/").await.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503]);
}

#[tokio::test]
async fn request_that_went_to_another_address_has_no_second_attempt_there() {
    let (port, gate) = (unused_port(), Gate::new());
    let held = gate.clone();
    let slow = Origin::builder()
        .address(address("127.0.0.2", port))
        .script(move |connection| pooled::serve_gated(connection, held.clone()));
    let hedged = "defaults: { hedge: { after: 20ms }, timeouts: { request: 300ms } }";
    let name = Name::with(port, IN_TURN, hedged).await;
    let mut client = name.gateway.client("web").await;
    for requests in 1..=2 {
        assert_eq!(refusal(&client.get("/").await), (504, "timeouts.request"));
        assert_eq!(slow.requests().len(), requests);
    }
    assert_eq!(number(&name.pool("127.0.0.2").await, "hedged"), 0);
    gate.release_all();
}
