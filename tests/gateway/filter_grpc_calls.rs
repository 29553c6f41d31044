//! Unary gRPC calls of filters to upstreams.

use support::bytes::Bytes;
use support::h2::Reason;
use support::http::{HeaderMap, Response};
use support::{Gate, Gateway, Http2Exchange, Origin, wait_until, with_longer_and_longer};

use crate::filtering::configured;
use crate::grpc::message;
use crate::pooled::OK;
use crate::scripted::{pairs, scripted, scripted_with};

const CONFIG: &str = "
workers: 1
upstreams:
  side: { url: '{side}', protocol: h2 }
  old: { url: '{side}' }
  auto: { url: '{side}', protocol: auto }
filters: { test: { wasm: test.wasm{keys} } }
routes: [{ name: all, upstream: { url: '{origin}' }, filters: [test] }]";

pub(crate) async fn gateway(origin: &Origin, side: &str, module: &[u8], keys: &str) -> Gateway {
    let builder = configured(CONFIG, &[("test", module)]);
    builder.set("origin", origin.url()).set("side", side).set("keys", keys).start().await
}

/// Declares the context that waits for a call.
pub(crate) const WAITING: &str = "(global $waiting (mut i32) (i32.const 0))";

/// Returns a module that begins calls with each request, and answers the request with the outcome of the first one that ends.
fn asking(call: &str) -> Vec<u8> {
    let outcome = "number $0
        number $1
        number $2
        get_buffer 5 0 100 -> bytes
        get_buffer_status 5 -> u32 u32
        get_status -> u32 bytes
        get_field 0 :path -> bytes
        (drop (call $set_context (global.get $waiting)))
        get_field 0 :path -> bytes
        answer";
    scripted_with(
        "",
        WAITING,
        &[
            (
                "proxy_on_request_headers",
                &format!(
                    "(global.set $waiting (local.get 0))\n{call}\n(global.set $end (i32.const 0x10000))\nreturn 1"
                ),
            ),
            ("proxy_on_grpc_receive_initial_metadata", "text unexpected\nsay"),
            ("proxy_on_grpc_receive", &format!("text received\n{outcome}")),
            ("proxy_on_grpc_receive_trailing_metadata", "text unexpected\nsay"),
            ("proxy_on_grpc_close", &format!("text closed\n{outcome}")),
        ],
    )
}

/// Returns the response that a server of gRPC begins with.
pub(crate) fn reply() -> support::http::response::Builder {
    Response::builder().header("content-type", "application/grpc")
}

