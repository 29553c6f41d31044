//! Responses, failures and response times of each endpoint, in the metrics and in `/api/upstreams`.

use std::time::{Duration, Instant};

use support::serde_json::{Value, from_slice, json};
use support::{Gate, Gateway, Origin, unused_address, with_longer_and_longer};

use crate::pooled::{self, OK, ROUTE};

/// Each request goes to one endpoint in turn, whatever has failed.
const IN_TURN: &str = "balance: round_robin, health: { passive: off }";

const FAILURE: &str = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";

/// The time that a slow origin takes at least.
const SLOW: Duration = Duration::from_millis(30);

async fn start(urls: &[&str], keys: &str) -> Gateway {
    let upstream = format!("{{ endpoints: ['{}'], {IN_TURN} }}", urls.join("', '"));
    pooled::builder(1, &upstream, keys).start().await
}

/// Returns the samples of metrics whose names begin so, for an endpoint: the rest of the name and the other labels, and the value.
async fn samples(gateway: &Gateway, prefix: &str, url: &str) -> Vec<(String, f64)> {
    let address = url.trim_start_matches("http://");
    let labels = format!("pool=\"{ROUTE}\",endpoint=\"{url}\",address=\"{address}\"");
    let metrics = gateway.metrics().await;
    let of_endpoint =
        metrics.lines().filter_map(|line| line.strip_prefix(prefix)).filter(|line| line.contains(&labels));
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        (series.replace(&labels, "").replace(['{', '}', ',', '"'], ""), value.parse().unwrap())
    };
    of_endpoint.map(sample).collect()
}

/// Returns the counts of an endpoint's responses by class and of its failures by kind.
async fn outcomes(gateway: &Gateway, url: &str) -> Vec<(String, f64)> {
    let mut outcomes = samples(gateway, "gateway_endpoint_responses_total", url).await;
    outcomes.extend(samples(gateway, "gateway_endpoint_failures_total", url).await);
    outcomes
}

fn counts<const N: usize>(expected: [(&str, u32); N]) -> Vec<(String, f64)> {
    expected.into_iter().map(|(name, count)| (name.to_owned(), f64::from(count))).collect()
}

/// Returns the number of the histogram's durations up to a bound.
fn up_to(histogram: &[(String, f64)], bound: &str) -> f64 {
    let name = format!("_bucketle={bound}");
    histogram
        .iter()
        .find(|(series, _)| *series == name)
        .unwrap_or_else(|| panic!("{name} of {histogram:?}"))
        .1
}

fn value(histogram: &[(String, f64)], name: &str) -> f64 {
    histogram.iter().find(|(series, _)| series == name).unwrap_or_else(|| panic!("{name} of {histogram:?}")).1
}

/// Returns the endpoint of the only upstream with this URL, of `/api/upstreams`.
async fn reported(gateway: &Gateway, url: &str) -> Value {
    let report: Value = from_slice(&gateway.admin("/api/upstreams").await.body).unwrap();
    let endpoints = report["upstreams"][0]["endpoints"].as_array().unwrap();
    endpoints.iter().find(|endpoint| endpoint["url"] == url).unwrap_or_else(|| panic!("{report:#}")).clone()
}

/// An origin that responds after [`SLOW`].
fn slow() -> Origin {
    Origin::script(|mut connection| async move {
        while connection.read_request().await.is_some() {
            tokio::time::sleep(SLOW).await;
            connection.write(OK).await;
        }
    })
}

#[tokio::test]
async fn responses_are_counted_by_endpoint_class_and_time() {
    let broken = Origin::respond(|request| match &*request.target {
        "/fails" => FAILURE.into(),
        "/missing" => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".into(),
        _ => OK.into(),
    });
    let slow = slow();
    let (broken_url, slow_url) = (broken.url(), slow.url());
    let gateway = start(&[&broken_url, &slow_url], "retry: { attempts: 0, on: [] }").await;
    assert_eq!(outcomes(&gateway, &broken_url).await, []);
    assert_eq!(
        samples(&gateway, "gateway_endpoint_duration_seconds", &slow_url).await,
        [],
        "there was no response"
    );
    assert_eq!(reported(&gateway, &slow_url).await["p99_seconds"], Value::Null);
    let mut client = gateway.client("web").await;
    let mut statuses = Vec::new();
    for path in ["/fails", "/", "/missing", "/", "/", "/", "/fails", "/", "/fails", "/"] {
        statuses.push(client.get(path).await.status);
    }
    assert_eq!(statuses, [500, 200, 404, 200, 200, 200, 500, 200, 500, 200]);
    let of_broken = counts([("code=2xx", 1), ("code=4xx", 1), ("code=5xx", 3)]);
    assert_eq!(outcomes(&gateway, &broken_url).await, of_broken);
    assert_eq!(outcomes(&gateway, &slow_url).await, counts([("code=2xx", 5)]));

    let histogram = samples(&gateway, "gateway_endpoint_duration_seconds", &slow_url).await;
    assert_eq!((up_to(&histogram, "0.025"), up_to(&histogram, "+Inf")), (0.0, 5.0));
    assert_eq!(value(&histogram, "_count"), 5.0);
    assert!(value(&histogram, "_sum") >= 5.0 * SLOW.as_secs_f64(), "{histogram:?}");
    let histogram = samples(&gateway, "gateway_endpoint_duration_seconds", &broken_url).await;
    assert_eq!((up_to(&histogram, "+Inf"), value(&histogram, "_count")), (5.0, 5.0));

    let report = reported(&gateway, &broken_url).await;
    assert_eq!(report["responses"], json!({ "2xx": 1, "4xx": 1, "5xx": 3 }));
    assert_eq!(report["failures"], json!({}));
    assert!(report["p50_seconds"].as_f64() > Some(0.0), "{report:#}");
    let report = reported(&gateway, &slow_url).await;
    assert_eq!(report["responses"], json!({ "2xx": 5 }));
    let quantiles = ["p50_seconds", "p99_seconds"].map(|key| report[key].as_f64().unwrap());
    assert!(quantiles[0] > 0.025 && quantiles[1] > quantiles[0], "{report:#}");

    // A reload that leaves the pool in place leaves its counts, too.
    let upstream = format!("{{ endpoints: ['{slow_url}', '{broken_url}'], {IN_TURN} }}");
    gateway.reload(&pooled::whole(&pooled::to_upstream(1, &upstream, "retry: { attempts: 0 }"))).await;
    assert_eq!(outcomes(&gateway, &broken_url).await, of_broken);
}

