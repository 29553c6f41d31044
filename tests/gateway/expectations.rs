//! `Expect: 100-continue` (RFC 9110 §10.1.1), and what an upstream makes of it.

use std::time::Duration;

use support::{Gate, Gateway, Origin, wait_until};

use crate::PROGRAM;
use crate::forwarding::last;
use crate::one_route::{forwarding_to, forwarding_with};
use crate::pooled::OK;

#[tokio::test]
async fn an_upstream_that_sends_100_gets_the_body_and_the_client_one_100() {
    let (before, gate) = (Gate::new(), Gate::new());
    let script = (before.clone(), gate.clone());
    let origin = Origin::script(move |mut connection| {
        let (before, gate) = script.clone();
        async move {
            let head = connection.read_head().await.unwrap();
            before.pass().await;
            connection.write("HTTP/1.1 100 Continue\r\nx: y\r\n\r\n").await;
            gate.pass().await;
            connection.read_body(&head).await;
            connection.write(OK).await;
        }
    });
    let gateway = forwarding_to(&origin).await;
    let mut client = gateway.client("web").await;
    client.send_raw("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n").await;
    before.arrivals(1).await;
    before.release();
    let interim = client.read_head().await;
    assert_eq!(interim.first_line, "HTTP/1.1 100 Continue");
    gate.arrivals(1).await;
    gate.release();
    client.send_raw("hello").await;
    let response = client.read_response().await;
    assert_eq!((response.status, response.informational.len()), (200, 0));
    let request = last(&origin);
    assert_eq!(request.body, b"hello");
    assert_eq!(request.headers.all("expect"), ["100-Continue"]);
}

#[tokio::test]
async fn an_upstream_that_refuses_at_once_spares_the_client_its_body() {
    let origin = Origin::script(|mut connection| async move {
        let head = connection.read_head().await.unwrap();
        let status = head.first_line.split(' ').nth(1).unwrap().trim_start_matches('/').to_owned();
        connection.write(format!("HTTP/1.1 {status} No\r\ncontent-length: 2\r\n\r\nno")).await;
        connection.wait_closed().await;
    });
    let gateway = forwarding_to(&origin).await;
    for (status, framing) in
        [(401, "Content-Length: 5"), (417, "Content-Length: 1000000"), (413, "Transfer-Encoding: chunked")]
    {
        let mut client = gateway.client("web").await;
        client
            .send_raw(format!(
                "POST /{status} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n{framing}\r\n\r\n"
            ))
            .await;
        let response = client.read_response().await;
        assert_eq!((response.status, response.text().as_str()), (status, "no"), "{framing}");
        assert_eq!(response.informational, [], "{framing}");
        // Whether the body still comes cannot be known, so the next request could not be told from it.
        assert_eq!(response.header("connection"), Some("close"), "{framing}");
        client.half_close().await;
        client.expect_closed().await;
    }
    assert_eq!(origin.requests(), [], "no body was sent");
}

