//! Filters as a user meets them first: a module that changes what is sent back.

use support::Origin;

use crate::filtering::{configured, filtered, plugin};

#[tokio::test]
async fn a_module_changes_the_head_and_the_body_of_a_response() {
    let origin = Origin::answer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    let module = plugin(
        r#"
(data (i32.const 0) "x-filteredyes, world")
(func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
  (drop (call $add_field (i32.const 2) (i32.const 0) (i32.const 10) (i32.const 10) (i32.const 3)))
  (i32.const 0))
(func (export "proxy_on_response_body") (param i32 i32 i32) (result i32)
  (drop (call $set_buffer (i32.const 1) (local.get 1) (i32.const 0) (i32.const 13) (i32.const 7)))
  (i32.const 0))"#,
    );
    let gateway = filtered(&origin, &module, "").await;
    let mut client = gateway.client("web").await;
    for _ in 0..3 {
        let response = client.get("/").await;
        assert_eq!((response.status, response.text().as_str()), (200, "hello, world"));
        assert_eq!(response.headers.all("x-filtered"), ["yes"]);
        assert_eq!(response.headers.all("content-length"), ["12"]);
    }
    assert_eq!(origin.accepted(), 1, "the upstream connection is kept");
}

/// The other plugins of these tests import all that there is, and are taken to look at requests.
#[tokio::test]
async fn a_request_passes_a_filter_for_responses_as_it_passes_none() {
    let module = wat::parse_str(
        r#"(module
(import "env" "proxy_set_buffer_bytes" (func $set_buffer (param i32 i32 i32 i32 i32) (result i32)))
(memory (export "memory") 1)
(data (i32.const 0) ", world")
(func (export "proxy_abi_version_0_2_1"))
(func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 1024))
(func (export "proxy_on_response_body") (param i32 i32 i32) (result i32)
  (drop (call $set_buffer (i32.const 1) (local.get 1) (i32.const 0) (i32.const 0) (i32.const 7)))
  (i32.const 0)))"#,
    )
    .unwrap();
    let origin = Origin::answer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    let config = format!(
        "
workers: 1
filters: {{ test: {{ wasm: test.wasm }} }}
routes:
  - {{ name: without, match: {{ host: without.example }}, upstream: {{ url: '{origin}' }} }}
  - {{ name: with, match: {{ host: with.example }}, upstream: {{ url: '{origin}' }}, filters: [test] }}",
        origin = origin.url()
    );
    let gateway = configured(&config, &[("test", &module)]).start().await;
    let mut client = gateway.client("web").await;
    for (host, answer) in [("without.example", "hello"), ("with.example", "hello, world")] {
        let head = format!("POST /a%20b?c=%2F HTTP/1.1\r\nHost: {host}\r\nX-Own: 1\r\nConnection: X-Own\r\n");
        client.send_raw(format!("{head}X-Two: a\r\nX-Two: b\r\nContent-Length: 3\r\n\r\nabc")).await;
        assert_eq!(client.read_response().await.text(), answer);
    }
    let seen = origin.requests().into_iter().map(|request| {
        let head = String::from_utf8(request.raw_head).unwrap();
        (head.replace("without.example", "with.example"), request.body)
    });
    let [without, with] = seen.collect::<Vec<_>>().try_into().unwrap();
    assert_eq!(with, without);
}
