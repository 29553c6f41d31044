//! Buffers: bodies, what a plugin is configured with, and what a call was answered with.

use support::Origin;

use crate::filtering::{configured, filtered, reported};
use crate::scripted::scripted;

/// Returns the body that `abcdef` becomes when a response body callback runs this script.
async fn body_after(script: &str) -> String {
    let origin = Origin::answer("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabcdef");
    let gateway = filtered(&origin, &scripted(&[("proxy_on_response_body", script)]), "").await;
    let response = gateway.client("web").await.get("/").await;
    assert_eq!(response.status, 200);
    response.text()
}

#[tokio::test]
async fn a_body_is_read_in_parts_that_are_cut_to_what_there_is() {
    let reads = [
        ("0 100", "0 abcdef"),
        ("0 6", "0 abcdef"),
        ("0 0", "0 "),
        ("2 3", "0 cde"),
        ("5 1", "0 f"),
        ("5 100", "0 f"),
        ("6 1", "0 "),
        ("7 1", "0 "),
        ("0 -1", "0 abcdef"),
        ("-1 0", "0 "),
        ("2147483647 2147483647", "0 "),
        // Overflows.
        ("1 -1", "2 "),
        ("-1 1", "2 "),
        ("-1 -1", "2 "),
    ];
    let script: String = reads.iter().map(|(part, _)| format!("get_buffer 1 {part} -> bytes\n")).collect();
    let becomes_report = "(drop (call $set_buffer (i32.const 1) (i32.const 0) (i32.const 6) (i32.const 0x10000) (call $report_length)))";
    let script = format!("number $1\nnumber $2\n{script}{becomes_report}");
    let expected: String = reads.iter().map(|(_, answer)| format!("{answer}\n")).collect();
    assert_eq!(body_after(&script).await, format!("6\n1\n{expected}"));
}

#[tokio::test]
async fn a_body_is_prefixed_extended_spliced_and_replaced() {
    for (change, is) in [
        ("0 0 XY", "XYabcdef"),
        ("0 0 ''", "abcdef"),
        ("0 6 XY", "XY"),
        ("0 100 XY", "XY"),
        ("0 -1 XY", "XY"),
        ("0 6 ''", ""),
        ("0 2 XY", "XYcdef"),
        ("0 1 XYZ", "XYZbcdef"),
        ("2 2 X", "abXef"),
        ("2 0 X", "abXcdef"),
        ("3 -1 X", "abcX"),
        ("3 3 ''", "abc"),
        ("6 0 X", "abcdefX"),
        ("6 100 X", "abcdefX"),
        ("100 0 X", "abcdefX"),
        ("-1 0 X", "abcdefX"),
        ("-1 -1 X", "abcdefX"),
        ("2147483647 0 X", "abcdefX"),
    ] {
        assert_eq!(body_after(&format!("set_buffer 1 {change}")).await, is, "{change}");
    }
}

#[tokio::test]
async fn changes_of_one_callback_add_up_and_are_read_again() {
    let script = "
        set_buffer 1 0 0 one-
        set_buffer 1 -1 0 '-two'
        set_buffer 1 4 6 mid
        get_buffer 1 0 100 -> bytes
        get_buffer_status 1 -> u32 u32
        say";
    let origin = Origin::answer("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabcdef");
    let gateway = filtered(&origin, &scripted(&[("proxy_on_response_body", script)]), "").await;
    assert_eq!(gateway.client("web").await.get("/").await.text(), "one-mid-two");
    gateway.wait_for_log("0|0|0|0 one-mid-two|0 11 0|").await;
}

#[tokio::test]
async fn a_requests_body_is_changed_on_its_way_to_the_upstream() {
    let script = "get_buffer 0 1 2 -> bytes\nset_buffer 0 0 2 longer\nget_buffer_status 0 -> u32 u32\nsay";
    let gateway_origin = Origin::echo();
    let gateway = filtered(&gateway_origin, &scripted(&[("proxy_on_request_body", script)]), "").await;
    let mut client = gateway.client("web").await;
    assert_eq!(client.request("POST", "/", &[], b"abcd").await.text(), "longercd");
    gateway.wait_for_log("0 bc|0|0 8 0|").await;
    assert_eq!(gateway_origin.requests()[0].headers.all("content-length"), ["8"]);
}

#[tokio::test]
async fn a_body_grows_as_far_as_its_limit_and_no_further() {
    // Adds to it until that fails.
    let script = "
        (block $full (loop $next
          (br_if $full (call $set_buffer (i32.const 1) (i32.const -1) (i32.const 0)
            (i32.const 0x10000) (i32.const 1024)))
          (br $next)))
        get_buffer_status 1 -> u32 u32
        say";
    let origin = Origin::answer("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabcdef");
    let keys = ", limits: { body: 4KiB, time: 10s }";
    let gateway = filtered(&origin, &scripted(&[("proxy_on_response_body", script)]), keys).await;
    let response = gateway.client("web").await.get("/").await;
    // What it may hold back, and 64 KiB that it may put in front of or behind anything.
    let length = 6 + 1024 * ((4096 + 65_536 - 6) / 1024);
    assert_eq!(response.body.len(), length);
    gateway.wait_for_log(&format!("0 {length} 0|")).await;
}

