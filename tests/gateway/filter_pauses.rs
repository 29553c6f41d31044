//! Filters that hold messages back: what comes meanwhile, what lets them go on, and what is too long.

use support::{Gate, Origin};

use crate::filter_script::{
    CONTINUE, PAUSE, REQUEST, RESPONSE, call, notes, on, replace, respond, script, set, tracing, when,
    with_side,
};
use crate::filtering::filtered;

/// Answers 200 to whatever passes the gate.
fn gated(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::script(move |mut connection| {
        let gate = gate.clone();
        async move {
            while connection.read_request().await.is_some() {
                gate.pass().await;
                connection.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            }
        }
    })
}

/// Goes on with a stream of the exchange whose context was kept in `$kept`: 0 is the request, 1 the response.
fn resume(stream: u32) -> String {
    format!("(drop (call $set_context (global.get $kept))) (drop (call $continue (i32.const {stream})))")
}

const KEPT: &str = "(global $kept (mut i32) (i32.const 0))";
const KEEP: &str = "(global.set $kept (local.get $context))";

#[tokio::test]
async fn nothing_goes_on_of_a_request_whose_head_is_held_back_until_a_call_is_answered() {
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
async fn nothing_goes_on_of_a_response_whose_head_is_held_back_until_a_call_is_answered() {
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
async fn a_tick_lets_go_on_what_is_held_back_in_either_direction() {
    let tick = |stream| {
        when(
            "tick",
            1,
            &format!("(if (global.get $kept) (then {} (global.set $kept (i32.const 0))))", resume(stream)),
        )
    };
    let start = "(func (export \"proxy_on_configure\") (param i32 i32) (result i32) (drop (call $set_tick (i32.const 5))) (i32.const 1))";
    for (callback, stream) in
        [("request_headers", 0), ("response_headers", 1), ("request_body", 0), ("response_body", 1)]
    {
        let origin = Origin::echo();
        let module = tracing(&[
            (callback, &format!("{KEEP} {PAUSE}")),
            ("more", &format!("{KEPT} {start} {}", tick(stream))),
        ]);
        let gateway = filtered(&origin, &module, "").await;
        let mut client = gateway.client("web").await;
        for _ in 0..2 {
            let response = client.request("POST", "/", &[], b"hello").await;
            assert_eq!((response.status, response.text().as_str()), (200, "hello"), "{callback}");
        }
        let expected =
            ["request_headers 0 0", "request_body 5 1", "response_headers 0 0", "response_body 5 1"];
        assert_eq!(notes(&gateway, 8).await, [expected, expected].concat(), "{callback}");
        assert_eq!(origin.accepted(), 1, "{callback}");
    }
}

#[tokio::test]
async fn what_is_held_back_for_too_long_fails_or_goes_on_as_it_was() {
    for callback in ["request_headers", "request_body", "response_headers", "response_body"] {
        let change = [set(REQUEST, "x-changed", "yes"), set(RESPONSE, "x-changed", "yes")].concat();
        let body = if callback.starts_with("request") { "(i32.const 0)" } else { "(i32.const 1)" };
        let change = if callback.ends_with("body") { replace(body, "changed") } else { change };
        let module = tracing(&[(callback, &format!("{change} {PAUSE}"))]);
        for (on_error, expected) in [("closed", (500, None)), ("open", (200, Some("hello")))] {
            let origin = Origin::echo();
            let keys = format!(", on_error: {on_error}, limits: {{ pause: 200ms }}");
            let gateway = filtered(&origin, &module, &keys).await;
            let mut client = gateway.client("web").await;
            let response = client.request("POST", "/", &[], b"hello").await;
            assert_eq!(response.status, expected.0, "{callback} {on_error}");
            match expected.1 {
                Some(body) => assert_eq!(response.text(), body, "{callback}"),
                None => {
                    assert_eq!(response.header("x-gateway-error"), Some("filter.test.pause"), "{callback}")
                }
            }
            if on_error == "closed" && callback.starts_with("request") {
                assert_eq!(origin.requests().len(), 0, "{callback}");
            }
            gateway.wait_for_log("limits.pause").await;
            let series = r#"gateway_filter_failures_total{filter="test",reason="pause"}"#;
            assert_eq!(gateway.metric(series).await, Some(1.0), "{callback} {on_error}");
        }
    }
}

#[tokio::test]
async fn a_head_that_waits_for_its_body_goes_out_with_what_the_body_made_of_it() {
    let keys = ", on_headers_pause: continue_body";
    let origin = Origin::respond(|request| {
        let computed = request.headers.get("x-computed").unwrap_or("none");
        format!("HTTP/1.1 200 OK\r\nx-got: {computed}\r\ncontent-length: 5\r\n\r\nhello").into_bytes()
    });
    // The first byte of the body as a field; nothing before the whole of it is there.
    let body = |map: &str, buffer: &str| {
        format!(
            "(if (result i32) (local.get $end)
               (then
                 (drop (call $get_buffer {buffer} (i32.const 0) (i32.const 1) (i32.const 1024) (i32.const 1028)))
                 (drop (call $set_field {map} 'x-computed' (i32.load (i32.const 1024)) (i32.load (i32.const 1028))))
                 {CONTINUE})
               (else {PAUSE}))"
        )
    };
    let module = tracing(&[
        ("request_headers", PAUSE),
        ("request_body", &body(REQUEST, "(i32.const 0)")),
        ("response_headers", PAUSE),
        ("response_body", &body(RESPONSE, "(i32.const 1)")),
    ]);
    let gateway = filtered(&origin, &module, keys).await;
    let mut client = gateway.client("web").await;
    client.send_raw("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n").await;
    assert_eq!(notes(&gateway, 2).await, ["request_headers 0 0", "request_body 2 0"]);
    assert_eq!(origin.accepted(), 0);
    client.send_raw("2\r\ncd\r\n0\r\n\r\n").await;
    let response = client.read_response().await;
    assert_eq!((response.header("x-got"), response.header("x-computed")), (Some("a"), Some("h")));
    assert_eq!((response.text().as_str(), response.header("content-length")), ("hello", Some("5")));
    assert_eq!(origin.requests()[0].body, b"abcd");
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
