//! Filters that are WebAssembly modules and speak proxy-wasm.
//!
//! [`Plugins`] makes them from the configuration, on the control side: read, compiled, linked, tried out. A [`Plugin`] is
//! immutable and shared by all workers; each worker has an instance of it ([`local`]), reused from one request to the
//! next. Callbacks run inline on the worker, as plain calls: nothing of a guest ever waits.
//!
//! wasmtime's types stay in here.

pub(crate) mod abi;
mod exports;
pub(crate) mod host;
pub(crate) mod host_functions;
mod instance;
mod local;
mod log;
mod memory;
pub(crate) mod module;
pub(crate) mod offline;
pub(crate) mod pairs;
mod plugin;
mod plugin_metrics;
mod plugins;
mod queue_notifier;
mod services;
mod shared;
pub(crate) mod wasi;

pub(crate) use local::{end_instances, keep_instances, start_instances};
pub(crate) use offline::journal::{Call, Change, Entry, Excerpt, Given as GivenPart, Journal, Section};
pub(crate) use offline::played::{CallOutcome, PlayedAnswer, PlayedUpstreams, UpstreamCall};
pub(crate) use offline::{ChunkedBody, OfflineExchange, OfflineModule, Outcome};
pub(crate) use plugin::Plugin;
pub(crate) use plugins::{PluginError, Plugins};
pub(crate) use services::{CallableUpstream, CallableUpstreams, Services};
