//! Endpoints whose probes fail get no requests until probes succeed again.

mod kinds;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use support::serde_json::Value;
use support::{Gate, Gateway, Origin, Request, wait_until};

use crate::pooled::{self, OK, ROUTE, number, statuses};

const FAILURE: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";

/// Often, and patient enough for a machine that is busy.
const OFTEN: &str = "path: /healthz, interval: 10ms, timeout: 5s";

/// Returns the configuration of a gateway whose route goes to these endpoints in turns, with these keys of `health`.
fn config(urls: &[String], health: &str) -> String {
    let urls: Vec<String> = urls.iter().map(|url| format!("'{url}'")).collect();
    let upstream =
        format!("{{ endpoints: [{}], balance: round_robin, health: {{ {health} }} }}", urls.join(", "));
    pooled::whole(&pooled::to_upstream(2, &upstream, ""))
}

async fn start(urls: &[String], health: &str) -> Gateway {
    crate::gateway(config(urls, health)).start().await
}

async fn health(gateway: &Gateway, url: &str) -> Value {
    gateway.pool_at(ROUTE, url).await["health"].clone()
}

async fn wait_for_health(gateway: &Gateway, url: &str, state: &str) {
    wait_until(&format!("{url} to be {state}"), async || health(gateway, url).await == state).await;
}

fn is_probe(request: &Request) -> bool {
    request.target == "/healthz"
}

fn probes(origin: &Origin) -> usize {
    origin.requests().iter().filter(|request| is_probe(request)).count()
}

/// Returns the requests of clients that an origin has got.
fn asked(origin: &Origin) -> usize {
    origin.requests().len() - probes(origin)
}

async fn wait_for_probes(origin: &Origin, count: usize) {
    wait_until(&format!("{count} probes"), async || probes(origin) >= count).await;
}

/// An origin that serves clients, and whose probes succeed as the switch says.
fn switched(is_well: &Arc<AtomicBool>) -> Origin {
    let is_well = is_well.clone();
    Origin::respond(move |request| match is_probe(request) && !is_well.load(SeqCst) {
        true => FAILURE.into(),
        false => OK.into(),
    })
}

#[tokio::test]
async fn endpoint_goes_down_by_its_probes_and_comes_back() {
    let is_well = Arc::new(AtomicBool::new(false));
    let (failing, sound) = (switched(&is_well), Origin::answer(OK));
    let gateway = start(
        &[failing.url(), sound.url()],
        &format!("active: {{ {OFTEN} }}, slow_start: 100ms, passive: off"),
    )
    .await;
    let log = gateway.wait_for_log("unhealthy:").await;
    assert!(
        log.contains("3 probes failed in a row, the last one: status 503") && log.contains("WARN"),
        "{log}"
    );
    assert!(log.contains(&failing.url()), "{log}");
    let before = asked(&failing);
    assert_eq!(statuses(&gateway, 10).await, [200; 10]);
    assert_eq!(asked(&failing), before, "clients do not reach it");
    assert_eq!(asked(&sound), 10);
    let pool = gateway.pool_at(ROUTE, &failing.url()).await;
    assert_eq!((&pool["health"], &pool["last_probe_failure"]), (&"unhealthy".into(), &"status 503".into()));
    assert!(number(&pool, "probes_failed") >= 3 && number(&pool, "probes_succeeded") == 0, "{pool}");
    assert_eq!(number(&pool, "opened"), 0, "probes are not of the pool");
    let labels = format!("pool=\"{ROUTE}\",endpoint=\"{}\",address=\"{}\"", failing.url(), failing.addr());
    assert_eq!(gateway.metric(&format!("gateway_pool_healthy{{{labels}}}")).await, Some(0.0));
    let failures = gateway.metric(&format!("gateway_pool_probes_total{{{labels},result=\"failure\"}}")).await;
    assert!(failures >= Some(3.0), "{failures:?}");

    is_well.store(true, SeqCst);
    let log = gateway.wait_for_log("healthy: probes succeed").await;
    assert!(log.contains("INFO"), "{log}");
    wait_for_health(&gateway, &failing.url(), "starting").await;
    wait_for_health(&gateway, &failing.url(), "healthy").await;
    assert_eq!(statuses(&gateway, 10).await, [200; 10]);
    assert_eq!(asked(&failing) - before, 5);
}

