//! Tests of what survives a change of configuration, and what ends.

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::config::Dns;
use crate::control::upstreams::names::{ActiveResolver, resolve_new, watch_names};
use crate::net::timer::Timer;
use crate::observe::metrics::enter_worker;
use crate::upstream::pool::{Acquired, NewConnection, Slot, WaitBounds, Wanted, worker_channel};

fn build(written: &Value, previous: Option<&Arc<Targets>>) -> Arc<Targets> {
    let upstream: config::Upstream = serde_json::from_value(written.clone()).unwrap();
    let channels: WorkerChannels = [worker_channel(8).0].into();
    Targets::build(&upstream, &PoolSettings::default(), &channels, previous, &Files::new()).unwrap()
}

/// Returns an upstream with one name, `api`, that has resolved to these addresses.
fn named(addresses: &[&str]) -> Arc<Targets> {
    let targets = build(&json!({ "url": "http://api" }), None);
    resolved(&targets, addresses);
    targets
}

fn resolver() -> ActiveResolver {
    ActiveResolver::new(&Dns { search: Some(Vec::new()), ..Dns::default() })
}

fn resolved(targets: &Targets, addresses: &[&str]) {
    let socket = |address: &&str| address.parse::<SocketAddr>().unwrap();
    let addresses: Vec<NamedAddress> = addresses.iter().map(|address| socket(address).into()).collect();
    targets.set_addresses(0, &addresses);
}

/// Returns the endpoints that requests are sent to.
fn endpoints(targets: &Targets) -> Vec<Arc<Endpoint>> {
    targets.upstream().current().iter().cloned().collect()
}

fn addresses(targets: &Targets) -> Vec<String> {
    endpoints(targets).iter().map(|endpoint| endpoint.address().to_string()).collect()
}

fn is_retired(endpoint: &Endpoint) -> bool {
    endpoint.pool().is_retired()
}

/// Returns the position of each of these endpoints in `before`.
fn kept(before: &[Arc<Endpoint>], after: &[Arc<Endpoint>]) -> Vec<Option<usize>> {
    after.iter().map(|endpoint| before.iter().position(|known| Arc::ptr_eq(known, endpoint))).collect()
}

async fn use_one(endpoint: &Endpoint) -> Slot {
    enter_worker(0);
    match endpoint.pool().acquire(&Timer::default(), Wanted::Any, WaitBounds::default()).await {
        Ok(Acquired::New(NewConnection::Dial(slot))) => slot,
        _ => panic!("nothing is idle, and there is room"),
    }
}

fn with_limit(max_connections: usize) -> PoolSettings {
    PoolSettings { max_connections, ..PoolSettings::default() }
}

