//! Metrics and `/pools` across reloads: counts go on, and each has its place once.

use std::collections::HashMap;

use support::{Certificates, Client, Gate, Gateway, Origin, wait_until};

use crate::reload_clients::{SECURE, WEB, builder, clients, config, gated, named, reload};

/// All samples of `/metrics`, each of which has to be there once.
async fn samples(gateway: &Gateway) -> HashMap<String, f64> {
    let metrics = gateway.metrics().await;
    let mut samples = HashMap::new();
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let twice = samples.insert(series.to_owned(), value.parse().unwrap());
        assert_eq!(twice, None, "{series} is there twice in\n{metrics}");
    }
    samples
}

/// A route `NAME` to the origin below `/NAME`, with these further keys.
fn route(name: &str, keys: &str) -> String {
    format!("  - {{ name: {name}, match: {{ prefix: /{name} }}, upstream: {{ url: '{{origin}}' }}{keys} }}\n")
}

fn with(routes: &[String]) -> String {
    config(&format!("telemetry: {{ access_log: off }}\nroutes:\n{}", routes.concat()))
}

async fn ask(gateway: &Gateway, path: &str) -> Client {
    let mut client = gateway.client("web").await;
    client.send_raw(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
    client
}

/// The pools at an address: whether each drains, and how many of its connections are in use.
async fn pools_at(gateway: &Gateway, origin: &Origin) -> Vec<(bool, u64)> {
    let address = origin.addr().to_string();
    let mut pools: Vec<_> = gateway
        .pools()
        .await
        .iter()
        .filter(|pool| pool["address"] == *address)
        .map(|pool| (pool["draining"].as_bool().unwrap(), pool["active"].as_u64().unwrap()))
        .collect();
    pools.sort_unstable();
    pools
}

#[tokio::test]
async fn counts_of_a_kept_route_continue_and_those_of_a_removed_one_are_gone() {
    let gate = Gate::new();
    let origin = gated(&gate, "up");
    let start = with(&[route("up", ""), route("gone", "")]);
    let certificates = Certificates::new();
    let gateway = builder(start, &certificates, &origin).start().await;
    let mut waiting = [ask(&gateway, "/up").await, ask(&gateway, "/gone").await, ask(&gateway, "/up").await];
    gate.arrivals(3).await;
    for _ in 0..3 {
        assert_eq!(gateway.client("web").await.get("/none").await.status, 404);
    }
    let unrouted = r#"gateway_requests_total{route="-",code="4xx"}"#;
    let in_flight = r#"gateway_requests_in_flight{route="up"}"#;
    wait_until("all are counted", async || samples(&gateway).await.get(unrouted) == Some(&3.0)).await;
    let before = samples(&gateway).await;
    assert_eq!(before[in_flight], 2.0);
    for (keys, others) in [
        ("", vec![]),
        (", timeouts: { idle: 1s }", vec![route("new", "")]),
        (", pool: { max_idle: 1 }", vec![]),
    ] {
        reload(&gateway, &with(&[vec![route("up", keys)], others].concat())).await;
        let now = samples(&gateway).await;
        assert_eq!(now[in_flight], 2.0, "{keys}");
        assert!(now.keys().all(|series| !series.contains(r#"route="gone""#)), "{now:#?}");
        for (series, count) in before.iter().filter(|(series, _)| !series.contains("\"gone\"")) {
            let is_counter = series.contains("_total") || series.contains("_count");
            assert!(!is_counter || now[series] >= *count, "{series} was {count} and is {}", now[series]);
        }
    }
    gate.release_all();
    for client in &mut waiting {
        assert_eq!(client.read_response().await.text(), "up");
    }
    let done = r#"gateway_requests_total{route="up",code="2xx"}"#;
    wait_until("both are counted", async || samples(&gateway).await.get(done) == Some(&2.0)).await;
    let now = samples(&gateway).await;
    assert_eq!((now[in_flight], now[unrouted]), (0.0, 3.0));
    assert_eq!(now[r#"gateway_request_duration_seconds_count{route="up"}"#], 2.0);
}

#[tokio::test]
async fn no_series_is_there_twice_while_pools_of_a_route_drain() {
    let gate = Gate::new();
    let (origin, other) = (gated(&gate, "first"), Origin::answer(named("other")));
    let start = with(&[route("up", "")]);
    let certificates = Certificates::new();
    let gateway = builder(start.clone(), &certificates, &origin).start().await;
    let to_other = start.replace("{origin}", &other.url());
    let mut waiting = Vec::new();
    for drains in 0..3 {
        // There and back: each time the pool is another one with the same labels, and the one before has a request.
        waiting.push(ask(&gateway, "/up").await);
        gate.arrivals(drains + 1).await;
        reload(&gateway, &to_other).await;
        samples(&gateway).await;
        assert_eq!(gateway.client("web").await.get("/up").await.text(), "other");
        reload(&gateway, &start).await;
        samples(&gateway).await;
        let expected = [vec![(false, 0)], vec![(true, 1); drains + 1]].concat();
        assert_eq!(pools_at(&gateway, &origin).await, expected);
    }
    gate.release_all();
    for client in &mut waiting {
        assert_eq!(client.read_response().await.text(), "first");
    }
    wait_until("only the new pool is left", async || pools_at(&gateway, &origin).await.len() == 1).await;
    // Idle connections of a pool that is over are closed.
    origin.wait_for_open(0).await;
    wait_until("none drains", async || gateway.pools().await.iter().all(|pool| pool["draining"] == false))
        .await;
}

#[tokio::test]
async fn no_series_appears_twice_when_names_are_alike() {
    let origin = Origin::answer(named("up"));
    let routes = |more: &str| {
        config(&format!(
            "
upstreams: {{ same: {{ endpoints: ['{{origin}}', '{{origin}}'], balance: round_robin }} }}
telemetry: {{ access_log: off }}
routes:
  - {{ name: same, match: {{ prefix: /same }}, upstream: {{ url: '{{origin}}' }} }}
  - {{ name: user, match: {{ prefix: /user }}, upstream: same }}
  - {{ match: {{ prefix: /a, headers: {{ x: y }} }}, upstream: {{ url: '{{origin}}' }} }}
  - {{ match: {{ prefix: /a, headers: {{ x: z }} }}, upstream: {{ url: '{{origin}}' }} }}
  - {{ listeners: [web], match: {{ prefix: /a }}, upstream: {{ url: '{{origin}}' }} }}
  - {{ listeners: [secure], match: {{ prefix: /a }}, upstream: {{ url: '{{origin}}' }} }}
{more}"
        ))
    };
    let certificates = Certificates::new();
    let gateway = builder(routes(""), &certificates, &origin).start().await;
    let mut client = gateway.client("web").await;
    for path in ["/same", "/user", "/user", "/a"] {
        assert_eq!(client.get(path).await.text(), "up");
    }
    for value in ["y", "z"] {
        client.request("GET", "/a", &[("x", value)], b"").await;
    }
    let opened = |samples: &HashMap<String, f64>| -> f64 {
        let opened = samples.iter().filter(|(series, _)| series.starts_with("gateway_pool_opened_total"));
        opened.map(|(_, count)| count).sum()
    };
    assert_eq!(opened(&samples(&gateway).await), 6.0);
    // All find their pools again.
    for more in ["  - { match: { path: /more }, respond: {} }", ""] {
        reload(&gateway, &routes(more)).await;
        for (value, path) in
            [("y", "/a"), ("z", "/a"), ("-", "/a"), ("-", "/same"), ("-", "/user"), ("-", "/user")]
        {
            client.request("GET", path, &[("x", value)], b"").await;
        }
        let now = samples(&gateway).await;
        assert_eq!(opened(&now), 6.0, "{now:#?}");
        for route in ["same", "user", "/a/* on web", "/a/* on secure", "/a/* x:", "/a/* x: (2)"] {
            assert!(now.contains_key(&format!("gateway_requests_in_flight{{route=\"{route}\"}}")), "{route}");
        }
    }
    assert_eq!(origin.accepted(), 6);
}

#[tokio::test]
async fn a_listener_that_is_renamed_or_reconfigured_keeps_counting() {
    let certificates = Certificates::new();
    let gateway =
        builder(with(&[route("up", "")]), &certificates, &Origin::answer(named("up"))).start().await;
    let mut kept = gateway.client("web").await;
    assert_eq!(kept.get("/").await.status, 404);
    let series = |name: &str| {
        let of = |what: &str| format!("gateway_listener_{what}{{listener=\"{name}\"}}");
        (of("accepted_total"), of("connections"))
    };
    let next = with(&[route("up", "")]);
    for name in ["web", "renamed", "web"] {
        let keys = format!("name: {name}, limits: {{ headers: 50 }}");
        reload(&gateway, &next.replace(WEB, &WEB.replace("name: web", &keys))).await;
        let now = samples(&gateway).await;
        let (accepted, open) = series(name);
        assert_eq!((now[&accepted], now[&open]), (1.0, 1.0), "{name}");
    }
    // Two without a name, each on a port of its own.
    let unnamed = "  - { address: '127.0.0.1:0' }\n  - { address: '127.0.0.1:0' }\n";
    reload(&gateway, &next.replace(&format!("  - {SECURE}\n"), unnamed)).await;
    let now = samples(&gateway).await;
    for name in ["127.0.0.1:0", "127.0.0.1:0 (2)"] {
        assert_eq!(now[&series(name).0], 0.0);
    }
}

#[tokio::test]
async fn the_older_configuration_is_freed_although_connections_are_idle() {
    let certificates = Certificates::new();
    let origin = Origin::answer(named("up"));
    let gateway = builder(with(&[route("up", "")]), &certificates, &origin).start().await;
    let mut idle = clients(&gateway, &certificates).await;
    for client in &mut idle {
        assert_eq!(client.get("/up").await.0, 200, "{}", client.kind);
    }
    reload(&gateway, &with(&[route("down", "")])).await;
    let is_freed = async || gateway.metric("gateway_config_older_kept").await == Some(0.0);
    wait_until("the older configuration is freed", is_freed).await;
    for client in &mut idle {
        assert_eq!(client.get("/up").await.0, 404, "{}", client.kind);
    }
}