#[tokio::test]
async fn only_results_in_a_row_change_the_state() {
    let (probe, pattern) = (AtomicUsize::new(0), b"+--+--+--+---+-+-+-++");
    let flapping = Origin::respond(move |_| match pattern.get(probe.fetch_add(1, SeqCst)) {
        Some(b'-') => FAILURE.into(),
        _ => OK.into(),
    });
    let gateway = start(&[flapping.url()], &format!("active: {{ {OFTEN} }}, slow_start: off")).await;
    wait_for_probes(&flapping, pattern.len() + 3).await;
    let logs = gateway.logs();
    let changes: Vec<bool> = logs
        .iter()
        .filter(|line| line.contains("healthy: "))
        .map(|line| line.contains("unhealthy: "))
        .collect();
    assert_eq!(changes, [true, false], "{logs:#?}");
    let pool = gateway.pool(ROUTE).await;
    assert_eq!((&pool["health"], number(&pool, "probes_failed")), (&"healthy".into(), 12));
}

#[tokio::test]
async fn probes_are_made_once_for_all_workers_and_at_once() {
    let origin = Origin::answer(OK);
    let gateway = start(&[origin.url()], "active: { path: /healthz, interval: 1h }").await;
    wait_until("a probe", async || number(&gateway.pool(ROUTE).await, "probes_succeeded") > 0).await;
    // Both workers have served by now.
    statuses(&gateway, 4).await;
    assert_eq!((probes(&origin), number(&gateway.pool(ROUTE).await, "probes_succeeded")), (1, 1));
}

#[tokio::test]
async fn probes_are_not_in_the_access_log() {
    let origin = Origin::answer(OK);
    // The log is on by default.
    let config = config(&[origin.url()], &format!("active: {{ {OFTEN} }}"));
    let gateway = crate::gateway(config.replace("telemetry: { access_log: off }\n", "")).start().await;
    wait_for_probes(&origin, 5).await;
    statuses(&gateway, 1).await;
    gateway.wait_for_stdout("\"target\":\"/\"").await;
    assert!(!gateway.output().contains("/healthz"), "{}", gateway.output());
}

#[tokio::test]
async fn endpoint_that_starts_unhealthy_gets_nothing_until_a_probe_succeeds() {
    let gate = Gate::new();
    let held = gate.clone();
    let late = Origin::script(move |mut connection| {
        let gate = held.clone();
        async move {
            while let Some(request) = connection.read_request().await {
                if is_probe(&request) {
                    gate.pass().await;
                }
                connection.write(OK).await;
            }
        }
    });
    let sound = [Origin::answer(OK), Origin::answer(OK)];
    let mut urls: Vec<String> = sound.iter().map(Origin::url).collect();
    let keys = format!("active: {{ {OFTEN}, start: unhealthy }}");
    let gateway = start(&urls, &keys).await;
    for url in &urls {
        wait_for_health(&gateway, url, "healthy").await;
    }
    urls.push(late.url());
    gateway.reload(&config(&urls, &keys)).await;
    gate.arrivals(1).await;
    assert_eq!(statuses(&gateway, 12).await, [200; 12]);
    assert_eq!((health(&gateway, &late.url()).await, asked(&late)), ("unhealthy".into(), 0));
    gate.release_all();
    // Its first success suffices, and it does not come back: it has never been away.
    wait_for_health(&gateway, &late.url(), "healthy").await;
    assert_eq!(statuses(&gateway, 12).await, [200; 12]);
    assert_eq!(asked(&late), 4);
}

