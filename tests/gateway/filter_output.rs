//! `limits.output`: what a filter makes and the gateway holds is bounded, all of it together.

use support::{Gateway, Origin};

use crate::filter_script::{KEPT, PAUSE, on, resume, script, when};
use crate::filtering::{configured, filtered};
use crate::scripted::{pairs, scripted_with};

const COUNTER: &str = "(global $left (mut i32) (i32.const 0))";

/// A script that does something so many times.
fn repeated(times: usize, script: &str) -> String {
    format!(
        "(global.set $left (i32.const {times}))
         (loop $next
         {script}
         (global.set $left (i32.sub (global.get $left) (i32.const 1)))
         (br_if $next (global.get $left))
         )\n"
    )
}

/// A text of 4 KiB.
fn large() -> String {
    "a".repeat(4096)
}

/// A call of 8 KiB to `side`.
fn large_call() -> String {
    let fields = pairs(&[(":method", "POST"), (":path", "/"), (":authority", "side")]);
    format!("http_call side '{fields}' 0x20000 8192 0 0 5000 -> u32")
}

/// A gateway whose filter `test` has this script as the callback, and may call `side`.
async fn gateway_of(callback: &str, script: &str, keys: &str) -> (Gateway, Origin, Origin) {
    let (origin, side) = (Origin::echo(), Origin::echo());
    let config = format!(
        "
workers: 1
upstreams: {{ side: {{ url: '{}' }} }}
filters: {{ test: {{ wasm: test.wasm{keys} }} }}
routes: [{{ name: all, upstream: {{ url: '{}' }}, filters: [test] }}]",
        side.url(),
        origin.url()
    );
    let module = scripted_with("", COUNTER, &[(callback, script)]);
    (configured(&config, &[("test", &module)]).start().await, origin, side)
}

/// Status and error of a request with a body and trailers.
async fn answer(gateway: &Gateway) -> (u16, Option<String>) {
    let mut client = gateway.client("web").await;
    client
        .send_raw("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-t: 1\r\n\r\n")
        .await;
    let response = client.read_response().await;
    (response.status, response.header("x-gateway-error").map(str::to_owned))
}

fn refused() -> (u16, Option<String>) {
    (500, Some("filter.test.output".to_owned()))
}

#[tokio::test]
async fn a_callback_that_appends_without_end_does_not_make_the_gateway_grow() {
    for (callback, buffer) in [("request_body", 0), ("response_body", 1)] {
        let append = repeated(8192, &format!("set_buffer {buffer} -1 0 0x20000 65536"));
        let keys = ", limits: { memory: 32MiB, body: 1GiB, time: 10s }";
        let (gateway, _origin, _side) = gateway_of(&format!("proxy_on_{callback}"), &append, keys).await;
        let before = gateway.memory("VmHWM");
        for _ in 0..10 {
            assert_eq!(answer(&gateway).await, refused(), "{callback}");
        }
        // Of the 512 MiB, 32 MiB are held. A buffer that grows has up to twice as much, and what it had is given back late.
        let grown = (gateway.memory("VmHWM") - before) >> 10;
        assert!(grown < 160 << 10, "{callback}: {grown} KiB");
        gateway.wait_for_log("it produced more than `limits.output`, 33554432 bytes").await;
    }
}