#[test]
fn equal_targets_keep_their_endpoints_and_changed_ones_get_new_endpoints() {
    let (a, b, c) = ("http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3");
    let (secure, ca) = ("https://127.0.0.1:1", json!({ "verify": false }));
    let cases = [
        (
            "the default port",
            json!({ "url": "http://127.0.0.1" }),
            json!({ "url": "http://127.0.0.1:80" }),
            None,
        ),
        ("`url` or `endpoints`", json!({ "url": a }), json!({ "endpoints": [a] }), None),
        ("weight 1", json!({ "endpoints": [a] }), json!({ "endpoints": [{ "url": a, "weight": 1 }] }), None),
        ("nothing", json!({ "endpoints": [a, a, b] }), json!({ "endpoints": [a, a, b] }), None),
        ("TLS of no endpoint", json!({ "url": a }), json!({ "url": a, "tls": ca }), None),
        (
            "weight",
            json!({ "endpoints": [a, b] }),
            json!({ "endpoints": [a, { "url": b, "weight": 2 }] }),
            Some(vec![Some(0), Some(1)]),
        ),
        ("resolve", json!({ "url": a }), json!({ "url": a, "resolve": "off" }), Some(vec![Some(0)])),
        (
            "order",
            json!({ "endpoints": [a, b] }),
            json!({ "endpoints": [b, a] }),
            Some(vec![Some(1), Some(0)]),
        ),
        (
            "one for another",
            json!({ "endpoints": [a, b] }),
            json!({ "endpoints": [b, c] }),
            Some(vec![Some(1), None]),
        ),
        (
            "one more of the same",
            json!({ "endpoints": [a, a] }),
            json!({ "endpoints": [a, a, a] }),
            Some(vec![Some(0), Some(1), None]),
        ),
        (
            "one less of the same",
            json!({ "endpoints": [a, b, a] }),
            json!({ "endpoints": [a, b] }),
            Some(vec![Some(0), Some(1)]),
        ),
        ("all", json!({ "url": a }), json!({ "url": c }), Some(vec![None])),
        ("scheme", json!({ "url": a }), json!({ "url": secure }), Some(vec![None])),
        (
            "verify",
            json!({ "endpoints": [secure, b] }),
            json!({ "endpoints": [secure, b], "tls": ca }),
            Some(vec![None, Some(1)]),
        ),
        (
            "sni",
            json!({ "url": secure, "tls": ca }),
            json!({ "url": secure, "tls": { "verify": false, "sni": "a" } }),
            Some(vec![None]),
        ),
        (
            "one more, secure",
            json!({ "url": secure }),
            json!({ "endpoints": [c, secure] }),
            Some(vec![None, Some(0)]),
        ),
    ];
    for (what, before, after, expected) in cases {
        let before = build(&before, None);
        let known = endpoints(&before);
        let after = build(&after, Some(&before));
        assert_eq!(Arc::ptr_eq(&before, &after), expected.is_none(), "{what}: the same targets");
        let Some(expected) = expected else { continue };
        assert_eq!(kept(&known, &endpoints(&after)), expected, "{what}");
        let is_of: Vec<bool> = after.iter().map(|target| target.is_of(&before)).collect();
        assert_eq!(is_of, expected.iter().map(Option::is_some).collect::<Vec<_>>(), "{what}");
        // Building must change nothing.
        assert_eq!(
            kept(&known, &endpoints(&before)),
            (0..known.len()).map(Some).collect::<Vec<_>>(),
            "{what}"
        );
        assert!(!known.iter().any(|endpoint| is_retired(endpoint)), "{what}");
        before.leave_to(&[&after]);
        let retired: Vec<bool> = known.iter().map(|endpoint| is_retired(endpoint)).collect();
        let taken = (0..known.len()).map(|index| expected.contains(&Some(index)));
        assert_eq!(retired, taken.map(|taken| !taken).collect::<Vec<_>>(), "{what}");
        assert!(!endpoints(&after).iter().any(|endpoint| is_retired(endpoint)), "{what}");
    }
}

#[test]
fn a_tls_configuration_that_is_made_of_the_same_is_the_same() {
    let written = |sni: &str, verify: bool| json!({ "url": "https://127.0.0.1:1", "tls": { "verify": verify, "sni": sni } });
    let before = build(&written("a", false), None);
    let config = |targets: &Targets| targets.targets[0].origin.tls.as_ref().unwrap().config().clone();
    for (sni, verify, is_same) in [("b", false, true), ("a", true, false)] {
        let after = build(&written(sni, verify), Some(&before));
        assert_eq!(Arc::ptr_eq(&config(&before), &config(&after)), is_same, "{sni} {verify}");
    }
}

#[test]
fn targets_have_their_urls_weights_and_pool_settings() {
    let endpoints = json!({ "endpoints": ["http://a", { "url": "https://b:8443", "weight": 3 }] });
    let targets = build(&endpoints, None);
    let told: Vec<(&str, u32)> = targets.iter().map(|target| (target.url(), target.weight())).collect();
    assert_eq!(told, [("http://a", 1), ("https://b:8443", 3)]);
    assert_eq!(*targets.settings(), PoolSettings::default());
}

#[test]
fn after_they_have_left_only_the_new_targets_act_on_dns() {
    let old = named(&["10.0.0.1:80", "10.0.0.2:80"]);
    let new = build(&json!({ "url": "http://api", "resolve": "5s" }), Some(&old));
    let known = endpoints(&old);
    assert_eq!(kept(&known, &endpoints(&new)), [Some(0), Some(1)], "from the first request on");
    assert!(old.leave_to(&[&new]).is_empty());
    resolved(&old, &["10.0.0.9:80"]);
    assert!(!known.iter().any(|endpoint| is_retired(endpoint)));
    resolved(&new, &["10.0.0.2:80", "10.0.0.3:80"]);
    assert_eq!(kept(&known, &endpoints(&new)), [Some(1), None]);
    assert_eq!([is_retired(&known[0]), is_retired(&known[1])], [true, false]);
    assert_eq!(
        kept(&known, &endpoints(&old)),
        [Some(0), Some(1)],
        "requests under way go on with what there is"
    );
    // No later build takes over superseded targets.
    let again = build(&json!({ "url": "http://api" }), Some(&old));
    assert!(endpoints(&again).is_empty());
}

