//! gRPC streams of filters to upstreams.

use support::bytes::Bytes;
use support::h2::Reason;
use support::http::HeaderMap;
use support::{Gate, Http2Exchange, Origin, with_longer_and_longer};

use crate::filter_grpc_calls::{WAITING, end, gateway, reply};
use crate::filtering::configured;
use crate::grpc::message;
use crate::pooled::OK;
use crate::scripted::{pairs, scripted, scripted_with};

/// Replies to each message with itself, and ends when the client does.
async fn echo(mut exchange: Http2Exchange) {
    let reply = reply().header("x-first", "1").body(()).unwrap();
    let mut replies = exchange.responder.send_response(reply, false).unwrap();
    let requests = exchange.request.body_mut();
    while let Some(data) = requests.data().await {
        let data = data.unwrap();
        requests.flow_control().release_capacity(data.len()).unwrap();
        replies.send_data(data, false).unwrap();
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    trailers.insert("x-last", "2".parse().unwrap());
    replies.send_trailers(trailers).unwrap();
}

/// The callbacks of a stream, which write their parameters and the part of the reply into the report. The last one answers the request.
const CALLBACKS: [(&str, &str); 4] = [
    (
        "proxy_on_grpc_receive_initial_metadata",
        "text initial
        number $1
        get_field 4 :status -> bytes
        get_field 4 x-first -> bytes
        get_field 5 x-last -> bytes",
    ),
    ("proxy_on_grpc_receive", "text message\nnumber $1\nnumber $2\nget_buffer 5 0 100 -> bytes"),
    (
        "proxy_on_grpc_receive_trailing_metadata",
        "text trailing
        number $1
        get_field 4 x-first -> bytes
        get_field 5 x-last -> bytes
        get_field 5 grpc-status -> bytes",
    ),
    (
        "proxy_on_grpc_close",
        "text close
        number $1
        number $2
        get_status -> u32 bytes
        grpc_send 1 late 0
        grpc_close 1
        (drop (call $set_context (global.get $waiting)))
        answer",
    ),
];

/// Returns a module that does this with each request, which it holds until the stream has ended.
fn streaming(script: &str) -> Vec<u8> {
    let script = format!("(global.set $waiting (local.get 0))\n{script}\nreturn 1");
    let callbacks = [&[("proxy_on_request_headers", script.as_str())][..], &CALLBACKS].concat();
    scripted_with("", WAITING, &callbacks)
}

#[tokio::test]
async fn messages_of_a_stream_pass_both_ways_in_their_order() {
    let script = "grpc_stream side shop.Orders Chat '' -> u32
        grpc_send 1 one 0
        grpc_send 1 '' 0
        grpc_send 1 three 1
        grpc_send 1 more 0";
    let (origin, side) = (Origin::answer(OK), Origin::http2(echo));
    let gateway = gateway(&origin, &side.url(), &streaming(script), "").await;
    let expected = "0 1\n0\n0\n0\n2\n\
        initial\n1\n0 200\n0 1\n1 \n\
        message\n1\n3\n0 one\n\
        message\n1\n0\n0 \n\
        message\n1\n5\n0 three\n\
        trailing\n1\n1 \n0 2\n0 0\n\
        close\n1\n0\n0 0 \n2\n0\n";
    assert_eq!(gateway.client("web").await.get("/").await.text(), expected);
}

#[tokio::test]
async fn stream_answers_each_message_before_the_next_one_is_sent() {
    let module = scripted_with(
        "",
        &format!("{WAITING} (global $left (mut i32) (i32.const 3))"),
        &[
            (
                "proxy_on_request_headers",
                "(global.set $waiting (local.get 0))
                grpc_stream side shop.Orders Chat '' -> u32
                grpc_send 1 ping 0
                return 1",
            ),
            (
                "proxy_on_grpc_receive",
                "get_buffer 5 0 100 -> bytes
                (global.set $left (i32.sub (global.get $left) (i32.const 1)))
                (if (global.get $left)
                  (then (drop (call $grpc_send (i32.const 1) 'again' (i32.const 0))))
                  (else (drop (call $grpc_close (i32.const 1)))))",
            ),
            ("proxy_on_grpc_close", "number $2\n(drop (call $set_context (global.get $waiting)))\nanswer"),
        ],
    );
    let (origin, side) = (Origin::answer(OK), Origin::http2(echo));
    let gateway = gateway(&origin, &side.url(), &module, "").await;
    let text = gateway.client("web").await.get("/").await.text();
    assert_eq!(text, "0 1\n0\n0 ping\n0 again\n0 again\n0\n");
}

#[tokio::test]
async fn half_closed_stream_still_receives() {
    let gate = Gate::new();
    let at_gate = gate.clone();
    let side = Origin::http2(move |mut exchange: Http2Exchange| {
        let gate = at_gate.clone();
        async move {
            assert_eq!(exchange.read_body().await.as_deref(), Some(&b""[..]));
            gate.pass().await;
            end(exchange, &[message("a"), message("b")].concat(), &[("grpc-status", "9")]);
        }
    });
    let origin = Origin::answer(OK);
    let script = "grpc_stream side shop.Orders Watch '' -> u32\ngrpc_close 1\ngrpc_send 1 late 0";
    let gateway = gateway(&origin, &side.url(), &streaming(script), "").await;
    let mut client = gateway.client("web").await;
    client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    gate.arrivals(1).await;
    gate.release();
    let expected = "0 1\n0\n2\ninitial\n1\n0 200\n1 \n1 \nmessage\n1\n1\n0 a\nmessage\n1\n1\n0 b\n\
        trailing\n1\n1 \n1 \n0 9\nclose\n1\n9\n0 9 \n2\n0\n";
    assert_eq!(client.read_response().await.text(), expected);
}

#[tokio::test]
async fn stream_that_is_refused_has_all_of_its_callbacks() {
    for (response, status) in
        [(reply().header("grpc-status", "12"), 12), (support::http::Response::builder().status(502), 14)]
    {
        let response = response.body(()).unwrap();
        let side = Origin::http2(move |mut exchange: Http2Exchange| {
            let response = response.clone();
            async move { drop(exchange.responder.send_response(response, true)) }
        });
        let origin = Origin::answer(OK);
        let gateway = gateway(&origin, &side.url(), &streaming("grpc_stream side a b '' -> u32"), "").await;
        let text = gateway.client("web").await.get("/").await.text();
        let (begin, end) = text.split_once("trailing\n1\n1 \n1 \n").unwrap_or_else(|| panic!("{text}"));
        assert!(begin.starts_with("0 1\ninitial\n1\n0 "), "{text}");
        assert!(end.contains(&format!("close\n1\n{status}\n0 {status} ")), "{text}");
    }
}

#[tokio::test]
async fn cancelled_stream_is_reset_and_delivers_nothing_more() {
    let gate = Gate::new();
    let at_gate = gate.clone();
    let side = Origin::http2(move |mut exchange: Http2Exchange| {
        let gate = at_gate.clone();
        async move {
            let mut replies = exchange.responder.send_response(reply().body(()).unwrap(), false).unwrap();
            let both = [message("a"), message("b")].concat();
            replies.send_data(Bytes::from(both), false).unwrap();
            let reset = std::future::poll_fn(|cx| replies.poll_reset(cx)).await;
            assert_eq!(reset.unwrap(), Reason::CANCEL);
            gate.pass().await;
        }
    });
    let module = scripted_with(
        "",
        WAITING,
        &[
            (
                "proxy_on_request_headers",
                "(global.set $waiting (local.get 0))\ngrpc_stream side a b '' -> u32\nreturn 1",
            ),
            (
                "proxy_on_grpc_receive",
                "get_buffer 5 0 100 -> bytes
                grpc_cancel 1
                grpc_send 1 late 0
                (drop (call $set_context (global.get $waiting)))
                answer",
            ),
            ("proxy_on_grpc_close", "text unexpected\nsay"),
        ],
    );
    let origin = Origin::answer(OK);
    let gateway = gateway(&origin, &side.url(), &module, "").await;
    assert_eq!(gateway.client("web").await.get("/").await.text(), "0 1\n0 a\n0\n1\n");
    gate.arrivals(1).await;
    let logs = gateway.logs();
    assert!(!logs.iter().any(|line| line.contains("unexpected") || line.contains("0 b")), "{logs:#?}");
}

#[tokio::test]
async fn queue_of_a_stream_is_bounded_and_so_is_each_message() {
    // Nothing is sent while a callback runs, so the queue has room for what `limits.body` allows.
    let (half, large) = ("x".repeat(500), "x".repeat(1025));
    let script = format!(
        "grpc_stream side shop.Orders Chat '' -> u32
        grpc_send 1 '{large}' 0
        grpc_send 1 '{half}' 0
        grpc_send 1 '{half}' 0
        grpc_send 1 '{half}' 0
        grpc_send 1 '' 0
        (global.set $end (i32.const 0x10000))
        grpc_close 1"
    );
    let checked = script.replace("(global.set $end (i32.const 0x10000))\n        grpc_close 1", "answer");
    let (origin, side) = (Origin::answer(OK), Origin::http2(echo));
    let module = scripted(&[("proxy_on_request_headers", &checked)]);
    let limited = gateway(&origin, &side.url(), &module, ", limits: { body: 1KiB }").await;
    assert_eq!(limited.client("web").await.get("/").await.text(), "0 1\n2\n0\n0\n2\n0\n");
    let limited = gateway(&origin, &side.url(), &streaming(&script), ", limits: { body: 1KiB }").await;
    let text = limited.client("web").await.get("/").await.text();
    assert_eq!(text.matches("message\n1\n500\n").count(), 2, "{text}");
    assert_eq!(text.matches("message\n1\n0\n").count(), 1, "{text}");
}

#[tokio::test]
async fn received_message_beyond_the_limit_closes_the_stream() {
    let side = Origin::http2(async |exchange: Http2Exchange| {
        end(exchange, &[message("small"), message(&"x".repeat(1025))].concat(), &[("grpc-status", "0")]);
    });
    let origin = Origin::answer(OK);
    let module = streaming("grpc_stream side a b '' -> u32");
    let gateway = gateway(&origin, &side.url(), &module, ", limits: { body: 1KiB }").await;
    let text = gateway.client("web").await.get("/").await.text();
    assert!(text.contains("message\n1\n5\n0 small\ntrailing\n1\n"), "{text}");
    assert!(text.contains("close\n1\n8\n0 8 a message is too large\n"), "{text}");
}

#[tokio::test]
async fn stream_on_which_nothing_happens_ends_with_the_idle_timeout_of_its_upstream() {
    with_longer_and_longer(async |limit| {
        for (has_head, begin) in [(false, "0 1\n0\n"), (true, "0 1\n0\ninitial\n1\n0 200\n1 \n1 \n")] {
            let side = Origin::http2(move |mut exchange: Http2Exchange| async move {
                let responder = &mut exchange.responder;
                let head =
                    has_head.then(|| responder.send_response(reply().body(()).unwrap(), false).unwrap());
                exchange.read_body().await;
                drop(head);
            });
            let origin = Origin::answer(OK);
            let module = streaming("grpc_stream side a b '' -> u32\ngrpc_send 1 one 0");
            let config = "
workers: 1
upstreams: { side: { url: '{side}', protocol: h2, timeouts: { idle: {idle} } } }
filters: { test: { wasm: test.wasm } }
routes: [{ name: all, upstream: { url: '{origin}' }, filters: [test] }]";
            let builder = configured(config, &[("test", &module)]).set("side", side.url());
            let idle = format!("{}ms", limit.as_millis());
            let gateway = builder.set("origin", origin.url()).set("idle", idle).start().await;
            let text = gateway.client("web").await.get("/").await.text();
            assert!(text.starts_with(begin), "{text}");
            assert!(text.contains("close\n1\n4\n0 4 timeouts.idle: "), "{text}");
        }
    })
    .await;
}

#[tokio::test]
async fn messages_that_wait_count_as_output_of_the_filter() {
    let piece = "x".repeat(400);
    let metadata = pairs(&[("x-a", "1")]);
    let script = format!(
        "grpc_stream side shop.Orders Chat '{metadata}' -> u32
        grpc_send 1 '{piece}' 0
        grpc_send 1 '{piece}' 0
        grpc_send 1 '{piece}' 0
        return 1"
    );
    let (origin, side) = (Origin::answer(OK), Origin::http2(echo));
    let module = scripted(&[("proxy_on_request_headers", &script)]);
    let gateway = gateway(&origin, &side.url(), &module, ", limits: { output: 1KiB }").await;
    let response = gateway.client("web").await.get("/").await;
    assert_eq!((response.status, response.header("x-gateway-error")), (500, Some("filter.test.output")));
}

#[tokio::test]
async fn streams_of_several_workers_share_a_connection() {
    let (origin, side) = (Origin::answer(OK), Origin::http2(echo));
    let config = "
workers: 2
upstreams: { side: { url: '{side}', protocol: h2, pool: { max_connections: 1 } } }
filters: { test: { wasm: test.wasm, isolation: request } }
routes: [{ name: all, upstream: { url: '{origin}' }, filters: [test] }]";
    let script = "grpc_stream side shop.Orders Chat '' -> u32\ngrpc_send 1 one 0\ngrpc_send 1 two 1";
    let module = streaming(script);
    let builder = configured(config, &[("test", &module)]).set("side", side.url());
    let gateway = builder.set("origin", origin.url()).start().await;
    // The kernel spreads connections over the workers.
    let mut clients = Vec::new();
    for _ in 0..16 {
        let mut client = gateway.client("web").await;
        client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        clients.push(client);
    }
    for mut client in clients {
        let text = client.read_response().await.text();
        assert!(text.contains("message\n1\n3\n0 one\nmessage\n1\n3\n0 two\ntrailing\n1\n"), "{text}");
        assert!(text.contains("close\n1\n0\n0 0 \n"), "{text}");
    }
    assert_eq!((side.accepted(), side.errors()), (1, vec![]));
}