#[tokio::test]
async fn reload_keeps_the_state_and_changes_the_interval() {
    let is_well = Arc::new(AtomicBool::new(false));
    let (failing, sound) = (switched(&is_well), Origin::answer(OK));
    let urls = [failing.url(), sound.url()];
    let keys = |interval: &str, more: &str| {
        format!(
            "active: {{ path: /healthz, interval: {interval}, unhealthy_after: 1 }}, passive: off, {more}"
        )
    };
    let gateway = start(&urls, &keys("1h", "")).await;
    wait_for_health(&gateway, &failing.url(), "unhealthy").await;
    wait_for_probes(&sound, 1).await;
    is_well.store(true, SeqCst);
    for reload in [keys("1h", "slow_start: off"), keys("2h", "slow_start: off")] {
        gateway.reload(&config(&urls, &reload)).await;
        assert_eq!(statuses(&gateway, 4).await, [200; 4]);
        assert_eq!(health(&gateway, &failing.url()).await, "unhealthy");
        assert_eq!((asked(&failing), probes(&failing), probes(&sound)), (0, 1, 1), "no probe is due");
    }
    gateway.reload(&config(&urls, &keys("10ms", "slow_start: off"))).await;
    wait_for_health(&gateway, &failing.url(), "healthy").await;
    wait_for_probes(&sound, 5).await;
    let pool = gateway.pool_at(ROUTE, &failing.url()).await;
    assert_eq!(number(&pool, "probes_failed"), 1, "the counts go on");
}

#[tokio::test]
async fn endpoint_that_a_reload_removes_is_no_longer_probed() {
    let (gone, stays) = (Origin::answer(OK), Origin::answer(OK));
    let keys = format!("active: {{ {OFTEN} }}");
    let gateway = start(&[gone.url(), stays.url()], &keys).await;
    wait_for_probes(&gone, 2).await;
    gateway.reload(&config(&[stays.url()], &keys)).await;
    // A probe that was on its way has arrived by then.
    wait_for_probes(&stays, probes(&stays) + 3).await;
    let before = gone.accepted();
    wait_for_probes(&stays, probes(&stays) + 10).await;
    assert_eq!(gone.accepted(), before);
}

#[tokio::test]
async fn endpoint_that_is_down_serves_when_probes_are_switched_off() {
    let failing = switched(&Arc::default());
    let sound = Origin::answer(OK);
    let urls = [failing.url(), sound.url()];
    let gateway = start(&urls, &format!("active: {{ {OFTEN}, unhealthy_after: 1 }}")).await;
    wait_for_health(&gateway, &failing.url(), "unhealthy").await;
    gateway.reload(&config(&urls, "active: off")).await;
    assert_eq!(health(&gateway, &failing.url()).await, "healthy");
    let before = (failing.accepted(), probes(&failing));
    assert_eq!(statuses(&gateway, 8).await, [200; 8]);
    assert_eq!((asked(&failing), probes(&failing)), (4, before.1));
}

#[tokio::test]
async fn all_get_requests_when_all_are_down() {
    let down = [switched(&Arc::default()), switched(&Arc::default())];
    let urls: Vec<String> = down.iter().map(Origin::url).collect();
    let gateway = start(&urls, &format!("active: {{ {OFTEN} }}")).await;
    for url in &urls {
        wait_for_health(&gateway, url, "unhealthy").await;
    }
    assert_eq!(statuses(&gateway, 10).await, [200; 10]);
    assert_eq!(down.iter().map(asked).collect::<Vec<_>>(), [5, 5]);
    gateway.wait_for_log("only 0 of 2 endpoints healthy, less than 50 %: all of them get requests").await;
}

#[tokio::test]
async fn any_number_of_endpoints_may_be_down() {
    let down: Vec<Origin> = (0..3).map(|_| switched(&Arc::default())).collect();
    let sound = Origin::answer(OK);
    let mut urls: Vec<String> = down.iter().map(Origin::url).collect();
    urls.push(sound.url());
    let gateway = start(&urls, &format!("active: {{ {OFTEN} }}, panic_percent: 0")).await;
    for origin in &down {
        wait_for_health(&gateway, &origin.url(), "unhealthy").await;
    }
    let before: usize = down.iter().map(asked).sum();
    assert_eq!(statuses(&gateway, 10).await, [200; 10]);
    assert_eq!((down.iter().map(asked).sum::<usize>() - before, asked(&sound)), (0, 10));
}

