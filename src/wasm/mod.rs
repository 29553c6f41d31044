//! Filters that are WebAssembly modules and speak proxy-wasm.
//!
//! [`Plugins`] makes them from the configuration, on the control side: read, compiled, linked, tried out. A [`Plugin`] is
//! immutable and shared by all workers; each worker has an instance of it ([`local`]), reused from one request to the
//! next. Callbacks run inline on the worker, as plain calls: nothing of a guest ever waits.
//!
//! wasmtime's types stay in here.

mod bell;
mod cache;
mod compiler;
mod engine;
mod exports;
mod host;
mod instance;
mod journal;
mod limit;
mod local;
mod log;
mod memory;
mod module;
mod offline;
mod played;
mod plugin;
mod plugin_metrics;
mod plugins;
mod proxy_wasm;
#[cfg(any(test, fuzzing))]
pub(crate) mod scripted;
mod services;
mod shared;
mod wasi;

pub(crate) use compiler::{SUBCOMMAND, compile_for_parent, compile_in_children};
pub(crate) use journal::{Call, Change, Entry, Excerpt, Given as GivenPart, Journal, Section};
pub(crate) use local::{end_instances, keep_instances, start_instances};
pub(crate) use offline::{Given, OfflineModule, Outcome, Pieces};
pub(crate) use played::{CallOutcome, PlayedAnswer, PlayedUpstreams, UpstreamCall};
pub(crate) use plugin::Plugin;
pub(crate) use plugins::{PluginError, Plugins};
pub(crate) use services::{Callee, Callees, Services};