/// Replies with messages, and ends the call with trailers.
pub(crate) fn end(mut exchange: Http2Exchange, messages: &[u8], trailers: &[(&'static str, &str)]) {
    let mut stream = exchange.responder.send_response(reply().body(()).unwrap(), false).unwrap();
    stream.send_data(Bytes::copy_from_slice(messages), false).unwrap();
    let trailers: HeaderMap =
        trailers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    stream.send_trailers(trailers).unwrap();
}

/// Asks with a call, and returns the report of its outcome.
async fn outcome(side: &Origin, call: &str, keys: &str) -> String {
    let origin = Origin::answer(OK);
    let gateway = gateway(&origin, &side.url(), &asking(call), keys).await;
    gateway.client("web").await.get("/a").await.text()
}

const CALL: &str = "grpc_call side shop.Orders Get '' 'hello' 5000 -> u32";

#[tokio::test]
async fn unary_call_sends_its_message_and_delivers_the_reply() {
    let side = Origin::http2(async |mut exchange: Http2Exchange| {
        let body = exchange.read_body().await.unwrap();
        assert_eq!(body, message("hello"));
        let head = &exchange.request;
        assert_eq!((head.method().as_str(), head.uri().path()), ("POST", "/shop.Orders/Get"));
        let field = |name: &str| head.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(field("content-type"), "application/grpc");
        assert_eq!((field("te"), field("grpc-timeout")), ("trailers".into(), "5000m".into()));
        assert_eq!((field("x-a"), field("x-a-bin")), ("1".into(), "AP8".into()));
        end(exchange, &message("reply"), &[("grpc-status", "0")]);
    });
    let metadata = pairs(&[("x-a", "1"), ("x-a-bin", "AP8"), ("te", "gzip"), ("grpc-timeout", "1S")]);
    let call = format!("grpc_call side shop.Orders Get '{metadata}' 'hello' 5000 -> u32");
    let expected = "received\n1\n1\n5\n0 reply\n0 5 0\n0 0 \n1 \n0 /a\n";
    assert_eq!(outcome(&side, &call, "").await, expected);
    let service = "\\x0a\\x06\\x0a\\x04side";
    let call = format!("grpc_call '{service}' shop.Orders Get '{metadata}' 'hello' 5000 -> u32");
    assert_eq!(outcome(&side, &call, "").await, expected, "the name is in a GrpcService");
}

#[tokio::test]
async fn calls_share_a_connection_and_have_their_own_replies() {
    let side = Origin::http2(async |mut exchange: Http2Exchange| {
        let body = exchange.read_body().await.unwrap();
        end(exchange, &body, &[("grpc-status", "0")]);
    });
    let origin = Origin::answer(OK);
    let gateway = gateway(&origin, &side.url(), &asking(CALL), "").await;
    let mut client = gateway.client("web").await;
    for token in 1..4 {
        let text = client.get("/a").await.text();
        assert!(text.starts_with(&format!("received\n1\n{token}\n5\n0 hello\n")), "{text}");
    }
    assert_eq!(side.accepted(), 1);
}

#[tokio::test]
async fn unary_call_without_a_good_reply_is_closed_with_a_status() {
    let [two, compressed] = [[message("a"), message("b")].concat(), b"\x01\0\0\0\x01a".to_vec()];
    let cut = message("hello")[..7].to_vec();
    let large = message(&"x".repeat(1025));
    for (messages, trailers, status, text) in [
        (vec![], &[("grpc-status", "5"), ("grpc-message", "not%20%C3%A9")][..], 5, "not \u{e9}"),
        (message("late"), &[("grpc-status", "13")], 13, ""),
        (message("odd"), &[("grpc-status", "200")], 2, ""),
        (vec![], &[("grpc-status", "0")], 13, "the reply has no message"),
        (message("a"), &[("x-a", "b")], 2, "the response has no grpc-status"),
        (two, &[("grpc-status", "0")], 13, "the reply has more than one message"),
        (compressed, &[("grpc-status", "0")], 13, "a message is compressed, and no compression was offered"),
        (cut, &[("grpc-status", "0")], 13, "a message is cut off"),
        (large, &[("grpc-status", "0")], 8, "a message is too large"),
    ] {
        let side = Origin::http2(move |exchange: Http2Exchange| {
            let messages = messages.clone();
            async move { end(exchange, &messages, trailers) }
        });
        let outcome = outcome(&side, CALL, ", limits: { body: 1KiB }").await;
        let expected = format!("closed\n1\n1\n{status}\n1 \n1 0 0\n0 {status} {text}\n1 \n0 /a\n");
        assert_eq!(outcome, expected);
    }
}

#[tokio::test]
async fn response_that_is_not_grpc_is_closed_with_the_status_for_it() {
    for (response, status, text) in [
        (reply().header("grpc-status", "7").header("grpc-message", "no"), 7, "no"),
        (Response::builder().status(404), 12, "the response has status 404"),
        (Response::builder().status(503).header("grpc-status", "8"), 8, ""),
        (Response::builder().status(503), 14, "the response has status 503"),
        (Response::builder(), 2, "the response has another content-type than application/grpc"),
    ] {
        let response = response.body(()).unwrap();
        let side = Origin::http2(move |mut exchange: Http2Exchange| {
            let response = response.clone();
            async move { drop(exchange.responder.send_response(response, true)) }
        });
        let expected = format!("closed\n1\n1\n{status}\n1 \n1 0 0\n0 {status} {text}\n1 \n0 /a\n");
        assert_eq!(outcome(&side, CALL, "").await, expected);
    }
}

#[tokio::test]
async fn call_to_a_server_that_is_not_there_is_unavailable() {
    let origin = Origin::answer(OK);
    let nowhere = format!("http://{}", support::unused_address());
    let gateway = gateway(&origin, &nowhere, &asking(CALL), "").await;
    let text = gateway.client("web").await.get("/a").await.text();
    assert!(text.starts_with("closed\n1\n1\n14\n"), "{text}");
    assert!(text.contains("\n0 14 upstream.connect: "), "{text}");
}

#[tokio::test]
async fn deadline_of_a_call_closes_it_and_resets_its_stream() {
    with_longer_and_longer(async |limit| {
        let gate = Gate::new();
        let at_gate = gate.clone();
        let side = Origin::http2(move |mut exchange: Http2Exchange| {
            let gate = at_gate.clone();
            async move {
                assert_eq!(exchange.wait_reset().await, Some(Reason::CANCEL));
                gate.pass().await;
            }
        });
        let origin = Origin::answer(OK);
        let module = asking(&format!("grpc_call side a b '' '' {} -> u32", limit.as_millis()));
        let gateway = gateway(&origin, &side.url(), &module, "").await;
        let outcome = gateway.client("web").await.get("/a").await.text();
        assert!(outcome.starts_with("closed\n1\n1\n4\n"), "{outcome}");
        assert!(outcome.contains("\n0 4 timeouts.request: "), "{outcome}");
        gate.arrivals(1).await;
    })
    .await;
}

#[tokio::test]
async fn cancelled_call_has_no_callback_and_resets_its_stream() {
    let gate = Gate::new();
    let at_gate = gate.clone();
    let side = Origin::http2(move |mut exchange: Http2Exchange| {
        let gate = at_gate.clone();
        async move {
            gate.pass().await;
            assert_eq!(exchange.wait_reset().await, Some(Reason::CANCEL));
            gate.pass().await;
        }
    });
    for (cancel, arrivals) in [("grpc_cancel", 1), ("grpc_close", 3)] {
        let module = scripted(&[
            (
                "proxy_on_request_headers",
                &format!("{CALL}\n(global.set $end (i32.const 0x10000))\n{cancel} 9\nsay"),
            ),
            ("proxy_on_response_headers", &format!("{cancel} 1\n{cancel} 1\ngrpc_send 1 a 0\nsay")),
            ("proxy_on_grpc_close", "text unexpected\nsay"),
        ]);
        let held = Gate::new();
        let at_origin = held.clone();
        let slow = Origin::script(move |mut connection| {
            let held = at_origin.clone();
            async move {
                connection.read_request().await;
                held.pass().await;
                connection.write(OK).await;
                connection.wait_closed().await;
            }
        });
        let gateway = gateway(&slow, &side.url(), &module, "").await;
        let mut client = gateway.client("web").await;
        client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        gateway.wait_for_log("1|").await;
        gate.arrivals(arrivals).await;
        gate.release();
        held.release();
        assert_eq!(client.read_response().await.text(), "ok");
        gateway.wait_for_log("0|1|1|").await;
        gate.arrivals(arrivals + 1).await;
        gate.release();
        assert!(!gateway.logs().iter().any(|line| line.contains("unexpected")), "{cancel}");
    }
}

#[tokio::test]
async fn call_ends_with_the_context_that_has_made_it() {
    let gate = Gate::new();
    let at_gate = gate.clone();
    let side = Origin::http2(move |mut exchange: Http2Exchange| {
        let gate = at_gate.clone();
        async move {
            gate.pass().await;
            assert_eq!(exchange.wait_reset().await, Some(Reason::CANCEL));
            gate.pass().await;
        }
    });
    let origin = Origin::answer(OK);
    let module = scripted(&[
        ("proxy_on_request_headers", &format!("{CALL}\ngrpc_stream side a b '' -> u32\nsay\nreturn 1")),
        ("proxy_on_delete", "text deleted\nsay"),
        ("proxy_on_grpc_close", "text unexpected\nsay"),
    ]);
    let gateway = gateway(&origin, &side.url(), &module, "").await;
    let mut client = gateway.client("web").await;
    client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    gate.arrivals(2).await;
    drop(client);
    gateway.wait_for_log("deleted|").await;
    gate.release();
    gate.release();
    gate.arrivals(4).await;
    assert!(!gateway.logs().iter().any(|line| line.contains("unexpected")));
    wait_until("nothing failed", async || {
        gateway.metric("gateway_filter_failures_total{filter=\"test\"").await.is_none()
    })
    .await;
}

#[tokio::test]
async fn call_that_cannot_be_made_is_refused_at_once() {
    let large = "x".repeat(1025);
    let script = format!(
        "grpc_call nobody a b '' '' 100 -> u32
        grpc_stream nobody a b '' -> u32
        grpc_call '' a b '' '' 100 -> u32
        grpc_call side '' b '' '' 100 -> u32
        grpc_call side a 'b c' '' '' 100 -> u32
        grpc_call side a/b c '' '' 100 -> u32
        grpc_stream side a b '{}' -> u32
        grpc_stream side a b '\\x01\\0\\0' -> u32
        grpc_call old a b '' '' 100 -> u32
        grpc_stream old a b '' -> u32
        grpc_call side a b '' '{large}' 100 -> u32
        grpc_send 1 message 1
        grpc_cancel 1
        grpc_close 1
        get_status -> u32 bytes
        answer",
        pairs(&[("a b", "1")])
    );
    let (origin, side) = (Origin::answer(OK), Origin::answer(OK));
    let module = scripted(&[("proxy_on_request_headers", &script)]);
    let gateway = gateway(&origin, &side.url(), &module, ", limits: { body: 1KiB }").await;
    let expected = ["4 0\n".repeat(8), "10 0\n".repeat(3), "1\n1\n1\n0 0 \n".to_owned()].concat();
    assert_eq!(gateway.client("web").await.get("/").await.text(), expected);
    gateway
        .wait_for_log("filter `test` calls upstream `nobody`, which the configuration does not have")
        .await;
    gateway
        .wait_for_log(
            "filter `test` makes a gRPC call to upstream `old`, which does not speak HTTP/2: set `protocol: h2`",
        )
        .await;
    assert_eq!(side.accepted(), 0);
}

#[tokio::test]
async fn call_to_an_upstream_that_chooses_http1_is_unavailable() {
    let (origin, side) = (Origin::answer(OK), Origin::answer(OK));
    let module = asking("grpc_call auto a b '' '' 5000 -> u32");
    let gateway = gateway(&origin, &side.url(), &module, "").await;
    let text = gateway.client("web").await.get("/a").await.text();
    assert!(text.contains("\n0 14 the upstream does not speak HTTP/2\n"), "{text}");
    gateway.wait_for_log("makes a gRPC call to upstream `auto`, which does not speak HTTP/2").await;
}

#[tokio::test]
async fn instance_has_a_bounded_number_of_calls() {
    // A call more than there may be: 1024 begin, and one is refused.
    let module = scripted_with(
        "",
        "(global $begun (mut i32) (i32.const 0))",
        &[(
            "proxy_on_request_headers",
            "(block $full (loop $next
              (br_if $full (i32.ne (i32.const 0) (call $grpc_stream 'side' 'a' 'b' (i32.const 0) (i32.const 0) (i32.const 1024))))
              (global.set $begun (i32.add (global.get $begun) (i32.const 1)))
              (br_if $next (i32.lt_u (global.get $begun) (i32.const 2000)))))
            (call $show_status (global.get $begun)) (call $line)
            grpc_stream side a b '' -> u32
            grpc_cancel 1
            grpc_stream side a b '' -> u32
            answer",
        )],
    );
    let (origin, side) = (Origin::answer(OK), Origin::http2(async |_: Http2Exchange| {}));
    let gateway = gateway(&origin, &side.url(), &module, "").await;
    assert_eq!(gateway.client("web").await.get("/").await.text(), "1024\n10 0\n0\n0 1025\n");
}

#[tokio::test]
async fn call_of_a_root_context_belongs_to_no_exchange() {
    let module = scripted(&[
        ("proxy_on_configure", "set_tick 10\n(global.set $end (i32.const 0x10000))"),
        ("proxy_on_tick", &format!("set_tick 0\n{CALL}\nsay")),
        ("proxy_on_grpc_receive", "get_buffer 5 0 100 -> bytes\nsay"),
    ]);
    let side = Origin::http2(async |mut exchange: Http2Exchange| {
        exchange.read_body().await;
        end(exchange, &message("to-root"), &[("grpc-status", "0")]);
    });
    let origin = Origin::answer(OK);
    let gateway = gateway(&origin, &side.url(), &module, "").await;
    gateway.wait_for_log("0 to-root|").await;
}
