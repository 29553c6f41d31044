//! Endpoints whose requests fail get none for a while, and come back little by little.

use support::serde_json::Value;
use support::{Gate, Gateway, Http2Exchange, Origin, unused_address, wait_until};

use crate::pooled::{self, OK, ROUTE, number, refusal, statuses};

const FAILURE: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";

/// One worker, in turns, and further keys of the upstream and of the route.
async fn start(urls: &[String], upstream: &str, route: &str) -> Gateway {
    pooled::builder(1, &endpoints(urls, upstream), route).start().await
}

fn endpoints(urls: &[String], keys: &str) -> String {
    let urls: Vec<String> = urls.iter().map(|url| format!("'{url}'")).collect();
    format!("{{ endpoints: [{}], balance: round_robin, {keys} }}", urls.join(", "))
}

async fn health(gateway: &Gateway, url: &str) -> Value {
    gateway.pool_at(ROUTE, url).await["health"].clone()
}

#[tokio::test]
async fn endpoint_is_ejected_after_five_failures_in_a_row() {
    let (broken, sound) = (Origin::answer(FAILURE), Origin::answer(OK));
    let gateway = start(&[broken.url(), sound.url()], "", "").await;
    let statuses = statuses(&gateway, 40).await;
    assert_eq!(statuses.iter().filter(|status| **status == 503).count(), 5, "{statuses:?}");
    assert_eq!((broken.requests().len(), sound.requests().len()), (5, 35));
    let pool = gateway.pool_at(ROUTE, &broken.url()).await;
    assert_eq!((&pool["health"], number(&pool, "ejections")), (&"ejected".into(), 1));
    let rest = pool["ejected_for_seconds"].as_f64().unwrap();
    assert!(rest > 0.0 && rest <= 30.0, "{rest}");
    assert_eq!(health(&gateway, &sound.url()).await, "healthy");
    let labels = format!("pool=\"{ROUTE}\",endpoint=\"{}\",address=\"{}\"", broken.url(), broken.addr());
    assert_eq!(gateway.metric(&format!("gateway_pool_healthy{{{labels}}}")).await, Some(0.0));
    assert_eq!(gateway.metric(&format!("gateway_pool_ejections_total{{{labels}}}")).await, Some(1.0));
    let log = gateway.wait_for_log("ejected for 30s").await;
    assert!(log.contains("5 failures in a row, the last one: status 503"), "{log}");
}

#[tokio::test]
async fn success_in_between_starts_the_count_again() {
    let served = std::sync::atomic::AtomicUsize::new(0);
    let flapping = Origin::respond(move |_| {
        let number = served.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        if number % 5 == 4 { OK } else { FAILURE }.into()
    });
    let sound = Origin::answer(OK);
    let gateway = start(&[flapping.url(), sound.url()], "", "").await;
    statuses(&gateway, 40).await;
    assert_eq!(flapping.requests().len(), 20);
    assert_eq!(health(&gateway, &flapping.url()).await, "healthy");
}

#[tokio::test]
async fn refused_reset_and_slow_endpoints_are_ejected() {
    let resets = Origin::script(async |mut connection| {
        connection.read_request().await;
        connection.reset();
    });
    let gate = Gate::new();
    let stalls = pooled::gated(&gate);
    for (url, route, said) in [
        (format!("http://{}", unused_address()), "", "the last one: no connection"),
        (resets.url(), "", "the last one: broken connection"),
        (stalls.url(), "timeouts: { per_try: 20ms }", "the last one: too slow"),
    ] {
        let sound = Origin::answer(OK);
        let gateway = start(&[url.clone(), sound.url()], "", route).await;
        statuses(&gateway, 10).await;
        assert!(gateway.wait_for_log("ejected for").await.contains(said), "{said}");
        assert_eq!(health(&gateway, &url).await, "ejected", "{said}");
        assert!(statuses(&gateway, 20).await.iter().all(|status| *status == 200), "{said}");
        assert_eq!(sound.requests().len(), 25 + if said.contains("no connection") { 5 } else { 0 }, "{said}");
    }
    gate.release_all();
}

#[tokio::test]
async fn ejected_endpoint_comes_back() {
    let is_broken = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let answers = is_broken.clone();
    let recovers = Origin::respond(move |_| {
        if answers.load(std::sync::atomic::Ordering::SeqCst) { FAILURE } else { OK }.into()
    });
    let sound = Origin::answer(OK);
    let health_keys = "health: { passive: { failures: 1, eject_for: 100ms }, slow_start: 200ms }";
    let gateway = start(&[recovers.url(), sound.url()], health_keys, "").await;
    statuses(&gateway, 2).await;
    assert_eq!(health(&gateway, &recovers.url()).await, "ejected");
    is_broken.store(false, std::sync::atomic::Ordering::SeqCst);
    let is = async |state: &str| health(&gateway, &recovers.url()).await == state;
    wait_until("its return", async || is("starting").await).await;
    wait_until("its full share", async || is("healthy").await).await;
    let before = recovers.requests().len();
    assert_eq!(statuses(&gateway, 10).await, [200; 10]);
    assert_eq!(recovers.requests().len() - before, 5);
}

