//! Mirrored requests: copies for another upstream, which are never in the way of the requests themselves.

use std::sync::Arc;

use support::bytes::Bytes;
use support::http::Request;
use support::serde_json::Value;
use support::{Connection, Gate, Gateway, Http2Client, Origin, PATIENCE, Signal, unused_address, wait_until};
use tokio::sync::Mutex;

use crate::pooled::{self, OK, number};

/// The route of all tests.
const ROUTE: &str = "shop";

/// A gateway whose route goes to `real` and is mirrored to `copy`.
struct Site<'a> {
    real: &'a str,
    /// Further keys of the upstream `copy`.
    copy: &'a str,
    /// Further keys of the route's `mirror`.
    mirror: &'a str,
    /// Further keys of the route.
    route: &'a str,
    /// Further lines.
    lines: &'a str,
}

impl Site<'_> {
    fn text(&self, copy: &str) -> String {
        let Self { real, copy: keys, mirror, route, lines } = self;
        format!(
            "listeners: [{{ name: web, address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\nworkers: 1\nupstreams:\n  real: {{ {real}, balance: round_robin }}\n  copy: {{ {copy}, {keys} }}\nroutes:\n  - {{ name: {ROUTE}, match: {{ prefix: / }}, upstream: real, mirror: {{ to: copy, {mirror} }}, {route} }}\n{lines}"
        )
    }
}

/// Returns the key of an upstream with this endpoint.
fn url(origin: &Origin) -> String {
    format!("url: '{}'", origin.url())
}

async fn start(real: &Origin, copy: &Origin, mirror: &str, route: &str) -> Gateway {
    let site = Site { real: &url(real), copy: "", mirror, route, lines: "" };
    crate::gateway(site.text(&url(copy))).start().await
}