#[tokio::test]
async fn attempts_without_a_response_are_counted_where_they_failed_and_by_kind() {
    let closing = Origin::script(|mut connection| async move {
        connection.read_request().await;
        connection.close().await;
    });
    fails_once(&closing.url(), "reset", "").await;
    fails_once(&format!("http://{}", unused_address()), "connect", "").await;
    with_longer_and_longer(async |limit| {
        let silent = pooled::gated(&Gate::new());
        fails_once(&silent.url(), "timeout", &format!("timeouts: {{ per_try: {}ms }}", limit.as_millis()))
            .await;
    })
    .await;
}

/// Sends a request that begins at an endpoint which fails it, and goes on to another one.
async fn fails_once(failing: &str, kind: &str, keys: &str) {
    let sound = Origin::answer(OK);
    let sound_url = sound.url();
    let keys = format!("{keys}\nretry: {{ on: [connect, reset, timeout], attempts: 1 }}");
    let gateway = start(&[failing, &sound_url], &keys).await;
    assert_eq!(pooled::statuses(&gateway, 1).await, [200], "{kind}");
    assert_eq!(outcomes(&gateway, failing).await, counts([(&format!("reason={kind}"), 1)]));
    assert_eq!(outcomes(&gateway, &sound_url).await, counts([("code=2xx", 1)]), "{kind}");
    assert_eq!(samples(&gateway, "gateway_endpoint_duration_seconds", failing).await, [], "{kind}");
    let report = reported(&gateway, failing).await;
    assert_eq!((&report["failures"], &report["responses"]), (&json!({ kind: 1 }), &json!({})));
}

#[tokio::test]
async fn attempt_that_was_overtaken_is_neither_a_response_nor_a_failure() {
    let gate = Gate::new();
    let (overtaken, quick) = (pooled::gated(&gate), Origin::answer(OK));
    let (overtaken_url, quick_url) = (overtaken.url(), quick.url());
    let gateway = start(&[&overtaken_url, &quick_url], "hedge: { after: 20ms }").await;
    assert_eq!(pooled::statuses(&gateway, 1).await, [200]);
    assert_eq!(outcomes(&gateway, &overtaken_url).await, []);
    assert_eq!(outcomes(&gateway, &quick_url).await, counts([("code=2xx", 1)]));
    let histogram = samples(&gateway, "gateway_endpoint_duration_seconds", &quick_url).await;
    assert_eq!(value(&histogram, "_count"), 1.0);
}

#[tokio::test]
async fn time_of_an_endpoint_begins_when_the_request_has_been_sent() {
    let origin = Origin::echo();
    let url = origin.url();
    let gateway = start(&[&url], "").await;
    let mut client = gateway.client("web").await;
    client.send_raw("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nab").await;
    origin.wait_for_accepted(1).await;
    // This is what the client is about: a slow one. It is so slow that no delay of the response hides it.
    tokio::time::sleep(SLOW * 20).await;
    let began = Instant::now();
    client.send_raw("c").await;
    assert_eq!(client.read_response().await.text(), "abc");
    let took = began.elapsed().as_secs_f64();
    let histogram = samples(&gateway, "gateway_endpoint_duration_seconds", &url).await;
    assert_eq!(value(&histogram, "_count"), 1.0);
    assert!(value(&histogram, "_sum") <= took, "{histogram:?} {took}");
}

#[tokio::test]
async fn waits_of_a_pool_are_a_histogram_without_the_requests_that_waited_for_nothing() {
    let gate = Gate::new();
    let origin = pooled::gated(&gate);
    let url = origin.url();
    let gateway = start(&[&url], "pool: { max_connections: 1, acquire_timeout: 10m }").await;
    assert_eq!(samples(&gateway, "gateway_pool_wait_seconds", &url).await, []);
    let asked = [pooled::ask(&gateway, "/").await, pooled::ask(&gateway, "/").await];
    gateway.wait_for_pool(ROUTE, "one waiting", |pool| pool["pending"] == 1).await;
    gate.release_all();
    for answer in asked {
        assert_eq!(answer.await.unwrap().status, 200);
    }
    // They find an idle connection.
    assert_eq!(pooled::statuses(&gateway, 3).await, [200; 3]);
    let histogram = samples(&gateway, "gateway_pool_wait_seconds", &url).await;
    assert_eq!((up_to(&histogram, "+Inf"), value(&histogram, "_count")), (2.0, 2.0));
    // One of the two waited for a dial, the other one in the queue, whose time is counted apart, too.
    let queued = value(&samples(&gateway, "gateway_pool_acquire_wait_seconds_total", &url).await, "");
    assert!(value(&histogram, "_sum") > queued && queued > 0.0, "{histogram:?}, {queued}");
    assert_eq!(outcomes(&gateway, &url).await, counts([("code=2xx", 5)]));
}
