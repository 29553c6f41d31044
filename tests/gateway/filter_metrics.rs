//! Metrics that plugins define: how they show in `/metrics`, and that no name of theirs can break that page.

use support::wait_until;

use crate::filtering::{configured, reported};
use crate::scripted::{scripted, scripted_with};

#[tokio::test]
async fn each_kind_of_metric_does_what_it_can() {
    let answer = reported(
        "define_metric 0 hits -> u32
        define_metric 1 level -> u32
        define_metric 2 sizes -> u32
        define_metric 0 hits -> u32
        define_metric 1 hits -> u32
        define_metric 3 none -> u32
        define_metric 0 '' -> u32
        increment_metric 1 5L
        increment_metric 1 2L
        increment_metric 1 -1L
        get_metric 1 -> u64
        increment_metric 2 5L
        increment_metric 2 -2L
        get_metric 2 -> u64
        record_metric 2 40L
        get_metric 2 -> u64
        record_metric 3 40L
        increment_metric 3 1L
        get_metric 3 -> u64
        record_metric 1 100L
        get_metric 1 -> u64
        get_metric 0 -> u64
        get_metric 99 -> u64
        increment_metric -1 1L
        record_metric 99 1L",
    )
    .await;
    let expected = "0 1\n0 2\n0 3\n0 1\n0 4\n2 0\n0 5\n\
        0\n0\n2\n0 7\n\
        0\n0\n0 3\n0\n0 40\n\
        0\n2\n2 0\n\
        0\n0 100\n1 0\n1 0\n1\n1\n";
    assert_eq!(answer, expected);
}

const CONFIG: &str = "
workers: {workers}
filters: { test: { wasm: test.wasm }, other: { wasm: test.wasm } }
routes:
  - { name: all, respond: { body: own }, filters: [test] }
  - { name: other, match: { path: /other }, respond: { body: own }, filters: [other] }";

#[tokio::test]
async fn metrics_of_all_workers_are_one_number() {
    let module = scripted_with(
        "",
        "(global $served (mut i32) (i32.const 0))",
        &[(
            "proxy_on_request_headers",
            "define_metric 0 hits -> u32
            define_metric 1 level -> u32
            define_metric 2 sizes -> u32
            increment_metric 1 1L
            increment_metric 2 3L
            increment_metric 2 -1L
            record_metric 3 5L
            record_metric 3 100000000000L
            (global.set $end (i32.const 0x10000))
            (global.set $served (i32.add (global.get $served) (i32.const 1)))
            (call $show_number (i64.extend_i32_u (global.get $served)))
            answer",
        )],
    );
    let gateway = configured(CONFIG, &[("test", &module)]).set("workers", 2).start().await;
    let mut requests = 0;
    // Until both workers have had some.
    loop {
        let served: u32 = gateway.client("web").await.get("/").await.text().parse().unwrap();
        requests += 1;
        if served < requests {
            break;
        }
    }
    gateway.client("web").await.get("/other").await;
    let requests = f64::from(requests);
    let metric = async |series: &str| gateway.metric(series).await;
    for (series, value) in [
        ("gateway_plugin_counter_total{filter=\"test\",name=\"hits\"}", requests),
        ("gateway_plugin_counter_total{filter=\"other\",name=\"hits\"}", 1.0),
        ("gateway_plugin_gauge{filter=\"test\",name=\"level\"}", 2.0 * requests),
        ("gateway_plugin_histogram_count{filter=\"test\",name=\"sizes\"}", 2.0 * requests),
        ("gateway_plugin_histogram_sum{filter=\"test\",name=\"sizes\"}", 100_000_000_005.0 * requests),
    ] {
        assert_eq!(metric(series).await, Some(value), "{series}\n{}", gateway.metrics().await);
    }
    for (bound, value) in [("1.0", 0.0), ("4.0", 0.0), ("16.0", requests), ("+Inf", 2.0 * requests)] {
        let page = gateway.metrics().await;
        let bucket = page.lines().find(|line| {
            line.starts_with("gateway_plugin_histogram_bucket{")
                && line.contains(&format!("le=\"{bound}\""))
                && line.contains("filter=\"test\"")
        });
        let bucket = bucket.unwrap_or_else(|| panic!("no bucket {bound} in\n{page}"));
        assert_eq!(bucket.rsplit(' ').next().unwrap().parse(), Ok(value), "{bucket}");
    }
}

