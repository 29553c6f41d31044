//! The waits of a pool's requests, and the last minutes of pools and routes.

use support::serde_json::{Value, from_slice, json};
use support::{Certificates, Gate, Gateway, Origin, wait_until};

use crate::pooled::{self, OK, ROUTE, number, settled};

/// Returns the sum of a list of counts.
fn sum(counts: &Value) -> u64 {
    counts.as_array().unwrap().iter().map(|count| count.as_u64().unwrap()).sum()
}

fn seconds(pool: &Value, key: &str) -> f64 {
    pool[key].as_f64().unwrap_or_else(|| panic!("no number `{key}` in {pool:#}"))
}

async fn json(gateway: &Gateway, path: &str) -> Value {
    let response = gateway.admin(path).await;
    assert_eq!(response.status, 200, "{path}");
    from_slice(&response.body).unwrap()
}

/// Sends five requests to an origin that holds them at a gate, with room for two, and lets them end.
async fn five_for_two(keys: &str) -> (Origin, Gateway, Value) {
    let gate = Gate::new();
    let origin = pooled::gated(&gate);
    let gateway = pooled::to(origin.addr(), keys).await;
    let mut asked = Vec::new();
    for _ in 0..5 {
        asked.push(pooled::ask(&gateway, "/").await);
    }
    let waiting = gateway.wait_for_pool(ROUTE, "three waiting", |pool| number(pool, "pending") == 3).await;
    gate.release_all();
    for answer in asked {
        assert_eq!(answer.await.unwrap().status, 200);
    }
    (origin, gateway, waiting)
}

#[tokio::test]
async fn waits_for_max_connections_are_counted_with_their_time_and_the_peak_of_requests() {
    let keys = "pool: { max_connections: 2, acquire_timeout: 10m }";
    let (origin, gateway, waiting) = five_for_two(keys).await;
    assert_eq!(number(&waiting, "peak_requests"), 5, "{waiting:#}");
    let pool = settled(&gateway).await;
    assert_eq!((sum(&pool["waits"]), sum(&pool["awaited_dials"])), (5, 2), "{pool:#}");
    assert_eq!(pool["awaited_dials"].as_array().unwrap()[..3], [json!(1), json!(1), json!(0)], "{pool:#}");
    let reached = seconds(&pool, "max_connections_reached_seconds");
    assert!(reached > seconds(&waiting, "max_connections_reached_seconds"), "{waiting:#} {pool:#}");
    assert_eq!(seconds(&pool, "max_concurrent_reached_seconds"), 0.0);
    let recent = &pool["recent"];
    assert_eq!((number(recent, "peak_requests"), number(recent, "waited")), (5, 5), "{recent:#}");
    assert!(seconds(recent, "max_connections_reached_share") > 0.0, "{recent:#}");
    assert_eq!(seconds(recent, "reuse_share"), 0.6, "{recent:#}");
    assert!(seconds(recent, "acquire_p99_seconds") > 0.0, "{recent:#}");

    // A request that finds an idle connection changes none of that, and a reload neither.
    assert_eq!(pooled::statuses(&gateway, 3).await, [200; 3]);
    let url = format!("{{ url: '{}' }}", origin.url());
    gateway.reload(&pooled::whole(&pooled::to_upstream(1, &url, "pool: { max_connections: 3 }"))).await;
    let pool = settled(&gateway).await;
    assert_eq!((sum(&pool["waits"]), number(&pool, "reused")), (5, 6), "{pool:#}");
    assert_eq!(seconds(&pool, "max_connections_reached_seconds"), reached, "nothing waits any more");
    assert_eq!((number(&pool["recent"], "peak_requests"), number(&pool["recent"], "waited")), (5, 5));
}

#[tokio::test]
async fn waits_for_max_concurrent_are_counted_with_their_time() {
    let gate = Gate::new();
    let origin = pooled::gated(&gate);
    let upstream = format!("{{ url: 'http://{}', max_concurrent: 1 }}", origin.addr());
    let gateway = pooled::builder(1, &upstream, "pool: { acquire_timeout: 10m }").start().await;
    let asked = [pooled::ask(&gateway, "/").await, pooled::ask(&gateway, "/").await];
    gateway.wait_for_pool(ROUTE, "one waiting", |pool| number(pool, "pending") == 1).await;
    gate.release_all();
    for answer in asked {
        assert_eq!(answer.await.unwrap().status, 200);
    }
    let pool = settled(&gateway).await;
    let reached = seconds(&pool, "max_concurrent_reached_seconds");
    assert!(reached > 0.0 && seconds(&pool, "max_connections_reached_seconds") == 0.0, "{pool:#}");
    assert_eq!((sum(&pool["waits"]), number(&pool["recent"], "peak_requests")), (2, 2), "{pool:#}");
    let later = settled(&gateway).await;
    assert_eq!(seconds(&later, "max_concurrent_reached_seconds"), reached);
}

