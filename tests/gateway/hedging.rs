//! A second attempt beside a slow one: the first response wins, and the other attempt is cancelled.

use support::serde_json::{Value, json};
use support::{Gate, Gateway, Http2Exchange, Origin, Response, unused_address, wait_until};

use crate::pooled::{self, OK, ROUTE, number, refusal};

const FAILURE: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 6\r\n\r\nfailed";

/// Endpoints in turn, the first one first, and further keys of the upstream and the route.
async fn start(origins: &[&Origin], upstream: &str, keys: &str) -> Gateway {
    let urls: Vec<String> = origins.iter().map(|origin| format!("'{}'", origin.url())).collect();
    let upstream = format!(
        "{{ endpoints: [{}], balance: round_robin, health: {{ passive: off }}, {upstream} }}",
        urls.join(", ")
    );
    let config = pooled::whole(&pooled::to_upstream(1, &upstream, keys));
    crate::gateway(config.replace("telemetry: { access_log: off }\n", "")).start().await
}

/// Returns the counts of second attempts at an endpoint: those that began, and those that won.
async fn hedges(gateway: &Gateway, at: &Origin) -> [u64; 2] {
    let pool = gateway.pool_at(ROUTE, &at.url()).await;
    ["hedged", "hedges_won"].map(|key| number(&pool, key))
}

/// Returns the access log's line of the only request.
async fn line(gateway: &Gateway) -> Value {
    support::serde_json::from_str(&gateway.wait_for_stdout("\"method\"").await).unwrap()
}

fn named(name: &str) -> Origin {
    Origin::answer(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len()))
}

#[tokio::test]
async fn slow_endpoint_is_overtaken_and_its_attempt_cancelled() {
    let gate = Gate::new();
    let (slow, quick) = (pooled::gated(&gate), named("quick"));
    let gateway = start(&[&slow, &quick], "", "hedge: { after: 20ms }").await;
    let response = gateway.client("web").await.get("/a?b").await;
    assert_eq!((response.status, &*response.text()), (200, "quick"));
    // If it had its connection still, the gateway would keep that.
    gate.release_all();
    slow.wait_for_open(0).await;
    assert_eq!((hedges(&gateway, &quick).await, hedges(&gateway, &slow).await), ([1, 1], [0, 0]));
    let request = &quick.requests()[0];
    assert_eq!((&*request.target, request.headers.get("host")), ("/a?b", Some(&*quick.addr().to_string())));
    let line = line(&gateway).await;
    let shown = ["attempts", "endpoint", "reused", "status"].map(|key| line[key].clone());
    assert_eq!(shown, [json!(2), json!(quick.url()), json!(false), json!(200)], "{line:#}");
}

#[tokio::test]
async fn cancelled_attempt_over_http2_resets_its_stream_only() {
    let slow = Origin::http2(async |mut exchange: Http2Exchange| match exchange.request.uri().path() {
        "/slow" => drop(exchange.wait_reset().await),
        _ => exchange.respond("other"),
    });
    let quick = Origin::http2(async |exchange: Http2Exchange| exchange.respond("quick"));
    let gateway = start(&[&slow, &quick], "protocol: h2", "hedge: { after: 20ms }").await;
    let mut client = gateway.client("web").await;
    assert_eq!(client.get("/slow").await.text(), "quick");
    assert_eq!(client.get("/").await.text(), "quick");
    assert_eq!(client.get("/").await.text(), "other");
    assert_eq!(slow.accepted(), 1);
}

#[tokio::test]
async fn first_attempt_may_still_win() {
    let (gate, never) = (Gate::new(), Gate::new());
    let (first, second) = (pooled::gated(&gate), pooled::gated(&never));
    let gateway = start(&[&first, &second], "", "hedge: { after: 20ms }").await;
    let asked = pooled::ask(&gateway, "/").await;
    never.arrivals(1).await;
    gate.release();
    assert_eq!(asked.await.unwrap().status, 200);
    never.release_all();
    second.wait_for_open(0).await;
    assert_eq!(hedges(&gateway, &second).await, [1, 0]);
    assert_eq!(first.open(), 1, "its connection is kept");
    let line = line(&gateway).await;
    assert_eq!((&line["attempts"], &line["endpoint"]), (&json!(2), &json!(first.url())));
}

