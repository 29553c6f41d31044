//! Filters that are WebAssembly modules for the proxy-wasm ABI.
//!
//! [`Plugins`] builds them from the configuration on the control plane: it reads, compiles, links and tries them. A
//! [`Plugin`] is immutable and shared by all workers. Each worker has an instance of it ([`local`]), which it reuses
//! from one request to the next. Callbacks run inline on the worker as plain calls: a guest never waits.
//!
//! wasmtime's types stay inside this module.

pub(crate) mod abi;
mod calls;
mod exports;
mod grpc_calls;
pub(crate) mod host;
pub(crate) mod host_functions;
mod instance;
mod local;
mod log;
mod memory;
pub(crate) mod module;
pub(crate) mod offline;
pub(crate) mod pairs;
mod parameters;
mod plugin;
mod plugin_metrics;
mod plugins;
mod queue_notifier;
mod services;
mod shared;
mod trial;
pub(crate) mod wasi;

pub(crate) use local::{end_instances, keep_instances, start_instances};
pub(crate) use offline::journal::{Call, Change, Entry, Excerpt, Given as GivenPart, Journal, Section};
pub(crate) use offline::played::{CallOutcome, PlayedAnswer, PlayedUpstreams, UpstreamCall};
pub(crate) use offline::{ChunkedBody, OfflineExchange, OfflineModule, Outcome};
pub(crate) use plugin::Plugin;
pub(crate) use plugins::{PluginError, Plugins};
pub(crate) use services::{CallableUpstream, CallableUpstreams, Services};