/// Waits until so many copies have ended with a status of this class.
async fn ended(gateway: &Gateway, code: &str, count: u32) {
    counted(gateway, &format!(r#"gateway_mirror_requests_total{{route="{ROUTE}",code="{code}""#), count)
        .await;
}

/// Waits until so many requests were not mirrored for this reason.
async fn dropped(gateway: &Gateway, reason: &str, count: u32) {
    counted(gateway, &format!(r#"gateway_mirror_dropped_total{{route="{ROUTE}",reason="{reason}""#), count)
        .await;
}

async fn counted(gateway: &Gateway, series: &str, count: u32) {
    wait_until(&format!("{series} {count}"), async || gateway.metric(series).await == Some(count.into()))
        .await;
}

/// Returns the pool of the mirror.
async fn mirror_pool(gateway: &Gateway) -> Value {
    let pools = gateway.pools().await;
    pools.into_iter().find(|pool| pool["pool"] == "copy (mirror)").expect("a pool of the mirror")
}

async fn ask(gateway: &Gateway) -> u16 {
    gateway.client("web").await.get("/").await.status
}

#[tokio::test]
async fn copy_is_the_request_as_the_upstream_gets_it() {
    let (real, copy) = (Origin::answer(OK), Origin::answer(OK));
    let edits = "rewrite: { strip_prefix: /a, add_prefix: /b }, headers: { request: { set: { x-set: '1' }, remove: [x-gone] } }";
    let gateway = start(&real, &copy, "", &format!("{edits}, host: preserve")).await;
    let mut client = gateway.client("web").await;
    let fields =
        [("x-gone", "1"), ("x-twice", "1"), ("x-twice", "2"), ("connection", "x-hop"), ("x-hop", "1")];
    client.request("PUT", "/a/item?q=%20x", &fields, b"hello").await;
    client.request("DELETE", "/a/", &[("cookie", "a=1")], b"").await;
    let (sent, copied) = (real.requests(), copy.wait_for_requests(2).await);
    for (sent, copied) in sent.iter().zip(&copied) {
        let parts = |request: &support::Request| {
            (request.method.clone(), request.target.clone(), request.headers.clone(), request.body.clone())
        };
        assert_eq!(parts(sent), parts(copied));
    }
    assert_eq!((&*copied[0].target, &*copied[0].body), ("/b/item?q=%20x", &b"hello"[..]));
    assert_eq!(copied[0].headers.get("host"), Some("gateway.test"));
    ended(&gateway, "2xx", 2).await;
}

#[tokio::test]
async fn host_of_a_copy_is_that_of_its_endpoint_where_the_route_sends_the_endpoints() {
    let (real, copy) = (Origin::answer(OK), Origin::answer(OK));
    let gateway = start(&real, &copy, "", "").await;
    ask(&gateway).await;
    let copied = copy.wait_for_requests(1).await;
    assert_eq!(copied[0].headers.all("host"), [copy.addr().to_string()]);
    assert_eq!(real.requests()[0].headers.all("host"), [real.addr().to_string()]);
}

#[tokio::test]
async fn share_of_copied_requests_is_exact() {
    let (real, copy) = (Origin::answer(OK), Origin::answer(OK));
    let gateway = start(&real, &copy, "percent: 5", "").await;
    for _ in 0..200 {
        assert_eq!(ask(&gateway).await, 200);
    }
    ended(&gateway, "2xx", 10).await;
    assert_eq!((real.requests().len(), copy.requests().len()), (200, 10));
}

#[tokio::test]
async fn bodies_are_copied_up_to_the_limit_in_every_framing() {
    let (real, copy) = (Origin::answer(OK), Origin::answer(OK));
    let gateway = start(&real, &copy, "max_body: 10B", "").await;
    let mut client = gateway.client("web").await;
    client.request("POST", "/length", &[], b"0123456789").await;
    client.request("POST", "/too-long", &[], b"0123456789a").await;
    for chunks in ["5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n", "5\r\n01234\r\n6\r\n56789a\r\n0\r\n\r\n"] {
        let head = "POST /chunked HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        client.send_raw([head, chunks].concat()).await;
        client.read_response().await;
    }
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    for body in ["0123456789", "0123456789a"] {
        let request = Request::post("http://a/http2").body(Bytes::from(body)).unwrap();
        assert_eq!(client.request(request).await.status, 200);
    }
    dropped(&gateway, "mirror.max_body", 3).await;
    ended(&gateway, "2xx", 3).await;
    let mut copied = copy.requests();
    copied.sort_by(|one, other| one.target.cmp(&other.target));
    let seen: Vec<_> = copied.iter().map(|request| (&*request.target, &*request.body)).collect();
    let body = &b"0123456789"[..];
    assert_eq!(seen, [("/chunked", body), ("/http2", body), ("/length", body)]);
    let lengths: Vec<_> = real.requests().iter().map(|request| request.body.len()).collect();
    assert_eq!(lengths, [10, 11, 10, 11, 10, 11], "the requests themselves have no such limit");
}

#[tokio::test]
async fn expectation_of_a_client_is_not_copied() {
    let continuing = Origin::script(async |mut connection: Connection| {
        while let Some(head) = connection.read_head().await {
            connection.write("HTTP/1.1 100 Continue\r\n\r\n").await;
            connection.read_body(&head).await;
            connection.write(OK).await;
        }
    });
    let copy = Origin::answer(OK);
    let gateway = start(&continuing, &copy, "", "").await;
    let mut client = gateway.client("web").await;
    client.send_raw("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n").await;
    assert!(client.read_head().await.first_line.contains("100"));
    assert!(copy.requests().is_empty());
    client.send_raw("hi").await;
    assert_eq!(client.read_response().await.status, 200);
    let copied = copy.wait_for_requests(1).await;
    assert_eq!((copied[0].headers.get("expect"), &*copied[0].body), (None, &b"hi"[..]));
}

#[tokio::test]
async fn mirror_that_stalls_or_fails_leaves_the_requests_alone() {
    let real = Origin::answer(OK);
    let gate = Gate::new();
    let stalled = pooled::gated(&gate);
    let broken = Origin::script(async |mut connection: Connection| {
        connection.read_request().await;
        connection.reset();
    });
    let failing = Origin::answer("HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n");
    let refused = format!("url: 'http://{}'", unused_address());
    for (copy, error) in [
        (url(&stalled), None),
        (url(&failing), None),
        (url(&broken), Some("upstream.closed")),
        (refused, Some("upstream.connect")),
        ("url: 'http://name.invalid'".to_owned(), None),
    ] {
        let site = Site { real: &url(&real), copy: "", mirror: "", route: "", lines: "" };
        let gateway = crate::gateway(site.text(&copy)).start().await;
        let mut client = gateway.client("web").await;
        for body in ["", "body", ""] {
            let response = client.request("POST", "/", &[], body.as_bytes()).await;
            assert_eq!((response.status, response.text().as_str()), (200, "ok"), "{copy}");
        }
        match error {
            Some(error) => {
                let series = format!(r#"gateway_mirror_errors_total{{route="{ROUTE}",reason="{error}""#);
                counted(&gateway, &series, 3).await;
                ended(&gateway, "none", 3).await;
                let warned = gateway.wait_for_log("mirrored request failed").await;
                assert!(warned.contains("suppressed=0") && warned.contains("route=\"shop\""), "{warned}");
                let warnings = gateway.logs().into_iter().filter(|line| line.contains("mirrored request"));
                assert_eq!(warnings.count(), 1);
            }
            None if copy.contains("invalid") => dropped(&gateway, "upstream.dns", 3).await,
            None if copy == url(&failing) => ended(&gateway, "5xx", 3).await,
            None => gate.arrivals(3).await,
        }
        // The last one is counted once its client has the response.
        counted(&gateway, &format!(r#"gateway_requests_total{{route="{ROUTE}",code="2xx""#), 3).await;
        let errors = gateway.metric("gateway_request_errors_total").await;
        assert_eq!(errors, None, "{copy}");
    }
}

#[tokio::test]
async fn copy_ends_at_the_time_limit_of_its_upstream() {
    let real = Origin::answer(OK);
    let stalled = Origin::script(async |mut connection: Connection| {
        connection.read_request().await;
        connection.wait_closed().await;
    });
    let site =
        Site { real: &url(&real), copy: "timeouts: { request: 30ms }", mirror: "", route: "", lines: "" };
    let gateway = crate::gateway(site.text(&url(&stalled))).start().await;
    assert_eq!(ask(&gateway).await, 200);
    let series = format!(r#"gateway_mirror_errors_total{{route="{ROUTE}",reason="timeouts.request""#);
    counted(&gateway, &series, 1).await;
    stalled.wait_for_open(0).await;
}

#[tokio::test]
async fn copies_beyond_the_pool_of_their_upstream_are_dropped() {
    let (real, gate) = (Origin::answer(OK), Gate::new());
    let stalled = pooled::gated(&gate);
    let keys = "pool: { max_connections: 1, max_pending: 1, acquire_timeout: off }";
    let site = Site { real: &url(&real), copy: keys, mirror: "", route: "", lines: "" };
    let gateway = crate::gateway(site.text(&url(&stalled))).start().await;
    for _ in 0..4 {
        assert_eq!(ask(&gateway).await, 200);
    }
    dropped(&gateway, "pool.max_pending", 2).await;
    let pool = mirror_pool(&gateway).await;
    assert_eq!((number(&pool, "active"), number(&pool, "pending")), (1, 1));
    gate.release_all();
    ended(&gateway, "2xx", 2).await;
    assert_eq!((stalled.requests().len(), stalled.accepted()), (2, 1));
}

#[tokio::test]
async fn copies_take_no_connection_of_requests_to_the_same_upstream() {
    let (real, gate) = (Origin::answer(OK), Gate::new());
    let at_gate = gate.clone();
    let shared = Origin::script(move |mut connection: Connection| {
        let gate = at_gate.clone();
        async move {
            while let Some(request) = connection.read_request().await {
                if request.target != "/direct" {
                    gate.pass().await;
                }
                connection.write(OK).await;
            }
        }
    });
    let direct = "  - { name: direct, match: { path: /direct }, upstream: copy }";
    let keys = "pool: { max_connections: 1, max_pending: 0 }";
    let site = Site { real: &url(&real), copy: keys, mirror: "", route: "", lines: direct };
    let gateway = crate::gateway(site.text(&url(&shared))).start().await;
    assert_eq!(ask(&gateway).await, 200);
    gate.arrivals(1).await;
    assert_eq!(gateway.client("web").await.get("/direct").await.status, 200);
    let pool = gateway.pool("direct").await;
    assert_eq!((&pool["pool"], number(&pool, "acquired")), (&Value::from("copy"), 1));
    let pool = mirror_pool(&gateway).await;
    assert_eq!((number(&pool, "active"), number(&pool, "acquired")), (1, 1));
    assert_eq!(pool["routes"], Value::from(vec![ROUTE]));
    gate.release_all();
}

#[tokio::test]
async fn responses_are_dropped_and_only_a_large_one_costs_its_connection() {
    let real = Origin::answer(OK);
    for (length, accepted) in [(100 << 10, 1), (2 << 20, 3)] {
        let body = "x".repeat(length);
        let copy = Origin::answer(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}"));
        let gateway = start(&real, &copy, "", "").await;
        for count in 1..=3 {
            assert_eq!(gateway.client("web").await.get("/").await.text(), "ok");
            ended(&gateway, "2xx", count).await;
        }
        assert_eq!(copy.accepted(), accepted, "{length}");
    }
}

#[tokio::test]
async fn access_log_and_counts_of_the_route_have_no_copies() {
    let (real, copy) = (Origin::answer(OK), Origin::answer("HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n"));
    let gateway = start(&real, &copy, "", "").await;
    for _ in 0..3 {
        ask(&gateway).await;
    }
    ended(&gateway, "5xx", 3).await;
    gateway.client("web").await.get("/last").await;
    gateway.wait_for_stdout(r#""target":"/last""#).await;
    let lines = gateway.stdout_lines();
    assert_eq!(lines.iter().filter(|line| line.contains(r#""target":"/""#)).count(), 3);
    ended(&gateway, "5xx", 4).await;
    let codes = gateway.metric(&format!(r#"gateway_requests_total{{route="{ROUTE}""#)).await;
    assert_eq!(codes, Some(4.0));
}

#[tokio::test]
async fn request_that_its_client_gives_up_is_mirrored_only_if_it_was_whole() {
    let (copy, gate) = (Origin::answer(OK), Gate::new());
    let real = Origin::script({
        let gate = gate.clone();
        move |mut connection: Connection| {
            let gate = gate.clone();
            async move {
                while let Some(head) = connection.read_head().await {
                    gate.pass().await;
                    if connection.read_body(&head).await.is_none() {
                        return;
                    }
                }
            }
        }
    });
    let gateway = start(&real, &copy, "", "").await;
    let whole = "GET /whole HTTP/1.1\r\nhost: a\r\n\r\n";
    let part = "POST /part HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhal";
    for (count, request) in [(1, whole), (2, part)] {
        let mut client = gateway.client("web").await;
        client.send_raw(request).await;
        gate.arrivals(count).await;
        drop(client);
    }
    dropped(&gateway, "request.incomplete", 1).await;
    ended(&gateway, "2xx", 1).await;
    assert_eq!(copy.requests()[0].target, "/whole");
    gate.release_all();
}

#[tokio::test]
async fn request_that_is_retried_is_mirrored_once() {
    let broken = Origin::script(async |mut connection: Connection| {
        connection.read_request().await;
        connection.reset();
    });
    let (good, copy) = (Origin::answer(OK), Origin::answer(OK));
    let endpoints = format!("endpoints: ['{}', '{}']", broken.url(), good.url());
    let retry = "retry: { attempts: 1, on: [reset], methods: [POST] }";
    let site = Site { real: &endpoints, copy: "", mirror: "", route: retry, lines: "" };
    let gateway = crate::gateway(site.text(&url(&copy))).start().await;
    for count in 1..=4 {
        let response = gateway.client("web").await.request("POST", "/", &[], b"body").await;
        assert_eq!(response.status, 200);
        ended(&gateway, "2xx", count).await;
    }
    assert!(!broken.requests().is_empty());
    assert!(good.requests().iter().chain(&copy.requests()).all(|request| request.body == b"body"));
    assert_eq!((good.requests().len(), copy.requests().len()), (4, 4));
}

#[tokio::test]
async fn request_with_a_second_attempt_is_mirrored_once() {
    let (gate, copy) = (Gate::new(), Origin::answer(OK));
    let slow = [pooled::gated(&gate), pooled::gated(&gate)];
    let endpoints = format!("endpoints: ['{}', '{}']", slow[0].url(), slow[1].url());
    let hedge = "hedge: { after: 5ms }";
    let site = Site { real: &endpoints, copy: "", mirror: "", route: hedge, lines: "" };
    let gateway = crate::gateway(site.text(&url(&copy))).start().await;
    let mut client = gateway.client("web").await;
    client.send_raw("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody").await;
    gate.arrivals(2).await;
    gate.release_all();
    assert_eq!(client.read_response().await.status, 200);
    client.request("PUT", "/last", &[], b"").await;
    ended(&gateway, "2xx", 2).await;
    let copied = copy.requests();
    assert_eq!((copied.len(), &*copied[0].body), (2, &b"body"[..]));
}

#[tokio::test]
async fn upgrades_are_not_mirrored() {
    let switching = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let (real, copy) = (Origin::answer(switching), Origin::answer(OK));
    let gateway = start(&real, &copy, "", "").await;
    let mut client = gateway.client("web").await;
    client
        .send_raw("GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        .await;
    assert!(client.read_head().await.first_line.contains("101"));
    // An upgrade that the gateway does not forward is an ordinary request.
    let mut other = gateway.client("web").await;
    other.send_raw("GET /h2c HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n").await;
    let copied = copy.wait_for_requests(1).await;
    assert_eq!((&*copied[0].target, copied[0].headers.get("upgrade")), ("/h2c", None));
}

#[tokio::test]
async fn grpc_call_is_mirrored_over_http2_with_its_fields() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = seen.clone();
    let copy = Origin::http2(move |mut exchange| {
        let noted = noted.clone();
        async move {
            let body = exchange.read_body().await.unwrap();
            let te = exchange.request.headers().get("te").cloned();
            noted.lock().await.push((exchange.request.uri().path().to_owned(), te, body));
            exchange.respond("copied");
        }
    });
    let real = Origin::http2(|mut exchange| async move {
        exchange.read_body().await;
        exchange.respond("real");
    });
    let real = format!("{}, protocol: h2", url(&real));
    let site = Site { real: &real, copy: "protocol: h2", mirror: "", route: "", lines: "" };
    let gateway = crate::gateway(site.text(&url(&copy))).start().await;
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    for _ in 0..3 {
        let request = Request::post("http://a/pkg.Service/Call")
            .header("te", "trailers")
            .header("content-type", "application/grpc")
            .body(Bytes::from_static(b"\0\0\0\0\x02hi"));
        assert_eq!(client.request(request.unwrap()).await.body, b"real");
    }
    ended(&gateway, "2xx", 3).await;
    let seen = seen.lock().await;
    assert_eq!(seen.len(), 3);
    for (path, te, body) in &*seen {
        assert_eq!((&**path, &**body), ("/pkg.Service/Call", &b"\0\0\0\0\x02hi"[..]));
        assert_eq!(te.as_ref().unwrap(), "trailers");
    }
}

#[tokio::test]
async fn endpoint_of_a_copy_is_chosen_by_its_own_upstream() {
    let (real, copies) = (Origin::answer(OK), [Origin::answer(OK), Origin::answer(OK)]);
    let endpoints = format!("endpoints: ['{}', '{}']", copies[0].url(), copies[1].url());
    let keys = "balance: hash, hash_on: 'header:x-user'";
    let site = Site { real: &url(&real), copy: keys, mirror: "", route: "", lines: "" };
    let gateway = crate::gateway(site.text(&endpoints)).start().await;
    let mut client = gateway.client("web").await;
    for round in 0..3 {
        for user in 0..8 {
            client.request("GET", &format!("/{user}"), &[("x-user", &user.to_string())], b"").await;
        }
        ended(&gateway, "2xx", (round + 1) * 8).await;
    }
    for user in 0..8 {
        let of = |origin: &Origin| {
            origin.requests().iter().filter(|request| request.target == format!("/{user}")).count()
        };
        assert!(matches!((of(&copies[0]), of(&copies[1])), (3, 0) | (0, 3)), "user {user}");
    }
}

#[tokio::test]
async fn reload_changes_the_next_request_and_copies_under_way_go_on() {
    let (real, gate) = (Origin::answer(OK), Gate::new());
    let (stalled, other) = (pooled::gated(&gate), Origin::answer(OK));
    let with = |mirror: &str, copy: &Origin| {
        let site = Site { real: &url(&real), copy: "", mirror, route: "", lines: "" };
        site.text(&url(copy))
    };
    let gateway = crate::gateway(with("", &stalled)).start().await;
    ask(&gateway).await;
    gate.arrivals(1).await;
    gateway.reload(&with("", &other)).await;
    ask(&gateway).await;
    ended(&gateway, "2xx", 1).await;
    assert_eq!((stalled.requests().len(), other.requests().len()), (1, 1));
    gateway.reload(&with("percent: 50", &other)).await;
    for _ in 0..10 {
        ask(&gateway).await;
    }
    ended(&gateway, "2xx", 6).await;
    // Without the mirror, its pool drains.
    gateway.reload(&with("", &other).replace("mirror: { to: copy,  },", "")).await;
    ask(&gateway).await;
    other.wait_for_open(0).await;
    let draining = mirror_pool(&gateway).await;
    assert_eq!((&draining["endpoint"], number(&draining, "active")), (&Value::from(stalled.url()), 1));
    gate.release_all();
    stalled.wait_for_open(0).await;
    wait_until("no pool of the mirror", async || {
        gateway.pools().await.iter().all(|pool| pool["pool"] != "copy (mirror)")
    })
    .await;
    ended(&gateway, "2xx", 7).await;
    assert_eq!(other.requests().len(), 6);
}

#[tokio::test]
async fn defaults_have_a_mirror_that_a_route_switches_off() {
    let (real, copy) = (Origin::answer(OK), Origin::answer(OK));
    let lines = "  - { name: unmirrored, match: { path: /off }, upstream: real, mirror: off }\n  - { name: fixed, match: { path: /fixed }, respond: {} }\ndefaults: { mirror: { to: copy } }";
    let site = Site { real: &url(&real), copy: "", mirror: "", route: "", lines };
    let text = site.text(&url(&copy)).replace("mirror: { to: copy,  },", "");
    let gateway = crate::gateway(text).start().await;
    let mut client = gateway.client("web").await;
    for path in ["/off", "/fixed", "/on"] {
        assert_eq!(client.get(path).await.status, 200);
    }
    ended(&gateway, "2xx", 1).await;
    assert_eq!(copy.requests()[0].target, "/on");
}

#[tokio::test]
async fn copies_under_way_do_not_hold_up_the_end_of_the_program() {
    let (real, gate) = (Origin::answer(OK), Gate::new());
    let stalled = pooled::gated(&gate);
    let site = Site { real: &url(&real), copy: "", mirror: "", route: "", lines: "shutdown: { drain: off }" };
    let mut gateway = crate::gateway(site.text(&url(&stalled))).start().await;
    assert_eq!(ask(&gateway).await, 200);
    gate.arrivals(1).await;
    gateway.signal(Signal::TERM);
    assert!(gateway.wait_exit(PATIENCE).await.success());
}
