//! Filters that hold messages back: what comes meanwhile, what lets them go on, and what is too long.

use support::{Gateway, Origin};

use crate::filter_script::{
    CONTINUE, KEEP, PAUSE, REQUEST, RESPONSE, notes, replace, resumed_by_tick, set, tracing,
};
use crate::filtering::filtered;

#[tokio::test]
async fn a_tick_continues_a_held_message_in_either_direction() {
    for (callback, stream) in
        [("request_headers", 0), ("response_headers", 1), ("request_body", 0), ("response_body", 1)]
    {
        let origin = Origin::echo();
        let tick = resumed_by_tick(stream, "(call $note 'tick' (i32.const 0) (i32.const 0))");
        let module = tracing(&[(callback, &format!("{KEEP} {PAUSE}")), ("more", &tick)]);
        let gateway = filtered(&origin, &module, "").await;
        let mut client = gateway.client("web").await;
        for _ in 0..2 {
            let response = client.request("POST", "/", &[], b"hello").await;
            assert_eq!((response.status, response.text().as_str()), (200, "hello"), "{callback}");
        }
        let mut expected =
            vec!["request_headers 0 0", "request_body 5 1", "response_headers 0 0", "response_body 5 1"];
        let held = expected.iter().position(|note| note.starts_with(callback)).unwrap();
        expected.insert(held + 1, "tick 0 0");
        assert_eq!(notes(&gateway, 10).await, expected.repeat(2), "{callback}");
        assert_eq!(origin.accepted(), 1, "{callback}");
    }
}

#[tokio::test]
async fn a_message_held_for_too_long_fails_or_continues_unchanged() {
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
                Some(body) => {
                    assert_eq!(
                        (response.text().as_str(), response.header("x-changed")),
                        (body, None),
                        "{callback}"
                    );
                    let request = &origin.requests()[0];
                    assert_eq!(
                        (&request.body[..], request.headers.get("x-changed")),
                        (body.as_bytes(), None),
                        "{callback}"
                    );
                }
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
async fn a_client_that_expects_100_gets_it_if_a_filter_waits_for_the_body() {
    let whole = format!("(if (result i32) (local.get $end) (then {CONTINUE}) (else {PAUSE}))");
    for (keys, head) in [("", CONTINUE), (", on_headers_pause: continue_body", PAUSE)] {
        let origin = Origin::script(|mut connection| async move {
            while let Some(head) = connection.read_head().await {
                connection.write("HTTP/1.1 100 Continue\r\n\r\n").await;
                let Some(request) = connection.read_body(&head).await else { return };
                assert_eq!(request.body, b"helloworld");
                connection.write("HTTP/1.1 204 No Content\r\n\r\n").await;
            }
        });
        let module = tracing(&[("request_headers", head), ("request_body", &whole)]);
        let gateway = filtered(&origin, &module, keys).await;
        let mut client = gateway.client("web").await;
        client
            .send_raw("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 10\r\n\r\n")
            .await;
        assert_eq!(client.read_head().await.first_line, "HTTP/1.1 100 Continue", "{keys}");
        client.send_raw("hello").await;
        assert_eq!(notes(&gateway, 2).await[1], "request_body 5 0", "{keys}");
        client.send_raw("world").await;
        let response = client.read_response().await;
        assert_eq!((response.status, response.informational.len()), (204, 0), "{keys}");
    }
}

#[tokio::test]
async fn several_filters_make_a_head_of_the_body_one_after_the_other() {
    // Each puts the first byte that it sees into the head, and takes that off.
    let part = |map: &str, buffer: &str| {
        format!(
            "(if (result i32) (local.get $end)
               (then
                 (drop (call $get_buffer {buffer} (i32.const 0) (i32.const 1) (i32.const 1024) (i32.const 1028)))
                 (drop (call $add_field {map} 'x-computed' (i32.load (i32.const 1024)) (i32.load (i32.const 1028))))
                 (drop (call $set_buffer {buffer} (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 0)))
                 {CONTINUE})
               (else {PAUSE}))"
        )
    };
    let module = tracing(&[
        ("request_headers", PAUSE),
        ("request_body", &part(REQUEST, "(i32.const 0)")),
        ("response_headers", PAUSE),
        ("response_body", &part(RESPONSE, "(i32.const 1)")),
    ]);
    let origin =
        Origin::answer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nxy\r\n1\r\nz\r\n0\r\n\r\n");
    let config = format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
wasm: {{ cache: off }}
filters: {{ test: {{ wasm: test.wasm, on_headers_pause: continue_body }} }}
routes: [{{ name: all, upstream: {{ url: '{}' }}, filters: [test, test] }}]",
        origin.url()
    );
    let gateway = Gateway::builder(crate::PROGRAM, config).file("test.wasm", module).start().await;
    let mut client = gateway.client("web").await;
    for _ in 0..2 {
        client.send_raw("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n").await;
        let response = client.read_response().await;
        assert_eq!((response.headers.all("x-computed"), response.text().as_str()), (vec!["x", "y"], "z"));
        let request = origin.requests().pop().unwrap();
        assert_eq!((request.headers.all("x-computed"), &request.body[..]), (vec!["a", "b"], &b"c"[..]));
    }
}

#[tokio::test]
async fn a_filter_that_fails_over_a_body_leaves_the_head_as_it_was_that_waited_for_it() {
    for (direction, map) in [("request", REQUEST), ("response", RESPONSE)] {
        let module = tracing(&[
            (&format!("{direction}_headers"), &format!("{} {PAUSE}", set(map, "x-changed", "yes"))),
            (&format!("{direction}_body"), "(unreachable)"),
        ]);
        let origin = Origin::echo();
        let gateway = filtered(&origin, &module, ", on_error: open, on_headers_pause: continue_body").await;
        let mut client = gateway.client("web").await;
        for _ in 0..2 {
            let response = client.request("POST", "/", &[], b"hello").await;
            assert_eq!((response.status, response.text().as_str()), (200, "hello"), "{direction}");
            assert_eq!(response.header("x-changed"), None, "{direction}");
            assert_eq!(origin.requests().pop().unwrap().headers.get("x-changed"), None, "{direction}");
        }
    }
}
