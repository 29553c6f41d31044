//! Starts of plugins: the modules that can be used, their exports and imports, and the errors of those that cannot.

use std::process::Output;

use support::Origin;

use crate::filtering::{configured, filtered};
use crate::pooled::OK;
use crate::scripted::{scripted, scripted_with};

const CONFIG: &str = "
workers: 1
filters: { test: { wasm: test.wasm{keys} } }
routes: [{ name: all, respond: { body: own }, filters: [test] }]";

/// The smallest module that can be used, with further imports and declarations.
fn smallest(imports: &str, declarations: &str) -> String {
    format!(
        r#"(module {imports} (memory (export "memory") 1) (func (export "proxy_abi_version_0_2_1"))
        (func (export "malloc") (param i32) (result i32) (i32.const 8)) {declarations})"#
    )
}

/// Returns the message of `gateway check`, which refuses a filter with this module.
async fn refused(module: &[u8], keys: &str) -> String {
    let Output { status, stderr, .. } = configured(CONFIG, &[("test", module)])
        .set("keys", keys)
        .arg("--log")
        .arg("info")
        .run_to_exit()
        .await;
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("gateway.yaml:"), "its place in the configuration: {said}");
    said
}

/// As [`refused`], of a module in text form.
async fn refused_text(text: &str) -> String {
    refused(&wat::parse_str(text).unwrap_or_else(|error| panic!("{error}")), "").await
}

#[tokio::test]
async fn a_file_that_is_no_module_is_refused() {
    let component = wat::parse_str("(component)").unwrap();
    let cut = &scripted(&[])[..500];
    for bytes in [&b""[..], b"\0asm", b"no module at all", b"\x7fELF\x02\x01\x01\0\0\0", cut, &component] {
        let said = refused(bytes, "").await;
        assert!(said.contains("it is not a WebAssembly module"), "{said}");
    }
}

