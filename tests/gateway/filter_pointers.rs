//! Pointers and lengths that lead out of a plugin's memory, and allocators that give none: never more than a status.

use support::{Gateway, Origin};

use crate::filtering::{configured, filtered};
use crate::pooled::OK;
use crate::scripted::{pairs, scripted_with};

/// Where data would be, and how long: none of it within the memory of one megabyte.
const DATA: [(i64, i64); 9] = [
    (1_048_576, 1),
    (1_048_575, 2),
    (1_048_570, 7),
    (0, 1_048_577),
    (0, -1),
    (4, -4),
    (-1, 1),
    (-1, -1),
    (0x7fff_ffff, 0x7fff_ffff),
];

/// Where an answer would be written.
const OUT: [i64; 6] = [1_048_576, 1_048_573, -1, -4, 0x7fff_ffff, -0x8000_0000];

/// Calls of every function of module `env` that is given a pointer, with each of its pointers bad once: `DATA` is a pointer and
/// a length, `OUT` a place for an answer. 64, 72 and 80 are good places.
fn calls() -> Vec<String> {
    let head = pairs(&[(":method", "GET"), (":path", "/"), (":authority", "a")]);
    let mut calls: Vec<String> = [
        "log 2 DATA",
        "get_log_level OUT",
        "get_time OUT",
        "get_buffer 7 0 100 OUT 64",
        "get_buffer 7 0 100 64 OUT",
        "get_buffer_status 7 OUT 64",
        "get_buffer_status 7 64 OUT",
        "set_buffer 0 0 0 DATA",
        "get_map_size 0 OUT",
        "get_pairs 0 OUT 64",
        "get_pairs 0 64 OUT",
        "set_pairs 0 DATA",
        "get_field 0 DATA 64 72",
        "get_field 0 :path OUT 64",
        "get_field 0 :path 64 OUT",
        "add_field 0 DATA value",
        "add_field 0 name DATA",
        "set_field 0 DATA value",
        "set_field 0 name DATA",
        "remove_field 0 DATA",
        "get_property DATA 64 72",
        "get_property plugin_name OUT 64",
        "get_property plugin_name 64 OUT",
        "set_property DATA value",
        "set_property name DATA",
        "respond 200 DATA '' '' -1",
        "respond 200 '' DATA '' -1",
        "respond 200 '' '' DATA -1",
        "get_status OUT 64 72",
        "get_status 64 OUT 72",
        "get_status 64 72 OUT",
        "http_call DATA HEAD '' '' 100 64",
        "http_call side DATA '' '' 100 64",
        "http_call side HEAD DATA '' 100 64",
        "http_call side HEAD '' DATA 100 64",
        "http_call side HEAD '' '' 100 OUT",
        "grpc_call DATA a b '' '' 100 64",
        "grpc_call side DATA b '' '' 100 64",
        "grpc_call side a DATA '' '' 100 64",
        "grpc_call side a b DATA '' 100 64",
        "grpc_call side a b '' DATA 100 64",
        "grpc_call side a b '' '' 100 OUT",
        "grpc_stream DATA a b '' 64",
        "grpc_stream side DATA b '' 64",
        "grpc_stream side a DATA '' 64",
        "grpc_stream side a b DATA 64",
        "grpc_stream side a b '' OUT",
        "grpc_send 1 DATA 0",
        "get_shared DATA 64 72 80",
        "get_shared key OUT 72 80",
        "get_shared key 64 OUT 80",
        "get_shared key 64 72 OUT",
        "set_shared DATA value 0",
        "set_shared name DATA 0",
        "register_queue DATA 64",
        "register_queue jobs OUT",
        "resolve_queue DATA jobs 64",
        "resolve_queue test DATA 64",
        "resolve_queue test jobs OUT",
        "enqueue 1 DATA",
        "dequeue 1 OUT 64",
        "dequeue 1 64 OUT",
        "define_metric 0 DATA 64",
        "define_metric 0 hits OUT",
        "get_metric 1 OUT",
        "foreign DATA '' 64 72",
        "foreign clear_route_cache DATA 64 72",
        "foreign clear_route_cache '' OUT 64",
        "foreign clear_route_cache '' 64 OUT",
    ]
    .iter()
    .map(|call| call.replace("HEAD", &format!("'{head}'")))
    .collect();
    calls.extend(["get_configuration OUT 64", "get_configuration 64 OUT"].map(str::to_owned));
    calls
}

