//! What a running instance has on the host's side: its contexts, and what its callbacks leave to be done.

mod output;

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::FixedState;
pub(super) use output::Held;
use tokio::task::AbortHandle;
use wasmtime::{Memory, ResourceLimiter, TypedFunc};

use super::log::Sink;
use super::plugin::Plugin;
use super::plugin_metrics::PluginMetric;
use super::wasi::Wasi;
use crate::filter::engine::limit::MemoryLimit;
use crate::filter::proxy_wasm::offline::journal::Seen;
use crate::filter::proxy_wasm::queue_notifier::QueueNotifier;
use crate::filter::{Fault, FilterContext};
use crate::http::fields::Fields;
use crate::upstream::OwnRequest;

/// The root context of every instance.
pub(super) const ROOT: u32 = 1;

/// The callback by which a context is made.
pub(super) const CONTEXT_CREATE: &str = "proxy_on_context_create";

/// Bytes that a root context may write into the log in one callback.
const ROOT_LOG_BYTES_MAX: usize = 64 * 1024;

/// Calls that one instance may have under way.
const CALLS_MAX: usize = 1024;

/// What a store holds.
pub(crate) struct Host {
    pub(super) plugin: Arc<Plugin>,
    /// Of the instance, from its start on.
    pub(super) memory: Option<Memory>,
    /// The guest's own allocator, by which it is given data.
    pub(super) allocate: Option<Rc<TypedFunc<u32, u32>>>,
    pub(super) limit: MemoryLimit,
    pub(super) wasi: Wasi,
    /// Where its log lines go.
    pub(super) log: Sink,
    /// Is rung when one of its queues has something.
    pub(super) notifier: Arc<QueueNotifier>,
    /// Whether it serves, on a worker; one that is only tried does not.
    pub(super) is_live: bool,
    /// CPU time that the call which runs may take; while it starts, all calls together.
    pub(super) time_max: Duration,
    /// Whether it is being started.
    pub(super) is_starting: bool,
    /// The exchanges that it takes part in, by the number of their context.
    contexts: HashMap<u32, Context, FixedState>,
    next_context: u32,
    /// Whose callback runs.
    active: u32,
    /// Whom host functions are about: the active one, until the guest says otherwise.
    effective: u32,
    /// The callback that runs, for the log.
    pub(super) callback: &'static str,
    /// The answer that `proxy_on_http_call_response` is about.
    pub(super) call_response: Option<CallResponse>,
    /// What a foreign function answers, or is asked.
    pub(super) call_data: Bytes,
    pub(super) metrics: Vec<Arc<PluginMetric>>,
    next_call: u32,
    calls_under_way: usize,
    /// Bytes that the root context has made: of its calls under way.
    made: Rc<Cell<usize>>,
    /// Bytes that the callback which runs has shared, beyond those that it took away.
    shared: Cell<usize>,
    effects: Vec<Effect>,
    root_log_bytes: Cell<usize>,
    /// When its CPU time began to be counted, in the call that runs, or in the start.
    pub(super) cpu_since: Option<Duration>,
    /// Why it was ended, where the trap itself does not say.
    pub(super) cause: Option<Cause>,
}

/// An exchange's context in the guest.
struct Context {
    member: Rc<FilterContext>,
    /// Its `proxy_on_done` has answered "not yet".
    lingers: bool,
    /// What ends the waiting for it.
    ends: Option<Ends>,
}

/// A task that is not needed any more when this is gone.
struct Ends(AbortHandle);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Why the host ended a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    Time,
    Exit(u32),
}

/// What has to be done once the guest's callback is over.
pub(super) enum Effect {
    /// Tick in this interval; `None` for no more.
    Tick(Option<Duration>),
    Call(Box<OutgoingCall>),
    /// A context that lingered is done.
    Done(u32),
}

/// A request of the guest's own.
pub(crate) struct OutgoingCall {
    pub(super) token: u32,
    pub(super) upstream: String,
    pub(super) request: OwnRequest,
    pub(super) timeout: Duration,
    /// The exchange that waits for it, where it is one's.
    pub(super) member: Option<Weak<FilterContext>>,
    pub(super) held: Held,
}

/// What came of one.
#[derive(Default)]
pub(crate) struct CallResponse {
    /// `None` where nothing came.
    pub(super) status: Option<http::StatusCode>,
    pub(super) headers: Fields,
    pub(super) body: Bytes,
    pub(super) trailers: Fields,
}

impl Host {
    pub(super) fn new(plugin: &Arc<Plugin>, log: Sink) -> Self {
        Self {
            log,
            notifier: Arc::default(),
            is_live: !plugin.services().is_trial(),
            time_max: plugin.settings.start,
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
            call_data: Bytes::new(),
            metrics: Vec::new(),
            next_call: 1,
            calls_under_way: 0,
            made: Rc::default(),
            shared: Cell::new(0),
            effects: Vec::new(),
            root_log_bytes: Cell::new(ROOT_LOG_BYTES_MAX),
            cpu_since: None,
            cause: None,
            plugin: plugin.clone(),
        }
    }

