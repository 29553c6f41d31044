//! Plugins that fail in the middle of a body: what went on is gone, what comes is as it was, and nothing is lost between.

use support::bytes::Bytes;
use support::http::Request;
use support::{Client, Gate, Gateway, Http2Client, Origin};

use crate::filtering::filtered;
use crate::scripted::{scripted, scripted_with};

/// A plugin that adds to the first chunk, holds the second one back with something in front of it, and fails at the third.
fn failing(direction: &str) -> Vec<u8> {
    let buffer = u32::from(direction == "response");
    scripted_with(
        "",
        "(global $chunk (mut i32) (i32.const 0))",
        &[(
            &format!("proxy_on_{direction}_body"),
            &format!(
                "(global.set $chunk (i32.add (global.get $chunk) (i32.const 1)))
                text chunk
                (call $show_number (i64.extend_i32_u (global.get $chunk)))
                number $1
                say
                (if (i32.eq (global.get $chunk) (i32.const 1)) (then
                set_buffer {buffer} -1 0 !
                return 0
                ))
                (if (i32.eq (global.get $chunk) (i32.const 2)) (then
                set_buffer {buffer} 0 0 ?
                return 1
                ))
                set_buffer {buffer} 0 100 gone
                (unreachable)"
            ),
        )],
    )
}

const CHUNKS: [&str; 3] = ["one", "two", "three"];

/// Waits until the plugin has been given this chunk: the next one then comes by itself.
async fn given(gateway: &Gateway, number: usize) {
    gateway.wait_for_log(&format!("chunk|{number}")).await;
}

/// The framing of the chunks: a field of the head, the form of each chunk, and the end.
type Framing = (&'static str, fn(&str) -> String, &'static str);

const FRAMINGS: [Framing; 2] = [
    ("transfer-encoding: chunked", |chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len()), "0\r\n\r\n"),
    ("content-length: 11", str::to_owned, ""),
];

/// An origin that sends a chunk each time that the gate lets it.
fn streaming((field, written, end): Framing, gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::script(move |mut connection| {
        let gate = gate.clone();
        async move {
            connection.read_request().await;
            connection.write(format!("HTTP/1.1 200 OK\r\n{field}\r\n\r\n")).await;
            for chunk in CHUNKS {
                gate.pass().await;
                connection.write(written(chunk)).await;
            }
            connection.write(end).await;
            connection.wait_closed().await;
        }
    })
}

/// Lets the chunks of a response come one after the other.
async fn let_come(gateway: &Gateway, gate: &Gate) {
    for number in 1..=CHUNKS.len() {
        gate.release();
        given(gateway, number).await;
    }
}

#[tokio::test]
async fn a_response_goes_on_whole_where_the_filter_fails_open() {
    for framing in FRAMINGS {
        let gate = Gate::new();
        let origin = streaming(framing, &gate);
        let gateway = filtered(&origin, &failing("response"), ", on_error: open").await;
        let mut client = gateway.client("web").await;
        client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let (response, ()) = tokio::join!(client.read_response(), let_come(&gateway, &gate));
        assert_eq!(response.text(), "one!twothree", "{}", framing.0);
    }
    for framing in FRAMINGS {
        let gate = Gate::new();
        let origin = streaming(framing, &gate);
        let gateway = filtered(&origin, &failing("response"), ", on_error: open").await;
        let mut client = Http2Client::connect(gateway.addr("web")).await;
        let (response, ()) = tokio::join!(client.get("http://a/"), let_come(&gateway, &gate));
        assert_eq!(response.body, b"one!twothree", "{}", framing.0);
    }
}

#[tokio::test]
async fn a_response_is_cut_and_never_ends_well_where_the_filter_fails_closed() {
    for framing in FRAMINGS {
        let gate = Gate::new();
        let origin = streaming(framing, &gate);
        let gateway = filtered(&origin, &failing("response"), "").await;
        let mut client = gateway.client("web").await;
        client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let read = async {
            let head = client.read_head().await;
            (head, client.read_to_end().await)
        };
        let ((head, body), ()) = tokio::join!(read, let_come(&gateway, &gate));
        assert!(head.headers.has("transfer-encoding"), "{head:?}");
        // A reset may come before what was sent is read.
        if let Ok(body) = body {
            assert_eq!(body.escape_ascii().to_string(), "4\\r\\none!\\r\\n", "{}", framing.0);
        }
    }
    for framing in FRAMINGS {
        let gate = Gate::new();
        let origin = streaming(framing, &gate);
        let gateway = filtered(&origin, &failing("response"), "").await;
        let mut client = Http2Client::connect(gateway.addr("web")).await;
        let request = Request::get("http://a/").body(Bytes::new()).unwrap();
        let (response, ()) = tokio::join!(client.try_request(request), let_come(&gateway, &gate));
        assert!(response.expect_err("a reset").is_reset(), "{}", framing.0);
    }
}

