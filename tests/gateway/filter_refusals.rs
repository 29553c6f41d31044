//! Invalid local responses end their exchange at once, with an error.

use support::bytes::Bytes;
use support::{Gateway, Http2Client, Origin, Response, http};

use crate::filter_script::{KEEP, KEPT, PAUSE, call, on, resumed_by_tick, script, tracing, when, with_side};
use crate::filtering::filtered;
use crate::scripted::{pairs, scripted};

/// Calls of `respond` that are refused, and a part of the reason that is logged.
fn impossible() -> Vec<(String, &'static str)> {
    let mut calls: Vec<(String, &str)> =
        ["0", "99", "100", "101", "199", "600", "999", "1000", "65736", "-1"]
            .iter()
            .map(|status| (format!("respond {status} '' no '' -1"), "a response has one from 200 to 599"))
            .collect();
    calls.extend([
        ("respond 200 '' no '\u{1}\0\0' -1".to_owned(), "malformed"),
        (format!("respond 200 '' no '{}' -1", pairs(&[("a b", "1")])), "invalid name"),
        ("respond 200 '' -1 1 '' -1".to_owned(), "outside of its memory"),
        ("respond 200 '' '' -8 100 -1".to_owned(), "outside of its memory"),
        ("respond 200 -8 100 '' '' -1".to_owned(), "outside of its memory"),
    ]);
    calls
}

fn is_refused(response: &Response) -> bool {
    (response.status, response.header("x-gateway-error")) == (500, Some("filter.test.response"))
}

async fn refusals(gateway: &Gateway) -> Option<f64> {
    gateway.metric("gateway_filter_failures_total{filter=\"test\",reason=\"response\"").await
}

#[tokio::test]
async fn an_exchange_ends_at_once_where_a_filter_that_pauses_sends_an_impossible_response() {
    for (call, reason) in impossible() {
        let origin = Origin::echo();
        let module = scripted(&[("proxy_on_request_headers", &format!("{call}\nreturn 1"))]);
        // A pause would last for 30 s, and an open filter must not let the request through.
        let gateway = filtered(&origin, &module, ", on_error: open").await;
        let mut client = gateway.client("web").await;
        for round in 1..=2 {
            let response = client.request("POST", "/", &[], b"hello").await;
            assert!(is_refused(&response), "{call}: {}", response.status);
            assert_eq!(refusals(&gateway).await, Some(f64::from(round)), "{call}");
        }
        let logged = gateway.wait_for_log("it sent an invalid local response").await;
        for part in [reason, "proxy_on_request_headers", "reason=\"response\""] {
            assert!(logged.contains(part), "{part}: {logged}");
        }
        assert_eq!(origin.requests().len(), 0, "{call}");
    }
}

#[tokio::test]
async fn an_impossible_response_from_any_callback_ends_the_exchange() {
    for callback in
        ["request_headers", "request_body", "request_trailers", "response_headers", "response_body"]
    {
        for (answer, on_error) in [(0, "open"), (0, "closed"), (1, "open"), (1, "closed")] {
            let origin = Origin::echo();
            let module = scripted(&[(
                &*format!("proxy_on_{callback}"),
                &format!("respond 99 '' no '' -1\nreturn {answer}"),
            )]);
            let gateway = filtered(&origin, &module, &format!(", on_error: {on_error}")).await;
            let mut client = gateway.client("web").await;
            client
                .send_raw(
                    "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nx-t: 1\r\n\r\n",
                )
                .await;
            let response = client.read_response().await;
            assert!(is_refused(&response), "{callback} {answer} {on_error}: {}", response.status);
            let mut http2 = Http2Client::connect(gateway.addr("web")).await;
            let request = http::Request::post("http://gateway.test/").body(Bytes::from_static(b"hello"));
            // A request of HTTP/2 without trailers has no callback for them.
            if callback != "request_trailers" {
                let response = http2.request(request.unwrap()).await;
                assert_eq!(response.status.as_u16(), 500, "{callback} {answer} {on_error}");
            }
        }
    }
}

#[tokio::test]
async fn an_impossible_response_to_a_calls_answer_or_in_a_tick_ends_the_exchange() {
    let respond = "(drop (call $respond (i32.const 99) (i32.const 0) (i32.const 0) 'no' (i32.const 0) (i32.const 0) (i32.const -1)))";
    for callback in ["request_headers", "response_headers"] {
        let answered = format!("(drop (call $set_context (global.get $kept))) {respond}");
        let by_call = tracing(&[
            (callback, &format!("{KEEP} {} {PAUSE}", call("/check", 5000))),
            ("more", &format!("{KEPT} {}", when("http_call_response", 5, &answered))),
        ]);
        let stream = u32::from(callback.starts_with("response"));
        let tick = resumed_by_tick(stream, &answered);
        let by_tick = tracing(&[(callback, &format!("{KEEP} {PAUSE}")), ("more", &tick)]);
        for module in [by_call, by_tick] {
            let (origin, side) = (Origin::echo(), Origin::echo());
            let gateway = with_side(&origin, &side, &module, ", on_error: open").await;
            let response = gateway.client("web").await.request("POST", "/", &[], b"hello").await;
            assert!(is_refused(&response), "{callback}: {}", response.status);
            assert_eq!(origin.requests().len(), usize::from(stream == 1), "{callback}");
        }
    }
}

#[tokio::test]
async fn an_impossible_response_cuts_off_a_response_that_has_begun() {
    let code = "
        (global.set $pieces (i32.add (global.get $pieces) (i32.const 1)))
        (if (i32.gt_u (global.get $pieces) (i32.const 1)) (then
          (drop (call $respond (i32.const 99) (i32.const 0) (i32.const 0) 'no' (i32.const 0) (i32.const 0) (i32.const -1)))))
        (i32.const 0)";
    let module = script(&format!("(global $pieces (mut i32) (i32.const 0)) {}", on("response_body", code)));
    let gate = support::Gate::new();
    let opened = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let gate = opened.clone();
        async move {
            connection.read_request().await;
            connection.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello").await;
            gate.pass().await;
            connection.write("world").await;
            connection.wait_closed().await;
        }
    });
    let gateway = filtered(&origin, &module, "").await;
    let mut client = gateway.client("web").await;
    client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.read_head().await.first_line, "HTTP/1.1 200 OK");
    assert_eq!(client.read_exact(10).await, b"5\r\nhello\r\n");
    gate.release();
    client.expect_closed().await;
    assert_eq!(refusals(&gateway).await, Some(1.0));
}

#[tokio::test]
async fn a_possible_response_after_an_impossible_one_is_the_answer() {
    let module = scripted(&[(
        "proxy_on_request_headers",
        "respond 99 '' no '' -1\nrespond 403 '' no '' -1\nreturn 1",
    )]);
    let origin = Origin::echo();
    let gateway = filtered(&origin, &module, "").await;
    let response = gateway.client("web").await.get("/").await;
    assert_eq!((response.status, response.text().as_str()), (403, "no"));
}
