//! The host's state of a running instance: its contexts, and the effects that its callbacks request.

mod grpc;
mod output;
mod wasi;

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::FixedState;
use grpc::GrpcCalls;
use tokio::task::AbortHandle;
pub(super) use wasi::Wasi;
use wasmtime::{Memory, ResourceLimiter, TypedFunc};

use super::calls::{CallResponse, OutgoingCall};
use super::grpc_calls::OutgoingGrpcCall;
use super::log::Sink;
use super::plugin::Plugin;
use super::plugin_metrics::PluginMetric;
use crate::filter::engine::limit::{MemoryLimit, TimeLimit};
use crate::filter::proxy_wasm::offline::journal::Seen;
use crate::filter::proxy_wasm::queue_notifier::QueueNotifier;
use crate::filter::{Fault, FilterContext};
use crate::net::clock;

/// The root context of every instance.
pub(super) const ROOT: u32 = 1;

/// The callback that creates a context.
pub(super) const CONTEXT_CREATE: &str = "proxy_on_context_create";

/// The most bytes that a root context may write to the log in one callback.
const ROOT_LOG_BYTES_MAX: usize = 64 * 1024;

/// The most calls that one instance may have in progress.
const CALLS_MAX: usize = 1024;

/// The data of a store.
pub(crate) struct Host {
    pub(super) plugin: Arc<Plugin>,
    /// The instance's memory, once it has started.
    pub(super) memory: Option<Memory>,
    /// The guest's own allocator, which provides the memory for data given to the guest.
    pub(super) allocate: Option<Rc<TypedFunc<u32, u32>>>,
    pub(super) limit: MemoryLimit,
    pub(super) wasi: Wasi,
    /// The destination of the guest's log lines.
    pub(super) log: Sink,
    /// The notifier for entries in the instance's queues.
    pub(super) notifier: Arc<QueueNotifier>,
    /// True if the instance serves on a worker, false if it is only on trial.
    pub(super) is_live: bool,
    /// The limit of the running call. During the start it covers all calls together.
    pub(super) time: TimeLimit,
    pub(super) is_starting: bool,
    /// The exchanges that the instance takes part in, by context number.
    contexts: HashMap<u32, Context, FixedState>,
    next_context: u32,
    /// The context whose callback runs.
    active: u32,
    /// The context that host functions operate on: the active one, unless the guest selects another.
    effective: u32,
    /// The running callback, for the log.
    pub(super) callback: &'static str,
    /// The response that `proxy_on_http_call_response` delivers.
    pub(super) call_response: Option<CallResponse>,
    pub(super) grpc: GrpcCalls,
    /// The data of a foreign function's call or result.
    pub(super) call_data: Bytes,
    pub(super) metrics: Vec<Arc<PluginMetric>>,
    next_call: u32,
    calls_under_way: usize,
    /// Bytes that the root context has produced for its calls in progress.
    made: Rc<Cell<usize>>,
    /// Bytes that the running callback has shared, minus those that it removed.
    shared: Cell<usize>,
    effects: Vec<Effect>,
    root_log_bytes: Cell<usize>,
    /// The reason why the host ended a call, if the trap itself does not carry it.
    pub(super) cause: Option<Cause>,
}

/// An exchange's context in the guest.
struct Context {
    filter_context: Rc<FilterContext>,
    /// `proxy_on_done` returned "not yet".
    lingers: bool,
    /// The task that limits how long the context lingers.
    ends: Option<Ends>,
}

/// A task that is aborted when this handle is dropped.
struct Ends(AbortHandle);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The reason why the host ended a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    Time,
    Exit(u32),
}

/// Work to do after the guest's callback has returned.
pub(super) enum Effect {
    /// Tick at this interval; `None` stops ticking.
    Tick(Option<Duration>),
    Call(Box<OutgoingCall>),
    Grpc(Box<OutgoingGrpcCall>),
    /// Finish a context that lingered and is now done.
    Done(u32),
}

impl Host {
    pub(super) fn new(plugin: &Arc<Plugin>, log: Sink) -> Self {
        Self {
            log,
            notifier: Arc::default(),
            is_live: !plugin.services().is_trial(),
            time: TimeLimit::new(plugin.settings.start),
            is_starting: true,
            memory: None,
            allocate: None,
            limit: MemoryLimit::new(plugin.settings.memory_bytes_max, plugin.stats.clone()),
            wasi: Wasi::new(&plugin.settings.env),
            contexts: HashMap::default(),
            next_context: ROOT + 1,
            active: ROOT,
            effective: ROOT,
            callback: "",
            call_response: None,
            grpc: GrpcCalls::default(),
            call_data: Bytes::new(),
            metrics: Vec::new(),
            next_call: 1,
            calls_under_way: 0,
            made: Rc::default(),
            shared: Cell::new(0),
            effects: Vec::new(),
            root_log_bytes: Cell::new(ROOT_LOG_BYTES_MAX),
            cause: None,
            plugin: plugin.clone(),
        }
    }

    /// Prepares for a callback that is about to run.
    pub(super) fn enter(&mut self, context: u32, callback: &'static str) {
        self.active = context;
        self.effective = context;
        self.callback = callback;
        if let Some(journal) = self.log.journal()
            && self.plugin.module.has(callback)
        {
            journal.enters(callback, self.seen());
        }
        self.shared.set(0);
        self.root_log_bytes.set(ROOT_LOG_BYTES_MAX);
        // A start is one piece of work: its time covers all of its calls, and memory refused in one call may end
        // another.
        if !self.is_starting {
            self.time.begin();
            self.limit.refused = None;
        }
    }