/// Ways to make at least 8 KiB, with the callback for it.
fn ways() -> Vec<(&'static str, String)> {
    let large = large();
    let half = |line: &str| repeated(3, line);
    let map = pairs(&[("x-a", &large[..250]), ("x-b", &large[..250])]);
    vec![
        ("request_headers", half(&format!("add_field 0 x-large {large}"))),
        ("request_headers", half(&format!("add_field 0 x-large {large}\nset_field 0 x-other {large}"))),
        ("response_headers", half(&format!("add_field 2 x-large {large}"))),
        ("request_trailers", half(&format!("add_field 1 x-large {large}"))),
        ("request_headers", format!("set_field 0 :path /{large}{large}")),
        ("request_headers", format!("set_field 0 content-length {large}{large}{large}")),
        (
            "response_headers",
            format!("set_pairs 2 '{map}'\n{}", half(&format!("add_field 2 x-large {large}"))),
        ),
        ("request_body", half("set_buffer 0 0 0 0x20000 4096")),
        ("response_body", "set_buffer 1 0 5 0x20000 9000".to_owned()),
        ("request_headers", format!("set_property one {large}\nset_property two {large}")),
        ("request_headers", repeated(1024, &large_call())),
        ("request_body", repeated(1024, &large_call())),
        ("request_headers", "respond 200 '' 0x20000 9000 '' -1\nreturn 1".to_owned()),
        ("request_headers", "respond 200 0x20000 9000 '' '' -1\nreturn 1".to_owned()),
        (
            "request_headers",
            format!("set_shared one {large} 0\nset_shared two {large} 0\nset_shared three {large} 0"),
        ),
        ("request_headers", format!("register_queue q -> u32\n{}", half("enqueue 1 0x20000 4096"))),
        // Each of them is less, and their sum is more.
        (
            "request_body",
            format!(
                "set_field 0 x-large {}
                 set_property one {}
                 set_shared one {} 0
                 set_buffer 0 0 0 0x20000 2200
                 respond 403 '' 0x20000 2200 '' -1",
                &large[..2200],
                &large[..2200],
                &large[..2200]
            ),
        ),
    ]
}

#[tokio::test]
async fn all_output_of_a_filter_counts_and_no_policy_lets_the_exchange_pass() {
    for (callback, script) in ways() {
        for on_error in ["open", "closed"] {
            let keys = format!(", on_error: {on_error}, limits: {{ output: 8KiB }}");
            let (gateway, origin, side) = gateway_of(&format!("proxy_on_{callback}"), &script, &keys).await;
            let case = format!("{callback} {on_error}: {}", &script[..script.len().min(300)]);
            for round in 1..=2 {
                assert_eq!(answer(&gateway).await, refused(), "{case}");
                let counted = "gateway_filter_failures_total{filter=\"test\",reason=\"output\"";
                assert!(gateway.metric(counted).await >= Some(f64::from(round)), "{case}");
            }
            let requests = if callback.starts_with("response") { 2 } else { 0 };
            assert_eq!(origin.requests().len(), requests, "{case}");
            assert!(side.requests().len() <= 2, "{case}");
        }
    }
}

#[tokio::test]
async fn replaced_and_removed_output_does_not_count() {
    let large = large();
    let ways = [
        ("request_headers", format!("set_field 0 x-large {large}")),
        ("request_headers", format!("add_field 0 x-large {large}\nremove_field 0 x-large")),
        ("request_headers", format!("set_field 0 :path /{large}")),
        ("request_headers", format!("set_field 0 content-length {large}")),
        ("response_headers", format!("set_field 2 x-large {large}")),
        ("request_headers", format!("set_property one {large}")),
        ("request_headers", format!("set_shared one {large} 0")),
        ("request_headers", "register_queue q -> u32\nenqueue 1 0x20000 4096\ndequeue 1 -> bytes".to_owned()),
        ("request_body", "set_buffer 0 0 -1 0x20000 6000".to_owned()),
        ("response_body", "set_buffer 1 0 -1 0x20000 6000".to_owned()),
    ];
    for (callback, script) in ways {
        let keys = ", limits: { output: 9KiB, time: 10s }";
        let (gateway, _origin, _side) =
            gateway_of(&format!("proxy_on_{callback}"), &repeated(50, &script), keys).await;
        let case = &script[..script.len().min(40)];
        assert_eq!(answer(&gateway).await, (200, None), "{callback} {case}");
    }
}

/// Status and error of a request with 8 KiB of fields and trailers of its own.
async fn answer_to_large(gateway: &Gateway) -> (u16, Option<String>) {
    let large = large();
    let mut client = gateway.client("web").await;
    let head = format!(
        "POST / HTTP/1.1\r\nhost: a\r\nx-client: {large}\r\nx-client: {large}\r\ntransfer-encoding: chunked\r\n"
    );
    client.send_raw(format!("{head}\r\n5\r\nhello\r\n0\r\nx-t: {large}\r\nx-t: {large}\r\n\r\n")).await;
    let response = client.read_response().await;
    (response.status, response.header("x-gateway-error").map(str::to_owned))
}

