//! Filters that answer in place of what there is: at once, whichever callback it is in and whatever that answers.

use support::{Gate, Gateway, Http2Client, Origin};

use crate::PROGRAM;
use crate::filter_script::{
    CONTINUE, PAUSE, call, notes, on, respond, script, tracing, when, with_side, with_two,
};
use crate::filtering::filtered;

/// The keys of a route whose responses have `x-route`.
const X_ROUTE: &str = ", headers: { response: { set: { x-route: all } } }";

#[tokio::test]
async fn a_local_response_from_any_callback_is_final_whatever_action_it_returns() {
    // In which callbacks it is given, and what the filter that comes later in that direction sees of the exchange: a local
    // response as well, where the request has passed that filter.
    let cases: [(&str, &[&str], usize); 4] = [
        ("request_headers", &[], 0),
        ("request_body", &["request_headers 0 0", "response_headers 0 0", "response_body 2 1"], 0),
        ("response_headers", &["request_headers 0 0", "request_body 5 1"], 1),
        ("response_body", &["request_headers 0 0", "request_body 5 1", "response_headers 0 0"], 1),
    ];
    for (callback, seen, requests) in cases {
        for action in [CONTINUE, PAUSE] {
            let case = format!("{callback} {action}");
            let answering = script(&on(callback, &format!("{} {action}", respond(403, "no"))));
            let later = tracing(&[]);
            let origin = Origin::echo();
            let gateway = if callback.starts_with("request") {
                with_two(&origin, &answering, &later, X_ROUTE).await
            } else {
                with_two(&origin, &later, &answering, X_ROUTE).await
            };
            let mut client = gateway.client("web").await;
            for round in 1..=2 {
                let response = client.request("POST", "/", &[], b"hello").await;
                assert_eq!((response.status, response.text().as_str()), (403, "no"), "{case}");
                assert_eq!(response.header("connection"), None, "{case}");
                assert_eq!(response.header("x-route"), Some("all"), "{case}");
                assert_eq!(
                    notes(&gateway, seen.len() * round).await,
                    [seen].repeat(round).concat(),
                    "{case}"
                );
            }
            assert_eq!(origin.requests().len(), requests * 2, "{case}");
            gateway.wait_for_pool("all", "no connection in use", |pool| pool["active"] == 0).await;
            let mut http2 = Http2Client::connect(gateway.addr("web")).await;
            let request = support::http::Request::post("http://gateway.test/")
                .body(support::bytes::Bytes::from_static(b"hello"));
            let response = http2.request(request.unwrap()).await;
            assert_eq!((response.status.as_u16(), &response.body[..]), (403, &b"no"[..]), "{case}");
            assert_eq!(response.headers.get("x-route").unwrap(), "all", "{case}");
        }
    }
}

#[tokio::test]
async fn an_answer_in_place_of_a_queued_head_has_the_header_edits_of_its_route() {
    // The head waits to be written with the beginning of the body. That has no data, and the filter answers to its trailers.
    let trailers =
        "HTTP/1.1 200 OK\r\nx-upstream: yes\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-t: 1\r\n\r\n";
    let module = script(&on("response_trailers", &format!("{} {PAUSE}", respond(403, "no"))));
    let origin = Origin::answer(trailers);
    let config = format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
admin: {{ address: 127.0.0.1:0 }}
workers: 1
wasm: {{ cache: off }}
filters: {{ test: {{ wasm: test.wasm }} }}
routes:
- name: all
  upstream: {{ url: '{}' }}
  filters: [test]
  headers: {{ response: {{ set: {{ x-route: all }}, remove: [content-type] }} }}",
        origin.url()
    );
    let gateway = Gateway::builder(PROGRAM, config).file("test.wasm", module).start().await;
    let mut client = gateway.client("web").await;
    for _ in 0..2 {
        let response = client.get("/").await;
        assert_eq!((response.status, response.text().as_str()), (403, "no"));
        assert_eq!((response.header("x-route"), response.header("content-type")), (Some("all"), None));
        assert_eq!(response.header("x-upstream"), None);
    }
    let mut http2 = Http2Client::connect(gateway.addr("web")).await;
    let response = http2.get("http://gateway.test/").await;
    assert_eq!((response.status.as_u16(), &response.body[..]), (403, &b"no"[..]));
    assert_eq!(response.headers.get("x-route").unwrap(), "all");
    assert!(!response.headers.contains_key("content-type") && !response.headers.contains_key("x-upstream"));
    gateway.wait_for_pool("all", "no connection in use", |pool| pool["active"] == 0).await;
}

#[tokio::test]
async fn an_answer_to_a_streamed_response_takes_its_place_as_long_as_nothing_is_out() {
    // The second piece is one too many; what came before it was held back, or was not.
    let code = |first: &str| {
        format!(
            "(global $seen (mut i32) (i32.const 0)) {}",
            on("response_body", &format!(
                "(call $note 'response_body' (local.get $size) (local.get $end))
                 (global.set $seen (i32.add (global.get $seen) (i32.const 1)))
                 (if (result i32) (i32.eq (global.get $seen) (i32.const 1)) (then {first}) (else {} {CONTINUE}))",
                respond(451, "no")
            ))
        )
    };
    for (first, is_held) in [(PAUSE, true), (CONTINUE, false)] {
        let gate = Gate::new();
        let opened = gate.clone();
        let origin = Origin::script(move |mut connection| {
            let gate = opened.clone();
            async move {
                connection.read_request().await;
                connection.write("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhello").await;
                gate.pass().await;
                connection.write("world").await;
                connection.wait_closed().await;
            }
        });
        let gateway = filtered(&origin, &script(&code(first)), "").await;
        let mut client = gateway.client("web").await;
        client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        notes(&gateway, 1).await;
        if is_held {
            gate.release();
            let response = client.read_response().await;
            assert_eq!((response.status, response.text().as_str()), (451, "no"));
        } else {
            assert_eq!(client.read_head().await.first_line, "HTTP/1.1 200 OK");
            assert_eq!(client.read_exact(10).await, b"5\r\nhello\r\n");
            gate.release();
            client.expect_closed().await;
        }
        // The rest of the response is of no use.
        origin.wait_for_open(0).await;
    }
}

