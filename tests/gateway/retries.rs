//! Retries: requests that are tried again, and those that must not be (RFC 9110 §9.2.2).

use support::bytes::Bytes;
use support::{
    Client, Connection, Gate, Gateway, Http2Client, Origin, SilentListener, http, unused_address, wait_until,
    with_longer_and_longer,
};

use crate::pooled::{self, OK, ROUTE, closed, number, refusal, settled};

/// An origin's reaction to the second request on its first connection, and to any request on later ones.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    Answer,
    Close,
    Reset,
    OneByte,
}

/// An origin whose first connection answers once and then does `second`; later ones do `later`.
fn stale(second: Then, later: Then) -> Origin {
    Origin::script(move |mut connection: Connection| async move {
        let mut then = if connection.number() == 0 { Then::Answer } else { later };
        while connection.read_request().await.is_some() {
            match then {
                Then::Answer => connection.write(OK).await,
                Then::Close => return,
                Then::Reset => return connection.reset(),
                Then::OneByte => return connection.write("H").await,
            }
            if connection.number() == 0 {
                then = second;
            }
        }
    })
}

/// A gateway before that origin, and a client that has used the first connection already.
async fn warmed(origin: &Origin, keys: &str) -> (Gateway, Client) {
    let gateway = pooled::to(origin.addr(), keys).await;
    let mut client = gateway.client("web").await;
    assert_eq!(client.get("/first").await.status, 200);
    assert_eq!(number(&settled(&gateway).await, "idle"), 1);
    (gateway, client)
}

#[tokio::test]
async fn a_request_on_a_kept_connection_that_was_just_closed_goes_again_if_it_is_idempotent() {
    for (request, goes_again) in [
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", true),
        ("DELETE / HTTP/1.1\r\nhost: a\r\n\r\n", true),
        ("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n", true),
        ("OPTIONS / HTTP/1.1\r\nhost: a\r\n\r\n", true),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody", false),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n", false),
        ("PATCH / HTTP/1.1\r\nhost: a\r\n\r\n", false),
        ("UNKNOWN / HTTP/1.1\r\nhost: a\r\n\r\n", false),
        ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody", true),
        ("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody", true),
        ("DELETE / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody", true),
        ("PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", true),
        // Trailers are not kept.
        (
            "PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nx: y\r\n\r\n",
            false,
        ),
    ] {
        for second in [Then::Close, Then::Reset] {
            let case = format!("{second:?} {request}");
            let origin = stale(second, Then::Answer);
            let (gateway, mut client) = warmed(&origin, "").await;
            client.send_raw(request).await;
            let response = client.read_response().await;
            let expected = if goes_again { (200, "-") } else { (502, "upstream.closed") };
            assert_eq!(refusal(&response), expected, "{case}");
            assert_eq!(origin.accepted(), 1 + usize::from(goes_again), "{case}");
            let requests = origin.requests();
            let sent = if request.ends_with("body") || request.contains("chunked") { "body" } else { "" };
            assert!(requests[1..].iter().all(|request| request.body == sent.as_bytes()), "{case}");
            let pool = settled(&gateway).await;
            assert_eq!(number(&pool, "retried"), u64::from(goes_again), "{case}");
            assert_eq!(closed(&pool, "peer"), 1, "{case}");
        }
    }
}

/// The value of a metric of the process.
async fn metric(gateway: &Gateway, name: &str) -> f64 {
    gateway.metric(name).await.unwrap()
}

#[tokio::test]
async fn a_body_goes_again_up_to_the_sizes_that_are_kept() {
    for (total, route, length, goes_again, unkept) in [
        ("", "", 16 << 10, true, 0.0),
        ("", "", (16 << 10) + 1, false, 0.0),
        ("", ", retry: { keep_body: 4B }", 4, true, 0.0),
        ("", ", retry: { keep_body: 4B }", 5, false, 0.0),
        ("", ", retry: { keep_body: off }", 1, false, 0.0),
        ("", ", retry: { keep_body: 1MiB }", 200_000, true, 0.0),
        ("retry: { keep_body_total: 50000B }", ", retry: { keep_body: 1MiB }", 60_000, false, 1.0),
    ] {
        for chunked in [false, true] {
            let case = format!("{total} {route} {length} {chunked}");
            let origin = stale(Then::Close, Then::Answer);
            let routes =
                format!("routes: [{{ name: {ROUTE}, upstream: {{ url: '{}' }}{route} }}]", origin.url());
            let gateway = pooled::gateway(&format!("workers: 1\n{total}\n{routes}")).start().await;
            let mut client = gateway.client("web").await;
            assert_eq!(client.get("/first").await.status, 200);
            assert_eq!(number(&settled(&gateway).await, "idle"), 1);
            let body = "x".repeat(length);
            let framed = if chunked {
                format!("transfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n")
            } else {
                format!("content-length: {length}\r\n\r\n{body}")
            };
            client.send_raw(format!("PUT / HTTP/1.1\r\nhost: a\r\n{framed}")).await;
            let response = client.read_response().await;
            let expected = if goes_again { (200, "-") } else { (502, "upstream.closed") };
            assert_eq!(refusal(&response), expected, "{case}");
            assert_eq!(origin.requests().last().unwrap().body.len(), length, "{case}");
            let kept = async || metric(&gateway, "gateway_retry_kept_body_bytes").await;
            wait_until("no body to be kept", async || kept().await == 0.0).await;
            assert_eq!(metric(&gateway, "gateway_retry_unkept_bodies_total").await, unkept, "{case}");
        }
    }
}