#[tokio::test]
async fn removed_fields_of_a_peer_do_not_lower_the_account_of_a_filter() {
    let (large, half) = (large(), "a".repeat(2000));
    let map = pairs(&[(":path", "/"), ("x-own", "1")]);
    let fields = |map: u32, name: &str| {
        [
            format!("remove_field {map} {name}"),
            format!("set_field {map} {name} short"),
            format!("add_field {map} x-own {half}\nremove_field {map} {name}"),
        ]
    };
    let heads = fields(0, "x-client").into_iter().chain([
        format!("set_pairs 0 '{map}'"),
        // Another spelling of it goes with it.
        "set_field 0 x_client short".to_owned(),
    ]);
    let ways = heads
        .map(|way| ("request_headers", way))
        .chain(fields(1, "x-t").map(|way| ("request_trailers", way)))
        .chain(fields(2, "x-origin").map(|way| ("response_headers", way)))
        .chain(fields(3, "x-t").map(|way| ("response_trailers", way)));
    for (callback, way) in ways {
        // What it has made before is held all the same.
        let script = format!("set_property one {large}\n{way}\nset_property two {large}");
        let origin = Origin::respond({
            let large = large.clone();
            move |_| {
                format!(
                    "HTTP/1.1 200 OK\r\nx-origin: {large}\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-t: {large}\r\n\r\n"
                )
                .into_bytes()
            }
        });
        let module = scripted_with("", COUNTER, &[(&format!("proxy_on_{callback}"), &script)]);
        for (output, expected) in [("8KiB", refused()), ("16KiB", (200, None))] {
            let gateway = filtered(&origin, &module, &format!(", limits: {{ output: {output} }}")).await;
            assert_eq!(answer_to_large(&gateway).await, expected, "{callback} {output} {}", &way[..20]);
        }
    }
}

#[tokio::test]
async fn a_property_of_another_filter_does_not_lower_the_account_of_the_one_that_replaces_it() {
    let large = large();
    let other =
        scripted_with("", "", &[("proxy_on_request_headers", &format!("set_property one {large}{large}"))]);
    let own = format!("set_property two {large}\nset_property one short\nset_property three {large}");
    let own = scripted_with("", "", &[("proxy_on_request_headers", &own)]);
    let config = "
workers: 1
filters: { other: { wasm: other.wasm }, test: { wasm: test.wasm, limits: { output: 8KiB } } }
routes: [{ name: all, respond: { body: own }, filters: [other, test] }]";
    let gateway = configured(config, &[("other", &other), ("test", &own)]).start().await;
    assert_eq!(answer(&gateway).await, refused());
}

#[tokio::test]
async fn a_property_over_the_limit_is_not_set() {
    let large = large();
    let script = format!(
        "set_property one small\nset_property one {large}{large}\nset_property two {large}{large}\nget_property one -> bytes\nget_property two -> bytes\nanswer"
    );
    let module = scripted_with("", "", &[("proxy_on_request_headers", &script)]);
    let gateway = filtered(&Origin::echo(), &module, ", limits: { output: 4KiB }").await;
    assert_eq!(gateway.client("web").await.get("/").await.text(), "0\n10\n10\n0 small\n1 \n");
}

#[tokio::test]
async fn a_local_response_that_is_not_kept_does_not_count() {
    // Fifty of 4 KiB, of which the first one is kept.
    let script = format!("{}return 1", repeated(50, "respond 200 '' 0x20000 4096 '' -1"));
    for callback in ["request_headers", "request_body", "response_headers", "response_body"] {
        let keys = ", limits: { output: 9KiB, time: 10s }";
        let (gateway, _origin, _side) = gateway_of(&format!("proxy_on_{callback}"), &script, keys).await;
        for _ in 0..2 {
            assert_eq!(answer(&gateway).await, (200, None), "{callback}");
        }
        let counted = "gateway_filter_failures_total{filter=\"test\",reason=\"output\"";
        assert_eq!(gateway.metric(counted).await.unwrap_or_default(), 0.0, "{callback}");
    }
}

