//! Endpoints that come, go and move under load, and pools that stay the same under another name.

use support::serde_json::{Value, json};
use support::{Gate, Gateway, Origin, wait_until};

use crate::load::{Connection, Load, post_reload, reload, told};
use crate::pooled::number;

/// A configuration with these upstreams and routes.
fn config(upstreams: &Value, routes: &Value) -> Value {
    json!({
        "workers": 2,
        "listeners": [{ "name": "web", "address": "127.0.0.1:0" }],
        "admin": { "address": "127.0.0.1:0" },
        "telemetry": { "access_log": "off" },
        "upstreams": upstreams,
        "routes": routes,
    })
}

/// One route, `all`, to this upstream.
fn to(upstream: &Value) -> Value {
    config(&json!({}), &json!([{ "name": "all", "upstream": upstream }]))
}

async fn load(gateway: &Gateway, paths: &[&str]) -> Load {
    let clients = [
        ("h1", Connection::http1(gateway.addr("web")).await),
        ("another", Connection::http1(gateway.addr("web")).await),
        ("h2", Connection::http2(gateway.addr("web")).await),
    ];
    Load::start(paths, clients)
}

fn origin(name: &'static str) -> Origin {
    Origin::respond(move |request| told(name, request))
}

/// An origin that holds what asks for `/held`.
fn holding(name: &'static str, gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::script(move |mut connection| {
        let gate = gate.clone();
        async move {
            while let Some(request) = connection.read_request().await {
                if request.target == "/held" {
                    gate.pass().await;
                }
                connection.write(told(name, &request)).await;
            }
        }
    })
}

/// The pools at an origin: those that are in use, and those that drain.
async fn pools_at(gateway: &Gateway, origin: &Origin) -> [Vec<Value>; 2] {
    let at = gateway
        .pools()
        .await
        .into_iter()
        .filter(|pool| pool["address"] == origin.addr().to_string().as_str());
    let (draining, in_use) = at.partition(|pool| pool["draining"] == true);
    [in_use, draining]
}

/// The one pool at an origin, which is in use.
async fn pool_at(gateway: &Gateway, origin: &Origin) -> Value {
    let [in_use, draining] = pools_at(gateway, origin).await;
    assert_eq!((in_use.len(), draining.len()), (1, 0), "{in_use:#?} {draining:#?}");
    in_use[0].clone()
}

/// Waits until the pool at an origin is what all of the origin's connections are of: under load, one may be on its way.
async fn wait_until_opened_all(gateway: &Gateway, origin: &Origin) {
    wait_until("the pool to have opened all of its origin's connections", async || {
        let opened = number(&pool_at(gateway, origin).await, "opened") as usize;
        opened > 0 && opened == origin.accepted()
    })
    .await;
}

#[tokio::test]
async fn a_moved_endpoint_serves_at_once_and_the_one_before_drains() {
    let gate = Gate::new();
    let (old, new) = (holding("old", &gate), origin("new"));
    let gateway = crate::gateway(to(&json!({ "url": old.url() })).to_string()).start().await;
    let mut load = load(&gateway, &["/"]).await;
    let mut answers = load.answers().await;
    let held = crate::pooled::ask(&gateway, "/held").await;
    gate.arrivals(1).await;

    let moved = async { drop(reload(&gateway, &to(&json!({ "url": new.url() })), 2).await) };
    assert_eq!(load.across(&mut answers, moved).await, load.everybody());
    assert!(answers.iter().all(|answer| answer.contains("new: GET")), "{answers:?}");
    // All but the one that is used.
    old.wait_for_open(1).await;
    let [in_use, draining] = pools_at(&gateway, &old).await;
    assert_eq!((in_use.len(), draining.len()), (0, 1));
    assert_eq!((&draining[0]["pool"], number(&draining[0], "active")), (&json!("all"), 1));
    wait_until_opened_all(&gateway, &new).await;

    // Back again while it drains: with another pool.
    let back = async { drop(reload(&gateway, &to(&json!({ "url": old.url() })), 3).await) };
    assert_eq!(load.across(&mut answers, back).await, load.everybody());
    new.wait_for_open(0).await;
    let [in_use, draining] = pools_at(&gateway, &old).await;
    assert_eq!((in_use.len(), draining.len()), (1, 1));
    assert_eq!(number(&draining[0], "active"), 1);
    assert_eq!(pools_at(&gateway, &new).await.map(|pools| pools.len()), [0, 0], "a drained pool is gone");

    gate.release_all();
    assert_eq!(held.await.unwrap().status, 200);
    wait_until("the pool to be drained", async || pools_at(&gateway, &old).await[1].is_empty()).await;
    wait_until("the origin to have its new pool's connections only", async || {
        let pool = pool_at(&gateway, &old).await;
        let open: u64 = ["idle", "active", "connecting"].iter().map(|state| number(&pool, state)).sum();
        old.open() as u64 == open
    })
    .await;
}

