//! Routes that are split between upstreams by weight, as for a canary.

use std::collections::BTreeMap;

use support::{Gate, Gateway, Origin, Response};

use crate::pooled::{self, OK, ROUTE, number};

/// The configuration of a route that is split so between the upstreams `a` and `b`, with further keys of the upstreams and of the
/// route.
fn config(upstreams: [(&Origin, &str); 2], split: &str, route: &str) -> String {
    let [a, b] = upstreams.map(|(origin, keys)| format!("{{ url: '{}', {keys} }}", origin.url()));
    format!(
        "listeners: [{{ name: web, address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\ntelemetry: {{ access_log: off }}\nworkers: 2\nupstreams: {{ a: {a}, b: {b} }}\nroutes:\n  - {{ name: {ROUTE}, match: {{ prefix: / }}, upstream: {split}, {route} }}"
    )
}

fn split(a: u32, b: u32) -> String {
    format!("[{{ to: a, weight: {a} }}, {{ to: b, weight: {b} }}]")
}

async fn start(config: &str) -> Gateway {
    crate::gateway(config).start().await
}

fn named(name: &str) -> Origin {
    Origin::answer(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len()))
}

async fn get(gateway: &Gateway, cookie: &str) -> Response {
    gateway.client("web").await.request("GET", "/", &[("cookie", cookie)], b"").await
}

fn cookie(response: &Response) -> Option<String> {
    Some(response.header("set-cookie")?.split(';').next().unwrap().to_owned())
}

/// Returns how many of so many requests each upstream gets. Each has a connection of its own, so both workers serve some.
async fn shares(gateway: &Gateway, requests: usize) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..requests {
        *shares.entry(get(gateway, "").await.text()).or_default() += 1;
    }
    shares
}

fn exactly(a: usize, b: usize) -> BTreeMap<String, usize> {
    [("a", a), ("b", b)].into_iter().filter(|(_, n)| *n > 0).map(|(name, n)| (name.to_owned(), n)).collect()
}

#[tokio::test]
async fn requests_are_split_exactly_by_weight() {
    let (a, b) = (named("a"), named("b"));
    let gateway = start(&config([(&a, ""), (&b, "")], &split(90, 10), "")).await;
    assert_eq!(shares(&gateway, 100).await, exactly(90, 10));
    // Both pools belong to the upstreams, and show the route.
    for (origin, name) in [(&a, "a"), (&b, "b")] {
        assert_eq!(gateway.pool_at(ROUTE, &origin.url()).await["pool"], name);
    }
}

#[tokio::test]
async fn weights_change_with_the_next_request_and_open_no_connection() {
    let (a, b) = (named("a"), named("b"));
    let with =
        |to_a, to_b| config([(&a, ""), (&b, "")], &split(to_a, to_b), "").replace("workers: 2", "workers: 1");
    let gateway = start(&with(50, 50)).await;
    assert_eq!(shares(&gateway, 20).await, exactly(10, 10));
    for (to_a, to_b) in [(90, 10), (0, 1), (100, 0)] {
        gateway.reload(&with(to_a, to_b)).await;
        let total = (to_a + to_b) as usize;
        assert_eq!(shares(&gateway, total).await, exactly(to_a as usize, to_b as usize));
    }
    assert_eq!((a.accepted(), b.accepted()), (1, 1));
    // Nor if one of the upstreams becomes the only one.
    gateway.reload(&config([(&a, ""), (&b, "")], "a", "").replace("workers: 2", "workers: 1")).await;
    assert_eq!(shares(&gateway, 5).await, exactly(5, 0));
    assert_eq!(a.accepted(), 1);
}

#[tokio::test]
async fn cookie_holds_the_upstream_and_then_the_endpoint() {
    let origins: Vec<Origin> = ["a", "b", "b2"].into_iter().map(named).collect();
    let sticky = "sticky: { cookie: hold }";
    let with = |second: &Origin, split: &str| {
        let keys = format!("{sticky} }}, unused: {{ url: 'http://127.0.0.1:1'");
        let config = config([(&origins[0], sticky), (&origins[1], &keys)], split, "");
        let urls = format!("endpoints: ['{}', '{}']", origins[1].url(), second.url());
        config.replace(&format!("url: '{}'", origins[1].url()), &urls)
    };
    let gateway = start(&with(&origins[2], &split(1, 1))).await;
    let mut held = BTreeMap::new();
    while held.len() < 3 {
        let response = get(&gateway, "x=1").await;
        held.insert(response.text(), cookie(&response).unwrap());
    }
    for weights in [(9, 1), (0, 1), (1, 0)] {
        gateway.reload(&with(&origins[2], &split(weights.0, weights.1))).await;
        for (name, cookie) in &held {
            for _ in 0..6 {
                let next = get(&gateway, cookie).await;
                let expected = (name.clone(), None);
                assert_eq!((next.text(), next.header("set-cookie")), expected, "{weights:?}");
            }
        }
    }
    // New clients go where there is a weight.
    assert_eq!(get(&gateway, "").await.text(), "a");
    // Without its endpoint, a client stays at the upstream.
    gateway.reload(&with(&origins[1], &split(9, 1))).await;
    for _ in 0..20 {
        let moved = get(&gateway, &held["b2"]).await;
        assert_eq!((moved.text(), cookie(&moved).as_ref()), ("b".to_owned(), Some(&held["b"])));
    }
    // Without the upstream, it goes elsewhere.
    gateway.reload(&with(&origins[2], "[{ to: a, weight: 1 }]")).await;
    let moved = get(&gateway, &held["b2"]).await;
    assert_eq!((moved.text(), cookie(&moved).as_ref()), ("a".to_owned(), Some(&held["a"])));
}