/// Returns the response to a request whose first attempt gets `first` once the second one has ended with `second`.
async fn race(first: &'static str, second: &'static str, keys: &str) -> Response {
    let gate = Gate::new();
    let serve = |response: String, comes_first: bool| {
        let gate = gate.clone();
        Origin::script(move |mut connection| {
            let (gate, response) = (gate.clone(), response.clone());
            async move {
                connection.read_request().await;
                if !comes_first {
                    gate.pass().await;
                }
                connection.write(response).await;
                connection.wait_closed().await;
                gate.release_all();
            }
        })
    };
    // The gateway closes the connection of the second one with its end.
    let second = second.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
    let origins = [serve(first.to_owned(), false), serve(second, true)];
    let keys = format!("hedge: {{ after: 20ms }}\n{keys}");
    let gateway = start(&[&origins[0], &origins[1]], "", &keys).await;
    gateway.client("web").await.get("/").await
}

#[tokio::test]
async fn failure_is_no_victory_while_the_other_attempt_runs() {
    let on = "retry: { on: [503, reset], attempts: 0 }";
    assert_eq!(race(OK, FAILURE, on).await.status, 200);
    assert_eq!(race(OK, "nonsense\r\n\r\n", on).await.status, 200);
    assert_eq!(race(FAILURE, OK, on).await.status, 200);
    assert_eq!(refusal(&race(FAILURE, FAILURE, on).await), (503, "-"));
    // A response is better than none.
    assert_eq!(refusal(&race("nonsense\r\n\r\n", FAILURE, on).await), (503, "-"));
    assert_eq!(refusal(&race(FAILURE, "nonsense\r\n\r\n", on).await), (503, "-"));
    // A response that no retry would replace is as good as any.
    assert_eq!(race(FAILURE, FAILURE, "retry: { on: [] }").await.status, 503);
}

#[tokio::test]
async fn two_failures_at_once_go_on_to_a_third_endpoint() {
    let gate = Gate::new();
    let resets = || {
        let gate = gate.clone();
        Origin::script(move |mut connection| {
            let gate = gate.clone();
            async move {
                connection.read_request().await;
                gate.pass().await;
                connection.reset();
            }
        })
    };
    let (first, second, third) = (resets(), resets(), named("third"));
    let keys = "hedge: { after: 20ms }\nretry: { on: [reset], attempts: 1, backoff: off }";
    let gateway = start(&[&first, &second, &third], "", keys).await;
    let asked = pooled::ask(&gateway, "/").await;
    gate.arrivals(2).await;
    gate.release_all();
    assert_eq!(asked.await.unwrap().text(), "third");
    assert_eq!(line(&gateway).await["attempts"], 3);
}

#[tokio::test]
async fn requests_that_must_be_sent_once_wait() {
    let body = b"body";
    for (method, keys, is_hedged) in [
        ("GET", "", true),
        ("PUT", "", true),
        ("POST", "", false),
        ("POST", "retry: { methods: [POST] }", true),
        ("PUT", "retry: { keep_body: off }", false),
        ("PUT", "retry: { keep_body: 3B }", false),
    ] {
        let gate = Gate::new();
        let (slow, quick) = (pooled::gated(&gate), named("quick"));
        let gateway = start(&[&slow, &quick], "", &format!("hedge: {{ after: 20ms }}\n{keys}")).await;
        let mut client = gateway.client("web").await;
        let sent: &[u8] = if method == "GET" { b"" } else { body };
        let asked = tokio::spawn(async move { client.request(method, "/", &[], sent).await });
        if is_hedged {
            assert_eq!(asked.await.unwrap().text(), "quick", "{method} {keys}");
            assert_eq!(quick.requests()[0].body, sent, "{method} {keys}");
            assert_eq!(slow.requests()[0].body, sent, "{method} {keys}");
        } else {
            gate.arrivals(1).await;
            // Much longer than it would take: another request is hedged meanwhile.
            assert_eq!(gateway.client("web").await.get("/").await.text(), "quick");
            assert_eq!(gateway.client("web").await.get("/").await.text(), "quick");
            gate.release_all();
            assert_eq!(asked.await.unwrap().text(), "ok", "{method} {keys}");
            assert!(quick.requests().iter().all(|request| request.method == "GET"), "{method} {keys}");
        }
    }
}