#[tokio::test]
async fn handshakes_of_spare_connections_are_in_no_requests_way() {
    let certificates = Certificates::new();
    let tls = certificates.server_config(&certificates.server(&["localhost"]));
    let origin = Origin::builder().tls(tls).answer(OK);
    let upstream = pooled::upstream(&origin, &certificates);
    for (keys, awaited) in [("pool: { min_idle: 2 }", 0), ("pool: { min_idle: 0 }", 1)] {
        let gateway = pooled::builder(1, &upstream, keys).start().await;
        let spare = 2 - 2 * awaited;
        wait_until("the name to be resolved", async || !gateway.pools().await.is_empty()).await;
        gateway.wait_for_pool(ROUTE, "spare connections", |pool| number(pool, "idle") == spare).await;
        assert_eq!(pooled::statuses(&gateway, 2).await, [200; 2]);
        let pool = settled(&gateway).await;
        assert_eq!(number(&pool, "tls_handshakes_awaited"), awaited, "{pool:#}");
        assert_eq!(sum(&pool["awaited_dials"]), awaited, "{pool:#}");
        assert_eq!(number(&pool, "tls_handshakes"), spare + awaited, "{pool:#}");
    }
}

#[tokio::test]
async fn routes_and_the_process_show_their_last_minute() {
    let origin = Origin::echo();
    let config = format!(
        "routes:\n  - {{ name: used, match: {{ prefix: /a }}, upstream: {{ url: '{}' }} }}\n  \
         - {{ name: fails, match: {{ prefix: /f }}, respond: {{ status: 503 }} }}\n  \
         - {{ name: unused, match: {{ prefix: /u }}, respond: {{ status: 200 }} }}\n",
        origin.url()
    );
    let gateway = pooled::gateway(&config).start().await;
    let mut client = gateway.client("web").await;
    for path in ["/a", "/a", "/a", "/f"] {
        client.get(path).await;
    }
    let report = json(&gateway, "/api/routes").await;
    let route = |name: &str| {
        let routes = report["routes"].as_array().unwrap();
        routes.iter().find(|route| route["name"] == name).unwrap().clone()
    };
    let (used, fails, unused) = (route("used"), route("fails"), route("unused"));
    assert!(seconds(&used["recent"], "rate") > 0.0 && used["last_used"].is_f64(), "{used:#}");
    assert_eq!((&used["recent"]["error_share"], &fails["recent"]["error_share"]), (&json!(0.0), &json!(1.0)));
    let [p50, p99] = ["p50_seconds", "p99_seconds"].map(|key| seconds(&used["recent"], key));
    assert!(0.0 < p50 && p50 <= p99, "{used:#}");
    assert_eq!((&unused["last_used"], &unused["recent"]["p99_seconds"]), (&Value::Null, &Value::Null));
    let status = json(&gateway, "/api/status").await;
    assert_eq!(status["recent"]["error_share"], 0.25, "{status:#}");
}

#[tokio::test]
async fn history_has_columns_of_one_length_for_pools_that_there_are() {
    let origin = Origin::answer(OK);
    let gateway = pooled::to(origin.addr(), "").await;
    assert_eq!(pooled::statuses(&gateway, 2).await, [200; 2]);
    for (query, is_whole) in [("", true), ("?pool=pooled", false)] {
        let history = json(&gateway, &format!("/api/history{query}")).await;
        let samples = history["at"].as_array().unwrap().len();
        assert_eq!(history["process"].is_object(), is_whole, "{history:#}");
        let series = [&history["pools"], &history["process"]];
        let columns = series.into_iter().filter_map(Value::as_object).flat_map(|series| series.values());
        assert!(columns.into_iter().all(|column| column.as_array().unwrap().len() == samples), "{history:#}");
    }
    let none = gateway.admin("/api/history?pool=other").await;
    assert_eq!((none.status, none.header("content-type")), (404, Some("application/problem+json")));
}