#[tokio::test]
async fn a_body_of_which_a_part_has_yet_to_come_goes_again() {
    // The connection closes at the head of its second request, whose body comes only afterwards.
    let closed = Gate::new();
    let script = closed.clone();
    let origin = Origin::script(move |mut connection| {
        let closed = script.clone();
        async move {
            if connection.number() > 0 {
                connection.read_request().await;
                return connection.write(OK).await;
            }
            connection.read_request().await;
            connection.write(OK).await;
            connection.read_head().await;
            connection.reset();
            closed.pass().await;
        }
    });
    closed.release_all();
    let (gateway, mut client) = warmed(&origin, "").await;
    client.send_raw("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\nhalf").await;
    closed.arrivals(1).await;
    client.send_raw("half").await;
    assert_eq!(refusal(&client.read_response().await), (200, "-"));
    assert_eq!(origin.requests().last().unwrap().body, b"halfhalf");
    assert_eq!(number(&settled(&gateway).await, "retried"), 1);
}

#[tokio::test]
async fn a_body_over_http2_goes_again() {
    let origin = stale(Then::Close, Then::Answer);
    let (gateway, _client) = warmed(&origin, "").await;
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    let request = http::Request::put("http://a/").body(Bytes::from_static(b"body")).unwrap();
    assert_eq!(client.request(request).await.status, 200);
    assert_eq!(origin.requests().last().unwrap().body, b"body");
}

#[tokio::test]
async fn no_retry_after_a_response_byte_a_second_failure_or_against_the_settings() {
    for (second, later, keys, connections) in [
        (Then::OneByte, Then::Answer, "", 1),
        (Then::Close, Then::Close, "retry: { attempts: 5 }", 2),
        (Then::Close, Then::Reset, "retry: { attempts: 5 }", 2),
        (Then::Close, Then::Answer, "retry: { attempts: 0 }", 1),
        (Then::Close, Then::Answer, "retry: { on: [connect] }", 1),
        (Then::Close, Then::Answer, "retry: { on: [] }", 1),
    ] {
        let case = format!("{second:?} {later:?} {keys}");
        let origin = stale(second, later);
        let (gateway, mut client) = warmed(&origin, keys).await;
        assert_eq!(refusal(&client.get("/").await), (502, "upstream.closed"), "{case}");
        assert_eq!(origin.accepted(), connections, "{case}");
        assert_eq!(number(&settled(&gateway).await, "retried"), connections as u64 - 1, "{case}");
    }
}

/// An origin whose responses without a body say neither a length nor that the connection stays. It closes behind the first of
/// them, or keeps.
fn silent(keeps: bool) -> Origin {
    Origin::script(move |mut connection: Connection| async move {
        while let Some(request) = connection.read_request().await {
            let status = match (&*request.method, &*request.target) {
                ("HEAD", _) => "200 OK",
                (_, "/304") => "304 Not Modified",
                (_, "/204") => "204 No Content",
                _ => {
                    connection.write(OK).await;
                    continue;
                }
            };
            connection.write(format!("HTTP/1.1 {status}\r\n\r\n")).await;
            if !keeps {
                return;
            }
        }
    })
}