#[tokio::test]
async fn a_body_that_streams_through_a_filter_is_held_piece_by_piece() {
    // Twice as much of each piece, and far more in all than may be held.
    let double = "(drop (call $set_buffer (i32.const 1) (i32.const -1) (i32.const 0) (i32.const 0x20000) (local.get 1)))";
    let origin = Origin::echo();
    let module = scripted_with("", COUNTER, &[("proxy_on_response_body", double)]);
    let gateway = filtered(&origin, &module, ", limits: { output: 256KiB }").await;
    let response = gateway.client("web").await.request("POST", "/", &[], &vec![b'x'; 4 << 20]).await;
    assert_eq!((response.status, response.body.len()), (200, 8 << 20));
}

#[tokio::test]
async fn an_answered_call_is_not_held_any_longer() {
    // Each answer brings about the next call, which has 8 KiB as well.
    let fields = pairs(&[(":method", "POST"), (":path", "/"), (":authority", "side")]);
    let call = format!(
        "(drop (call $http_call 'side' '{}' (i32.const 0x20000) (i32.const 8192) (i32.const 0) (i32.const 0) (i32.const 5000) (i32.const 1024)))",
        fields
            .replace('\0', "\\x00")
            .chars()
            .map(|c| if (c as u32) < 32 { format!("\\x{:02x}", c as u32) } else { c.to_string() })
            .collect::<String>()
    );
    let answered = format!(
        "(drop (call $set_context (global.get $kept)))
         (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
         (if (i32.lt_u (global.get $calls) (i32.const 20)) (then {call}) (else {}))",
        resume(0)
    );
    let code = format!(
        "{KEPT} (global $calls (mut i32) (i32.const 0)) {} {}",
        on("request_headers", &format!("(global.set $kept (local.get $context)) {call} {PAUSE}")),
        when("http_call_response", 5, &answered)
    );
    let (origin, side) = (Origin::echo(), Origin::echo());
    let gateway =
        crate::filter_script::with_side(&origin, &side, &script(&code), ", limits: { output: 9KiB }").await;
    assert_eq!(gateway.client("web").await.get("/").await.status, 200);
    assert_eq!(side.requests().len(), 20);
}

#[tokio::test]
async fn a_root_context_over_the_limit_gets_a_status_and_its_instance_continues() {
    let calls = "8192 bytes more";
    let script = format!("{}text '{calls}'\nsay", repeated(3, &large_call()));
    let (gateway, _origin, side) =
        gateway_of("proxy_on_configure", &script, ", limits: { output: 9KiB }").await;
    // The first call has room, the others are refused.
    gateway.wait_for_log(&format!("0 1|10 0|10 0|{calls}|")).await;
    assert_eq!(answer(&gateway).await, (200, None));
    side.wait_for_requests(1).await;
}

#[tokio::test]
async fn an_exchange_that_makes_too_much_ends_alone() {
    // One request waits, while another one makes too much in the same instance.
    let large = large();
    let waits = "(global.set $kept (local.get $context)) (return (i32.const 1))";
    let code = format!(
        "{KEPT} (global $seen (mut i32) (i32.const 0)) {}",
        on(
            "request_headers",
            &format!(
                "(global.set $seen (i32.add (global.get $seen) (i32.const 1)))
                 (if (i32.eq (global.get $seen) (i32.const 1)) (then (call $note 'waits' (i32.const 0) (i32.const 0)) {waits}))
                 (if (i32.eq (global.get $seen) (i32.const 3)) (then {}))
                 (if (i32.eq (global.get $seen) (i32.const 2)) (then (drop (call $set_field (i32.const 0) 'x-large' '{large}'))))
                 (i32.const 0)",
                resume(0)
            )
        )
    );
    let origin = Origin::echo();
    let gateway = filtered(&origin, &script(&code), ", limits: { output: 2KiB }").await;
    let mut waiting = gateway.client("web").await;
    waiting.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    crate::filter_script::notes(&gateway, 1).await;
    assert_eq!(answer(&gateway).await, refused());
    assert_eq!(answer(&gateway).await, (200, None));
    assert_eq!(waiting.read_response().await.status, 200);
}
