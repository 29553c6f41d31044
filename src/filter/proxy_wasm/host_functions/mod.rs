//! The host side of the proxy-wasm ABI: the functions of module `env`, and their implementations by topic.

mod buffers;
mod calls;
mod grpc;
mod maps;
mod metrics;
mod misc;
mod properties;
mod shared;
mod stream;

pub(super) use maps::pairs_in;
use wasmtime::Linker;

use super::abi::{Answer, BufferKind, MapKind, MetricKind, Status, StreamKind, answer};
use super::host::Host;
use super::log::Level;
use super::memory::{At, Guest};
use super::parameters::{Parameter, host_functions};

/// The module that the functions are imported from.
const MODULE: &str = "env";

/// Links every function of the ABI, even those that a module does not call: SDKs import everything that their users may
/// need.
pub(crate) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    link_own(linker)?;
    link_exchange(linker)?;
    link_grpc(linker)?;
    link_unimplemented(linker)?;
    // C and C++ toolchains also import these, which return no status.
    linker.func_wrap(MODULE, "emscripten_notify_memory_growth", |_: u32| {})?;
    linker.func_wrap(MODULE, "pthread_equal", |left: u32, right: u32| i32::from(left == right))?;
    Ok(())
}

/// Links the functions that concern the plugin: its log, its clock, its metrics, and what its instances share.
fn link_own(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    host_functions! { linker, MODULE, answer;
        proxy_log(level: Level, message: Slice) => misc::write_log;
        proxy_get_log_level(level: At<u32>) => misc::log_level;
        proxy_get_current_time_nanoseconds(time: At<u64>) => misc::time;
        proxy_set_tick_period_milliseconds(period: u32) => misc::set_tick;
        proxy_call_foreign_function(name: Slice, parameter: Slice, result: Out) => misc::call_foreign;
        proxy_define_metric(kind: MetricKind, name: Slice, metric: At<u32>) => metrics::define;
        proxy_increment_metric(metric: u32, by: i64) => metrics::increment;
        proxy_record_metric(metric: u32, value: u64) => metrics::record;
        proxy_get_metric(metric: u32, value: At<u64>) => metrics::value_of;
        proxy_get_shared_data(key: Slice, value: Out, cas: At<u32>) => shared::get;
        proxy_set_shared_data(key: Slice, value: Slice, cas: u32) => shared::set;
        proxy_register_shared_queue(name: Slice, queue: At<u32>) => shared::register;
        proxy_resolve_shared_queue(vm: Slice, name: Slice, queue: At<u32>) => shared::resolve;
        proxy_enqueue_shared_queue(queue: u32, entry: Slice) => shared::enqueue;
        proxy_dequeue_shared_queue(queue: u32, entry: Out) => shared::dequeue;
        // ABI 0.1.0.
        proxy_get_configuration(configuration: Out) => buffers::configuration;
    }
    Ok(())
}

/// Links the functions that concern an exchange: its maps, buffers, properties and course, and calls.
fn link_exchange(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    host_functions! { linker, MODULE, answer;
        proxy_get_header_map_size(map: MapKind, size: At<u32>) => maps::size;
        proxy_get_header_map_pairs(map: MapKind, pairs: Out) => maps::pairs_of;
        proxy_set_header_map_pairs(map: MapKind, pairs: Slice) => maps::set_pairs;
        proxy_get_header_map_value(map: MapKind, name: Slice, value: Out) => maps::value_of;
        proxy_add_header_map_value(map: MapKind, name: Slice, value: Slice) => maps::add;
        proxy_replace_header_map_value(map: MapKind, name: Slice, value: Slice) => maps::replace;
        proxy_remove_header_map_value(map: MapKind, name: Slice) => maps::remove;
        proxy_get_buffer_bytes(buffer: BufferKind, start: u32, max: u32, bytes: Out) => buffers::get;
        proxy_get_buffer_status(buffer: BufferKind, length: At<u32>, flags: At<u32>) => buffers::status;
        proxy_set_buffer_bytes(buffer: BufferKind, start: u32, length: u32, bytes: Slice) => buffers::set;
        proxy_get_property(path: Slice, value: Out) => properties::get;
        proxy_set_property(path: Slice, value: Slice) => properties::set;
        proxy_continue_stream(stream: StreamKind) => stream::proceed;
        proxy_close_stream(stream: u32) => stream::close;
        proxy_send_local_response(
            status: u32, details: Slice, body: Slice, headers: Slice, grpc_status: i32
        ) => stream::respond;
        proxy_set_effective_context(context: u32) => stream::set_effective_context;
        proxy_done() => stream::done;
        proxy_http_call(
            upstream: Slice, headers: Slice, body: Slice, trailers: Slice, timeout: u32, call: At<u32>
        ) => calls::http_call;
        // ABI 0.1.0.
        proxy_continue_request() => stream::proceed_request;
        proxy_continue_response() => stream::proceed_response;
        proxy_clear_route_cache() => misc::clear_route_cache;
    }
    Ok(())
}

/// Links the gRPC calls.
fn link_grpc(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    host_functions! { linker, MODULE, answer;
        proxy_grpc_call(
            upstream: Slice, service: Slice, method: Slice, metadata: Slice, message: Slice, timeout: u32, call: At<u32>
        ) => grpc::call;
        proxy_grpc_stream(
            upstream: Slice, service: Slice, method: Slice, metadata: Slice, stream: At<u32>
        ) => grpc::stream;
        proxy_grpc_send(stream: u32, message: Slice, end_stream: u32) => grpc::send;
        proxy_grpc_cancel(call: u32) => grpc::cancel;
        proxy_grpc_close(call: u32) => grpc::close;
        proxy_get_status(code: At<u32>, message: Out) => grpc::status;
    }
    Ok(())
}

/// Links the functions that ABI 0.2.100 adds to 0.2.1. Most plugins built for it import them and
/// never call them.
fn link_unimplemented(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    host_functions! { linker, MODULE, answer;
        proxy_redis_init(_: Slice, _: Slice, _: Slice, _: u32) => unimplemented;
        proxy_redis_call(_: Slice, _: Slice, _: u32) => unimplemented;
        proxy_get_upstream_hosts(_: u32, _: u32) => unimplemented;
        proxy_set_upstream_override_host(_: Slice) => unimplemented;
        proxy_inject_encoded_data_to_filter_chain(_: Slice, _: u32) => unimplemented;
    }
    Ok(())
}

fn unimplemented(_: &mut Guest<'_>) -> Answer {
    Err(Status::Unimplemented.into())
}
