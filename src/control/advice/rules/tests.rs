use std::num::NonZeroU32;

use super::*;
use crate::config::PoolSettings;
use crate::control::advice::of_pool;
use crate::control::history::PoolWindow;
use crate::observe::metrics::{PoolReport, duration_bucket};

const MINUTES: Duration = Duration::from_secs(300);

/// Returns the advice about a pool as texts, and the values that suffice.
fn advice(
    report: &PoolReport,
    window: &PoolWindow,
    settings: &PoolSettings,
) -> Vec<(String, Option<String>)> {
    let window = PoolWindow { length: MINUTES, ..window.clone() };
    let report =
        PoolReport { requests_per_connection: report.requests_per_connection.max(1), ..report.clone() };
    of_pool(&report, &window, settings).into_iter().map(|advice| (advice.text, advice.suffices)).collect()
}

/// Asserts the only advice, and that none is left with settings that follow it.
fn assert_only(
    report: &PoolReport,
    window: &PoolWindow,
    settings: &PoolSettings,
    (text, suffices): (&str, &str),
    follow: impl FnOnce(&mut PoolSettings),
) {
    assert_eq!(advice(report, window, settings), [(text.to_owned(), Some(suffices.to_owned()))]);
    let mut followed = settings.clone();
    follow(&mut followed);
    assert_eq!(advice(report, window, &followed), [], "{text}");
}

fn waits(count: u64, time: Duration) -> PoolWindow {
    let mut window = PoolWindow::default();
    window.waits[duration_bucket(time)] = count;
    window
}

#[test]
fn pool_that_serves_everything_at_once_needs_no_advice() {
    let window =
        PoolWindow { acquired: 1000, reused: 990, opened: 10, peak_requests: 10, ..Default::default() };
    assert_eq!(advice(&PoolReport::default(), &window, &PoolSettings::default()), []);
}

#[test]
fn limit_on_connections_that_was_reached_is_compared_with_the_peak_of_requests() {
    let window = PoolWindow {
        max_connections_reached: Duration::from_secs(120),
        peak_requests: 110,
        ..waits(100, Duration::from_millis(200))
    };
    let settings = PoolSettings { max_connections: 64, ..PoolSettings::default() };
    assert_only(
        &PoolReport::default(),
        &window,
        &settings,
        (
            "max_connections 64 was reached 40 % of the last 5 minutes; 100 requests waited, p99 248 ms: 110 would have sufficed",
            "110",
        ),
        |settings| settings.max_connections = 110,
    );
    let shared = PoolReport { requests_per_connection: 10, ..PoolReport::default() };
    let settings = PoolSettings { max_connections: 4, ..settings };
    let refused = PoolWindow { refused: vec![("pool.acquire_timeout", 7)], ..window };
    assert_only(
        &shared,
        &refused,
        &settings,
        (
            "max_connections 4 was reached 40 % of the last 5 minutes; 100 requests waited, p99 248 ms, and 7 were refused: 11 would have \
             sufficed for 110 requests at once, 10 on each connection",
            "11",
        ),
        |settings| settings.max_connections = 11,
    );
}

#[test]
fn limit_on_requests_that_was_reached_is_compared_with_their_peak() {
    let window = PoolWindow {
        max_concurrent_reached: Duration::from_secs(3),
        peak_requests: 9,
        ..waits(8, Duration::from_millis(4))
    };
    let report = PoolReport { max_concurrent: Some(4), ..PoolReport::default() };
    let at = |limit| PoolSettings {
        max_concurrent: NonZeroU32::new(limit).map_or(MaxConcurrent::Off, MaxConcurrent::At),
        ..PoolSettings::default()
    };
    let expected = "max_concurrent 4 was reached 1 % of the last 5 minutes; 8 requests waited, p99 5 ms: 9 would have sufficed, if the \
                    server can serve as many";
    assert_eq!(advice(&report, &window, &at(4)), [(expected.to_owned(), Some("9".to_owned()))]);
    assert_eq!(advice(&PoolReport { max_concurrent: Some(9), ..report.clone() }, &window, &at(9)), []);
    let auto = PoolSettings { max_concurrent: MaxConcurrent::Auto, ..PoolSettings::default() };
    let [(text, None)] = &advice(&report, &window, &auto)[..] else { panic!("no other advice") };
    assert!(
        text.starts_with("max_concurrent auto, at present 4, was reached") && text.contains("the server is"),
        "{text}"
    );
}

#[test]
fn refusals_that_more_connections_would_not_prevent_have_their_own_limit() {
    let window =
        PoolWindow { refused: vec![("pool.max_pending", 30)], peak_requests: 50, ..PoolWindow::default() };
    let settings = PoolSettings { max_pending: 16, ..PoolSettings::default() };
    assert_only(
        &PoolReport::default(),
        &window,
        &settings,
        (
            "max_pending 16 refused 30 requests in the last 5 minutes, while connections were being opened: 34 would have let them wait",
            "34",
        ),
        |settings| settings.max_pending = 34,
    );
    let window =
        PoolWindow { refused: vec![("pool.acquire_timeout", 3)], connect_failed: 9, ..Default::default() };
    let [(text, None)] = &advice(&PoolReport::default(), &window, &PoolSettings::default())[..] else {
        panic!("no other advice")
    };
    assert!(text.starts_with("acquire_timeout 2s refused 3 requests"), "{text}");
}