/// Sends a request's chunks one after the other, over HTTP/1.
async fn send(gateway: &Gateway, (field, written, end): Framing) -> support::Response {
    let mut client = gateway.client("web").await;
    client.send_raw(format!("POST / HTTP/1.1\r\nhost: a\r\n{field}\r\n\r\n")).await;
    for (number, chunk) in (1..).zip(CHUNKS) {
        client.send_raw(written(chunk)).await;
        given(gateway, number).await;
    }
    // It may be answered, and closed, by now.
    drop(client.try_send_raw(end).await);
    client.read_response().await
}

#[tokio::test]
async fn a_request_goes_on_whole_where_the_filter_fails_open() {
    for framing in FRAMINGS {
        let origin = Origin::echo();
        let gateway = filtered(&origin, &failing("request"), ", on_error: open").await;
        assert_eq!(send(&gateway, framing).await.text(), "one!twothree", "{}", framing.0);
    }
    let origin = Origin::echo();
    let gateway = filtered(&origin, &failing("request"), ", on_error: open").await;
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    let (response, mut stream) =
        client.open(Request::post("http://a/").body(()).unwrap(), false).await.unwrap();
    for (number, chunk) in (1..).zip(CHUNKS) {
        stream.send_data(chunk.into(), number == CHUNKS.len()).unwrap();
        given(&gateway, number).await;
    }
    assert_eq!(Http2Client::read(response).await.unwrap().body, b"one!twothree");
}

#[tokio::test]
async fn a_request_never_arrives_whole_where_the_filter_fails_closed() {
    for framing in FRAMINGS {
        let origin = Origin::echo();
        let gateway = filtered(&origin, &failing("request"), "").await;
        let response = send(&gateway, framing).await;
        assert_eq!(
            (response.status, response.header("x-gateway-error")),
            (500, Some("filter.test.trap")),
            "{}",
            framing.0
        );
        assert!(
            origin.wait_for_error().await[0].contains("the peer closed within a"),
            "{:?}",
            origin.errors()
        );
        assert!(origin.requests().is_empty());
    }
}

#[tokio::test]
async fn a_head_that_waits_for_its_body_goes_on_as_it_was() {
    for direction in ["request", "response"] {
        let map = if direction == "request" { 0 } else { 2 };
        let module = scripted_with(
            "",
            "(global $chunk (mut i32) (i32.const 0))",
            &[
                (
                    &format!("proxy_on_{direction}_headers"),
                    &format!("set_field {map} x-changed head\nreturn 1"),
                ),
                (
                    &format!("proxy_on_{direction}_body"),
                    &format!(
                        "set_field {map} x-changed body
                        set_buffer {} 0 0 changed
                        (if (local.get 2) (then (unreachable)))
                        return 1",
                        map / 2
                    ),
                ),
            ],
        );
        let origin = Origin::respond(|request| {
            let body = String::from_utf8_lossy(&request.body).into_owned();
            let changed = request.headers.get("x-changed").unwrap_or("no").to_owned();
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nx-request: {changed}\r\n\r\n{body}", body.len())
                .into_bytes()
        });
        let gateway = filtered(&origin, &module, ", on_error: open, on_headers_pause: continue_body").await;
        let mut client = gateway.client("web").await;
        client.send_raw("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n").await;
        let response = client.read_response().await;
        assert_eq!((response.status, response.text().as_str()), (200, "onetwo"), "{direction}");
        assert_eq!(response.header("x-request"), Some("no"), "{direction}");
        assert!(!response.headers.has("x-changed"), "{direction}");
    }
}

/// An HTTP/1.0 client, whose response has no framing, that has sent the first byte of its request's body.
async fn uploading(gateway: &Gateway) -> Client {
    let mut client = gateway.client("web").await;
    client.send_raw("POST / HTTP/1.0\r\nhost: a\r\ncontent-length: 6\r\n\r\na").await;
    client
}

/// An origin that responds before it has read the request's body: with the first chunk, and behind the gate with the
/// others.
fn responding_early(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::script(move |mut connection| {
        let gate = gate.clone();
        async move {
            let Some(head) = connection.read_head().await else { return };
            connection.write("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\none").await;
            gate.pass().await;
            connection.write("twothree").await;
            connection.read_body(&head).await;
            connection.wait_closed().await;
        }
    })
}

