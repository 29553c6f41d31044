//! The WebAssembly engine: compiles modules, caches compiled code, and limits what a guest may use.

pub(crate) mod cache;
pub(crate) mod compiler;
pub(crate) mod limit;
pub(crate) mod module;
pub(crate) mod runtime;