#[tokio::test]
async fn endpoints_are_added_weighed_and_removed_while_the_others_keep_serving() {
    let (one, two) = (origin("same"), origin("same"));
    let endpoints = |weights: &[(&Origin, u32)]| {
        let endpoints: Vec<Value> =
            weights.iter().map(|(origin, weight)| json!({ "url": origin.url(), "weight": weight })).collect();
        to(&json!({ "endpoints": endpoints, "balance": "round_robin" }))
    };
    let gateway = crate::gateway(endpoints(&[(&one, 1)]).to_string()).start().await;
    let mut client = gateway.client("web").await;
    // The load ends before requests are counted.
    {
        let mut load = load(&gateway, &["/"]).await;
        let mut answers = load.answers().await;
        for (generation, weights) in [(2, [(&one, 1), (&two, 1)]), (3, [(&one, 1), (&two, 3)])] {
            let before = pool_at(&gateway, &one).await;
            let added = async { drop(reload(&gateway, &endpoints(&weights), generation).await) };
            assert!(load.across(&mut answers, added).await.is_empty());
            let after = pool_at(&gateway, &one).await;
            assert!(number(&after, "acquired") > number(&before, "acquired"), "{before:#} became {after:#}");
            assert_eq!(after["closed"], json!({}));
            for origin in [&one, &two] {
                wait_until_opened_all(&gateway, origin).await;
            }
        }
    }
    wait_until("the load to end", async || {
        let [one, two] = [pool_at(&gateway, &one).await, pool_at(&gateway, &two).await];
        number(&one, "active") + number(&two, "active") == 0
    })
    .await;
    let before = [one.requests().len(), two.requests().len()];
    for _ in 0..8 {
        assert_eq!(client.get("/").await.status, 200);
    }
    let served = [one.requests().len() - before[0], two.requests().len() - before[1]];
    assert_eq!(served, [2, 6]);
    reload(&gateway, &endpoints(&[(&two, 1)]), 4).await;
    one.wait_for_open(0).await;
    assert_eq!(client.get("/").await.status, 200);
    wait_until_opened_all(&gateway, &two).await;
}

#[tokio::test]
async fn no_request_waits_for_dns_after_an_address_became_a_name() {
    let origin = origin("origin");
    let gateway = crate::gateway(to(&json!({ "url": origin.url() })).to_string()).start().await;
    let mut load = load(&gateway, &["/"]).await;
    let mut answers = load.answers().await;
    let name = to(&json!({ "url": format!("http://localhost:{}", origin.addr().port()) }));
    let named = async {
        reload(&gateway, &name, 2).await;
        // It is known before any request can have asked for it.
        let [in_use, _] = pools_at(&gateway, &origin).await;
        assert_eq!((in_use.len(), number(&in_use[0], "pending")), (1, 0));
        assert_eq!(in_use[0]["endpoint"], name["routes"][0]["upstream"]["url"]);
    };
    assert_eq!(load.across(&mut answers, named).await, load.everybody(), "the Host is the name's");
    // What was looked up before is no news to those who look it up now and again.
    let news = gateway.logs().into_iter().find(|line| line.contains("addresses changed"));
    assert_eq!(news, None);
}

