//! Plugins in text form, and gateways that use them.
//!
//! A test writes the callbacks that it is about; what any module needs besides comes from [`plugin`].

use support::{Gateway, GatewayBuilder, Origin};

use crate::PROGRAM;
use crate::pooled::OK;
use crate::scripted::scripted;

/// Everything that the ABI offers, under the names `$log`, `$get_buffer` and so on.
const IMPORTS: &str = r#"
(import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
(import "env" "proxy_get_log_level" (func $get_log_level (param i32) (result i32)))
(import "env" "proxy_get_current_time_nanoseconds" (func $get_time (param i32) (result i32)))
(import "env" "proxy_set_tick_period_milliseconds" (func $set_tick (param i32) (result i32)))
(import "env" "proxy_get_buffer_bytes" (func $get_buffer (param i32 i32 i32 i32 i32) (result i32)))
(import "env" "proxy_get_buffer_status" (func $get_buffer_status (param i32 i32 i32) (result i32)))
(import "env" "proxy_set_buffer_bytes" (func $set_buffer (param i32 i32 i32 i32 i32) (result i32)))
(import "env" "proxy_get_header_map_size" (func $get_map_size (param i32 i32) (result i32)))
(import "env" "proxy_get_header_map_pairs" (func $get_pairs (param i32 i32 i32) (result i32)))
(import "env" "proxy_set_header_map_pairs" (func $set_pairs (param i32 i32 i32) (result i32)))
(import "env" "proxy_get_header_map_value" (func $get_field (param i32 i32 i32 i32 i32) (result i32)))
(import "env" "proxy_add_header_map_value" (func $add_field (param i32 i32 i32 i32 i32) (result i32)))
(import "env" "proxy_replace_header_map_value" (func $set_field (param i32 i32 i32 i32 i32) (result i32)))
(import "env" "proxy_remove_header_map_value" (func $remove_field (param i32 i32 i32) (result i32)))
(import "env" "proxy_get_property" (func $get_property (param i32 i32 i32 i32) (result i32)))
(import "env" "proxy_set_property" (func $set_property (param i32 i32 i32 i32) (result i32)))
(import "env" "proxy_send_local_response" (func $respond (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
(import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
(import "env" "proxy_close_stream" (func $close (param i32) (result i32)))
(import "env" "proxy_get_status" (func $get_status (param i32 i32 i32) (result i32)))
(import "env" "proxy_http_call" (func $http_call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
(import "env" "proxy_grpc_call" (func $grpc_call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
(import "env" "proxy_grpc_stream" (func $grpc_stream (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
(import "env" "proxy_grpc_send" (func $grpc_send (param i32 i32 i32 i32) (result i32)))
(import "env" "proxy_grpc_cancel" (func $grpc_cancel (param i32) (result i32)))
(import "env" "proxy_grpc_close" (func $grpc_close (param i32) (result i32)))
(import "env" "proxy_get_shared_data" (func $get_shared (param i32 i32 i32 i32 i32) (result i32)))
(import "env" "proxy_set_shared_data" (func $set_shared (param i32 i32 i32 i32 i32) (result i32)))
(import "env" "proxy_register_shared_queue" (func $register_queue (param i32 i32 i32) (result i32)))
(import "env" "proxy_resolve_shared_queue" (func $resolve_queue (param i32 i32 i32 i32 i32) (result i32)))
(import "env" "proxy_enqueue_shared_queue" (func $enqueue (param i32 i32 i32) (result i32)))
(import "env" "proxy_dequeue_shared_queue" (func $dequeue (param i32 i32 i32) (result i32)))
(import "env" "proxy_define_metric" (func $define_metric (param i32 i32 i32 i32) (result i32)))
(import "env" "proxy_increment_metric" (func $increment_metric (param i32 i64) (result i32)))
(import "env" "proxy_record_metric" (func $record_metric (param i32 i64) (result i32)))
(import "env" "proxy_get_metric" (func $get_metric (param i32 i32) (result i32)))
(import "env" "proxy_set_effective_context" (func $set_context (param i32) (result i32)))
(import "env" "proxy_done" (func $done (result i32)))
(import "env" "proxy_call_foreign_function" (func $foreign (param i32 i32 i32 i32 i32 i32) (result i32)))
"#;

/// A memory of one megabyte, whose upper half is handed out by the allocator, over and over again.
const BASE: &str = r#"
(memory (export "memory") 16)
(global $heap (mut i32) (i32.const 524288))
(func $allocate (export "proxy_on_memory_allocate") (param $size i32) (result i32)
  (local $at i32)
  (local.set $at (global.get $heap))
  (global.set $heap (i32.and (i32.add (i32.add (global.get $heap) (local.get $size)) (i32.const 7)) (i32.const -8)))
  (if (i32.gt_u (global.get $heap) (i32.const 1040000)) (then (global.set $heap (i32.const 524288))))
  (local.get $at))
"#;

/// A module with these declarations, in text form. Speaks ABI 0.2.1 unless they say otherwise.
///
/// Data of the test belongs below 1024; from there to 524288 the memory is free.
pub(crate) fn plugin(declarations: &str) -> Vec<u8> {
    plugin_with("", declarations)
}

/// As [`plugin`], with imports besides those that the ABI offers.
pub(crate) fn plugin_with(imports: &str, declarations: &str) -> Vec<u8> {
    let version = if declarations.contains("proxy_abi_version_") {
        ""
    } else {
        r#"(func (export "proxy_abi_version_0_2_1"))"#
    };
    // A test of allocators has its own.
    let allocators = ["proxy_on_memory_allocate", "malloc"].map(|name| format!("(export \"{name}\")"));
    let base = if allocators.iter().any(|export| declarations.contains(export)) {
        BASE.replace(r#" (export "proxy_on_memory_allocate")"#, "")
    } else {
        BASE.to_owned()
    };
    let text = format!("(module {IMPORTS} {imports} {base} {version} {declarations})");
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"))
}

/// A gateway whose one route goes to `origin` through the filters `used`, as `[test], host: preserve`, of those in `filters`.
pub(crate) fn routed(origin: &Origin, more: &str, filters: &str, used: &str) -> GatewayBuilder {
    let config = format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
admin: {{ address: 127.0.0.1:0 }}
workers: 1
wasm: {{ cache: off }}
{more}
filters: {filters}
routes: [{{ name: all, upstream: {{ url: '{}' }}, filters: {used} }}]",
        origin.url()
    );
    Gateway::builder(PROGRAM, config)
}

/// A gateway whose one route goes to `origin` through a filter `test`, which is this module and has these further keys, as
/// `, on_error: open`.
pub(crate) fn builder(origin: &Origin, module: &[u8], filter_keys: &str) -> GatewayBuilder {
    let filters = format!("{{ test: {{ wasm: test.wasm{filter_keys} }} }}");
    routed(origin, "", &filters, "[test]").file("test.wasm", module)
}

/// As [`builder`], started.
pub(crate) async fn filtered(origin: &Origin, module: &[u8], filter_keys: &str) -> Gateway {
    builder(origin, module, filter_keys).start().await
}

/// The part that every configuration with filters has before `filters` and `routes`.
const CONFIG: &str = "
listeners: [{ name: web, address: 127.0.0.1:0 }]
admin: { address: 127.0.0.1:0 }
telemetry: { access_log: off }
wasm: { cache: off }
";

/// A gateway with this configuration, which says how many workers there are, and these modules: `a` is the file `a.wasm`.
pub(crate) fn configured(config: &str, modules: &[(&str, &[u8])]) -> GatewayBuilder {
    let builder = Gateway::builder(PROGRAM, format!("{CONFIG}{config}"));
    modules.iter().fold(builder, |builder, (name, module)| builder.file(&format!("{name}.wasm"), module))
}

/// Returns a plugin's report of a request for `/` whose head it receives: see [`scripted`](crate::scripted).
pub(crate) async fn reported(script: &str) -> String {
    let origin = Origin::answer(OK);
    let module = scripted(&[("proxy_on_request_headers", &format!("{script}\nanswer"))]);
    let gateway = filtered(&origin, &module, "").await;
    gateway.client("web").await.get("/").await.text()
}