#[tokio::test]
async fn a_post_behind_a_silent_response_does_not_meet_the_close_of_its_connection() {
    for silent_request in ["HEAD /", "GET /304", "GET /204"] {
        for limit in ["", "pool: { max_connections: 1 }"] {
            let origin = silent(false);
            let gateway = pooled::to(origin.addr(), limit).await;
            let mut client = gateway.client("web").await;
            for _ in 0..30 {
                client
                    .send_raw(format!(
                        "{silent_request} HTTP/1.1\r\nhost: a\r\n\r\nPOST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody"
                    ))
                    .await;
                client.read_response_to_head().await;
                assert_eq!(refusal(&client.read_response().await), (200, "-"), "{silent_request} {limit}");
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_has_kept_its_connection_after_a_silent_response_is_trusted_with_a_post() {
    let origin = silent(true);
    let gateway = pooled::to(origin.addr(), "").await;
    let mut client = gateway.client("web").await;
    for _ in 0..2 {
        assert_eq!(client.request("HEAD", "/", &[], b"").await.status, 200);
    }
    for _ in 0..3 {
        assert_eq!(client.request("POST", "/", &[], b"body").await.status, 200);
        assert_eq!(client.request("HEAD", "/", &[], b"").await.status, 200);
    }
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn a_new_connection_that_is_closed_is_not_stale() {
    let origin = Origin::script(|mut connection| async move { drop(connection.read_request().await) });
    let gateway = pooled::to(origin.addr(), "retry: { attempts: 5 }").await;
    let response = gateway.client("web").await.get("/").await;
    assert_eq!(refusal(&response), (502, "upstream.closed"));
    assert_eq!(response.text(), "upstream.closed: upstream closed without a response\n");
    assert_eq!(origin.accepted(), 1);
    settled(&gateway).await;
}

/// Where another kept connection is all that the limit allows, it makes room.
#[tokio::test]
async fn the_second_try_has_a_new_connection_even_where_others_are_kept() {
    let gate = support::Gate::new();
    let first = gate.clone();
    // Each connection answers once; the two that are kept then close at the next request.
    let origin = Origin::script(move |mut connection| {
        let gate = first.clone();
        async move {
            if connection.read_request().await.is_some() {
                gate.pass().await;
                connection.write(OK).await;
                drop(connection.read_request().await);
            }
        }
    });
    let gateway = pooled::to(origin.addr(), "pool: { max_connections: 2 }").await;
    let (one, two) = (pooled::ask(&gateway, "/").await, pooled::ask(&gateway, "/").await);
    gate.arrivals(2).await;
    gate.release_all();
    assert_eq!((one.await.unwrap().status, two.await.unwrap().status), (200, 200));
    assert_eq!(number(&settled(&gateway).await, "idle"), 2);
    assert_eq!(gateway.client("web").await.get("/").await.status, 200);
    let pool = settled(&gateway).await;
    assert_eq!((origin.accepted(), number(&pool, "retried")), (3, 1), "{pool:#}");
    // The place of the one that closed was free for the new one; the other is still kept.
    assert_eq!((number(&pool, "idle"), closed(&pool, "peer")), (2, 1), "{pool:#}");
}

#[tokio::test]
async fn a_connection_that_cannot_be_opened_is_tried_at_the_next_endpoint() {
    let origin = Origin::echo();
    let upstream =
        format!("{{ endpoints: ['http://{}', '{}'], balance: round_robin }}", unused_address(), origin.url());
    let gateway = pooled::builder(1, &upstream, "retry: { backoff: 1ms }").start().await;
    let mut client = gateway.client("web").await;
    // Whatever the method: nothing was sent, so the body is still all there.
    for _ in 0..2 {
        assert_eq!(client.request("POST", "/", &[], b"body").await.body, b"body");
        assert_eq!(client.get("/").await.status, 200);
    }
    assert_eq!(origin.requests().len(), 4);
    let pools = gateway.pools().await;
    let retried: u64 = pools.iter().map(|pool| number(pool, "retried")).sum();
    let failed: u64 = pools.iter().map(|pool| number(pool, "connect_failed")).sum();
    assert_eq!((retried, failed), (2, 2), "every other request begins at the one that refuses");

    // Also where the first one does not answer at all, by the limit of a try.
    let silent = SilentListener::start().await;
    let upstream =
        format!("{{ endpoints: ['http://{}', '{}'], balance: round_robin }}", silent.addr(), origin.url());
    // The limit also holds for the try at the endpoint that answers.
    with_longer_and_longer(async |limit| {
        for name in ["connect", "per_try"] {
            let keys = format!("timeouts: {{ {name}: {}ms }}", limit.as_millis());
            let gateway = pooled::builder(1, &upstream, &keys).start().await;
            let mut client = gateway.client("web").await;
            assert_eq!(client.request("POST", "/", &[], b"body").await.body, b"body", "{keys}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_warm_connection_that_was_closed_unnoticed_is_stale_though_it_never_served() {
    let origin = Origin::script(async |mut connection: Connection| {
        while connection.read_request().await.is_some() && connection.number() > 0 {
            connection.write(OK).await;
        }
    });
    let gateway = pooled::to(origin.addr(), "pool: { min_idle: 1 }").await;
    gateway.wait_for_pool(ROUTE, "a warm connection", |pool| number(pool, "idle") == 1).await;
    let mut client = gateway.client("web").await;
    assert_eq!(refusal(&client.get("/").await), (200, "-"));
    let pool = settled(&gateway).await;
    assert_eq!((number(&pool, "retried"), number(&pool, "reused")), (1, 1), "{pool:#}");
}

#[tokio::test]
async fn an_only_endpoint_is_asked_no_more_often_than_attempts_allow() {
    // One endpoint alone is tried again, and the client waits no longer than its whole time.
    let gateway = pooled::to(unused_address(), "retry: { attempts: 3, backoff: 1ms }").await;
    assert_eq!(refusal(&gateway.client("web").await.get("/").await), (503, "upstream.connect"));
    assert_eq!(number(&gateway.pool(ROUTE).await, "connect_failed"), 4);
    let gateway =
        pooled::to(unused_address(), "retry: { attempts: 3, backoff: 24h }\ntimeouts: { request: 1s }").await;
    // A wait beyond it is not begun: what failed is told at once. Of the waits up to a day, 1 in 86,400 is shorter.
    assert_eq!(refusal(&gateway.client("web").await.get("/").await), (503, "upstream.connect"));
    assert_eq!(number(&settled(&gateway).await, "connect_failed"), 1);
}