/// Returns true if a line of `/metrics` is a sample: a name, labels in quotes with their escapes, a number.
fn is_sample(line: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
    };
    let is_value = |value: &str| value.parse::<f64>().is_ok();
    let Some((name, rest)) = line.split_once('{') else {
        return line.split_once(' ').is_some_and(|(name, value)| is_name(name) && is_value(value));
    };
    let mut rest = rest;
    loop {
        let Some((label, after)) = rest.split_once("=\"") else { return false };
        let mut characters = after.char_indices();
        let end = loop {
            match characters.next() {
                Some((_, '\\')) => match characters.next() {
                    Some((_, '\\' | '"' | 'n')) => {}
                    _ => return false,
                },
                Some((at, '"')) => break at,
                Some(_) => {}
                None => return false,
            }
        };
        if !is_name(label) {
            return false;
        }
        let after = &after[end + 1..];
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return is_name(name) && after.strip_prefix("} ").is_some_and(is_value),
        }
    }
}

#[tokio::test]
async fn no_name_of_a_plugins_metric_can_break_the_page() {
    let names = [
        "plain_name",
        "with \"quotes\" and \\\\",
        "a\\ngateway_requests_total{route=\"all\"} 999999",
        "\"} 1\\n# EOF\\n",
        "\\r\\0\u{1b}[2J",
        "grüezi {,} =",
    ];
    let mut script = String::new();
    for name in names {
        for kind in 0..3 {
            script += &format!("define_metric {kind} '{name}' -> u32\n");
        }
    }
    script += &format!("define_metric 0 {} -> u32\nanswer", "n".repeat(257));
    let module = scripted(&[("proxy_on_request_headers", &script)]);
    let gateway = configured(CONFIG, &[("test", &module)]).set("workers", 1).start().await;
    let statuses = gateway.client("web").await.get("/").await.text();
    assert!(statuses.ends_with("0 18\n2 0\n"), "a long name is refused: {statuses}");
    let page = gateway.metrics().await;
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        assert!(is_sample(line), "{line}");
    }
    assert_eq!(page.lines().filter(|line| *line == "# EOF").count(), 1);
    assert!(!page.lines().any(|line| line.starts_with("gateway_requests_total") && line.ends_with("999999")));
    assert_eq!(
        page.lines().filter(|line| line.starts_with("gateway_plugin_counter_total{")).count(),
        names.len()
    );
}

#[tokio::test]
async fn a_plugin_has_a_thousand_metrics_at_most() {
    let script = "
        (block $full (loop $next
          (i32.store (i32.const 0) (i32.add (i32.const 0x21212121) (i32.or
            (i32.and (global.get $defined) (i32.const 0x3f))
            (i32.shl (i32.and (global.get $defined) (i32.const 0xfc0)) (i32.const 2)))))
          (br_if $full (call $define_metric (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 16)))
          (global.set $defined (i32.add (global.get $defined) (i32.const 1)))
          (br $next)))
        (call $show_number (i64.extend_i32_u (global.get $defined)))
        answer";
    let module = scripted_with(
        "",
        "(global $defined (mut i32) (i32.const 0))",
        &[("proxy_on_request_headers", script)],
    );
    let config = CONFIG.replace("wasm: test.wasm", "wasm: test.wasm, limits: { time: 10s }");
    let gateway = configured(&config, &[("test", &module)]).set("workers", 1).start().await;
    assert_eq!(gateway.client("web").await.get("/").await.text(), "1000");
    wait_until("the page", async || gateway.admin("/metrics").await.status == 200).await;
}