/// Those of WASI.
const WASI_CALLS: [&str; 14] = [
    "args_sizes_get OUT 64",
    "args_sizes_get 64 OUT",
    "clock_res_get 0 OUT",
    "clock_time_get 0 0L OUT",
    "environ_get OUT 64",
    "environ_get 64 OUT",
    "environ_sizes_get OUT 64",
    "environ_sizes_get 64 OUT",
    "fd_fdstat_get 1 OUT",
    "fd_read 0 64 1 OUT",
    "fd_write 1 OUT 1 64",
    "fd_write 1 256 1 OUT",
    "random_get OUT 8",
    "fd_write 1 272 1 64",
];

const IMPORTS: &str = r#"
(import "env" "proxy_get_configuration" (func $get_configuration (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "clock_res_get" (func $clock_res_get (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
(import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "fd_fdstat_get" (func $fd_fdstat_get (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
"#;

/// The calls with every bad value.
fn expanded(calls: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut all = Vec::new();
    for call in calls {
        if call.contains("DATA") {
            all.extend(DATA.map(|(at, length)| call.replace("DATA", &format!("{at} {length}"))));
        } else {
            all.extend(OUT.map(|at| call.replace("OUT", &at.to_string())));
        }
    }
    all
}

async fn gateway(script: &str, declarations: &str, time: &str) -> (Origin, Gateway) {
    let origin = Origin::answer(OK);
    let config = "
workers: 1
upstreams: { side: { url: '{origin}', protocol: h2 } }
filters: { test: { wasm: test.wasm, config: configured, env: { A: b }, limits: { time: {time} } } }
routes: [{ name: all, upstream: { url: '{origin}' }, filters: [test] }]";
    let module = scripted_with(IMPORTS, declarations, &[("proxy_on_request_headers", script)]);
    let gateway =
        configured(config, &[("test", &module)]).set("origin", origin.url()).set("time", time).start().await;
    (origin, gateway)
}

#[tokio::test]
async fn no_pointer_leads_out_of_a_plugins_memory() {
    // What the calls are about has to be there: a queue with an entry, a key, a metric. Slices of output, one of them bad.
    let before = "
        register_queue jobs -> u32
        enqueue 1 entry
        set_shared key value 0
        define_metric 0 hits -> u32
        (i32.store (i32.const 256) (i32.const 0))
        (i32.store (i32.const 260) (i32.const 1))
        (i32.store (i32.const 272) (i32.const 1048575))
        (i32.store (i32.const 276) (i32.const 2))";
    let after = "dequeue 1 -> bytes\nget_shared key -> bytes u32\nanswer";
    let env = expanded(calls());
    let wasi = expanded(WASI_CALLS.map(str::to_owned));
    let script = format!("{before}\n{}\n{}\n{after}", env.join("\n"), wasi.join("\n"));
    let (origin, gateway) = gateway(&script, "", "10s").await;
    let mut client = gateway.client("web").await;
    for _ in 0..2 {
        let answer = client.get("/").await.text();
        let lines: Vec<&str> = answer.lines().collect();
        assert_eq!(lines.len(), 4 + env.len() + wasi.len() + 2, "{answer}");
        for (line, call) in lines[4..].iter().zip(&env) {
            assert_eq!(*line, "6", "{call}");
        }
        for (line, call) in lines[4 + env.len()..].iter().zip(&wasi) {
            assert_eq!(*line, "21", "{call}");
        }
        // What could not be given is still there.
        assert_eq!(lines[lines.len() - 2], "0 entry");
        assert!(lines[lines.len() - 1].starts_with("0 value "));
    }
    assert!(origin.requests().is_empty(), "no call was made");
}

/// Returns the results of functions that return data to a plugin with this allocator.
async fn given(allocator: &str) -> support::Response {
    let declarations = format!(
        r#"(global $nothing (mut i32) (i32.const 0))
        (func (export "proxy_on_memory_allocate") (param $size i32) (result i32) {allocator})"#
    );
    let script = "
        get_field 0 :method -> bytes
        get_pairs 0 -> bytes
        get_buffer 7 0 100 -> bytes
        get_property plugin_name -> bytes
        get_configuration -> bytes
        get_buffer 7 0 0 -> bytes
        answer";
    let (_origin, gateway) = gateway(script, &declarations, "500ms").await;
    let mut client = gateway.client("web").await;
    let first = client.get("/").await;
    let second = client.get("/").await;
    assert_eq!(
        (second.status, second.body),
        (first.status, first.body.clone()),
        "the next one is no worse off"
    );
    first
}

#[tokio::test]
async fn an_allocator_that_gives_no_memory_is_a_status() {
    for (allocator, status) in [
        ("(i32.const 0)", 10),
        ("(i32.const -1)", 6),
        ("(i32.const 1048575)", 6),
        ("(i32.const 0x7fffffff)", 6),
        ("(i32.sub (i32.const 1048577) (local.get $size))", 6),
    ] {
        let expected = format!("{}0 \n", format!("{status} \n").repeat(5));
        assert_eq!(given(allocator).await.text(), expected, "{allocator}");
    }
}

#[tokio::test]
async fn an_allocator_that_fails_is_the_plugins_failure() {
    for (allocator, reason) in [
        ("(unreachable)", "trap"),
        ("(loop $again (br $again)) (i32.const 0)", "time"),
        (
            "(if (i32.eq (memory.grow (i32.const 65000)) (i32.const -1)) (then (unreachable))) (i32.const 0)",
            "memory",
        ),
        // It asks for something itself, which asks it for memory.
        (
            "(drop (call $get_field (i32.const 0) (i32.const 0x1000) (i32.const 7) (i32.const 64) (i32.const 72))) (i32.const 0)",
            "stack",
        ),
    ] {
        let response = given(allocator).await;
        let expected = format!("filter.test.{reason}");
        assert_eq!(
            (response.status, response.header("x-gateway-error")),
            (500, Some(&*expected)),
            "{allocator}"
        );
    }
}

#[tokio::test]
async fn memory_that_an_allocator_has_only_just_made_is_good() {
    let grows = "(i32.mul (memory.grow (i32.const 1)) (i32.const 65536))";
    let text = given(grows).await.text();
    assert!(
        text.starts_with("0 GET\n0 ") && text.ends_with("0 configured\n0 test\n0 configured\n0 \n"),
        "{text}"
    );
}

#[tokio::test]
async fn a_giant_allocation_is_refused_and_the_plugin_may_live_with_that() {
    let script = "
        (local.set 0 (memory.grow (i32.const 65000)))
        (local.set 1 (memory.grow (i32.const -1)))
        (local.set 2 (memory.grow (i32.const 496)))
        (if (i32.eq (local.get 0) (i32.const -1)) (then
        text refused
        ))
        (if (i32.eq (local.get 1) (i32.const -1)) (then
        text refused
        ))
        number $2
        answer";
    let module = scripted_with("", "", &[("proxy_on_request_headers", script)]);
    let origin = Origin::answer(OK);
    let gateway = filtered(&origin, &module, "").await;
    // 512 pages are 32 MiB, 16 of them were there.
    assert_eq!(gateway.client("web").await.get("/").await.text(), "refused\nrefused\n16\n");
    assert_eq!(gateway.metric("gateway_filter_memory_bytes{filter=\"test\"}").await, Some(33_554_432.0));
    assert_eq!(gateway.metric("gateway_filter_failures_total{filter=\"test\"").await, None);
}