#[tokio::test]
async fn an_upstream_that_says_nothing_gets_the_body_after_a_second() {
    let origin = Origin::answer(OK);
    let gateway = forwarding_to(&origin).await;
    let mut client = gateway.client("web").await;
    let began = std::time::Instant::now();
    client
        .send_raw("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    assert_eq!(client.read_head().await.first_line, "HTTP/1.1 100 Continue");
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    client.send_raw("5\r\nhello\r\n0\r\n\r\n").await;
    assert_eq!(client.read_response().await.status, 200);
    assert_eq!(last(&origin).body, b"hello");
}

#[tokio::test]
async fn other_expectations_and_those_of_old_clients() {
    let origin = Origin::echo();
    let gateway = forwarding_to(&origin).await;
    for expectation in ["200-ok", "100-continue, x", ""] {
        let mut client = gateway.client("web").await;
        let response = client.request("POST", "/", &[("expect", expectation)], b"hello").await;
        assert_eq!((response.status, response.header("x-gateway-error")), (417, Some("request.expect")));
    }
    assert_eq!(origin.accepted(), 0);
    // HTTP/1.0 knows no 100 (RFC 9110 §10.1.1), and without a body there is nothing to wait for.
    for message in [
        "POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
        "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
    ] {
        let mut client = gateway.client("web").await;
        client.send_raw(message).await;
        let response = client.read_response().await;
        assert_eq!((response.status, response.informational.len()), (200, 0), "{message:?}");
    }
}

#[tokio::test]
async fn an_unread_body_is_drained_within_a_bound_or_the_connection_closed() {
    let config = "
listeners: [{ name: web, address: 127.0.0.1:0, limits: { body: 1MiB } }]
routes: [{ match: { path: /local }, respond: { body: local } }]";
    let gateway = Gateway::builder(PROGRAM, config).start().await;
    for (path, status) in [("/local", 200), ("/none", 404)] {
        let mut client = gateway.client("web").await;
        // The next request stands right behind the body: it must not be taken for a part of it, nor the other way round.
        let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
        let request =
            format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{hidden}", hidden.len());
        client.send_raw(request.repeat(3)).await;
        for _ in 0..3 {
            let response = client.read_response().await;
            assert_eq!((response.status, response.header("connection")), (status, None), "{path}");
        }

        let mut client = gateway.client("web").await;
        client
            .send_raw(format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbegun"))
            .await;
        let response = client.read_response().await;
        assert_eq!((response.status, response.header("connection")), (status, Some("close")), "{path}");
        client.half_close().await;
        client.expect_closed().await;

        let mut client = gateway.client("web").await;
        client
            .send_raw(format!(
                "POST {path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
            ))
            .await;
        let response = client.read_response().await;
        assert_eq!((response.status, response.informational.len()), (status, 0), "{path}");
        assert_eq!(response.header("connection"), Some("close"), "{path}");
    }
    let mut client = gateway.client("web").await;
    client.send_raw("POST /local HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n").await;
    let response = client.read_response().await;
    assert_eq!((response.status, response.header("x-gateway-error")), (413, Some("limits.body")));
}

/// An upstream that says 100 and answers in one breath, before it could have a body; the answer's end waits.
fn answers_right_behind_its_100(gate: &Gate, head: &'static str, end: &'static str) -> Origin {
    let gate = gate.clone();
    Origin::script(move |mut connection| {
        let gate = gate.clone();
        async move {
            connection.read_head().await.unwrap();
            connection.write(head).await;
            gate.pass().await;
            connection.try_write(end).await.ok();
            connection.wait_closed().await;
        }
    })
}

#[tokio::test]
async fn no_interim_response_follows_a_final_one() {
    for (head, end) in [
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabc", "def"),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
            "3\r\ndef\r\n0\r\n\r\n",
        ),
        ("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabc", "def"),
    ] {
        let gate = Gate::new();
        let origin = answers_right_behind_its_100(&gate, head, end);
        let gateway = forwarding_to(&origin).await;
        let mut client = gateway.client("web").await;
        client
            .send_raw("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
            .await;
        gate.arrivals(1).await;
        gate.release();
        let response = client.read_response().await;
        assert_eq!((response.status, response.body.as_slice()), (200, &b"abcdef"[..]), "{head}");
        // A client that got no 100 (Continue) may send its body all the same.
        let asked = head.contains("100 Continue");
        assert_eq!(response.header("connection"), (!asked).then_some("close"), "{head}");
    }
}

#[tokio::test]
async fn the_body_goes_as_soon_as_the_upstream_says_100() {
    let origin = Origin::script(|mut connection| async move {
        let head = connection.read_head().await.unwrap();
        connection.write("HTTP/1.1 100 Continue\r\n\r\n").await;
        connection.read_body(&head).await;
        connection.write(OK).await;
    });
    // Unasked, it would go after a second: too late for this. On a machine that stands still for a moment it is too late once.
    let gateway = forwarding_with(&origin, ", timeouts: { request: 700ms }").await;
    wait_until("a request whose body goes at once", async || {
        let mut client = gateway.client("web").await;
        client
            .send_raw("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
            .await;
        let head = client.read_head().await;
        if head.first_line != "HTTP/1.1 100 Continue" {
            assert!(head.first_line.starts_with("HTTP/1.1 504 "), "{head:?}");
            return false;
        }
        client.send_raw("hello").await;
        client.read_response().await.status == 200
    })
    .await;
}
