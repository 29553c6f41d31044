//! The list of all metrics in `docs/metrics.md`, made from what a scrape says about itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::tests::scrape;
use super::*;

/// The text before the list.
const INTRODUCTION: &str = "\
# Metrics

`/metrics` on the [admin listener](operation.md#the-admin-listener) has them in the OpenMetrics format, or in the text format of Prometheus
(`Accept: text/plain`). [grafana/gateway.json](grafana/gateway.json) is a dashboard for Grafana, and
[prometheus/alerts.yaml](prometheus/alerts.yaml) has alert rules; a test runs their queries in a real Prometheus.

    scrape_configs:
      - job_name: gateway
        static_configs: [{ targets: [\"127.0.0.1:9901\"] }]
        # authorization: { credentials_file: admin.token }      # unless admin.open has metrics

- A request is counted when it ends, a connection when it opens and when it closes. Counting takes no lock and allocates nothing.
- Labels are names of the configuration, reasons and classes that the program knows, and addresses of upstreams. Nothing that a client sends
  is a label, except for the subjects of known callers with `identity_metrics`, at most a hundred of each way.
- `reason` of requests is the `x-gateway-error` of the response. Counters of a route or pool that a reload keeps go on.
- Times are in seconds. The buckets of durations reach from 100 µs to 30 s.
- An endpoint of a pool has 3 kB of text, and up to 9 kB once it was used: its histograms appear with their first count.

The names are those of the text format; OpenMetrics has the type of a counter without its `_total`.

| metric | type | labels | meaning |
|---|---|---|---|
";

/// Returns a scrape that has at least one row of every metric.
fn complete() -> Scrape {
    let route = Arc::new(RouteStats::new("spike", 1));
    route.begin(0);
    route.finish(0, 503, Duration::from_millis(3), 1, 1, Some("pool.acquire_timeout"));
    route.called(0, "OK");
    route.delayed(0);
    route.mirrored(0, Err("upstream.connect"));
    route.unmirrored(0, "mirror.max_body");
    let listener = Arc::new(ListenerStats::new(1));
    listener.accepted(0);
    listener.closed(0, "client");
    listener.tls_failed(0, "no_protocol");
    let filter = Arc::new(FilterStats::new("uppercase", 1));
    filter.failed("trap");
    let auth = AuthStats::new(1);
    auth.count(AuthOutcome::Known);
    auth.count_identity("acme");
    let plugin_metric = |value| PluginMetricReport { filter: "uppercase".into(), name: "seen".into(), value };
    let mut scrape = scrape();
    for pool in &mut scrape.pools {
        pool.certificate_expires = Some(1);
        pool.refused = vec![("pool.acquire_timeout", 1)];
        pool.waits = [1; _];
        pool.attempts.responses = [1; _];
        pool.attempts.durations = [1; _];
        pool.attempts.failures = vec![("connect", 1)];
    }
    Scrape {
        routes: vec![route],
        listeners: vec![("web".into(), listener)],
        filters: vec![filter],
        plugin_metrics: vec![
            plugin_metric(PluginMetricValue::Counter(1)),
            plugin_metric(PluginMetricValue::Gauge(1)),
            plugin_metric(PluginMetricValue::Histogram { sum: 1, buckets: vec![(1.0, 1)] }),
        ],
        auth: vec![auth.report("partners", true)],
        issuers: vec![IssuerReport { auth: "staff".into(), keys: 1, fetched: 1, failed: 1 }],
        stores: vec![StoreReport {
            store: "redis".into(),
            is_up: true,
            admitted: 1,
            refused: 1,
            commands: 1,
            losses: 1,
            missed: 1,
        }],
        ..scrape
    }
}

/// Returns the rows of the list, sorted by name.
fn rows(text: &str) -> BTreeMap<String, String> {
    let mut rows = BTreeMap::new();
    let (mut help, mut family) = ("", None);
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').unwrap().1;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            assert!(family.is_none(), "{family:?} has no row");
            family = Some(rest.split_once(' ').unwrap());
        } else if let Some((name, kind)) = family.take() {
            let labels = line.split_once('{').map_or("", |(_, rest)| rest.rsplit_once('}').unwrap().0);
            // Values have neither commas nor quotes here.
            let names = labels.split(',').filter_map(|label| label.split_once('=')).map(|(name, _)| name);
            let names: Vec<String> =
                names.filter(|name| *name != "le").map(|name| format!("`{name}`")).collect();
            let help = help.trim_end_matches('.').replace('|', "\\\\|");
            rows.insert(name.to_owned(), format!("| `{name}` | {kind} | {} | {help} |\n", names.join(", ")));
        }
    }
    rows
}

#[test]
fn list_of_metrics_in_docs_is_current() {
    let text = complete().render(Exposition::Prometheus).unwrap();
    let rows = rows(&text);
    assert!(rows.len() > 70, "{rows:?}");
    let document = format!("{INTRODUCTION}{}", rows.into_values().collect::<String>());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &document).unwrap();
    }
    assert!(fs::read_to_string(&path).unwrap_or_default() == document, "run the tests with BLESS=1");
}