#[tokio::test]
async fn sessions_of_an_upstream_go_on_when_its_route_is_split() {
    let (a, b) = (named("a"), named("b"));
    let sticky = "sticky: { cookie: hold }";
    let gateway = start(&config([(&a, sticky), (&b, sticky)], "a", "")).await;
    let held = cookie(&get(&gateway, "").await).unwrap();
    gateway.reload(&config([(&a, sticky), (&b, sticky)], &split(1, 99), "")).await;
    for _ in 0..20 {
        let next = get(&gateway, &held).await;
        assert_eq!((next.text(), next.header("set-cookie")), ("a".to_owned(), None));
    }
}

#[tokio::test]
async fn timeouts_and_pool_are_those_of_the_chosen_upstream_unless_the_route_has_its_own() {
    let gate = Gate::new();
    let (slow, also_slow) = (pooled::gated(&gate), pooled::gated(&gate));
    let (quick, patient) =
        ("timeouts: { response_header: 20ms }, pool: { max_connections: 7 }", "pool: { max_connections: 8 }");
    let gateway = start(&config([(&slow, quick), (&also_slow, patient)], &split(1, 1), "")).await;
    let asked = [pooled::ask(&gateway, "/").await, pooled::ask(&gateway, "/").await];
    gate.arrivals(2).await;
    let [first, second] = asked;
    // The one at `a` ends by its timeout; the gate is still closed.
    let is_first = support::wait_for("a response by timeout", async || {
        [&first, &second].iter().position(|asked| asked.is_finished())
    });
    let is_first = is_first.await == 0;
    gate.release_all();
    let mut statuses = [first.await.unwrap().status, second.await.unwrap().status];
    if !is_first {
        statuses.reverse();
    }
    assert_eq!(statuses, [504, 200]);
    let limit = async |gateway: &Gateway, origin: &Origin| {
        let pool = gateway.pool_at(ROUTE, &origin.url()).await;
        (pool["pool"].as_str().unwrap().to_owned(), number(&pool, "max_connections"))
    };
    assert_eq!(limit(&gateway, &slow).await, ("a".to_owned(), 7));
    assert_eq!(limit(&gateway, &also_slow).await, ("b".to_owned(), 8));

    let own = "timeouts: { response_header: 10s }, pool: { max_connections: 9 }";
    gateway.reload(&config([(&slow, quick), (&also_slow, patient)], &split(1, 1), own)).await;
    assert_eq!(limit(&gateway, &slow).await, (format!("{ROUTE} (a)"), 9));
    assert_eq!(limit(&gateway, &also_slow).await, (format!("{ROUTE} (b)"), 9));
    let accepted = (slow.accepted(), also_slow.accepted());
    for (to_a, to_b) in [(1, 3), (3, 1)] {
        gateway.reload(&config([(&slow, quick), (&also_slow, patient)], &split(to_a, to_b), own)).await;
        for _ in 0..4 {
            assert_eq!(get(&gateway, "").await.status, 200);
        }
    }
    assert!(slow.accepted() - accepted.0 <= 2 && also_slow.accepted() - accepted.1 <= 2);
}

#[tokio::test]
async fn location_that_names_an_upstream_of_the_split_is_rewritten() {
    let moved = || {
        Origin::respond(|request| {
            let host = request.headers.get("host").unwrap();
            format!("HTTP/1.1 302 Found\r\nlocation: http://{host}/x\r\ncontent-length: 0\r\n\r\n").into()
        })
    };
    let (a, b) = (moved(), moved());
    let gateway = start(&config([(&a, ""), (&b, "")], &split(1, 1), "")).await;
    for _ in 0..4 {
        let response =
            gateway.client("web").await.request("GET", "/", &[("host", "gateway.test")], b"").await;
        assert_eq!(response.header("location"), Some("http://gateway.test/x"));
    }
    assert_eq!((a.requests().len(), b.requests().len()), (2, 2));
}

#[tokio::test]
async fn split_has_known_upstreams_each_once_with_one_cookie_and_some_weight() {
    let origin = Origin::answer(OK);
    let sticky = "sticky: { cookie: hold }";
    for (a, b, split, said) in [
        ("", "", split(0, 0), &["the split has no effect: every `weight` is 0"][..]),
        ("", "", split(1, 1).replace("to: b", "to: bb"), &["unknown upstream `bb`", "did you mean `b`?"]),
        ("", "", split(1, 1).replace("to: b", "to: a"), &["the upstream `a` appears twice"]),
        ("", "", split(1, 1).replace("weight: 1", "weight: -1"), &["weight"]),
        ("", "", "[]".to_owned(), &["is empty"]),
        ("", "", "[{ to: a }]".to_owned(), &["the key `weight` is missing"]),
        (sticky, "", split(1, 1), &["the upstreams of a split differ in their `sticky` cookie"]),
        (sticky, "sticky: { cookie: other }", split(1, 1), &["differ in their `sticky` cookie"]),
    ] {
        let config = config([(&origin, a), (&origin, b)], &split, "");
        let output = crate::gateway(config).run_to_exit().await;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.iter().all(|said| error.contains(said)), "{split}: {error}");
    }
    // An upstream of a split counts as used.
    let gateway = start(&config([(&origin, sticky), (&origin, sticky)], &split(1, 0), "")).await;
    assert!(!gateway.output().contains("used by no route"), "{}", gateway.output());
}
