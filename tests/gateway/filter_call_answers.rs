//! Requests of a filter's own, and the messages that wait for their answers.

use support::{Client, Gate, Http2Client, Origin};

use crate::filter_script::{
    CONTINUE, KEEP, KEPT, PAUSE, call, notes, on, respond, resume, script, tracing, when, with_side,
};
use crate::pooled::gated;

#[tokio::test]
async fn a_request_with_a_held_head_waits_for_the_answer_to_a_call() {
    let (origin, gate) = (Origin::echo(), Gate::new());
    let side = gated(&gate);
    let answered = when(
        "http_call_response",
        5,
        &format!("(call $note 'answered' (local.get 2) (i32.const 0)) {}", resume(0)),
    );
    let module = tracing(&[
        ("request_headers", &format!("{KEEP} {} {PAUSE}", call("/check", 5000))),
        ("more", &format!("{KEPT} {answered}")),
    ]);
    let gateway = with_side(&origin, &side, &module, "").await;
    let mut client = gateway.client("web").await;
    client.send_raw("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello").await;
    gate.arrivals(1).await;
    assert_eq!(notes(&gateway, 1).await, ["request_headers 0 0"]);
    assert_eq!(origin.accepted(), 0);
    gate.release();
    assert_eq!(client.read_response().await.text(), "hello");
    let expected = [
        "request_headers 0 0",
        "answered 1 0",
        "request_body 5 1",
        "response_headers 0 0",
        "response_body 5 1",
    ];
    assert_eq!(notes(&gateway, 5).await, expected);
}

