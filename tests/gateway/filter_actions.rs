//! The answers of callbacks: which of them let a message go on, and what becomes of it otherwise.

use support::bytes::Bytes;
use support::{Gate, Http2Client, Origin, http, wait_until, with_longer_and_longer};

use crate::filter_script::{
    CONTINUE, KEEP, REQUEST_BODY, RESPONSE_BODY, notes, on, replace, resumed_by_tick, script, tracing,
    with_two,
};
use crate::filtering::filtered;

const CHUNKED: &str = "POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\r\n\
    5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n";

/// Code that answers with a number.
fn answers(number: i32) -> String {
    format!("(i32.const {number})")
}

#[tokio::test]
async fn a_part_that_a_callback_does_not_continue_is_never_forwarded() {
    let cases: [(&str, &[i32]); 6] = [
        ("request_headers", &[1, 3, 4, 5, 256, -1]),
        ("request_body", &[1, 2, 3, 4, 256, -1]),
        ("request_trailers", &[1, 2, 256, -1]),
        ("response_headers", &[1, 3, 4, 5, 256, -1]),
        ("response_body", &[1, 2, 3, 4, 256, -1]),
        ("response_trailers", &[1, 2, 256, -1]),
    ];
    for (callback, numbers) in cases {
        for number in numbers {
            let origin = Origin::answer(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n",
            );
            let module = script(&on(callback, &answers(*number)));
            let gateway = filtered(&origin, &module, ", limits: { pause: 50ms }").await;
            let mut client = gateway.client("web").await;
            client.send_raw(CHUNKED).await;
            let case = format!("{callback} {number}");
            if callback == "response_trailers" {
                assert_eq!(client.read_head().await.first_line, "HTTP/1.1 200 OK", "{case}");
                let rest = client.read_to_end().await.unwrap_or_default();
                let rest = String::from_utf8_lossy(&rest).into_owned();
                assert!(!rest.contains("x-sum") && !rest.contains("0\r\n\r\n"), "{case}: {rest:?}");
            } else {
                let response = client.read_response().await;
                let expected = (500, Some("filter.test.pause"));
                assert_eq!((response.status, response.header("x-gateway-error")), expected, "{case}");
            }
            // What goes on incompletely is no request.
            let requests = usize::from(callback.starts_with("response"));
            assert_eq!(origin.requests().len(), requests, "{case}");
        }
    }
}

#[tokio::test]
async fn a_message_that_is_held_by_any_pause_goes_on_whole_once_the_filter_continues() {
    let cases: [(&str, u32, &[i32]); 4] = [
        ("request_headers", 0, &[3, 4, 77]),
        ("request_body", 0, &[1, 2, 77]),
        ("response_headers", 1, &[3, 4, 77]),
        ("response_body", 1, &[1, 2, 77]),
    ];
    for (callback, stream, numbers) in cases {
        for number in numbers {
            let code = format!("{KEEP} {}", answers(*number));
            let tick = resumed_by_tick(stream, "(call $note 'tick' (i32.const 0) (i32.const 0))");
            let module = tracing(&[(callback, &code), ("more", &tick)]);
            let origin = Origin::echo();
            let gateway = filtered(&origin, &module, "").await;
            let response = gateway.client("web").await.request("POST", "/", &[], b"hello").await;
            assert_eq!((response.status, response.text().as_str()), (200, "hello"), "{callback} {number}");
            let seen = notes(&gateway, 5).await;
            let at = |note: &str| seen.iter().position(|seen| seen.starts_with(note)).unwrap();
            assert_eq!(at("tick"), at(callback) + 1, "{number}: {seen:?}");
        }
    }
}

/// A filter that drops every piece of a body but the last one, in place of which it sends another body.
fn dropping(callback: &str, body: &str) -> Vec<u8> {
    let code = format!(
        "(call $note 'piece' (local.get $size) (i32.const 0))
         (if (i32.eqz (local.get $end)) (then (return (i32.const 3)))) {} {CONTINUE}",
        replace(body, "another")
    );
    script(&on(callback, &code))
}