#[test]
fn failures_of_the_server_are_not_put_down_to_a_limit() {
    let window = PoolWindow { ejections: 3, ..PoolWindow::default() };
    let [(text, None)] = &advice(&PoolReport::default(), &window, &PoolSettings::default())[..] else {
        panic!("no other advice")
    };
    assert!(text.starts_with("the endpoint was ejected 3 times in the last 5 minutes"), "{text}");
    let open = PoolReport { breaker: Some("open"), ..PoolReport::default() };
    let [(text, None)] = &advice(&open, &PoolWindow::default(), &PoolSettings::default())[..] else {
        panic!("no other advice")
    };
    assert!(text.starts_with("the breaker is open"), "{text}");
}

#[test]
fn connections_that_a_limit_closes_and_requests_open_again_are_put_down_to_it() {
    let closed = |reason: &'static str| PoolWindow {
        closed: vec![(reason, 40), ("peer", 2)],
        opened: 44,
        peak_requests: 12,
        awaited_dials: [1, 2, 3, 4, 34, 0, 0, 0, 0, 0, 0, 0],
        ..PoolWindow::default()
    };
    let report = PoolReport::default();
    let settings = PoolSettings { max_idle: 2, ..PoolSettings::default() };
    assert_only(
        &report,
        &closed("max_idle"),
        &settings,
        (
            "max_idle 2 closed 40 connections in the last 5 minutes, while 44 were opened: 12 would have kept them",
            "12",
        ),
        |settings| settings.max_idle = 12,
    );
    let settings = PoolSettings { max_lifetime: Some(Duration::from_secs(5)), ..PoolSettings::default() };
    assert_only(
        &report,
        &closed("max_lifetime"),
        &settings,
        (
            "max_lifetime 5s closed 40 of 44 connections that were opened in the last 5 minutes: the default of 10m would have kept them",
            "10m",
        ),
        |settings| settings.max_lifetime = Some(Duration::from_secs(600)),
    );
    let settings = PoolSettings { max_requests: Some(10), ..PoolSettings::default() };
    assert_only(
        &report,
        &closed("max_requests"),
        &settings,
        (
            "max_requests 10 closed 40 connections in the last 5 minutes, after 10 requests each: with 100, one request in 100 would open a \
             connection",
            "100",
        ),
        |settings| settings.max_requests = Some(100),
    );
    let settings = PoolSettings { keep_alive: false, ..PoolSettings::default() };
    assert_eq!(
        advice(&report, &closed("keep_alive_off"), &settings),
        [(
            "keep_alive false closed 40 connections in the last 5 minutes, each after one request: with true, 12 would have served all"
                .to_owned(),
            Some("true".to_owned())
        )]
    );
}

#[test]
fn spare_connections_are_advised_if_they_would_have_saved_most_dials() {
    let window = PoolWindow {
        opened: 200,
        peak_requests: 12,
        awaited_dials: [20, 20, 50, 100, 10, 0, 0, 0, 0, 0, 0, 0],
        closed: vec![("idle_timeout", 190)],
        ..PoolWindow::default()
    };
    let tls = PoolReport { tls_handshakes: 200, ..PoolReport::default() };
    assert_only(
        &tls,
        &window,
        &PoolSettings::default(),
        (
            "min_idle 8 would have saved 95 % of the 200 TLS handshakes in requests' way in the last 5 minutes",
            "8",
        ),
        |settings| settings.min_idle = 8,
    );
    let refused = PoolWindow { opened: 0, connect_failed: 200, ..window.clone() };
    assert_eq!(advice(&tls, &refused, &PoolSettings::default()), [], "there is nothing to keep");
    assert_eq!(kept_for(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9], 9), None, "more than there are classes for");
    let first =
        PoolWindow { awaited_dials: [1, 1, 2, 4, 4, 0, 0, 0, 0, 0, 0, 0], peak_requests: 12, ..window };
    assert_eq!(advice(&tls, &first, &PoolSettings::default()), [], "each was opened once");
}

#[test]
fn server_that_closes_sooner_is_advice_unless_the_setting_is_as_low() {
    let report = PoolReport {
        learned_idle_timeout: Some(Duration::from_millis(4500)),
        learned_from: 3,
        ..PoolReport::default()
    };
    assert_only(
        &report,
        &PoolWindow::default(),
        &PoolSettings::default(),
        (
            "the server closes idle connections after 5.0 s, seen 3 times, and idle_timeout is 30s: the pool has lowered it to 4.5 s by \
             itself; 4s would do so from the start",
            "4s",
        ),
        |settings| settings.idle_timeout = Some(Duration::from_secs(4)),
    );
}