#[tokio::test]
async fn a_response_with_a_held_head_waits_for_the_answer_to_a_call() {
    let origin = Origin::answer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    let gate = Gate::new();
    let side = gated(&gate);
    let answered = when(
        "http_call_response",
        5,
        &format!("(call $note 'answered' (local.get 2) (i32.const 0)) {}", resume(1)),
    );
    let module = tracing(&[
        ("response_headers", &format!("{KEEP} {} {PAUSE}", call("/check", 5000))),
        ("more", &format!("{KEPT} {answered}")),
    ]);
    let gateway = with_side(&origin, &side, &module, "").await;
    let mut client = gateway.client("web").await;
    client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    gate.arrivals(1).await;
    assert_eq!(notes(&gateway, 2).await, ["request_headers 0 1", "response_headers 0 0"]);
    gate.release();
    assert_eq!(client.read_response().await.text(), "hello");
    let expected = ["request_headers 0 1", "response_headers 0 0", "answered 1 0", "response_body 5 1"];
    assert_eq!(notes(&gateway, 4).await, expected);
    assert_eq!(client.get("/").await.text(), "hello", "the connection is as good as before");
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn the_answer_to_a_call_may_end_an_exchange_that_waits_for_its_upstream() {
    let (upstream, gate) = (Gate::new(), Gate::new());
    let (origin, side) = (gated(&upstream), gated(&gate));
    let refuse = format!("(drop (call $set_context (global.get $kept))) {}", respond(403, "no"));
    let module = tracing(&[
        ("request_headers", &format!("{KEEP} {} {CONTINUE}", call("/check", 5000))),
        ("more", &format!("{KEPT} {}", when("http_call_response", 5, &refuse))),
    ]);
    let gateway = with_side(&origin, &side, &module, "").await;
    let mut client = gateway.client("web").await;
    client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    upstream.arrivals(1).await;
    gate.arrivals(1).await;
    gate.release();
    let response = client.read_response().await;
    assert_eq!((response.status, response.text().as_str()), (403, "no"), "the upstream has said nothing yet");
    let expected = ["request_headers 0 1", "response_headers 0 0", "response_body 2 1"];
    assert_eq!(notes(&gateway, 3).await, expected, "its maker sees it, too");
}

#[tokio::test]
async fn a_body_does_not_let_a_head_through_whose_authorisation_was_not_answered_yet() {
    let keys = ", on_headers_pause: continue_body";
    let answers = [("forbidden", respond(403, "no"), 403, "no", 0), ("allowed", resume(0), 200, "hello", 1)];
    for (name, answer, status, text, connections) in answers {
        let (origin, gate) = (Origin::echo(), Gate::new());
        let side = gated(&gate);
        let answered = format!(
            "(call $note 'answered' (local.get 2) (i32.const 0)) (drop (call $set_context (global.get $kept))) {answer}"
        );
        let module = tracing(&[
            ("request_headers", &format!("{KEEP} {} {PAUSE}", call("/check", 5000))),
            ("more", &format!("{KEPT} {}", when("http_call_response", 5, &answered))),
        ]);
        let gateway = with_side(&origin, &side, &module, keys).await;
        let mut client = gateway.client("web").await;
        client.send_raw("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello").await;
        gate.arrivals(1).await;
        // The filter has had all of it, and said "go on".
        assert_eq!(notes(&gateway, 2).await, ["request_headers 0 0", "request_body 5 1"], "{name}");
        assert_eq!(origin.accepted(), 0, "{name}");
        gate.release();
        let response = client.read_response().await;
        assert_eq!((response.status, response.text().as_str()), (status, text), "{name}");
        assert_eq!(origin.accepted(), connections, "{name}");
        assert_eq!(notes(&gateway, 3).await[2], "answered 1 0");
    }
}

#[tokio::test]
async fn once_the_call_is_answered_the_rest_of_the_body_can_let_the_head_go() {
    let (origin, gate) = (Origin::echo(), Gate::new());
    let side = gated(&gate);
    let answered = when("http_call_response", 5, "(call $note 'answered' (local.get 2) (i32.const 0))");
    let module =
        tracing(&[("request_headers", &format!("{} {PAUSE}", call("/check", 5000))), ("more", &answered)]);
    let gateway = with_side(&origin, &side, &module, ", on_headers_pause: continue_body").await;
    let mut client = gateway.client("web").await;
    client.send_raw("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhello").await;
    gate.arrivals(1).await;
    notes(&gateway, 2).await;
    gate.release();
    assert_eq!(notes(&gateway, 3).await[2], "answered 1 0");
    assert_eq!(origin.accepted(), 0);
    client.send_raw("world").await;
    assert_eq!(client.read_response().await.text(), "helloworld");
    assert_eq!(notes(&gateway, 4).await[3], "request_body 10 1");
}

#[tokio::test]
async fn a_body_does_not_let_a_response_through_that_the_answer_to_a_call_may_forbid() {
    let keys = ", on_headers_pause: continue_body";
    for (name, answer, status) in [("forbidden", respond(451, "no"), 451), ("allowed", resume(1), 200)] {
        let (origin, gate) =
            (Origin::answer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"), Gate::new());
        let side = gated(&gate);
        let answered = format!("(drop (call $set_context (global.get $kept))) {answer}");
        let module = tracing(&[
            ("response_headers", &format!("{KEEP} {} {PAUSE}", call("/check", 5000))),
            ("more", &format!("{KEPT} {}", when("http_call_response", 5, &answered))),
        ]);
        let gateway = with_side(&origin, &side, &module, keys).await;
        for http2 in [false, true] {
            let address = gateway.addr("web");
            let asking = tokio::spawn(async move {
                if http2 {
                    let response = Http2Client::connect(address).await.get("http://gateway.test/").await;
                    (response.status.as_u16(), response.body)
                } else {
                    let response = Client::connect(address).await.get("/").await;
                    (response.status, response.body)
                }
            });
            gate.arrivals(1 + usize::from(http2)).await;
            let seen = ["request_headers 0 1", "response_headers 0 0", "response_body 5 1"];
            let count = 3 * (1 + usize::from(http2));
            assert_eq!(notes(&gateway, count).await[count - 3..], seen, "{name}");
            assert!(!asking.is_finished(), "{name}");
            gate.release();
            let expected = if status == 200 { "hello" } else { "no" };
            assert_eq!(
                asking.await.unwrap(),
                (status, expected.as_bytes().to_vec()),
                "{name}, HTTP/2: {http2}"
            );
        }
    }
}

#[tokio::test]
async fn a_call_that_fails_or_is_late_arrives_without_fields() {
    let gate = Gate::new();
    let stalls = gated(&gate);
    let refuses = Origin::script(|connection| async move { connection.reset() });
    for (name, side, timeout) in [("late", &stalls, 100), ("failed", &refuses, 5000)] {
        let origin = Origin::echo();
        let answered = when(
            "http_call_response",
            5,
            &format!("(call $note 'answered' (local.get 2) (i32.const 0)) {}", resume(0)),
        );
        let module = tracing(&[
            ("request_headers", &format!("{KEEP} {} {PAUSE}", call("/check", timeout))),
            ("more", &format!("{KEPT} {answered}")),
        ]);
        let gateway = with_side(&origin, side, &module, "").await;
        let mut client = gateway.client("web").await;
        assert_eq!(client.get("/").await.status, 200, "{name}");
        assert_eq!(notes(&gateway, 2).await[1], "answered 0 0", "{name}");
    }
}

#[tokio::test]
async fn a_call_whose_exchange_is_over_is_answered_all_the_same() {
    let (origin, gate) = (Origin::echo(), Gate::new());
    let side = gated(&gate);
    // The context is no more: its number is no argument then.
    let answered = "(call $note 'answered' (local.get 2) (call $set_context (global.get $kept))) (drop (call $continue (i32.const 0)))";
    let code = format!(
        "{KEPT} (global $seen (mut i32) (i32.const 0)) {} {}",
        on("request_headers", &format!(
            "(global.set $seen (i32.add (global.get $seen) (i32.const 1))) (call $note 'seen' (global.get $seen) (i32.const 0))
             (if (result i32) (i32.eq (global.get $seen) (i32.const 1)) (then {KEEP} {} {PAUSE}) (else {CONTINUE}))",
            call("/check", 5000)
        )),
        when("http_call_response", 5, answered)
    );
    let gateway = with_side(&origin, &side, &script(&code), "").await;
    let mut client = gateway.client("web").await;
    client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    gate.arrivals(1).await;
    drop(client);
    gateway.wait_for_stdout("client.closed").await;
    gate.release();
    assert_eq!(notes(&gateway, 2).await[1], "answered 1 2");
    assert_eq!(gateway.client("web").await.get("/").await.status, 200);
    assert_eq!(notes(&gateway, 3).await[2], "seen 2 0", "the instance is the same");
    assert_eq!(
        gateway.metric(r#"gateway_filter_failures_total{filter="test",reason="trap"}"#).await.unwrap_or(0.0),
        0.0
    );
}