#[tokio::test]
async fn an_answer_in_the_middle_of_an_upload_ends_it() {
    let code = format!(
        "(global $seen (mut i32) (i32.const 0)) {}",
        on(
            "request_body",
            &format!(
                "(call $note 'request_body' (local.get $size) (local.get $end))
             (global.set $seen (i32.add (global.get $seen) (i32.const 1)))
             (if (i32.eq (global.get $seen) (i32.const 2)) (then {})) {CONTINUE}",
                respond(413, "enough")
            )
        )
    );
    let origin = Origin::script(|mut connection| async move {
        connection.read_head().await;
        connection.wait_closed().await;
    });
    let gateway = filtered(&origin, &script(&code), "").await;
    let mut client = gateway.client("web").await;
    client.send_raw("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhello").await;
    origin.wait_for_open(1).await;
    client.send_raw("world").await;
    let response = client.read_response().await;
    assert_eq!((response.status, response.text().as_str()), (413, "enough"));
    origin.wait_for_open(0).await;
    assert_eq!(notes(&gateway, 2).await, ["request_body 5 0", "request_body 5 1"]);
}

#[tokio::test]
async fn the_answer_to_a_call_can_be_the_answer_to_the_exchange() {
    for (callback, requests) in
        [("request_headers", 0), ("request_body", 0), ("response_headers", 1), ("response_body", 1)]
    {
        let (origin, side) =
            (Origin::echo(), Origin::answer("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"));
        let answered = format!("(drop (call $set_context (global.get $kept))) {}", respond(403, "not you"));
        let module = tracing(&[
            (callback, &format!("(global.set $kept (local.get $context)) {} {PAUSE}", call("/check", 5000))),
            (
                "more",
                &format!(
                    "(global $kept (mut i32) (i32.const 0)) {}",
                    when("http_call_response", 5, &answered)
                ),
            ),
        ]);
        let gateway = with_side(&origin, &side, &module, "").await;
        let mut client = gateway.client("web").await;
        for _ in 0..2 {
            let response = client.request("POST", "/", &[], b"hello").await;
            assert_eq!((response.status, response.text().as_str()), (403, "not you"), "{callback}");
        }
        assert_eq!(origin.requests().len(), requests * 2, "{callback}");
        let all = ["request_headers 0 0", "request_body 5 1", "response_headers 0 0", "response_body 5 1"];
        let seen = 1 + all.iter().position(|note| note.starts_with(callback)).unwrap();
        let local: &[&str] = if requests == 0 { &["response_headers 0 0", "response_body 7 1"] } else { &[] };
        let seen = [&all[..seen], local].concat();
        assert_eq!(notes(&gateway, 2 * seen.len()).await, seen.repeat(2), "{callback}");
    }
}

#[tokio::test]
async fn a_stream_that_a_filter_closes_gets_no_response() {
    for callback in ["request_headers", "request_body", "response_headers", "response_body"] {
        let stream = u32::from(callback.starts_with("response"));
        let module = script(&on(callback, &format!("(drop (call $close (i32.const {stream}))) {CONTINUE}")));
        let origin = Origin::echo();
        let gateway = filtered(&origin, &module, "").await;
        let mut client = gateway.client("web").await;
        client.send_raw("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello").await;
        client.expect_closed().await;
        let mut http2 = Http2Client::connect(gateway.addr("web")).await;
        let request = support::http::Request::post("http://gateway.test/")
            .body(support::bytes::Bytes::from_static(b"hello"));
        let error = http2.try_request(request.unwrap()).await.unwrap_err();
        assert!(error.is_reset(), "{callback}: {error}");
    }
}

#[tokio::test]
async fn an_answer_to_head_has_the_length_of_a_body_and_no_body() {
    for callback in ["request_headers", "response_headers"] {
        let module = script(&on(callback, &format!("{} {CONTINUE}", respond(403, "no"))));
        let origin = Origin::answer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n");
        let gateway = filtered(&origin, &module, "").await;
        let mut client = gateway.client("web").await;
        for _ in 0..2 {
            let response = client.request("HEAD", "/", &[], b"").await;
            assert_eq!(
                (response.status, response.headers.all("content-length")),
                (403, vec!["2"]),
                "{callback}"
            );
        }
    }
}

#[tokio::test]
async fn an_answer_without_a_body_by_its_status_has_none() {
    let module = script(&on("request_headers", &format!("{} {CONTINUE}", respond(204, "ignored"))));
    let origin = Origin::echo();
    let gateway = filtered(&origin, &module, "").await;
    let mut client = gateway.client("web").await;
    for _ in 0..2 {
        let response = client.get("/").await;
        assert_eq!((response.status, response.header("content-length"), response.body.len()), (204, None, 0));
    }
}