    /// A callback begins.
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
        // A start is one piece of work: its time is that of all of its calls, and what one was refused ends another.
        if !self.is_starting {
            self.cpu_since = None;
            self.limit.refused = None;
        }
    }

    /// The start is over.
    pub(super) fn has_started(&mut self) {
        self.is_starting = false;
        self.time_max = self.plugin.settings.time;
    }

    /// Whether an exchange's context is being made: the filter was not given anything of the exchange yet.
    pub(super) fn creates_context(&self) -> bool {
        self.active != ROOT && self.callback == CONTEXT_CREATE
    }

    /// A context for an exchange; its number is never that of another one.
    pub(super) fn add_context(&mut self, member: &Rc<FilterContext>) -> u32 {
        let id = self.next_context;
        // After four billion requests, those that are still open are few.
        self.next_context = self.next_context.checked_add(1).unwrap_or(ROOT + 1);
        self.contexts.insert(id, Context { member: member.clone(), lingers: false, ends: None });
        id
    }

    /// The callback is over.
    pub(super) fn leaves_callback(&self) {
        if let Some(journal) = self.log.journal() {
            let after = if journal.is_running() { self.seen() } else { None };
            journal.leaves(Some(self.limit.granted()), after);
        }
    }

    /// Returns the exchange that a callback may change: its own, or that for which a root context got an answer.
    fn seen(&self) -> Option<Seen> {
        let context = self.contexts.get(&self.active).or_else(|| self.contexts.values().next())?;
        Some(Seen::of(&context.member))
    }

    pub(super) fn remove_context(&mut self, context: u32) {
        self.contexts.remove(&context);
    }

    /// The context stays until the guest says that it is done.
    pub(super) fn linger(&mut self, context: u32) {
        if let Some(context) = self.contexts.get_mut(&context) {
            context.lingers = true;
        }
    }

    /// This task ends it where the guest says nothing.
    pub(super) fn ends_by(&mut self, context: u32, task: AbortHandle) {
        match self.contexts.get_mut(&context) {
            Some(context) => context.ends = Some(Ends(task)),
            None => task.abort(),
        }
    }

    /// Whether it does.
    pub(super) fn lingers(&self, context: u32) -> bool {
        self.contexts.get(&context).is_some_and(|context| context.lingers)
    }

    /// The contexts that do.
    pub(super) fn lingering(&self) -> Vec<u32> {
        self.contexts.iter().filter(|(_, context)| context.lingers).map(|(id, _)| *id).collect()
    }

    /// The guest says that the effective context is done; whether it was waited for.
    pub(super) fn done(&mut self) -> bool {
        let id = self.effective;
        let waits = self.contexts.get_mut(&id).is_some_and(|context| std::mem::take(&mut context.lingers));
        if waits {
            self.effects.push(Effect::Done(id));
        }
        waits
    }

    /// Every exchange that it takes part in, when the instance is no more.
    pub(super) fn take_members(&mut self) -> Vec<Rc<FilterContext>> {
        self.contexts.drain().map(|(_, context)| context.member).collect()
    }

    /// Makes host functions be about another context; whether there is such.
    pub(super) fn set_effective(&mut self, context: u32) -> bool {
        let is_there = context == ROOT || self.contexts.contains_key(&context);
        if is_there {
            self.effective = context;
        }
        is_there
    }

    /// The exchange that host functions are about; `None` of the root context.
    pub(super) fn member(&self) -> Option<&Rc<FilterContext>> {
        self.contexts.get(&self.effective).map(|context| &context.member)
    }

    /// Ends the exchange that host functions are about by a fault of the guest, whose instance goes on.
    pub(super) fn refuse(&self, fault: Fault, what: impl FnOnce() -> String) {
        self.plugin.fails(fault, || format!("in `{}`: {}", self.callback, what()));
        if let Some(member) = self.member() {
            member.refuse(fault);
        }
    }

    /// A number for a call, where there is room for one more.
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
        // Of ticks only the last word counts: a guest may say it as often as it likes.
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

    /// Bytes that may still be written into the log: for the exchange, or for the callback of a root context.
    pub(super) fn log_bytes(&self) -> &Cell<usize> {
        let context = self.contexts.get(&self.effective);
        context.map_or(&self.root_log_bytes, |context| context.member.log_bytes())
    }
}

/// What wasmtime asks before memory grows.
pub(super) fn limiter(host: &mut Host) -> &mut dyn ResourceLimiter {
    &mut host.limit
}
