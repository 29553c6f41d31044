//! The callbacks of an instance, resolved once.

use wasmtime::{Instance, Store, TypedFunc, WasmParams, WasmResults};

use super::host::Host;
use crate::filter::ByDirection;

/// The callbacks that the guest exports; `None` for each that it does not.
pub(super) struct Exports {
    pub(super) context_create: Option<TypedFunc<(u32, u32), ()>>,
    pub(super) vm_start: Option<TypedFunc<(u32, u32), u32>>,
    pub(super) configure: Option<TypedFunc<(u32, u32), u32>>,
    pub(super) head: ByDirection<Option<HeadCallback>>,
    pub(super) body: ByDirection<Option<BodyCallback>>,
    pub(super) trailers: ByDirection<Option<TrailersCallback>>,
    pub(super) http_call_response: Option<TypedFunc<(u32, u32, u32, u32, u32), ()>>,
    pub(super) grpc: GrpcExports,
    pub(super) tick: Option<TypedFunc<u32, ()>>,
    pub(super) queue_ready: Option<TypedFunc<(u32, u32), ()>>,
    pub(super) done: Option<TypedFunc<u32, u32>>,
    pub(super) log: Option<TypedFunc<u32, ()>>,
    pub(super) delete: Option<TypedFunc<u32, ()>>,
}

/// The callbacks for gRPC calls. Each has a context, the token of a call, and a number.
pub(super) struct GrpcExports {
    pub(super) initial_metadata: Option<GrpcCallback>,
    pub(super) message: Option<GrpcCallback>,
    pub(super) trailing_metadata: Option<GrpcCallback>,
    pub(super) close: Option<GrpcCallback>,
}

type GrpcCallback = TypedFunc<(u32, u32, u32), ()>;
type BodyCallback = TypedFunc<(u32, u32, u32), u32>;
type TrailersCallback = TypedFunc<(u32, u32), u32>;

/// A callback for a head. In ABI 0.1.0 it does not learn whether a body follows.
#[derive(Clone)]
pub(super) enum HeadCallback {
    WithEnd(TypedFunc<(u32, u32, u32), u32>),
    WithoutEnd(TypedFunc<(u32, u32), u32>),
}

impl Exports {
    /// Resolves the callbacks of an instance.
    ///
    /// # Errors
    /// Fails if a callback has a different signature than the ABI defines.
    pub(super) fn of(instance: &Instance, store: &mut Store<Host>) -> wasmtime::Result<Self> {
        Ok(Self {
            context_create: function(instance, store, "proxy_on_context_create")?,
            vm_start: function(instance, store, "proxy_on_vm_start")?,
            configure: function(instance, store, "proxy_on_configure")?,
            head: ByDirection {
                request: head(instance, store, "proxy_on_request_headers")?,
                response: head(instance, store, "proxy_on_response_headers")?,
            },
            body: ByDirection {
                request: function(instance, store, "proxy_on_request_body")?,
                response: function(instance, store, "proxy_on_response_body")?,
            },
            trailers: ByDirection {
                request: function(instance, store, "proxy_on_request_trailers")?,
                response: function(instance, store, "proxy_on_response_trailers")?,
            },
            http_call_response: function(instance, store, "proxy_on_http_call_response")?,
            grpc: GrpcExports {
                initial_metadata: function(instance, store, "proxy_on_grpc_receive_initial_metadata")?,
                message: function(instance, store, "proxy_on_grpc_receive")?,
                trailing_metadata: function(instance, store, "proxy_on_grpc_receive_trailing_metadata")?,
                close: function(instance, store, "proxy_on_grpc_close")?,
            },
            tick: function(instance, store, "proxy_on_tick")?,
            queue_ready: function(instance, store, "proxy_on_queue_ready")?,
            done: function(instance, store, "proxy_on_done")?,
            log: function(instance, store, "proxy_on_log")?,
            delete: function(instance, store, "proxy_on_delete")?,
        })
    }
}

fn function<P: WasmParams, R: WasmResults>(
    instance: &Instance,
    store: &mut Store<Host>,
    name: &str,
) -> wasmtime::Result<Option<TypedFunc<P, R>>> {
    let Some(function) = instance.get_func(&mut *store, name) else { return Ok(None) };
    match function.typed(&*store) {
        Ok(function) => Ok(Some(function)),
        Err(error) => {
            Err(error
                .context(format!("its export `{name}` does not have the signature that proxy-wasm defines")))
        }
    }
}

fn head(instance: &Instance, store: &mut Store<Host>, name: &str) -> wasmtime::Result<Option<HeadCallback>> {
    let Some(callback) = instance.get_func(&mut *store, name) else { return Ok(None) };
    if let Ok(callback) = callback.typed(&*store) {
        return Ok(Some(HeadCallback::WithoutEnd(callback)));
    }
    Ok(function(instance, store, name)?.map(HeadCallback::WithEnd))
}

/// Returns the guest's allocator. SDKs export it under one of two names.
pub(super) fn allocator(
    instance: &Instance,
    store: &mut Store<Host>,
) -> wasmtime::Result<Option<TypedFunc<u32, u32>>> {
    match function(instance, store, "proxy_on_memory_allocate")? {
        Some(allocate) => Ok(Some(allocate)),
        None => function(instance, store, "malloc"),
    }
}

/// Initialises the guest: calls `_initialize` and then `main`, or `_start` if there is no `_initialize`.
pub(super) fn initialize(instance: &Instance, store: &mut Store<Host>) -> wasmtime::Result<()> {
    if let Some(initialize) = function::<(), ()>(instance, store, "_initialize")? {
        initialize.call(&mut *store, ())?;
        let Some(main) = instance.get_func(&mut *store, "main") else { return Ok(()) };
        if let Ok(main) = main.typed::<(u32, u32), u32>(&*store) {
            main.call(&mut *store, (0, 0))?;
        } else if let Ok(main) = main.typed::<(), u32>(&*store) {
            main.call(&mut *store, ())?;
        } else if let Ok(main) = main.typed::<(), ()>(&*store) {
            main.call(&mut *store, ())?;
        }
        return Ok(());
    }
    match function::<(), ()>(instance, store, "_start")? {
        Some(start) => start.call(&mut *store, ()),
        None => Ok(()),
    }
}