#[tokio::test]
async fn endpoints_that_come_back_take_what_one_that_is_down_does_not_get() {
    let is_well = Arc::new(AtomicBool::new(false));
    let (returning, down) = ([switched(&is_well), switched(&is_well)], switched(&Arc::default()));
    let urls: Vec<String> = returning.iter().chain([&down]).map(Origin::url).collect();
    let keys = format!("active: {{ {OFTEN} }}, slow_start: 1h, panic_percent: 0, passive: off");
    let gateway = start(&urls, &keys).await;
    for url in &urls {
        wait_for_health(&gateway, url, "unhealthy").await;
    }
    is_well.store(true, SeqCst);
    for origin in &returning {
        wait_for_health(&gateway, &origin.url(), "starting").await;
    }
    assert_eq!(statuses(&gateway, 50).await, [200; 50]);
    assert_eq!((returning.iter().map(asked).sum::<usize>(), asked(&down)), (50, 0));
}

#[tokio::test]
async fn probe_that_succeeds_ends_an_ejection() {
    let is_well = Arc::new(AtomicBool::new(false));
    let answers = is_well.clone();
    let failing = Origin::respond(move |request| match (is_probe(request), answers.load(SeqCst)) {
        (true, true) => OK.into(),
        _ => FAILURE.into(),
    });
    let sound = Origin::answer(OK);
    let keys = "passive: { failures: 1, eject_for: 1h, max_eject: 1h }, slow_start: off";
    let active = format!("active: {{ {OFTEN}, unhealthy_after: 1000000 }}");
    let gateway = start(&[failing.url(), sound.url()], &format!("{active}, {keys}")).await;
    statuses(&gateway, 2).await;
    wait_for_health(&gateway, &failing.url(), "ejected").await;
    is_well.store(true, SeqCst);
    gateway.wait_for_log("a probe succeeded: the ejection is over").await;
    wait_for_health(&gateway, &failing.url(), "healthy").await;
}

#[tokio::test]
async fn endpoint_with_a_low_success_rate_is_ejected() {
    let served = AtomicUsize::new(0);
    // Half of its requests fail, and never two in a row.
    let failing = Origin::respond(move |_| match served.fetch_add(1, SeqCst).is_multiple_of(2) {
        true => "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n".into(),
        false => OK.into(),
    });
    let sound: Vec<Origin> = (0..4).map(|_| Origin::answer(OK)).collect();
    let mut urls: Vec<String> = sound.iter().map(Origin::url).collect();
    urls.push(failing.url());
    let keys = "passive: { on: [500], success_rate: { interval: 100ms, min_requests: 5 } }";
    let gateway = start(&urls, keys).await;
    wait_until("an ejection", async || {
        statuses(&gateway, 50).await;
        health(&gateway, &failing.url()).await == "ejected"
    })
    .await;
    let log = gateway.wait_for_log("ejected for 30s").await;
    assert!(log.contains("% of its requests succeeded") && log.contains(&failing.url()), "{log}");
    assert_eq!(statuses(&gateway, 20).await, [200; 20]);
    for url in sound.iter().map(Origin::url) {
        assert_eq!(health(&gateway, &url).await, "healthy");
    }
}

#[tokio::test]
async fn endpoint_that_probes_have_found_down_counts_among_the_ejected() {
    let down = switched(&Arc::new(AtomicBool::new(false)));
    let failing = Origin::respond(|request| if is_probe(request) { OK } else { FAILURE }.into());
    let sound = Origin::answer(OK);
    let urls = [down.url(), failing.url(), sound.url()];
    for (percent, expected) in [(10, "healthy"), (100, "ejected")] {
        let passive = format!("passive: {{ max_ejected_percent: {percent} }}");
        let once = "path: /healthz, interval: 1h, timeout: 5s, unhealthy_after: 1";
        let gateway = start(&urls, &format!("active: {{ {once} }}, {passive}")).await;
        wait_for_health(&gateway, &down.url(), "unhealthy").await;
        statuses(&gateway, 20).await;
        assert_eq!(health(&gateway, &failing.url()).await, expected, "{percent} %");
    }
}