#[tokio::test]
async fn second_attempts_are_a_part_of_the_budget() {
    let gate = Gate::new();
    let (slow, quick) = (pooled::gated(&gate), named("quick"));
    let keys =
        "hedge: { after: 20ms }\nretry: { budget: { percent: 0, min: 1 } }\ntimeouts: { per_try: 500ms }";
    let gateway = start(&[&slow, &quick], "", keys).await;
    let statuses = pooled::statuses(&gateway, 26).await;
    // Ten in ten seconds; the others that begin at the slow one wait for it. On a busy machine the quick one is slow at times, too.
    assert!(statuses.iter().filter(|status| **status == 504).count() >= 3, "{statuses:?}");
    assert_eq!(hedges(&gateway, &quick).await[0] + hedges(&gateway, &slow).await[0], 10);
    assert!(number(&gateway.pool_at(ROUTE, &slow.url()).await, "over_budget") >= 3);
}

#[tokio::test]
async fn percentile_follows_the_response_times() {
    let gate = Gate::new();
    let origin = |gate: Gate| {
        Origin::script(move |mut connection| {
            let gate = gate.clone();
            async move {
                while let Some(request) = connection.read_request().await {
                    if request.target == "/slow" {
                        gate.pass().await;
                    }
                    connection.write(OK).await;
                }
            }
        })
    };
    let (first, second) = (origin(gate.clone()), origin(gate.clone()));
    let gateway = start(&[&first, &second], "", "hedge: { after: p95 }").await;
    let asked = pooled::ask(&gateway, "/slow").await;
    gate.arrivals(1).await;
    pooled::statuses(&gateway, 99).await;
    let none = [hedges(&gateway, &first).await, hedges(&gateway, &second).await];
    assert_eq!(none, [[0, 0]; 2], "fewer than a hundred response times say nothing");
    gate.release();
    assert_eq!(asked.await.unwrap().status, 200);
    let before = first.requests().len() + second.requests().len();
    // Both endpoints are slow: it waits at both.
    let asked = pooled::ask(&gateway, "/slow").await;
    gate.arrivals(3).await;
    gate.release();
    assert_eq!(asked.await.unwrap().status, 200);
    assert_eq!(first.requests().len() + second.requests().len() - before, 2);
}

#[tokio::test]
async fn client_that_leaves_ends_both_attempts() {
    let gate = Gate::new();
    let (first, second) = (pooled::gated(&gate), pooled::gated(&gate));
    let gateway = start(&[&first, &second], "", "hedge: { after: 20ms }").await;
    let mut client = gateway.client("web").await;
    client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    gate.arrivals(2).await;
    drop(client);
    let is_idle = async || gateway.pools().await.iter().all(|pool| number(pool, "active") == 0);
    wait_until("both attempts to end", is_idle).await;
    gate.release_all();
    first.wait_for_open(0).await;
    second.wait_for_open(0).await;
}

#[tokio::test]
async fn request_waits_where_there_is_no_other_endpoint_for_it() {
    let gate = Gate::new();
    let (only, other) = (pooled::gated(&gate), pooled::gated(&gate));
    let keys = "hedge: { after: 20ms }\ntimeouts: { request: 200ms }";
    let gateway = start(&[&only], "", keys).await;
    assert_eq!(refusal(&gateway.client("web").await.get("/").await), (504, "timeouts.request"));
    assert_eq!(only.requests().len(), 1);
    // A client that a cookie holds at an endpoint stays there.
    let gateway = start(&[&only, &other], "sticky: { cookie: held }", &keys.replace("200ms", "400ms")).await;
    // One of them has waited since before.
    gate.release();
    gate.release();
    let response = gateway.client("web").await.get("/").await;
    let cookie = response.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let before = only.requests().len() + other.requests().len();
    let response = gateway.client("web").await.request("GET", "/", &[("cookie", &cookie)], b"").await;
    assert_eq!(refusal(&response), (504, "timeouts.request"));
    assert_eq!(only.requests().len() + other.requests().len() - before, 1);
    gate.release_all();
}

#[tokio::test]
async fn silent_and_refusing_endpoints_leave_the_request_to_the_other_one() {
    let silent = support::SilentListener::start().await;
    for address in [silent.addr(), unused_address()] {
        let quick = named("quick");
        let upstream =
            format!("{{ endpoints: ['http://{address}', '{}'], balance: round_robin }}", quick.url());
        let keys = "hedge: { after: 20ms }\ntimeouts: { connect: 1m }";
        let gateway = pooled::builder(1, &upstream, keys).start().await;
        assert_eq!(gateway.client("web").await.get("/").await.text(), "quick");
        // Of the first kind, the dial goes on: nothing says that it will fail.
        let hedged = hedges(&gateway, &quick).await;
        assert_eq!(hedged, if address == silent.addr() { [1, 1] } else { [0, 0] });
    }
}
