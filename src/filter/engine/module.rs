//! Loading of modules: compiled, or taken from the cache.

use std::fs::File;
use std::io::{Read as _, Seek as _};

use wasmtime::Module;

use super::cache::{CacheKey, CodeCache};
use super::compiler::{self, CompileError};
use super::runtime::{Allocation, Engines};

/// The bytes with which a module begins: the magic number, and version 1 of the core binary format.
const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// Files that are mistaken for modules: their first bytes, their kind, and what to do.
const FOREIGN: [(&[u8], &str); 16] = [
    // Layer 1 in place of 0 (component model, Binary.md).
    (
        b"\0asm\x0d\0\x01\0",
        "it is a WebAssembly component, and filters are modules: build it for the target wasm32-wasip1 in place of wasm32-wasip2",
    ),
    (
        b"\0asm",
        "it is of another version of WebAssembly than 1, or cut short: build it for the target wasm32-wasip1",
    ),
    (b"(module", "it is WebAssembly's text form: translate it first, with `wat2wasm`"),
    (b"(component", "it is the text form of a component: build a module, for the target wasm32-wasip1"),
    (b";;", "it is WebAssembly's text form: translate it first, with `wat2wasm`"),
    (b"\x7fELF", "it is a program or library of Linux (ELF): build it for the target wasm32-wasip1"),
    (
        b"\xcf\xfa\xed\xfe",
        "it is a program or library of macOS (Mach-O): build it for the target wasm32-wasip1",
    ),
    (b"MZ", "it is a program of Windows: build it for the target wasm32-wasip1"),
    (b"!<arch>", "it is a static library: link it as a `cdylib`, for the target wasm32-wasip1"),
    (b"\x1f\x8b", "it is compressed with gzip: unpack it with `gunzip`"),
    (b"\x28\xb5\x2f\xfd", "it is compressed with zstd: unpack it with `unzstd`"),
    (b"PK\x03\x04", "it is a ZIP archive: unpack it, and name the module in it"),
    (b"version https://git-lfs", "it is a pointer of Git LFS: fetch the module with `git lfs pull`"),
    (b"<", "it is HTML or XML, as a failed download leaves it: look at what is in it"),
    (b"{", "it is JSON: name the module, not its description"),
    (b"#!", "it is a script: name the module that it builds"),
];

/// Returns the kind of a file that is not a module, and what to do. Returns `None` for a module.
fn foreign_kind(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(MODULE) {
        return None;
    }
    let text = bytes.trim_ascii_start();
    if text.is_empty() {
        return Some("the file is empty: build the module again");
    }
    let known = FOREIGN.iter().find(|(start, _)| bytes.starts_with(start) || text.starts_with(start));
    Some(known.map_or("it begins with other bytes", |(_, kind)| kind))
}

/// The reason why a module cannot be loaded. The messages address the author of the configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("it is not a WebAssembly module: {0}")]
    Invalid(String),
    /// A file of another kind: its kind, and what to do.
    #[error("it is not a WebAssembly module: {0}")]
    Foreign(&'static str),
    #[error("this machine cannot run it: {0}")]
    Engine(String),
    /// The compiler did not finish. It may succeed the next time.
    #[error("it cannot be compiled now: {0}")]
    Compiler(String),
}

/// Checks that a file is a module, without compiling it.
pub(crate) fn validate(wasm: &[u8], engines: &Engines) -> Result<(), LoadError> {
    if let Some(kind) = foreign_kind(wasm) {
        return Err(LoadError::Foreign(kind));
    }
    let engine = engines.of(Allocation::OnDemand).map_err(|error| LoadError::Engine(format!("{error:#}")))?;
    Module::validate(engine, wasm).map_err(|error| LoadError::Invalid(format!("{error:#}")))
}

/// Compiles a module, or takes it from the cache.
pub(crate) fn load(
    wasm: &[u8],
    allocation: Allocation,
    engines: &Engines,
    cache: Option<&CodeCache>,
) -> Result<Module, LoadError> {
    let engine = engines.of(allocation).map_err(|error| LoadError::Engine(format!("{error:#}")))?;
    // This replaces the compiler's own message, which is long.
    if let Some(kind) = foreign_kind(wasm) {
        return Err(LoadError::Foreign(kind));
    }
    let key = cache.map(|cache| (cache, CacheKey::new(wasm, &engine.precompile_compatibility_hash())));
    if let Some(module) = key.as_ref().and_then(|(cache, key)| from_cache(engine, cache, key)) {
        return Ok(module);
    }
    let compiled = compiler::compile(wasm, engine).map_err(|error| match error {
        CompileError::Invalid(error) => LoadError::Invalid(error),
        error => LoadError::Compiler(error.to_string()),
    })?;
    if let Some((cache, key)) = key
        && let Err(error) = cache.store(&key, &compiled)
    {
        tracing::warn!("compiled filters are not kept for the next start: {error}");
    }
    loaded(engine, compiled).map_err(|error| LoadError::Engine(format!("{error:#}")))
}

fn from_cache(engine: &wasmtime::Engine, cache: &CodeCache, key: &CacheKey) -> Option<Module> {
    let loaded = loaded(engine, cache.load(key)?);
    loaded
        .inspect_err(|error| tracing::debug!("cached code cannot be loaded and is compiled again: {error:#}"))
        .ok()
}

/// Loads compiled code from a file in memory. The module keeps the file, and only the pages that are used become
/// resident. If the system forbids executing code from such a file, the code is copied.
fn loaded(engine: &wasmtime::Engine, compiled: File) -> wasmtime::Result<Module> {
    let mut copied = compiled.try_clone()?;
    // SAFETY: the code was generated by this program's own compiler, either just now or earlier. In the latter case the
    // cache returns only files that it has written itself: owned by its own user, in a folder and with a mode that
    // allow no other user to write, and intact by their checksum. The file is private to this process, and nothing
    // writes to it any more. wasmtime itself checks the version and the settings that the code was compiled with.
    #[allow(unsafe_code, reason = "loading compiled code is running it")]
    let mapped = unsafe { Module::deserialize_open_file(engine, compiled) };
    if mapped.is_ok() {
        return mapped;
    }
    let mut code = Vec::new();
    copied.rewind()?;
    copied.read_to_end(&mut code)?;
    // SAFETY: as above.
    #[allow(unsafe_code, reason = "loading compiled code is running it")]
    unsafe {
        Module::deserialize(engine, &code)
    }
}

#[cfg(test)]
mod tests {
    use super::{FOREIGN, foreign_kind};

    #[test]
    fn a_file_that_is_no_module_is_named_with_what_to_do() {
        assert_eq!(foreign_kind(b"\0asm\x01\0\0\0rest"), None);
        for (start, kind) in FOREIGN {
            assert_eq!(foreign_kind(&[start, b"rest"].concat()), Some(kind));
        }
        for (bytes, part) in [
            (&b""[..], "is empty"),
            (b" \n", "is empty"),
            (b"\n (module)", "text form"),
            (b"\0asm\x0d\0\x01\0\x07", "wasm32-wasip1 in place of wasm32-wasip2"),
            (b"\0as", "begins with other bytes"),
            (b"fn main() {}", "begins with other bytes"),
        ] {
            assert!(foreign_kind(bytes).is_some_and(|kind| kind.contains(part)), "{bytes:?}");
        }
    }
}