#[tokio::test]
async fn a_pause_without_a_buffer_drops_each_piece_of_a_request() {
    let origin = Origin::echo();
    let gateway = filtered(&origin, &dropping("request_body", REQUEST_BODY), "").await;
    let mut client = gateway.client("web").await;
    client.send_raw("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhello").await;
    notes(&gateway, 1).await;
    client.send_raw("world").await;
    assert_eq!(client.read_response().await.text(), "another");
    assert_eq!(notes(&gateway, 2).await, ["piece 5 0", "piece 5 0"]);
    assert_eq!(origin.requests()[0].body, b"another");
}

#[tokio::test]
async fn a_pause_without_a_buffer_drops_each_piece_of_a_response() {
    let gate = Gate::new();
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
    let gateway = filtered(&origin, &dropping("response_body", RESPONSE_BODY), "").await;
    let mut client = gateway.client("web").await;
    client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    notes(&gateway, 1).await;
    gate.release();
    assert_eq!(client.read_response().await.text(), "another");
    assert_eq!(notes(&gateway, 2).await, ["piece 5 0", "piece 5 0"]);
}

#[tokio::test]
async fn a_pause_without_a_buffer_keeps_what_was_buffered_before() {
    // Keeps the first piece, asks for no buffer with the second, and lets all go at the end.
    let code = "
        (if (local.get $end) (then (return (i32.const 0))))
        (global.set $seen (i32.add (global.get $seen) (i32.const 1)))
        (call $note 'piece' (local.get $size) (i32.const 0))
        (select (i32.const 1) (i32.const 3) (i32.eq (global.get $seen) (i32.const 1)))";
    let module = script(&format!("(global $seen (mut i32) (i32.const 0)) {}", on("request_body", code)));
    let origin = Origin::echo();
    let gateway = filtered(&origin, &module, "").await;
    let mut client = gateway.client("web").await;
    client.send_raw("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
    notes(&gateway, 1).await;
    client.send_raw("5\r\nworld\r\n").await;
    assert_eq!(notes(&gateway, 2).await, ["piece 5 0", "piece 10 0"]);
    client.send_raw("0\r\n\r\n").await;
    assert_eq!(client.read_response().await.text(), "helloworld");
}

#[tokio::test]
async fn a_body_goes_on_whole_after_a_pause_without_a_buffer_of_a_filter_that_fails_open() {
    let code = "
        (call $note 'piece' (local.get $size) (i32.const 0))
        (if (local.get $end) (then unreachable))
        (i32.const 3)";
    let origin = Origin::echo();
    let gateway = filtered(&origin, &script(&on("request_body", code)), ", on_error: open").await;
    let mut client = gateway.client("web").await;
    client.send_raw("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhello").await;
    notes(&gateway, 1).await;
    client.send_raw("world").await;
    assert_eq!(client.read_response().await.text(), "helloworld");
    assert_eq!(origin.requests()[0].body, b"helloworld");
}

/// An origin that sends `hello`, and `world` once the gate is open.
fn in_two_pieces(gate: &Gate) -> Origin {
    let opened = gate.clone();
    Origin::script(move |mut connection| {
        let gate = opened.clone();
        async move {
            connection.read_request().await;
            connection.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello").await;
            gate.pass().await;
            connection.write("world").await;
            connection.wait_closed().await;
        }
    })
}

#[tokio::test]
async fn a_response_goes_on_whole_after_a_pause_without_a_buffer_of_a_filter_that_fails_open() {
    // It fails with the last piece; or it never lets go, so that its pause ends.
    for last in ["unreachable", ""] {
        let code = format!(
            "(call $note 'piece' (local.get $size) (i32.const 0))
             (if (local.get $end) (then {last}))
             (i32.const 3)"
        );
        let gate = Gate::new();
        let origin = in_two_pieces(&gate);
        let keys = ", on_error: open, limits: { pause: 50ms }";
        let gateway = filtered(&origin, &script(&on("response_body", &code)), keys).await;
        let mut client = gateway.client("web").await;
        client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        notes(&gateway, 1).await;
        gate.release();
        assert_eq!(client.read_response().await.text(), "helloworld", "{last}");
        assert_eq!(notes(&gateway, 2).await, ["piece 5 0", "piece 5 0"], "{last}");
    }
}

#[tokio::test]
async fn a_request_goes_on_whole_after_the_end_of_a_pause_without_a_buffer_of_a_filter_that_fails_open() {
    let code = "(call $note 'piece' (local.get $size) (i32.const 0)) (i32.const 3)";
    let origin = Origin::echo();
    // The second piece has to come during the pause.
    with_longer_and_longer(async |limit| {
        let keys = format!(", on_error: open, limits: {{ pause: {}ms }}", limit.as_millis());
        let gateway = filtered(&origin, &script(&on("request_body", code)), &keys).await;
        let mut client = gateway.client("web").await;
        client.send_raw("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhello").await;
        notes(&gateway, 1).await;
        client.send_raw("world").await;
        assert_eq!(client.read_response().await.text(), "helloworld");
        assert_eq!(notes(&gateway, 2).await, ["piece 5 0", "piece 5 0"]);
    })
    .await;
    let keys = ", on_error: open, limits: { pause: 50ms }";
    let gateway = filtered(&origin, &script(&on("request_body", code)), keys).await;
    let mut http2 = Http2Client::connect(gateway.addr("web")).await;
    let request = http::Request::post("http://a/").body(Bytes::from_static(b"helloworld")).unwrap();
    assert_eq!(http2.request(request).await.body, b"helloworld");
}

#[tokio::test]
async fn a_message_over_the_body_limit_is_refused_after_a_pause_without_a_buffer_of_a_filter_that_fails_open()
{
    for (callback, status) in [("request_body", 413), ("response_body", 500)] {
        for answer in [1, 3] {
            let origin = Origin::echo();
            let module = script(&on(callback, &format!("(i32.const {answer})")));
            let gateway = filtered(&origin, &module, ", on_error: open, limits: { body: 4KiB }").await;
            let response = gateway.client("web").await.request("POST", "/", &[], &[b'x'; 100_000]).await;
            let expected = (status, Some("filter.test.body"));
            assert_eq!(
                (response.status, response.header("x-gateway-error")),
                expected,
                "{callback} {answer}"
            );
        }
    }
}

#[tokio::test]
async fn a_filter_that_fails_open_and_empties_its_buffer_does_not_make_room_for_more() {
    for (callback, body, status) in
        [("request_body", REQUEST_BODY, 413), ("response_body", RESPONSE_BODY, 500)]
    {
        let code = format!("{} (i32.const 1)", replace(body, ""));
        let origin = Origin::echo();
        let keys = ", on_error: open, limits: { body: 4KiB }";
        let gateway = filtered(&origin, &script(&on(callback, &code)), keys).await;
        let response = gateway.client("web").await.request("POST", "/", &[], &[b'x'; 100_000]).await;
        let expected = (status, Some("filter.test.body"));
        assert_eq!((response.status, response.header("x-gateway-error")), expected, "{callback}");
    }
}

#[tokio::test]
async fn a_request_that_ends_with_its_head_goes_on_without_body_and_trailers() {
    let ending = tracing(&[("request_headers", "(i32.const 2)"), ("response_headers", CONTINUE)]);
    let ending_and_bodies = [ending, script(&on("request_headers", "(i32.const 2)"))];
    for first in ending_and_bodies {
        let origin = Origin::echo();
        let gateway = with_two(&origin, &first, &tracing(&[]), "").await;
        let requests = [
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-encoding: gzip\r\n\r\nhello",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n",
            CHUNKED,
        ];
        for request in requests {
            let mut client = gateway.client("web").await;
            client.send_raw(request).await;
            let response = client.read_response().await;
            assert_eq!((response.status, response.text().as_str()), (200, ""), "{request}");
        }
        let mut http2 = Http2Client::connect(gateway.addr("web")).await;
        for _ in 0..2 {
            let request = http::Request::post("http://gateway.test/").body(Bytes::from_static(b"hello"));
            let response = http2.request(request.unwrap()).await;
            assert_eq!((response.status.as_u16(), &response.body[..]), (200, &b""[..]));
        }
        let sent = origin.requests();
        assert_eq!(sent.len(), requests.len() + 2);
        for sent in sent {
            assert_eq!((sent.body.len(), sent.trailers.0.len()), (0, 0));
            assert_eq!(sent.headers.all("content-length"), ["0"]);
            for gone in ["transfer-encoding", "expect", "content-encoding"] {
                assert!(!sent.headers.has(gone), "{gone}");
            }
        }
        // Filters behind see a head without a body, and none sees the body that is dropped.
        let seen = notes(&gateway, requests.len() + 2).await;
        assert!(seen.iter().any(|note| note == "request_headers 0 1"), "{seen:?}");
        assert!(!seen.iter().any(|note| note.starts_with("request_body")), "{seen:?}");
    }
}

#[tokio::test]
async fn a_connection_is_of_use_after_a_request_that_ended_with_its_head() {
    let module = script(&on("request_headers", "(i32.const 2)"));
    let origin = Origin::echo();
    let gateway = filtered(&origin, &module, "").await;
    let mut client = gateway.client("web").await;
    for _ in 0..3 {
        client.send_raw("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello").await;
        assert_eq!(client.read_response().await.status, 200);
    }
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(origin.requests().len(), 4);
}

#[tokio::test]
async fn a_response_that_ends_with_its_head_has_no_body() {
    let upstream: [&str; 3] = [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\netag: \"a\"\r\ncontent-encoding: br\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello",
    ];
    for answer in upstream {
        for module in [
            tracing(&[("response_headers", "(i32.const 2)")]),
            script(&on("response_headers", "(i32.const 2)")),
        ] {
            let origin = Origin::answer(answer);
            let gateway = with_two(&origin, &tracing(&[]), &module, "").await;
            let mut client = gateway.client("web").await;
            for _ in 0..2 {
                let response = client.get("/").await;
                assert_eq!((response.status, response.text().as_str()), (200, ""), "{answer}");
                assert_eq!(response.headers.all("content-length"), ["0"], "{answer}");
                for gone in ["transfer-encoding", "trailer", "content-encoding"] {
                    assert!(!response.headers.has(gone), "{gone}: {answer}");
                }
            }
            let mut http2 = Http2Client::connect(gateway.addr("web")).await;
            let response = http2.get("http://gateway.test/").await;
            assert_eq!((response.status.as_u16(), response.body.len()), (200, 0), "{answer}");
            let seen = notes(&gateway, 6).await;
            assert!(seen.iter().any(|note| note == "response_headers 0 1"), "{seen:?}");
            assert!(!seen.iter().any(|note| note.starts_with("response_body")), "{seen:?}");
        }
    }
}

#[tokio::test]
async fn an_unknown_answer_is_logged_once_per_plugin() {
    let module = script(&on("request_headers", "(drop (call $continue (i32.const 0))) (i32.const 77)"));
    let origin = Origin::echo();
    let gateway = with_two(&origin, &module, &module, "").await;
    let mut client = gateway.client("web").await;
    for _ in 0..3 {
        assert_eq!(client.get("/").await.status, 200, "it continues by itself");
    }
    let warnings = || -> Vec<String> {
        let lines = gateway.logs().into_iter();
        lines.filter(|line| line.contains("unknown in this ABI")).collect()
    };
    wait_until("both plugins are logged", async || warnings().len() >= 2).await;
    assert_eq!(client.get("/").await.status, 200);
    let warnings = warnings();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    for (warning, name) in warnings.iter().zip(["first", "second"]) {
        for part in ["WARN", name, "proxy_on_request_headers", "77"] {
            assert!(warning.contains(part), "{part}: {warning}");
        }
    }
}

#[tokio::test]
async fn a_head_that_stops_all_is_not_let_go_by_the_body() {
    for (answer, goes_on) in [(1, true), (3, false), (4, false), (77, false)] {
        for direction in ["request", "response"] {
            let module = script(
                &[
                    on(&format!("{direction}_headers"), &answers(answer)),
                    on(&format!("{direction}_body"), CONTINUE),
                ]
                .concat(),
            );
            let origin = Origin::echo();
            let keys = ", on_headers_pause: continue_body, limits: { pause: 50ms }";
            let gateway = filtered(&origin, &module, keys).await;
            let response = gateway.client("web").await.request("POST", "/", &[], b"hello").await;
            let expected = if goes_on { (200, None) } else { (500, Some("filter.test.pause")) };
            let case = format!("{direction} {answer}");
            assert_eq!((response.status, response.header("x-gateway-error")), expected, "{case}");
            let requests = usize::from(goes_on || direction == "response");
            assert_eq!(origin.requests().len(), requests, "{case}");
        }
    }
}