#[tokio::test]
async fn only_endpoint_is_never_ejected_and_of_others_a_share_may_be() {
    let broken: Vec<Origin> = (0..3).map(|_| Origin::answer(FAILURE)).collect();
    let urls: Vec<String> = broken.iter().map(Origin::url).collect();
    for (count, keys, ejected) in [
        (1, "", 0),
        (2, "", 1),
        (3, "", 1),
        (3, "health: { passive: { max_ejected_percent: 100 } }", 2),
        (3, "health: { passive: off }", 0),
    ] {
        let gateway = start(&urls[..count], keys, "").await;
        statuses(&gateway, 30).await;
        let pools = gateway.pools().await;
        let found = pools.iter().filter(|pool| pool["health"] == "ejected").count();
        assert_eq!(found, ejected, "{count} {keys}");
    }
}

#[tokio::test]
async fn all_get_requests_when_too_few_are_healthy() {
    let (broken, others) = (Origin::answer(OK), [Origin::answer(FAILURE), Origin::answer(FAILURE)]);
    let urls = [broken.url(), others[0].url(), others[1].url()];
    let passive = "passive: { failures: 1, max_ejected_percent: 100 }";
    let gateway = start(&urls, &format!("health: {{ {passive} }}"), "").await;
    statuses(&gateway, 6).await;
    gateway.wait_for_log("only 1 of 3 endpoints healthy, less than 50 %: all of them get requests").await;
    assert!(statuses(&gateway, 9).await.iter().filter(|status| **status == 503).count() == 6);
    // Without that limit the healthy one gets everything.
    let gateway = start(&urls, &format!("health: {{ {passive}, panic_percent: 0 }}"), "").await;
    statuses(&gateway, 6).await;
    assert_eq!(statuses(&gateway, 9).await, [200; 9]);
}

#[tokio::test]
async fn ejection_survives_a_reload() {
    let (broken, sound) = (Origin::answer(FAILURE), Origin::answer(OK));
    let config = |slow_start: &str| {
        let upstream =
            endpoints(&[broken.url(), sound.url()], &format!("health: {{ slow_start: {slow_start} }}"));
        pooled::whole(&pooled::to_upstream(1, &upstream, ""))
    };
    let gateway = crate::gateway(config("10s")).start().await;
    statuses(&gateway, 12).await;
    gateway.reload(&config("5s")).await;
    assert_eq!(health(&gateway, &broken.url()).await, "ejected");
    assert_eq!(statuses(&gateway, 10).await, [200; 10]);
}

#[tokio::test]
async fn refusals_of_the_gateway_say_nothing_about_the_endpoint() {
    let gate = Gate::new();
    let (busy, other) = (pooled::gated(&gate), pooled::gated(&gate));
    let pool = "pool: { max_connections: 1, max_pending: 0 }\nretry: { attempts: 0, on: [] }";
    let gateway = start(&[busy.url(), other.url()], "", pool).await;
    let asked = [pooled::ask(&gateway, "/").await, pooled::ask(&gateway, "/").await];
    gate.arrivals(2).await;
    for _ in 0..20 {
        assert_eq!(refusal(&gateway.client("web").await.get("/").await), (503, "pool.max_pending"));
    }
    assert_eq!(health(&gateway, &busy.url()).await, "healthy");
    gate.release_all();
    for asked in asked {
        assert_eq!(asked.await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn client_that_brings_its_body_slowly_says_nothing_about_the_endpoint() {
    let unread = |version: &str| match version {
        "h2" => Origin::http2(async |mut exchange: Http2Exchange| {
            exchange.wait_reset().await;
        }),
        _ => Origin::script(async |mut connection| {
            connection.read_request().await;
            connection.wait_closed().await;
        }),
    };
    for (version, workers) in [("h1", 1), ("h2", 1), ("h2", 2)] {
        let origins = [unread(version), unread(version)];
        let keys = format!(
            "protocol: {version}, pool: {{ max_connections: 1 }}, health: {{ passive: {{ failures: 1 }} }}"
        );
        let upstream = endpoints(&origins.each_ref().map(Origin::url), &keys);
        let gateway = pooled::builder(workers, &upstream, "timeouts: { per_try: 50ms }").start().await;
        for request in 0..4 {
            let mut client = gateway.client("web").await;
            client.send_raw("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nsome of it").await;
            let refused = refusal(&client.read_response().await).0;
            assert_eq!(refused, 504, "{version}, {workers} workers, request {request}");
        }
        for pool in gateway.pools().await {
            assert_eq!(pool["health"], "healthy", "{version}, {workers} workers: {pool:#}");
        }
        // If the endpoint has the whole request, the time is its own.
        let response = gateway.client("web").await.request("PUT", "/", &[], b"all of it").await;
        assert_eq!(refusal(&response).0, 504, "{version}, {workers} workers");
        let pools = gateway.pools().await;
        let ejected = pools.iter().filter(|pool| pool["health"] == "ejected").count();
        assert_eq!(ejected, 1, "{version}, {workers} workers");
    }
}