#[tokio::test]
async fn a_response_goes_on_whole_where_the_filter_fails_open_at_the_request() {
    let body = ("proxy_on_response_body", "set_buffer 1 0 100 changed\ntext held\nsay\nreturn 1");
    let head = ("proxy_on_response_headers", "set_field 2 x-changed yes\ntext held\nsay\nreturn 1");
    let trap = "(if (i32.eq (local.get 1) (i32.const 5)) (then (unreachable)))";
    let pause = "(if (local.get 2) (then (return (i32.const 1))))";
    for (held, fault, keys) in
        [(body, trap, ""), (head, trap, ""), (body, pause, ", limits: { pause: 200ms }")]
    {
        let gate = Gate::new();
        let origin = responding_early(&gate);
        let module = scripted(&[held, ("proxy_on_request_body", fault)]);
        let gateway = filtered(&origin, &module, &format!(", on_error: open{keys}")).await;
        let mut client = uploading(&gateway).await;
        gateway.wait_for_log("held").await;
        client.send_raw("fault").await;
        // The client gets what the filter held before the upstream sends more.
        let head = client.read_head().await;
        assert!(head.first_line.contains(" 200 ") && !head.headers.has("x-changed"), "{fault}: {head:?}");
        assert_eq!(client.read_exact(3).await, b"one", "{held:?} {fault}");
        gate.release();
        assert_eq!(client.read_to_end().await.unwrap(), b"twothree", "{held:?} {fault}");
        assert_eq!(origin.wait_for_requests(1).await[0].body, b"afault", "{held:?} {fault}");
    }
}

#[tokio::test]
async fn a_request_goes_on_whole_where_the_filter_fails_open_at_the_response() {
    let hold = "(if (i32.eq (local.get 1) (i32.const 5)) (then
        set_buffer 0 0 100 changed
        text held
        say
        (return (i32.const 1))
        ))";
    for callback in ["proxy_on_response_headers", "proxy_on_response_body"] {
        let gate = Gate::new();
        let script = gate.clone();
        let origin = Origin::script(move |mut connection| {
            let gate = script.clone();
            async move {
                connection.read_head().await;
                gate.pass().await;
                connection.write("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel").await;
                assert_eq!(connection.read_exact(16).await.unwrap(), b"1\r\na\r\n5\r\nfirst\r\n");
                gate.pass().await;
                assert_eq!(connection.read_exact(16).await.unwrap(), b"6\r\nsecond\r\n0\r\n\r\n");
                connection.write("lo").await;
                connection.wait_closed().await;
            }
        });
        let module = scripted(&[("proxy_on_request_body", hold), (callback, "(unreachable)")]);
        let gateway = filtered(&origin, &module, ", on_error: open").await;
        let mut client = gateway.client("web").await;
        client.send_raw("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n").await;
        gate.arrivals(1).await;
        client.send_raw("5\r\nfirst\r\n").await;
        gateway.wait_for_log("held").await;
        gate.release();
        // The upstream gets what the filter held before the client sends more.
        gate.arrivals(2).await;
        gate.release();
        client.send_raw("6\r\nsecond\r\n0\r\n\r\n").await;
        let response = client.read_response().await;
        assert_eq!((response.status, response.text().as_str()), (200, "hello"), "{callback}");
        assert!(origin.errors().is_empty(), "{callback}: {:?}", origin.errors());
    }
}

#[tokio::test]
async fn a_response_goes_on_whole_where_the_end_of_another_exchange_traps() {
    // The context of the first exchange waits for `proxy_done`, which the second one calls while its body is held.
    let done = "(if (global.get $kept) (then
        (drop (call $set_context (global.get $kept)))
        (drop (call $done))
        (return (i32.const 1))
        ))";
    let module = scripted_with(
        "",
        "(global $kept (mut i32) (i32.const 0))",
        &[
            ("proxy_on_response_body", done),
            ("proxy_on_done", "(global.set $kept (local.get 0))\ntext waits\nsay\nreturn 0"),
            ("proxy_on_log", "(unreachable)"),
        ],
    );
    let origin = Origin::answer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    let gateway = filtered(&origin, &module, ", on_error: open").await;
    let mut client = gateway.client("web").await;
    assert_eq!(client.get("/").await.text(), "hello");
    gateway.wait_for_log("waits").await;
    assert_eq!(client.get("/").await.text(), "hello");
    gateway.wait_for_log("failed in `proxy_on_log`").await;
}
