//! Linking of modules with everything that they import.

use std::sync::Arc;

use wasmtime::{ExternType, InstancePre, Linker, Module, UnknownImportError};

use crate::filter::engine::cache::CodeCache;
use crate::filter::engine::module::{LoadError, load};
use crate::filter::engine::runtime::{Allocation, Engines};
use crate::filter::proxy_wasm::abi::VERSION_EXPORTS;
use crate::filter::proxy_wasm::host::Host;
use crate::filter::proxy_wasm::plugin::LinkedModule;
use crate::filter::proxy_wasm::{host_functions, wasi};
use crate::filter::{ByDirection, Interests, PartsOfInterest};

/// Prefixes of the functions by which a module reads heads. For a local response the gateway itself reads the head, to
/// see if the client speaks gRPC.
const LOOKS: [&str; 4] =
    ["proxy_get_header_map", "proxy_set_header_map", "proxy_get_property", "proxy_send_local_response"];

/// The reason why a module cannot be used. The messages address the author of the configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ModuleError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("it imports functions that the gateway does not provide: {}", .0.join(", "))]
    UnknownImports(Vec<String>),
    #[error("{0}")]
    Link(String),
    #[error("it implements no known version of proxy-wasm: it exports none of {}", VERSION_EXPORTS.join(", "))]
    NoVersion,
    #[error("it exports no memory under the name `memory`")]
    NoMemory,
    #[error("it exports no allocator: neither `proxy_on_memory_allocate` nor `malloc`")]
    NoAllocator,
}

/// Compiles a module, or takes it from the cache, and links it.
///
/// # Errors
/// Returns the reason why the module cannot be used.
pub(crate) fn link(
    wasm: &[u8],
    allocation: Allocation,
    engines: &Engines,
    cache: Option<&CodeCache>,
) -> Result<Arc<LinkedModule>, ModuleError> {
    let module = load(wasm, allocation, engines, cache)?;
    let mut linker = Linker::new(module.engine());
    let linked = host_functions::link(&mut linker).and_then(|()| wasi::link(&mut linker));
    linked.map_err(|error| ModuleError::Link(format!("{error:#}")))?;
    check_exports(&module)?;
    let pre = instantiable(&module, &mut linker)?;
    Ok(Arc::new(LinkedModule { pre, interests: interests(&module) }))
}

/// Checks for the exports that every plugin must have.
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

/// Links a module, or returns all of its imports that the gateway does not provide.
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
        // A stand-in reveals which other imports are missing.
        let ExternType::Func(kind) = import.ty() else { return Err(ModuleError::UnknownImports(unknown)) };
        let stand_in = linker.func_new(import.module(), import.name(), kind, |_, _, _| Ok(()));
        if stand_in.is_err() {
            return Err(ModuleError::UnknownImports(unknown));
        }
    }
}

fn interests(module: &Module) -> Interests {
    let has = |name: &str| matches!(module.get_export(name), Some(ExternType::Func(_)));
    let parts = |message: &str| PartsOfInterest {
        head: has(&format!("proxy_on_{message}_headers")),
        body: has(&format!("proxy_on_{message}_body")),
        trailers: has(&format!("proxy_on_{message}_trailers")),
    };
    Interests {
        parts: ByDirection { request: parts("request"), response: parts("response") },
        reads_heads: module.imports().any(|import| LOOKS.iter().any(|name| import.name().starts_with(name))),
    }
}
