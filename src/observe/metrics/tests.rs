use std::time::Duration;

use super::*;
use crate::observe::access_log::Counts;

pub(super) fn scrape() -> Scrape {
    let process = Arc::new(ProcessStats::new(2));
    for took in [20, 30] {
        process.next_generation();
        process.reloaded(Duration::from_millis(took));
    }
    process.reload_refused();
    let route = Arc::new(RouteStats::new("users \"v2\"", 2));
    route.begin(0);
    route.begin(1);
    route.finish(0, 200, Duration::from_millis(3), 10, 1024, None);
    route.finish(1, 503, Duration::from_secs(2), 0, 40, Some("pool.acquire_timeout"));
    route.called(0, "OK");
    route.called(1, "OK");
    let listener = Arc::new(ListenerStats::new(2));
    listener.accepted(0);
    listener.accepted(1);
    listener.closed(1, "keep_alive");
    let pool = PoolReport {
        pool: "spike".to_owned(),
        endpoint: "http://localhost:3000".to_owned(),
        address: "127.0.0.1:3000".to_owned(),
        idle: 4,
        active: 2,
        pending: 7,
        opened: 6,
        reused: 94,
        acquired: 100,
        acquire_wait: Duration::from_millis(250),
        max_connections_reached: Duration::from_millis(1500),
        awaited_dials: [4, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        tls_handshakes_awaited: 3,
        closed: vec![("idle_timeout", 5)],
        max_connections: 256,
        waits: counts([0, 4, 2]),
        waited: Duration::from_millis(7),
        attempts: AttemptTotals {
            responses: [0, 90, 0, 0, 6],
            durations: counts([90, 0, 6]),
            duration: Duration::from_millis(12),
            failures: vec![("reset", 3)],
        },
        ..PoolReport::default()
    };
    Scrape {
        process,
        older_kept: 3,
        listeners: vec![("web".into(), listener)],
        certificates: vec![("web".into(), "web.pem".into(), 1_800_000_000)],
        routes: vec![route],
        pools: vec![pool],
        filters: vec![],
        plugin_metrics: vec![],
        auth: vec![],
        issuers: vec![],
        stores: vec![],
        kept_body_bytes: 5,
        unkept_bodies: 6,
        access_log: lost_lines(),
        traces: None,
        password_comparisons: (10, 11),
        rate_limit_keys: 10,
        rate_limit_evicted: 11,
        rate_limit_crowded: 12,
    }
}

/// Returns the counts of the first buckets.
fn counts(first: [u64; 3]) -> DurationCounts {
    let mut counts = DurationCounts::default();
    counts[..3].copy_from_slice(&first);
    counts
}

fn lost_lines() -> Arc<Counts> {
    let counts = Arc::new(Counts::default());
    counts.drop_lines(Loss::Buffer, 9);
    counts.cut_line();
    counts
}

#[test]
fn every_count_appears_under_its_name_and_labels() {
    let text = scrape().render(Exposition::OpenMetrics).unwrap();
    let pool = r#"pool="spike",endpoint="http://localhost:3000",address="127.0.0.1:3000""#;
    for line in [
        format!(r#"gateway_build_info{{version="{}"}} 1"#, env!("CARGO_PKG_VERSION")),
        "gateway_config_generation 3".to_owned(),
        "gateway_config_reloads_total 2".to_owned(),
        "gateway_config_in_sync 0".to_owned(),
        "gateway_config_older_kept 3".to_owned(),
        "gateway_config_reload_duration_seconds 0.03".to_owned(),
        "gateway_retry_kept_body_bytes 5".to_owned(),
        "gateway_retry_unkept_bodies_total 6".to_owned(),
        r#"gateway_access_log_dropped_lines_total{reason="buffer"} 9"#.to_owned(),
        r#"gateway_access_log_dropped_lines_total{reason="too_long"} 0"#.to_owned(),
        "gateway_access_log_cut_lines_total 1".to_owned(),
        "gateway_auth_basic_computations_total 10".to_owned(),
        "gateway_auth_basic_queued 11".to_owned(),
        "gateway_rate_limit_keys 10".to_owned(),
        "gateway_rate_limit_evictions_total 11".to_owned(),
        "gateway_rate_limit_crowded_total 12".to_owned(),
        r#"gateway_listener_accepted_total{listener="web"} 2"#.to_owned(),
        r#"gateway_listener_connections{listener="web"} 1"#.to_owned(),
        r#"gateway_listener_closed_total{listener="web",reason="keep_alive"} 1"#.to_owned(),
        r#"gateway_requests_total{route="users \"v2\"",code="2xx"} 1"#.to_owned(),
        r#"gateway_requests_total{route="users \"v2\"",code="5xx"} 1"#.to_owned(),
        r#"gateway_request_errors_total{route="users \"v2\"",reason="pool.acquire_timeout"} 1"#.to_owned(),
        r#"gateway_grpc_calls_total{route="users \"v2\"",grpc_status="OK"} 2"#.to_owned(),
        r#"gateway_requests_in_flight{route="users \"v2\""} 0"#.to_owned(),
        r#"gateway_response_body_bytes_total{route="users \"v2\""} 1064"#.to_owned(),
        format!(r#"gateway_pool_connections{{{pool},state="idle"}} 4"#),
        format!(r#"gateway_pool_connections{{{pool},state="active"}} 2"#),
        format!("gateway_pool_pending{{{pool}}} 7"),
        format!("gateway_pool_opened_total{{{pool}}} 6"),
        format!("gateway_pool_reused_total{{{pool}}} 94"),
        format!("gateway_pool_acquire_wait_seconds_total{{{pool}}} 0.25"),
        format!("gateway_pool_max_connections_reached_seconds_total{{{pool}}} 1.5"),
        format!("gateway_pool_dials_awaited_total{{{pool}}} 6"),
        format!("gateway_pool_tls_handshakes_awaited_total{{{pool}}} 3"),
        format!(r#"gateway_pool_closed_total{{{pool},reason="idle_timeout"}} 5"#),
        format!(r#"gateway_pool_wait_seconds_bucket{{le="0.00025",{pool}}} 4"#),
        format!(r#"gateway_pool_wait_seconds_bucket{{le="30.0",{pool}}} 6"#),
        format!("gateway_pool_wait_seconds_sum{{{pool}}} 0.007"),
        format!(r#"gateway_endpoint_responses_total{{{pool},code="2xx"}} 90"#),
        format!(r#"gateway_endpoint_responses_total{{{pool},code="5xx"}} 6"#),
        format!(r#"gateway_endpoint_failures_total{{{pool},reason="reset"}} 3"#),
        format!(r#"gateway_endpoint_duration_seconds_bucket{{le="0.0001",{pool}}} 90"#),
        format!(r#"gateway_endpoint_duration_seconds_bucket{{le="+Inf",{pool}}} 96"#),
        format!("gateway_endpoint_duration_seconds_sum{{{pool}}} 0.012"),
        format!("gateway_endpoint_duration_seconds_count{{{pool}}} 96"),
    ] {
        assert!(text.lines().any(|other| other == line), "no line {line} in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn the_histogram_is_cumulative_and_ends_with_all_requests() {
    let text = scrape().render(Exposition::OpenMetrics).unwrap();
    let buckets: Vec<(&str, u64)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("gateway_request_duration_seconds_bucket{")?.split_once("le=\""))
        .map(|(_, rest)| rest.split_once("\"").unwrap())
        .map(|(bound, rest)| (bound, rest.rsplit_once(' ').unwrap().1.parse().unwrap()))
        .collect();
    assert_eq!(buckets.len(), DURATION_BOUNDS.len() + 1);
    assert!(buckets.is_sorted_by_key(|(_, count)| *count), "{buckets:?}");
    assert!(buckets.contains(&("0.0025", 0)) && buckets.contains(&("0.005", 1)), "{buckets:?}");
    assert_eq!(buckets.last(), Some(&("+Inf", 2)));
}

#[test]
fn pool_without_use_has_no_histograms_and_a_used_one_less_than_9_kb_of_text() {
    let pools = |is_used: bool| {
        let mut scrape = scrape();
        let used = scrape.pools.pop().unwrap();
        scrape.pools = (0..1000)
            .map(|number| {
                let (pool, address) = (format!("route-{number:04}"), format!("10.0.0.1:{}", 10_000 + number));
                let report = if is_used { used.clone() } else { PoolReport::default() };
                PoolReport { pool, endpoint: format!("http://{address}"), address, ..report }
            })
            .collect();
        scrape.render(Exposition::Prometheus).unwrap()
    };
    let (unused, used) = (pools(false), pools(true));
    for histogram in ["gateway_endpoint_duration_seconds_bucket", "gateway_pool_wait_seconds_bucket"] {
        assert!(!unused.contains(histogram) && used.contains(histogram), "{histogram}");
    }
    assert!(used.len() < 9_000_000, "{} bytes", used.len());
}

#[test]
fn each_metric_has_one_description_however_many_rows_it_has() {
    let mut scrape = scrape();
    scrape.pools.push(PoolReport { pool: "other".to_owned(), ..PoolReport::default() });
    let text = scrape.render(Exposition::OpenMetrics).unwrap();
    let mut names: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    assert_eq!(text.matches("gateway_pool_opened_total{").count(), 2);
}
