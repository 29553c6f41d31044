//! Exchanges that plugins end, by a response of their own or by none, or let continue.

use support::http::Request;
use support::{Gateway, Http2Client, Origin, wait_until};

use crate::filtering::filtered;
use crate::pooled::OK;
use crate::scripted::{pairs, scripted, scripted_with};

#[tokio::test]
async fn a_local_response_has_the_status_fields_and_body_that_the_plugin_gives_it() {
    let fields = [("x-own", "one"), ("x-two", "a\u{b}bc"), ("content-length", "99"), ("connection", "close")];
    let pairs = pairs(&fields);
    let script = format!("respond 403 details 'own body' '{pairs}' -1\nset_field 0 x-late late");
    let origin = Origin::answer(OK);
    let gateway = filtered(&origin, &scripted(&[("proxy_on_request_headers", &script)]), "").await;
    let mut client = gateway.client("web").await;
    for _ in 0..2 {
        let response = client.get("/").await;
        assert_eq!((response.status, response.text().as_str()), (403, "own body"));
        assert_eq!(response.headers.all("x-own"), ["one"]);
        assert_eq!(response.headers.all("x-two"), ["a bc"]);
        assert_eq!(response.headers.all("content-type"), ["text/plain"]);
        assert_eq!(response.headers.all("content-length"), ["8"], "{response:?}");
        assert!(!response.headers.has("connection"), "{response:?}");
    }
    assert_eq!(origin.accepted(), 0);
}

#[tokio::test]
async fn a_local_response_takes_the_place_of_the_upstreams_in_each_callback() {
    for callback in [
        "proxy_on_request_headers",
        "proxy_on_request_body",
        "proxy_on_request_trailers",
        "proxy_on_response_headers",
        "proxy_on_response_body",
    ] {
        for action in [0, 1] {
            let script = format!("respond 418 '' {callback} '' -1\nreturn {action}");
            let origin = Origin::answer(OK);
            let gateway = filtered(&origin, &scripted(&[(callback, &script)]), "").await;
            let mut client = gateway.client("web").await;
            client.send_raw("POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nx-t: 1\r\n\r\n").await;
            let response = client.read_response().await;
            assert_eq!((response.status, response.text().as_str()), (418, callback));
        }
    }
}

#[tokio::test]
async fn a_local_response_that_cannot_be_is_refused() {
    let mut script = String::new();
    for status in ["0", "100", "101", "199", "600", "999", "65736", "-1"] {
        script += &format!("respond {status} '' '' '' -1\n");
    }
    script += &format!("respond 200 '' '' '{}' -1\n", pairs(&[("a b", "1")]));
    script += "respond 200 '' '' '\u{1}\0\0' -1\n";
    script += "answer";
    let origin = Origin::answer(OK);
    let gateway = filtered(&origin, &scripted(&[("proxy_on_request_headers", &script)]), "").await;
    let response = gateway.client("web").await.get("/").await;
    assert_eq!((response.status, response.text()), (200, "2\n".repeat(10)));
}

#[tokio::test]
async fn a_client_of_grpc_is_answered_in_its_own_way() {
    let script = "respond 403 'not for you' body '' 7";
    let origin = Origin::answer(OK);
    let gateway = filtered(&origin, &scripted(&[("proxy_on_request_headers", script)]), "").await;
    let mut client = gateway.client("web").await;
    let fields = [("content-type", "application/grpc+proto")];
    let response = client.request("POST", "/", &fields, b"x").await;
    assert_eq!((response.status, response.body.len()), (200, 0));
    assert_eq!(response.header("grpc-status"), Some("7"));
    assert_eq!(response.header("grpc-message"), Some("not for you"));
    assert_eq!(response.header("content-type"), Some("application/grpc"));
    let other = client.request("POST", "/", &[], b"x").await;
    assert_eq!((other.status, other.text().as_str(), other.header("grpc-status")), (403, "body", None));

    // Filters that do not know of gRPC state no status. Their errors have one of HTTP.
    for (script, expected) in [
        ("respond 401 '' 'who are you?' '' -1", (200, Some("16"), Some("who are you?"), "")),
        ("respond 200 '' body '' -1", (200, None, None, "body")),
    ] {
        let gateway = filtered(&origin, &scripted(&[("proxy_on_request_headers", script)]), "").await;
        let response = gateway.client("web").await.request("POST", "/", &fields, b"x").await;
        let (status, message) = (response.header("grpc-status"), response.header("grpc-message"));
        assert_eq!((response.status, status, message, response.text().as_str()), expected, "{script}");
    }
}