#[tokio::test]
async fn a_pool_stays_the_same_when_the_route_or_the_upstream_gets_another_name() {
    let (origin, other) = (origin("origin"), origin("other"));
    let (upstream, other_upstream) = (json!({ "url": origin.url() }), json!({ "url": other.url() }));
    let named = |name: &str| json!({ name: upstream.clone() });
    let route = |name: &str, upstream: Value| json!([{ "name": name, "upstream": upstream }]);
    let own = json!([{ "name": "b", "upstream": "v", "pool": { "max_connections": 9 } }]);
    let shared = json!([{ "name": "b", "upstream": "v" }, { "name": "c", "match": { "prefix": "/c" }, "upstream": "v" }]);
    let apart = json!([
        { "name": "b", "upstream": "v" },
        { "name": "c", "match": { "prefix": "/c" }, "upstream": "v", "pool": { "max_connections": 9 } },
    ]);
    // The same pool in each of them, under these names.
    let steps = [
        ("a", config(&json!({}), &route("a", upstream.clone()))),
        ("b", config(&json!({}), &route("b", upstream.clone()))),
        ("u", config(&named("u"), &route("b", json!("u")))),
        ("v", config(&named("v"), &route("b", json!("v")))),
        ("b", config(&named("v"), &own)),
        ("v", config(&named("v"), &shared)),
        ("v", config(&named("v"), &apart)),
        ("d", config(&json!({}), &route("d", upstream.clone()))),
    ];
    let gateway = crate::gateway(steps[0].1.to_string()).start().await;
    let mut load = load(&gateway, &["/"]).await;
    let mut answers = load.answers().await;
    let mut before = pool_at(&gateway, &origin).await;
    for (generation, (owner, config)) in (2..).zip(&steps[1..]) {
        let renamed = async { drop(reload(&gateway, config, generation).await) };
        assert!(load.across(&mut answers, renamed).await.is_empty());
        let [in_use, draining] = pools_at(&gateway, &origin).await;
        let after = in_use.into_iter().find(|pool| pool["pool"] == *owner).unwrap();
        assert!(
            number(&after, "acquired") > number(&before, "acquired"),
            "{owner}: {before:#} became {after:#}"
        );
        assert_eq!((&after["closed"], &draining), (&json!({}), &vec![]), "{owner}");
        wait_until(&format!("{owner} to have opened all connections"), async || {
            let [in_use, _] = pools_at(&gateway, &origin).await;
            let pool = in_use.into_iter().find(|pool| pool["pool"] == *owner).unwrap();
            number(&pool, "opened") as usize == origin.accepted()
        })
        .await;
        before = after;
    }
    // Another name and another address: nothing is left of it.
    let moved = config(&json!({}), &route("e", other_upstream));
    let moved = async { drop(reload(&gateway, &moved, 9).await) };
    assert_eq!(load.across(&mut answers, moved).await, load.everybody());
    origin.wait_for_open(0).await;
    wait_until_opened_all(&gateway, &other).await;
}

#[tokio::test]
async fn of_routes_that_are_renamed_together_each_keeps_its_own_pool() {
    let origin = origin("origin");
    let routes = |names: [&str; 3]| {
        let routes: Vec<Value> = (1..)
            .zip(names)
            .map(|(number, name)| {
                let matches = json!({ "prefix": format!("/{number}") });
                json!({ "name": name, "match": matches, "upstream": { "url": origin.url() } })
            })
            .collect();
        config(&json!({}), &json!(routes))
    };
    let gateway = crate::gateway(routes(["a", "b", "c"]).to_string()).start().await;
    let mut client = gateway.client("web").await;
    for path in ["/1", "/2", "/2", "/3", "/3", "/3"] {
        client.get(path).await;
    }
    gateway.rewrite_config(&routes(["x", "y", "z"]).to_string());
    post_reload(&gateway).await;
    for (name, acquired) in [("x", 1), ("y", 2), ("z", 3)] {
        let pool = gateway.pool(name).await;
        assert_eq!((number(&pool, "acquired"), number(&pool, "opened")), (acquired, 1), "{name}");
    }
}
