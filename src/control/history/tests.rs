use super::*;
use crate::observe::metrics::PoolReport;

const SECOND: Duration = Duration::from_secs(1);

fn served(stats: &RouteStats, status: u16, requests: usize) {
    for _ in 0..requests {
        stats.begin(0);
        stats.finish(0, status, SECOND / 100, 0, 0, None);
    }
}

fn take(samples: &mut Samples, number: u32, pools: &[PoolReport], routes: &[Arc<RouteStats>]) {
    samples.begin(SECOND * 5 * number);
    let mut all = PoolRow::default();
    pools.iter().for_each(|pool| all.add(samples.pool(pool)));
    samples.all_pools.push(all);
    samples.end(routes, f64::from(1000 + 5 * number));
}

#[test]
fn only_what_was_used_has_a_history_and_what_is_gone_has_none() {
    let mut samples = Samples::default();
    let (used, unused) = (Arc::new(RouteStats::new("used", 1)), Arc::new(RouteStats::new("unused", 1)));
    served(&used, 200, 3);
    let pools = [
        PoolReport { number: 1, acquired: 4, ..PoolReport::default() },
        PoolReport { number: 2, ..PoolReport::default() },
    ];
    take(&mut samples, 1, &pools, &[used.clone(), unused.clone()]);
    assert_eq!(samples.pools.keys().collect::<Vec<_>>(), [&1]);
    assert_eq!(samples.routes.keys().collect::<Vec<_>>(), [&key(&used)]);
    take(&mut samples, 2, &pools[1..], &[unused]);
    assert!(samples.pools.is_empty() && samples.routes.is_empty());
}

#[test]
fn last_use_of_a_route_is_the_sample_that_saw_it() {
    let mut samples = Samples::default();
    let stats = Arc::new(RouteStats::new("used", 1));
    let routes = [stats.clone()];
    take(&mut samples, 1, &[], &routes);
    assert_eq!(samples.route_window(&stats, SECOND * 6).1, None);
    served(&stats, 200, 6);
    served(&stats, 503, 2);
    take(&mut samples, 2, &[], &routes);
    take(&mut samples, 3, &[], &routes);
    let (window, used) = samples.route_window(&stats, SECOND * 15);
    assert_eq!(used, Some(1010.0));
    assert_eq!((window.counts.requests, window.counts.errors), (8, 2));
    // It was first used after the first sample.
    assert_eq!((window.length, window.error_share()), (SECOND * 10, Some(0.25)));
    served(&stats, 200, 1);
    let (window, used) = samples.route_window(&stats, SECOND * 16);
    assert!(used.is_some_and(|used| used > 1e9), "now");
    assert_eq!(window.counts.requests, 9);
}

#[test]
fn route_has_new_errors_for_a_minute_after_the_last() {
    let mut samples = Samples::default();
    let stats = Arc::new(RouteStats::new("fails", 1));
    let routes = [stats.clone()];
    served(&stats, 200, 3);
    assert!(!samples.has_new_errors(&stats));
    served(&stats, 503, 1);
    assert!(samples.has_new_errors(&stats), "no sample has seen the route");
    for sample in 1..=12 {
        take(&mut samples, sample, &[], &routes);
        assert_eq!(samples.has_new_errors(&stats), sample < 12, "sample {sample}");
    }
    served(&stats, 503, 1);
    assert!(samples.has_new_errors(&stats));
}

#[test]
fn process_has_the_requests_of_routes_that_are_gone() {
    let history = History::default();
    let (old, new) = (Arc::new(RouteStats::new("a", 1)), Arc::new(RouteStats::new("a", 1)));
    served(&old, 200, 5);
    take(&mut history.lock(), 1, &[], std::slice::from_ref(&old));
    served(&old, 200, 2);
    take(&mut history.lock(), 2, &[], &[old]);
    served(&new, 200, 3);
    take(&mut history.lock(), 3, &[], std::slice::from_ref(&new));
    served(&new, 500, 1);
    assert_eq!(history.process(std::slice::from_ref(&new)).counts.requests, 11);
    let report = serde_json::to_value(history.report(None)).unwrap();
    assert_eq!(report["process"]["requests"], serde_json::json!([5, 2, 3]));
    assert_eq!(report["at"], serde_json::json!([1005.0, 1010.0, 1015.0]));
}

#[test]
fn series_of_pools_end_now_and_are_as_long_as_those_of_the_process() {
    let history = History::default();
    let pool = |number, acquired, idle| PoolReport { number, acquired, idle, ..PoolReport::default() };
    take(&mut history.lock(), 1, &[pool(1, 5, 2)], &[]);
    take(&mut history.lock(), 2, &[pool(1, 6, 1), pool(2, 100, 7)], &[]);
    take(&mut history.lock(), 3, &[pool(1, 6, 1), pool(2, 130, 8)], &[]);
    let columns = |pools: Option<&[PoolReport]>| {
        let report = serde_json::to_value(history.report(pools)).unwrap();
        (
            report["pools"]["acquired"].clone(),
            report["pools"]["idle"].clone(),
            report.get("process").is_some(),
        )
    };
    let json = |numbers: [u32; 3]| serde_json::json!(numbers);
    assert_eq!(columns(Some(&[pool(2, 0, 0)])), (json([0, 100, 30]), json([0, 7, 8]), false));
    assert_eq!(columns(None), (json([5, 101, 30]), json([2, 8, 9]), true));
    assert_eq!(columns(Some(&[pool(9, 0, 0)])), (json([0; 3]), json([0; 3]), false));
}
