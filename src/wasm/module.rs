//! From the bytes of a module to one that can be started.

use std::sync::Arc;

use wasmtime::{ExternType, InstancePre, Linker, Module, UnknownImportError};

use super::cache::{CacheKey, CodeCache};
use super::compiler::in_background;
use super::engine::{Allocation, Engines};
use super::host::Host;
use super::proxy_wasm::abi::VERSION_EXPORTS;
use super::{proxy_wasm, wasi};
use crate::filter::Interests;

/// What a module begins with.
const MAGIC: &[u8] = b"\0asm";

/// How the functions are called by which a module looks at heads.
/// For an answer the gateway looks itself, whether the client speaks gRPC.
const LOOKS: [&str; 4] =
    ["proxy_get_header_map", "proxy_set_header_map", "proxy_get_property", "proxy_send_local_response"];

/// A compiled module with everything that it imports.
pub(super) struct LinkedModule {
    pub(super) pre: InstancePre<Host>,
    /// Which callbacks of an exchange it has.
    pub(super) interests: Interests,
}

impl LinkedModule {
    /// Whether it has a callback. Some way of being initialised it always has.
    pub(super) fn has(&self, callback: &str) -> bool {
        callback == "_initialize" || self.pre.module().get_export(callback).is_some()
    }
}

/// Why a module cannot be used. What it says is for whoever wrote the configuration.
#[derive(Debug, thiserror::Error)]
pub(super) enum ModuleError {
    #[error("it is no WebAssembly module: {0}")]
    Invalid(String),
    #[error("it imports what nobody offers: {}", .0.join(", "))]
    UnknownImports(Vec<String>),
    #[error("{0}")]
    Link(String),
    #[error("it speaks no version of proxy-wasm that is known: it exports none of {}", VERSION_EXPORTS.join(", "))]
    NoVersion,
    #[error("it exports no memory under the name `memory`")]
    NoMemory,
    #[error(
        "it has no allocator for what it is to be given: neither `proxy_on_memory_allocate` nor `malloc`"
    )]
    NoAllocator,
    #[error("this machine cannot run it: {0}")]
    Engine(String),
}

/// Compiles a module, or takes it from the cache, and links it.
///
/// # Errors
/// Why it cannot be used.
pub(super) fn link(
    wasm: &[u8],
    allocation: Allocation,
    engines: &Engines,
    cache: Option<&CodeCache>,
) -> Result<Arc<LinkedModule>, ModuleError> {
    let engine = engines.of(allocation).map_err(|error| ModuleError::Engine(format!("{error:#}")))?;
    let module = compile(wasm, engine, cache)?;
    let mut linker = Linker::new(engine);
    let linked = proxy_wasm::link(&mut linker).and_then(|()| wasi::link(&mut linker));
    linked.map_err(|error| ModuleError::Link(format!("{error:#}")))?;
    check_exports(&module)?;
    let pre = instantiable(&module, &mut linker)?;
    Ok(Arc::new(LinkedModule { pre, interests: interests(&module) }))
}

fn compile(wasm: &[u8], engine: &wasmtime::Engine, cache: Option<&CodeCache>) -> Result<Module, ModuleError> {
    // In place of the compiler's own words, which are many.
    if !wasm.starts_with(MAGIC) {
        return Err(ModuleError::Invalid("it begins with other bytes".to_owned()));
    }
    let key = cache.map(|cache| (cache, CacheKey::new(wasm, &engine.precompile_compatibility_hash())));
    if let Some(module) = key.as_ref().and_then(|(cache, key)| from_cache(engine, cache, key)) {
        return Ok(module);
    }
    let module = in_background(|| Module::from_binary(engine, wasm));
    let module = module.map_err(|error| ModuleError::Invalid(format!("{error:#}")))?;
    if let Some((cache, key)) = key {
        let stored = module.serialize().map_err(|error| error.to_string());
        let stored = stored.and_then(|code| cache.store(&key, &code).map_err(|error| error.to_string()));
        if let Err(error) = stored {
            tracing::warn!("compiled filters are not kept for the next start: {error}");
        }
    }
    Ok(module)
}

fn from_cache(engine: &wasmtime::Engine, cache: &CodeCache, key: &CacheKey) -> Option<Module> {
    let code = cache.load(key)?;
    // SAFETY: the cache answers only what this program has written itself: a file that its own user owns, in a folder and
    // with a mode that let nobody else write to it, whole by its checksum. wasmtime itself looks at the version and at the
    // settings that the code was compiled with.
    #[allow(unsafe_code, reason = "loading compiled code is running it")]
    let module = unsafe { Module::deserialize(engine, &code) };
    module.inspect_err(|error| tracing::debug!("compiled code is of no use any more: {error:#}")).ok()
}

/// Looks for what every plugin must have.
fn check_exports(module: &Module) -> Result<(), ModuleError> {
    if !VERSION_EXPORTS.iter().any(|name| module.get_export(name).is_some()) {
        return Err(ModuleError::NoVersion);
    }
    if !matches!(module.get_export("memory"), Some(ExternType::Memory(_))) {
        return Err(ModuleError::NoMemory);
    }
    let allocates = |name| matches!(module.get_export(name), Some(ExternType::Func(_)));
    if !allocates("proxy_on_memory_allocate") && !allocates("malloc") {
        return Err(ModuleError::NoAllocator);
    }
    Ok(())
}

/// Links a module, or names all that it imports and nobody offers.
fn instantiable(module: &Module, linker: &mut Linker<Host>) -> Result<InstancePre<Host>, ModuleError> {
    let mut unknown = Vec::new();
    loop {
        let error = match linker.instantiate_pre(module) {
            Ok(pre) if unknown.is_empty() => return Ok(pre),
            Ok(_) => return Err(ModuleError::UnknownImports(unknown)),
            Err(error) => error,
        };
        let Some(import) = error.downcast_ref::<UnknownImportError>() else {
            return Err(ModuleError::Link(format!("{error:#}")));
        };
        unknown.push(format!("`{}.{}`", import.module(), import.name()));
        // Something in its place shows what else is missing.
        let ExternType::Func(kind) = import.ty() else { return Err(ModuleError::UnknownImports(unknown)) };
        let stand_in = linker.func_new(import.module(), import.name(), kind, |_, _, _| Ok(()));
        if stand_in.is_err() {
            return Err(ModuleError::UnknownImports(unknown));
        }
    }
}

fn interests(module: &Module) -> Interests {
    let has = |name: &str| matches!(module.get_export(name), Some(ExternType::Func(_)));
    Interests {
        request_head: has("proxy_on_request_headers"),
        request_body: has("proxy_on_request_body"),
        request_trailers: has("proxy_on_request_trailers"),
        response_head: has("proxy_on_response_headers"),
        response_body: has("proxy_on_response_body"),
        response_trailers: has("proxy_on_response_trailers"),
        looks_at_heads: module
            .imports()
            .any(|import| LOOKS.iter().any(|name| import.name().starts_with(name))),
    }
}