#[tokio::test]
async fn absent_buffers_are_not_found_and_unknown_buffers_are_bad_arguments() {
    let mut script = String::new();
    for buffer in 0..=10 {
        script += &format!(
            "get_buffer {buffer} 0 100 -> bytes
            get_buffer_status {buffer} -> u32 u32
            set_buffer {buffer} 0 0 ''\n"
        );
    }
    // Bodies are empty while a head is there; those of TCP filters are none, and nothing was received by a call.
    let body = "0 \n0 0 0\n0\n";
    let unknown = "2 \n2 0 0\n2\n";
    let (call, readable) = ("1 \n1 0 0\n2\n", "0 \n0 0 0\n2\n");
    let expected = [body, body, unknown, unknown, call, call, readable, readable, readable, unknown, unknown];
    assert_eq!(reported(&script).await, expected.concat());
}

#[tokio::test]
async fn a_plugin_is_given_its_configuration_at_its_start_and_later() {
    let at_start = "
        number $1
        get_buffer 7 0 1000 -> bytes
        get_buffer 6 0 100 -> bytes
        get_buffer_status 7 -> u32 u32
        set_buffer 7 0 0 x
        say";
    let later = "get_buffer 7 2 5 -> bytes\nanswer";
    let vm_start = "number $0\nnumber $1\nget_buffer 7 0 1000 -> bytes\nsay";
    let module = scripted(&[
        ("proxy_on_vm_start", vm_start),
        ("proxy_on_configure", at_start),
        ("proxy_on_request_headers", later),
    ]);
    for (written, bytes) in [
        ("{ b: [1, 2], a: grüezi }", r#"{"b":[1,2],"a":"grüezi"}"#),
        ("plain text", "plain text"),
        ("", ""),
        ("7", "7"),
    ] {
        let config = "
workers: 1
filters: { test: { wasm: test.wasm, config: {config} } }
routes: [{ name: all, respond: { body: own }, filters: [test] }]";
        let gateway = configured(config, &[("test", &module)]).set("config", written).start().await;
        let length = bytes.len();
        gateway.wait_for_log(&format!("1|0|0 {bytes}|")).await;
        gateway.wait_for_log(&format!("{length}|0 {bytes}|0 |0 {length} 0|2|")).await;
        let part = bytes.get(2..(7.min(length)).max(2)).unwrap_or("");
        assert_eq!(gateway.client("web").await.get("/").await.text(), format!("0 {part}\n"));
    }
}

#[tokio::test]
async fn the_same_plugin_with_two_configurations_is_two_roots() {
    let config = "
workers: 1
filters: { test: { wasm: test.wasm, config: common } }
routes:
  - { name: a, match: { path: /a }, respond: { body: own }, filters: [{ use: test, config: first }] }
  - { name: b, match: { path: /b }, respond: { body: own }, filters: [{ use: test, config: second }] }
  - { name: c, match: { path: /c }, respond: { body: own }, filters: [test] }";
    let module = scripted(&[("proxy_on_request_headers", "get_buffer 7 0 100 -> bytes\nanswer")]);
    let gateway = configured(config, &[("test", &module)]).start().await;
    let mut client = gateway.client("web").await;
    for (path, is) in [("/a", "first"), ("/b", "second"), ("/c", "common")] {
        assert_eq!(client.get(path).await.text(), format!("0 {is}\n"));
    }
}

#[tokio::test]
async fn a_filter_changes_only_its_own_part_of_the_way() {
    // The response passes the last filter first.
    let config = "
workers: 1
filters: { first: { wasm: first.wasm }, second: { wasm: second.wasm } }
routes: [{ name: all, upstream: { url: '{origin}' }, filters: [first, second] }]";
    let adds = |letter: &str| {
        scripted(&[
            ("proxy_on_request_body", format!("set_buffer 0 -1 0 '{letter}'").as_str()),
            ("proxy_on_response_body", format!("set_buffer 1 -1 0 '{letter}'").as_str()),
        ])
    };
    let (first, second) = (adds("1"), adds("2"));
    let origin = Origin::echo();
    let gateway = configured(config, &[("first", &first), ("second", &second)])
        .set("origin", origin.url())
        .start()
        .await;
    assert_eq!(gateway.client("web").await.request("POST", "/", &[], b"-").await.text(), "-1221");
}