#[tokio::test]
async fn all_unknown_imports_are_named() {
    let imports = r#"
        (import "env" "proxy_log" (func (param i32 i32 i32) (result i32)))
        (import "env" "proxy_future" (func (param i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_teleport" (func (param i32) (result i32)))
        (import "host" "anything" (func))"#;
    let said = refused_text(&smallest(imports, "")).await;
    for name in ["`env.proxy_future`", "`wasi_snapshot_preview1.fd_teleport`", "`host.anything`"] {
        assert!(said.contains(name), "{name} in {said}");
    }
    assert!(!said.contains("proxy_log"), "{said}");
}

#[tokio::test]
async fn a_module_without_a_required_export_is_refused_with_its_name() {
    let version = r#"(func (export "proxy_abi_version_0_2_1"))"#;
    let memory = r#"(memory (export "memory") 1)"#;
    let malloc = r#"(func (export "malloc") (param i32) (result i32) (i32.const 8))"#;
    for (text, reason) in [
        (format!("(module {memory} {malloc})"), "it exports none of proxy_abi_version_0_2_1"),
        (format!("(module {version} {malloc})"), "it exports no memory under the name `memory`"),
        (format!("(module {version} {memory})"), "it exports no allocator"),
        (
            format!(r#"(module {version} {memory} (func (export "malloc")))"#),
            "its export `malloc` does not have the signature that proxy-wasm defines",
        ),
        (
            format!(r#"(module {version} {malloc} (global (export "memory") i32 (i32.const 0)))"#),
            "it exports no memory",
        ),
        (smallest(r#"(import "env" "proxy_log" (func (param i64)))"#, ""), "proxy_log"),
    ] {
        let said = refused_text(&text).await;
        assert!(said.contains(reason), "{reason} in {said}");
    }
}

#[tokio::test]
async fn a_callback_of_another_form_than_the_abi_has_is_named() {
    for (name, form) in [
        ("proxy_on_context_create", "(param i32)"),
        ("proxy_on_vm_start", "(param i32 i32)"),
        ("proxy_on_configure", "(param i32 i32) (result i64)"),
        ("proxy_on_request_headers", "(param i32) (result i32)"),
        ("proxy_on_response_headers", "(param i32 i32 i32 i32) (result i32)"),
        ("proxy_on_request_body", "(param i32 i32) (result i32)"),
        ("proxy_on_response_trailers", "(param i32 i32 i32) (result i32)"),
        ("proxy_on_http_call_response", "(param i32 i32)"),
        ("proxy_on_tick", "(param i64)"),
        ("proxy_on_queue_ready", "(param i32)"),
        ("proxy_on_done", "(param i32)"),
        ("proxy_on_log", "(param i32) (result i32)"),
        ("proxy_on_delete", ""),
        ("_initialize", "(param i32)"),
        ("_start", "(result i32)"),
    ] {
        let said =
            refused_text(&smallest("", &format!(r#"(func (export "{name}") {form} unreachable)"#))).await;
        let reason = format!("its export `{name}` does not have the signature that proxy-wasm defines");
        assert!(said.contains(&reason), "{reason} in {said}");
    }
}

#[tokio::test]
async fn a_module_with_nothing_but_the_necessary_lets_everything_pass() {
    for exported in ["malloc", "proxy_on_memory_allocate"] {
        for version in ["0_1_0", "0_2_0", "0_2_1", "0_2_100"] {
            let text = smallest("", "").replace("malloc", exported).replace("0_2_1", version);
            let origin = Origin::answer(OK);
            let gateway = filtered(&origin, &wat::parse_str(&text).unwrap(), "").await;
            assert_eq!(gateway.client("web").await.get("/").await.text(), "ok", "{exported} {version}");
        }
    }
}

#[tokio::test]
async fn malloc_gives_memory_where_there_is_nothing_better() {
    let allocator = |name: &str, at: u32| {
        format!(r#"(func (export "{name}") (param i32) (result i32) (i32.const {at}))"#)
    };
    let (malloc, better) = (allocator("malloc", 0x90000), allocator("proxy_on_memory_allocate", 0xa0000));
    for (declarations, at) in
        [(malloc.clone(), 0x90000), (better.clone(), 0xa0000), (malloc + &better, 0xa0000)]
    {
        let script = "get_field 0 :path -> bytes\nget_field 0 :path -> u32 u32\nanswer";
        let module = scripted_with("", &declarations, &[("proxy_on_request_headers", script)]);
        let gateway = filtered(&Origin::answer(OK), &module, "").await;
        assert_eq!(gateway.client("web").await.get("/").await.text(), format!("0 /\n0 {at} 1\n"));
    }
}

#[tokio::test]
async fn initialisers_of_a_module_run_before_its_contexts() {
    let order = "(global $order (mut i32) (i32.const 0))";
    // Each step appends its number: 3 at 123.
    let step = |number: u32| {
        format!(
            "(global.set $order (i32.add (i32.mul (global.get $order) (i32.const 10)) (i32.const {number})))\n"
        )
    };
    let show = "(call $show_number (i64.extend_i32_u (global.get $order)))\nanswer";
    let common = [
        ("proxy_on_context_create", step(4)),
        ("proxy_on_vm_start", step(5)),
        ("proxy_on_configure", step(6)),
        ("proxy_on_request_headers", show.to_owned()),
    ];
    let init = [("_initialize", step(1)), ("main", step(2)), ("_start", step(3))];
    // With the context of the request.
    for (present, expected) in [
        (vec![0], "14564"),
        (vec![0, 1], "124564"),
        (vec![0, 1, 2], "124564"),
        (vec![0, 2], "14564"),
        (vec![2], "34564"),
        (vec![1, 2], "34564"),
        (vec![1], "4564"),
        (vec![], "4564"),
    ] {
        let callbacks: Vec<(&str, &str)> = present
            .iter()
            .map(|index| &init[*index])
            .chain(&common)
            .map(|(name, script)| (*name, script.as_str()))
            .collect();
        let module = scripted_with("", order, &callbacks);
        let origin = Origin::answer(OK);
        let gateway = filtered(&origin, &module, "").await;
        assert_eq!(gateway.client("web").await.get("/").await.text(), expected, "{present:?}");
    }
}

#[tokio::test]
async fn contexts_have_numbers_of_their_own_and_the_root_is_the_parent_of_all() {
    let module = scripted(&[
        ("proxy_on_context_create", "number $0\nnumber $1\nsay"),
        ("proxy_on_vm_start", "number $0\ntext vm\nsay"),
        ("proxy_on_delete", "number $0\ntext deleted\nsay"),
    ]);
    let origin = Origin::answer(OK);
    let gateway = filtered(&origin, &module, "").await;
    let mut client = gateway.client("web").await;
    client.get("/").await;
    client.get("/").await;
    for text in ["1|0|", "1|vm|", "2|1|", "2|deleted|", "3|1|", "3|deleted|"] {
        gateway.wait_for_log(text).await;
    }
}

#[tokio::test]
async fn a_plugin_that_refuses_its_configuration_is_an_error_with_what_it_said() {
    for (callback, name) in
        [("proxy_on_configure", "`proxy_on_configure`"), ("proxy_on_vm_start", "`proxy_on_vm_start`")]
    {
        let script =
            "log 4 'the key `mode` is missing\\nERROR forged'\nlog 2 'as it is in the manual'\nreturn 0";
        let said = refused(&scripted(&[(callback, script)]), ", config: { a: 1 }").await;
        assert!(said.contains("in filter \"test\""), "{said}");
        assert!(said.contains(&format!("{name} returned false")), "{said}");
        assert!(said.contains(r"it said: error: the key `mode` is missing\nERROR forged"), "{said}");
        assert!(said.contains("it said: info: as it is in the manual"), "{said}");
    }
}

#[tokio::test]
async fn a_plugin_that_fails_at_its_start_is_an_error_with_the_reason_and_the_place() {
    let looping = "(loop $again (br $again))";
    let grow =
        "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (unreachable)";
    for (callback, script, reason) in [
        ("_initialize", "(unreachable)", "unreachable"),
        ("_start", looping, "it took more than `limits.start`, 50ms of CPU time"),
        ("proxy_on_context_create", "(unreachable)", "unreachable"),
        ("proxy_on_vm_start", looping, "it took more than `limits.start`, 50ms of CPU time"),
        ("proxy_on_configure", grow, "of memory, more than `limits.memory`, 32MiB"),
    ] {
        let module = scripted(&[(callback, &format!("log 2 'so far so good'\n{script}"))]);
        let said = refused(&module, ", limits: { start: 50ms }").await;
        assert!(said.contains(reason), "{reason} in {said}");
        assert!(said.contains(callback.trim_start_matches('_')), "the function's name in {said}");
        assert!(said.contains("it said: info: so far so good"), "{said}");
    }
}

#[tokio::test]
async fn a_module_whose_memory_is_beyond_its_limit_from_the_start_is_refused() {
    let text =
        smallest("", "").replace(r#"(memory (export "memory") 1)"#, r#"(memory (export "memory") 513)"#);
    let said = refused(&wat::parse_str(&text).unwrap(), "").await;
    assert!(said.contains("it requested 32832KiB of memory, more than `limits.memory`, 32MiB"), "{said}");
    assert!(said.contains("a start needs 32832KiB of memory"), "{said}");
    assert!(said.contains("write `limits: { memory: 33MiB }`"), "{said}");
    let module = wat::parse_str(text.replace("513", "512")).unwrap();
    let origin = Origin::answer(OK);
    filtered(&origin, &module, "").await;
}

#[tokio::test]
async fn abi_0_1_0_has_its_own_functions_and_heads_without_an_end() {
    let imports = r#"
(import "env" "proxy_get_configuration" (func $get_configuration (param i32 i32) (result i32)))
(import "env" "proxy_continue_request" (func $continue_request (result i32)))
(import "env" "proxy_continue_response" (func $continue_response (result i32)))
(import "env" "proxy_clear_route_cache" (func $clear_route_cache (result i32)))"#;
    // The script language knows the callbacks of later versions: these two are written out.
    let declarations = r#"
(func (export "proxy_abi_version_0_1_0"))
(func (export "proxy_on_request_headers") (param i32 i32) (result i32)
  (call $show_number (i64.extend_i32_u (local.get 1)))
  (drop (call $continue_request))
  (drop (call $clear_route_cache))
  (i32.const 1))
(func (export "proxy_on_response_headers") (param i32 i32) (result i32)
  (call $show_number (i64.extend_i32_u (local.get 1)))
  (drop (call $set_field (i32.const 2) (i32.const 0) (i32.const 5) (i32.const 0x10000) (call $report_length)))
  (drop (call $continue_response))
  (i32.const 1))
(data (i32.const 0) "x-old")"#;
    let configure = "get_configuration -> bytes\nsay";
    let module = scripted_with(imports, declarations, &[("proxy_on_configure", configure)]);
    let origin = Origin::answer(OK);
    let gateway = filtered(&origin, &module, ", config: { old: true }").await;
    gateway.wait_for_log(r#"0 {"old":true}|"#).await;
    let response = gateway.client("web").await.get("/").await;
    // The request has its pseudo-headers only; a response has a status and a length, and a date by now.
    assert_eq!((response.text().as_str(), response.header("x-old")), ("ok", Some("43")));
}

/// Spins for so many milliseconds of time, which are about as many of CPU time where nothing else runs.
fn spin(millis: u64) -> String {
    format!(
        "(drop (call $get_time (i32.const 16)))
        (loop $again
          (drop (call $get_time (i32.const 24)))
          (br_if $again (i64.lt_u (i64.sub (i64.load (i32.const 24)) (i64.load (i32.const 16))) (i64.const {}))))",
        millis * 1_000_000
    )
}

#[tokio::test]
async fn start_that_meets_a_limit_is_refused_with_the_measured_need() {
    let grow = "(drop (memory.grow (i32.const 1008)))";
    let check = "(if (i32.ne (memory.size) (i32.const 1024)) (then (unreachable)))";
    let module = scripted(&[("proxy_on_vm_start", grow), ("proxy_on_configure", check)]);
    let said = refused(&module, "").await;
    assert!(said.contains("it requested 64MiB of memory, more than `limits.memory`, 32MiB"), "{said}");
    assert!(said.contains("a start needs 64MiB of memory"), "{said}");
    assert!(said.contains("write `limits: { memory: 64MiB }`"), "{said}");
    let builder = configured(CONFIG, &[("test", &module)]).set("keys", ", limits: { memory: 64MiB }");
    assert_eq!(builder.start().await.client("web").await.get("/").await.status, 200);

    let slow = scripted(&[("proxy_on_configure", &spin(200))]);
    let said = refused(&slow, ", limits: { start: 10ms }").await;
    assert!(said.contains("it took more than `limits.start`, 10ms of CPU time"), "{said}");
    assert!(said.contains("write `limits: { start: "), "{said}");
    let hungry = scripted(&[(
        "proxy_on_configure",
        "(loop $on (br_if $on (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))\n(unreachable)",
    )]);
    let said = refused(&hungry, "").await;
    assert!(said.contains("with 128MiB of memory and 4s it does not start either"), "{said}");
}

#[tokio::test]
async fn start_has_a_limit_of_its_own_for_all_of_its_calls_together() {
    let slow = [("_initialize", spin(60)), ("proxy_on_vm_start", spin(60)), ("proxy_on_configure", spin(60))];
    let slow: Vec<(&str, &str)> = slow.iter().map(|(name, script)| (*name, script.as_str())).collect();
    let module = scripted(&slow);
    let builder = |keys: &str| configured(CONFIG, &[("test", &module)]).set("keys", keys);
    let gateway = builder(", limits: { time: 10ms, start: 10s }").start().await;
    assert_eq!(gateway.client("web").await.get("/").await.status, 200);
    let said = refused(&module, ", limits: { time: 10s, start: 20ms }").await;
    assert!(said.contains("it took more than `limits.start`, 20ms"), "{said}");
}

#[tokio::test]
async fn module_larger_than_its_limit_is_refused_with_its_size() {
    // A custom section of 17 MiB, as debug information is.
    let mut module = scripted(&[]);
    let bytes: usize = 17 << 20;
    module.push(0);
    let mut length = bytes + 2;
    while length >= 0x80 {
        module.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    module.push(u8::try_from(length).unwrap());
    module.extend([1, b'x']);
    module.resize(module.len() + bytes, 0);
    let base = "listeners: [{ name: web, address: 127.0.0.1:0 }]";
    let limited = format!("{base}\nwasm: {{ module_bytes: 16MiB, cache: off }}{CONFIG}");
    let gateway = |config: String| {
        support::Gateway::builder(crate::PROGRAM, config).file("test.wasm", &module).set("keys", "")
    };
    let output = gateway(limited.clone()).run_to_exit().await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("larger than `wasm.module_bytes`, 16MiB"), "{said}");
    assert!(
        said.contains(&format!("it has {} bytes; write `wasm: {{ module_bytes: 18MiB }}`", module.len())),
        "{said}"
    );
    let started = gateway(limited.replace("16MiB", "18MiB")).start().await;
    assert_eq!(started.client("web").await.get("/").await.status, 200);
}

#[tokio::test]
async fn every_worker_has_started_its_filters_before_they_serve() {
    let module =
        |version: &str| scripted(&[("proxy_on_configure", &format!("{}\ntext {version}\nsay", spin(30)))]);
    let config = CONFIG.replace("workers: 1", "workers: 3");
    let gateway = configured(&config, &[("test", &module("first"))]).set("keys", "").start().await;
    assert_eq!(gateway.metric("gateway_filter_instances{filter=\"test\"}").await, Some(3.0));
    crate::reloading::replace(&gateway.folder().join("test.wasm"), module("second"));
    crate::load::post_reload(&gateway).await;
    gateway.wait_for_log("configuration reloaded").await;
    let lines = gateway.logs();
    let live = lines.iter().position(|line| line.contains("configuration reloaded")).unwrap();
    let started = lines.iter().take(live).filter(|line| line.contains("second|")).count();
    assert_eq!(started, 3, "{lines:#?}");
}

#[tokio::test]
async fn instances_for_each_request_may_have_large_memories_and_tables() {
    let declarations = "(table 40000 funcref)";
    let grow = "(if (i32.eq (memory.grow (i32.const 1000)) (i32.const -1)) (then (unreachable)))";
    let module = scripted_with("", declarations, &[("proxy_on_configure", grow)]);
    let keys = ", isolation: request, limits: { memory: 64MiB }";
    let gateway = configured(CONFIG, &[("test", &module)]).set("keys", keys).start().await;
    assert_eq!(gateway.client("web").await.get("/").await.status, 200);
}