#[tokio::test]
async fn a_dns_answer_between_building_and_leaving_is_not_lost() {
    let old = named(&["10.0.0.1:80", "10.0.0.2:80"]);
    let [gone, _] = endpoints(&old).try_into().ok().unwrap();
    let in_use = use_one(&gone).await;
    let new = build(&json!({ "endpoints": ["http://api", "http://10.1.1.1"] }), Some(&old));
    resolved(&old, &["10.0.0.2:80", "10.0.0.3:80"]);
    let known = endpoints(&old);
    let draining = old.leave_to(&[&new]);
    assert_eq!(kept(&known, &endpoints(&new)), [Some(0), Some(1), None]);
    assert_eq!(addresses(&new), ["10.0.0.2:80", "10.0.0.3:80", "10.1.1.1:80"]);
    assert_eq!(kept(&[gone], &draining), [Some(0)], "it is still in use");
    assert!(new.draining().is_empty(), "and reported once");
    drop(in_use);
}

#[tokio::test]
async fn endpoints_without_a_successor_drain_on_their_own() {
    let old = named(&["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]);
    let known = endpoints(&old);
    let (by_dns, by_reload) = (use_one(&known[0]).await, use_one(&known[2]).await);
    resolved(&old, &["10.0.0.2:80", "10.0.0.3:80"]);
    assert_eq!(kept(&known, &old.draining()), [Some(0)]);
    assert!(old.draining()[0].report().draining);
    let other = build(&json!({ "url": "http://10.1.1.1" }), Some(&old));
    assert!(old.leave_to(&[&old, &other]).is_empty(), "they are still active");
    let draining = old.leave_to(&[&other]);
    assert_eq!(kept(&known, &draining), [Some(0), Some(2)], "those with connections");
    assert!(known.iter().all(|endpoint| is_retired(endpoint)));
    drop((by_dns, by_reload));
    assert!(draining.iter().all(|endpoint| endpoint.pool().is_drained()));
    assert_eq!(addresses(&old), ["10.0.0.2:80", "10.0.0.3:80"], "requests under way have them still");
}

#[test]
fn limits_are_those_of_all_endpoints_the_later_ones_too() {
    let old = named(&["10.0.0.1:80"]);
    let new = build(&json!({ "endpoints": ["http://api", "http://10.1.1.1"] }), Some(&old));
    let limits = |targets: &Targets| -> Vec<usize> {
        endpoints(targets).iter().map(|endpoint| endpoint.pool().settings().max_connections).collect()
    };
    new.apply(&with_limit(7));
    old.leave_to(&[&new]);
    resolved(&new, &["10.0.0.1:80", "10.0.0.2:80"]);
    assert_eq!((limits(&new), new.settings().max_connections), (vec![7, 7, 7], 7));
    // An upstream that shares no target with them leaves their limits alone.
    let other = build(&json!({ "url": "http://10.2.2.2" }), Some(&new));
    other.apply(&with_limit(3));
    assert_eq!((limits(&other), limits(&new)), (vec![3], vec![7, 7, 7]));
}

#[tokio::test]
async fn raised_limits_reach_waiters() {
    let targets = named(&["10.0.0.1:80"]);
    targets.apply(&with_limit(1));
    let endpoint = endpoints(&targets).remove(0);
    let _first = use_one(&endpoint).await;
    let raise = async {
        tokio::task::yield_now().await;
        assert_eq!(endpoint.report().pending, 1);
        targets.apply(&with_limit(2));
    };
    let (_second, ()) = tokio::join!(use_one(&endpoint), raise);
}

#[tokio::test]
async fn new_names_are_resolved_in_advance_and_one_failure_does_not_affect_the_others() {
    // RFC 6761 §6.4 reserves `.invalid`, so this name never resolves.
    let targets = build(&json!({ "endpoints": ["http://nowhere.invalid", "http://localhost"] }), None);
    resolve_new(&targets, &resolver().with(&Dns::default())).await;
    assert!(!addresses(&targets).is_empty());
    assert!(endpoints(&targets).iter().all(|endpoint| endpoint.url() == "http://localhost"));
}

#[tokio::test]
async fn names_are_watched_from_what_is_known_until_the_targets_leave() {
    let old = build(&json!({ "url": "http://localhost", "resolve": "off" }), None);
    watch_names(&old, &resolver());
    while endpoints(&old).is_empty() {
        old.upstream().endpoints(None, &Timer::default()).await.ok().unwrap();
    }
    let known = endpoints(&old);
    let new = build(&json!({ "url": "http://localhost", "resolve": "1h" }), Some(&old));
    old.leave_to(&[&new]);
    watch_names(&new, &resolver());
    watch_names(&new, &resolver());
    assert_eq!(new.lock().watching.len(), 1, "once");
    assert_eq!(kept(&known, &endpoints(&new)), (0..known.len()).map(Some).collect::<Vec<_>>());
    // A name that has been resolved is not resolved again.
    let off = build(&json!({ "url": "http://localhost", "resolve": "off" }), Some(&new));
    new.leave_to(&[&off]);
    watch_names(&off, &resolver());
    assert!(off.lock().watching.is_empty());
    let mut watching = std::mem::take(&mut new.lock().watching);
    let ended = tokio::time::timeout(Duration::from_secs(5), watching.join_next()).await.unwrap();
    assert!(ended.unwrap().unwrap_err().is_cancelled());
    watch_names(&new, &resolver());
    assert!(new.lock().watching.is_empty(), "those that have left do not begin again");
}

#[tokio::test]
async fn a_waiter_for_the_first_address_is_notified_by_the_targets_that_took_over() {
    let [old, between, new] = {
        let old = build(&json!({ "url": "http://api" }), None);
        let between = build(&json!({ "url": "http://api", "resolve": "5s" }), Some(&old));
        let new = build(&json!({ "url": "http://api", "resolve": "6s" }), Some(&between));
        [old, between, new]
    };
    let timer = Timer::default();
    let mut waiting = pin!(old.upstream().endpoints(None, &timer));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    old.leave_to(&[&between]);
    between.leave_to(&[&new]);
    assert_eq!(endpoints(&old).len(), 0);
    resolved(&new, &["10.0.0.1:80"]);
    assert_eq!(kept(&endpoints(&new), &endpoints(&old)), [Some(0)]);
    assert_eq!(waiting.await.unwrap().iter().count(), 1);
}

#[tokio::test]
async fn time_of_the_next_lookup_survives_a_reload() {
    let old = build(&json!({ "endpoints": [{ "url": "http://api", "weight": 1 }] }), None);
    let new = build(&json!({ "endpoints": [{ "url": "http://api", "weight": 2 }] }), Some(&old));
    let [before, after] = [&old, &new].map(|targets| &targets.iter().next().unwrap().origin);
    let due = tokio::time::Instant::now() + Duration::from_secs(30);
    before.schedule_lookup(due);
    assert_eq!(after.next_lookup(), Some(due), "so that frequent reloads do not put it off");
}

#[test]
fn srv_upstream_is_one_target_with_the_ports_and_weights_of_its_records() {
    let targets = build(&json!({ "srv": "_http._tcp.api.internal" }), None);
    let address = |text: &str, weight| {
        let socket = text.parse::<SocketAddr>().unwrap();
        NamedAddress { socket, priority: 1, weight }
    };
    targets.set_addresses(0, &[address("10.0.0.1:8001", 1), address("10.0.0.2:8002", 3)]);
    let before = endpoints(&targets);
    assert_eq!(addresses(&targets), ["10.0.0.1:8001", "10.0.0.2:8002"]);
    assert!(before.iter().all(|endpoint| endpoint.host() == "api.internal"));
    // Another weight is no other server.
    targets.set_addresses(0, &[address("10.0.0.2:8002", 4), address("10.0.0.3:8003", 1)]);
    assert_eq!(kept(&before, &endpoints(&targets)), [Some(1), None]);
    assert!(is_retired(&before[0]) && !is_retired(&before[1]));
}