#[tokio::test]
async fn only_http_streams_can_be_continued_or_closed_and_a_root_context_has_none() {
    let statuses = "
        continue 2
        continue 3
        continue 9
        close 2
        close 3";
    let root = format!(
        "{statuses}\nclose 9\ncontinue 0\ncontinue 1\nclose 0\nclose 1\nrespond 200 '' '' '' -1\ndone\nsay"
    );
    let module = scripted(&[
        ("proxy_on_configure", &root),
        ("proxy_on_request_headers", &format!("{statuses}\ncontinue 0\ncontinue 1\nanswer")),
    ]);
    let origin = Origin::answer(OK);
    let gateway = filtered(&origin, &module, "").await;
    gateway.wait_for_log("12|12|2|12|12|2|2|2|2|2|2|1|").await;
    let answer = gateway.client("web").await.get("/").await.text();
    assert_eq!(answer, "12\n12\n2\n12\n12\n0\n0\n");
}

/// A gateway whose filter closes the request for `/close`, in this callback.
async fn closing(origin: &Origin, callback: &str, stream: u32) -> Gateway {
    let script = format!(
        "get_field 0 :path -> bytes
        (if (i32.eq (i32.load (i32.const 0x8008)) (i32.const 6)) (then
          (drop (call $close (i32.const {stream}))) (return (i32.const 1))))"
    );
    filtered(origin, &scripted(&[(callback, &script)]), "").await
}

#[tokio::test]
async fn a_closed_request_has_no_answer_and_its_http1_connection_ends() {
    for (callback, stream) in [
        ("proxy_on_request_headers", 0),
        ("proxy_on_request_headers", 1),
        ("proxy_on_request_headers", 4),
        ("proxy_on_request_body", 0),
        ("proxy_on_request_body", 255),
        ("proxy_on_response_headers", 1),
        ("proxy_on_response_headers", 65_536),
        ("proxy_on_response_body", 1),
    ] {
        let origin = Origin::answer(OK);
        let gateway = closing(&origin, callback, stream).await;
        let mut client = gateway.client("web").await;
        assert_eq!(client.request("POST", "/other-one", &[], b"x").await.text(), "ok");
        client.send_raw("POST /close HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx").await;
        client.expect_closed().await;
        assert_eq!(gateway.client("web").await.get("/other-one").await.text(), "ok", "{callback}");
        let counted = "gateway_request_errors_total{route=\"all\",reason=\"filter.closed\"";
        wait_until("it is counted", async || gateway.metric(counted).await == Some(1.0)).await;
    }
}

#[tokio::test]
async fn a_closed_request_resets_its_http2_stream_and_no_other() {
    for (callback, stream) in
        [("proxy_on_request_headers", 0), ("proxy_on_response_headers", 1), ("proxy_on_response_body", 1)]
    {
        let origin = Origin::answer(OK);
        let gateway = closing(&origin, callback, stream).await;
        let mut client = Http2Client::connect(gateway.addr("web")).await;
        let request = |path: &str| {
            Request::get(format!("http://gateway.test{path}")).body(support::bytes::Bytes::new()).unwrap()
        };
        let error = client.try_request(request("/close")).await.expect_err("a reset");
        assert!(error.is_reset(), "{callback}: {error}");
        assert_eq!(client.request(request("/other-one")).await.body, b"ok", "{callback}");
    }
}

#[tokio::test]
async fn a_499_of_an_upstream_is_an_answer_like_others() {
    let answer = "HTTP/1.1 499 \r\ncontent-length: 2\r\n\r\nok";
    let origin = Origin::answer(answer);
    let gateway = filtered(&origin, &scripted(&[("proxy_on_log", "")]), "").await;
    let mut client = gateway.client("web").await;
    for _ in 0..2 {
        let response = client.get("/").await;
        assert_eq!((response.status, response.text().as_str()), (499, "ok"));
    }
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    assert_eq!(client.get("http://gateway.test/").await.status, 499);
}

#[tokio::test]
async fn a_held_request_continues_at_the_word_of_the_root_context() {
    // A tick later: which exchange is meant is for the effective context to say.
    let module = scripted_with(
        "",
        "(global $held (mut i32) (i32.const 0))",
        &[
            ("proxy_on_configure", "set_tick 10\n(global.set $end (i32.const 0x10000))"),
            ("proxy_on_request_headers", "(global.set $held (local.get 0))\nreturn 1"),
            (
                "proxy_on_tick",
                "(if (global.get $held) (then
                (drop (call $set_context (global.get $held)))
                (drop (call $set_field (i32.const 0) (i32.const 0x1000) (i32.const 6) (i32.const 0x1000) (i32.const 6)))
                continue 0
                (global.set $held (i32.const 0))))
                (return)
                text x-held",
            ),
        ],
    );
    let origin = Origin::answer(OK);
    let gateway = filtered(&origin, &module, "").await;
    assert_eq!(gateway.client("web").await.get("/").await.text(), "ok");
    assert_eq!(origin.requests()[0].headers.all("x-held"), ["x-held"]);
}