    /// Marks the start as complete.
    pub(super) fn has_started(&mut self) {
        self.is_starting = false;
        self.time.max = self.plugin.settings.time;
    }

    /// Returns true while an exchange's context is created. The filter was not given any of the exchange yet.
    pub(super) fn creates_context(&self) -> bool {
        self.active != ROOT && self.callback == CONTEXT_CREATE
    }

    /// Adds a context for an exchange. Its number is not shared with another context.
    pub(super) fn add_context(&mut self, filter_context: &Rc<FilterContext>) -> u32 {
        let id = self.next_context;
        // After four billion requests, few of the old ones are still open.
        self.next_context = self.next_context.checked_add(1).unwrap_or(ROOT + 1);
        self.contexts
            .insert(id, Context { filter_context: filter_context.clone(), lingers: false, ends: None });
        id
    }

    /// Records that the callback has returned, which may have taken milliseconds.
    pub(super) fn leaves_callback(&self) {
        clock::advance();
        if let Some(journal) = self.log.journal() {
            let after = if journal.is_running() { self.seen() } else { None };
            journal.leaves(Some(self.limit.granted()), after);
        }
    }

    /// Returns the exchange that a callback may change: its own, or the one for which a root context got a response.
    fn seen(&self) -> Option<Seen> {
        let context = self.contexts.get(&self.active).or_else(|| self.contexts.values().next())?;
        Some(Seen::of(&context.filter_context))
    }

    /// Removes a context, and cancels the gRPC calls that it has made.
    pub(super) fn remove_context(&mut self, context: u32) {
        self.cancel_grpc_of(context);
        self.contexts.remove(&context);
    }

    /// Keeps the context until the guest reports that it is done.
    pub(super) fn linger(&mut self, context: u32) {
        if let Some(context) = self.contexts.get_mut(&context) {
            context.lingers = true;
        }
    }

    /// Attaches the task that ends the context if the guest never reports that it is done.
    pub(super) fn ends_by(&mut self, context: u32, task: AbortHandle) {
        match self.contexts.get_mut(&context) {
            Some(context) => context.ends = Some(Ends(task)),
            None => task.abort(),
        }
    }

    /// Returns true if the context lingers.
    pub(super) fn lingers(&self, context: u32) -> bool {
        self.contexts.get(&context).is_some_and(|context| context.lingers)
    }

    /// Returns the contexts that linger.
    pub(super) fn lingering(&self) -> Vec<u32> {
        self.contexts.iter().filter(|(_, context)| context.lingers).map(|(id, _)| *id).collect()
    }

    /// Marks the effective context as done. Returns true if it was lingering.
    pub(super) fn done(&mut self) -> bool {
        let id = self.effective;
        let waits = self.contexts.get_mut(&id).is_some_and(|context| std::mem::take(&mut context.lingers));
        if waits {
            self.effects.push(Effect::Done(id));
        }
        waits
    }

    /// Takes all exchanges of the instance when it ends.
    pub(super) fn take_filter_contexts(&mut self) -> Vec<Rc<FilterContext>> {
        self.contexts.drain().map(|(_, context)| context.filter_context).collect()
    }

    /// Makes host functions operate on another context. Returns true if the context exists.
    pub(super) fn set_effective(&mut self, context: u32) -> bool {
        let is_there = context == ROOT || self.contexts.contains_key(&context);
        if is_there {
            self.effective = context;
        }
        is_there
    }

    /// Returns the filter context that host functions operate on, or `None` for the root context.
    pub(super) fn filter_context(&self) -> Option<&Rc<FilterContext>> {
        self.contexts.get(&self.effective).map(|context| &context.filter_context)
    }

    /// Ends the exchange that host functions operate on because of a fault of the guest. The instance continues.
    pub(super) fn refuse(&self, fault: Fault, what: &str) {
        // Until the instance has started, it is not the one that serves, and its journal is about the start.
        let journal = self.log.journal().filter(|_| self.is_live && !self.is_starting);
        self.plugin.fails(fault, journal, &format!("in `{}`: {}", self.callback, what));
        if let Some(filter_context) = self.filter_context() {
            filter_context.refuse(fault);
        }
    }

    /// Returns a number for a call if there is room for one more.
    pub(super) fn begin_call(&mut self) -> Option<u32> {
        if self.calls_under_way >= CALLS_MAX {
            return None;
        }
        self.calls_under_way += 1;
        let token = self.next_call;
        self.next_call = self.next_call.checked_add(1).unwrap_or(1);
        Some(token)
    }

    pub(super) fn end_call(&mut self) {
        self.calls_under_way = self.calls_under_way.saturating_sub(1);
    }

    pub(super) fn leave(&mut self, effect: Effect) {
        // Only the last tick setting counts. A guest may change it as often as it likes.
        if matches!(effect, Effect::Tick(_)) {
            self.effects.retain(|effect| !matches!(effect, Effect::Tick(_)));
        }
        self.effects.push(effect);
    }

    pub(super) fn has_effects(&self) -> bool {
        !self.effects.is_empty()
    }

    pub(super) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Returns the bytes that may still be written to the log, by the exchange or by the callback of a root context.
    pub(super) fn log_bytes(&self) -> &Cell<usize> {
        let context = self.contexts.get(&self.effective);
        context.map_or(&self.root_log_bytes, |context| context.filter_context.log_bytes())
    }
}

/// Returns the limiter that wasmtime calls before memory grows.
pub(super) fn limiter(host: &mut Host) -> &mut dyn ResourceLimiter {
    &mut host.limit
}
