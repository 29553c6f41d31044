//! A running instance of a plugin: started once, and then called for one exchange after another.

mod fault;
mod grpc;
mod tasks;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use fault::{describe, fault_of, report};
use tasks::Tasks;
use wasmtime::{Store, TypedFunc, UpdateDeadline, WasmParams, WasmResults};

use super::calls::CallResponse;
use super::exports::{Exports, HeadCallback, allocator, initialize};
use super::host::{CONTEXT_CREATE, Cause, Effect, Host, ROOT, limiter};
use super::log::Sink;
use super::plugin::Plugin;
use crate::filter::proxy_wasm::abi::{body_action, head_action, is_true, trailers_action};
use crate::filter::proxy_wasm::offline::journal::{Journal, Part};
use crate::filter::{Action, Callbacks, Direction, Fault, FilterContext};

/// One in this many callbacks is timed: reading the clock twice costs as much as the call itself.
const TIMED_EVERY: u32 = 8;

/// An instance, or the remains of one that was ended.
pub(super) struct Instance {
    pub(super) plugin: Arc<Plugin>,
    exports: Exports,
    /// Its memory and the host's state; `None` once it has ended.
    store: RefCell<Option<Store<Host>>>,
    /// The fault that ended the instance.
    dead: Cell<Option<Fault>>,
    /// The number of callbacks so far. Every eighth is timed.
    calls: Cell<u32>,
    tasks: RefCell<Tasks>,
    /// The journal of the instance, if one is kept.
    journal: Option<Rc<Journal>>,
}

/// The reason why an instance could not be started, with a description.
#[derive(Debug)]
pub(super) struct StartError {
    pub(super) fault: Fault,
    pub(super) what: String,
}

impl Instance {
    /// Starts an instance: its memory, its initialisation, its root context, and its configuration.
    ///
    /// # Errors
    /// Fails if the guest trapped, took too long, or rejected its configuration.
    pub(super) fn start(plugin: &Arc<Plugin>, sink: Sink) -> Result<Rc<Self>, StartError> {
        let mut store = Store::new(plugin.module.pre.module().engine(), Host::new(plugin, sink));
        store.limiter(limiter);
        store.epoch_deadline_callback(|mut context| Ok(check_time(context.data_mut())));
        let started = launch(&mut store).and_then(|exports| {
            let refused = configure(&mut store, &exports)?;
            Ok((exports, refused))
        });
        let (exports, refused) = match started {
            Ok(started) => started,
            Err(error) => {
                store.data().leaves_callback();
                let what = describe(&error, store.data());
                return Err(StartError { fault: fault_of(&error, store.data()), what });
            }
        };
        store.data().leaves_callback();
        if let Some(callback) = refused {
            let what = format!("`{callback}` returned false");
            return Err(StartError { fault: Fault::Start, what });
        }
        store.data_mut().has_started();
        let journal = store.data().log.journal().cloned();
        plugin.stats.instance_started();
        let instance = Rc::new(Self {
            plugin: plugin.clone(),
            exports,
            store: RefCell::new(Some(store)),
            dead: Cell::new(None),
            calls: Cell::new(0),
            tasks: RefCell::default(),
            journal,
        });
        instance.run_effects();
        tasks::listen(&instance);
        Ok(instance)
    }

    /// Returns the size of the instance's memory.
    pub(super) fn memory_bytes(&self) -> usize {
        self.host(|host| host.limit.granted()).unwrap_or_default()
    }

    /// Returns true if the instance was ended.
    pub(super) fn is_dead(&self) -> bool {
        self.dead.get().is_some()
    }

    /// Returns the journal, if one is kept.
    pub(super) fn journal(&self) -> Option<&Rc<Journal>> {
        self.journal.as_ref()
    }

    /// Accesses the host's state; `None` once the instance has ended.
    fn host<T>(&self, look: impl FnOnce(&mut Host) -> T) -> Option<T> {
        self.store.borrow_mut().as_mut().map(|store| look(store.data_mut()))
    }

    /// Calls into the guest. A trap ends the instance and its part in all of its exchanges.
    fn call<P: WasmParams, R: WasmResults>(
        self: &Rc<Self>,
        context: u32,
        callback: &'static str,
        function: &TypedFunc<P, R>,
        parameters: P,
    ) -> Result<R, Fault> {
        // A callback never runs within another one of the same guest; only a bug in the gateway could cause that.
        let mut slot = self.store.try_borrow_mut().map_err(|_| Fault::Trap)?;
        let Some(store) = &mut *slot else { return Err(self.dead.get().unwrap_or(Fault::Trap)) };
        store.set_epoch_deadline(1);
        store.data_mut().enter(context, callback);
        let calls = self.calls.replace(self.calls.get().wrapping_add(1));
        let timed = calls.is_multiple_of(TIMED_EVERY);
        let began = timed.then(Instant::now);
        let result = function.call(&mut *store, parameters);
        self.plugin.stats.called(began.map(|began| began.elapsed() * TIMED_EVERY));
        store.data().leaves_callback();
        let error = match result {
            Ok(answer) => {
                let has_effects = store.data().has_effects();
                drop(slot);
                if has_effects {
                    self.run_effects();
                }
                return Ok(answer);
            }
            Err(error) => error,
        };
        let fault = fault_of(&error, store.data());
        report(store.data(), fault, &error);
        let filter_contexts = store.data_mut().take_filter_contexts();
        self.end(&mut slot, fault);
        drop(slot);
        for filter_context in filter_contexts {
            filter_context.fail(fault);
        }
        Err(fault)
    }

    /// Does the same as [`Instance::call`], but returns `answer` if the guest has no such callback.
    fn call_or<P: WasmParams, R: WasmResults>(
        self: &Rc<Self>,
        answer: R,
        context: u32,
        callback: &'static str,
        function: Option<&TypedFunc<P, R>>,
        parameters: P,
    ) -> Result<R, Fault> {
        function.map_or(Ok(answer), |function| self.call(context, callback, function, parameters))
    }

    fn end(&self, slot: &mut Option<Store<Host>>, fault: Fault) {
        self.dead.set(Some(fault));
        *slot = None;
        if self.tasks.borrow_mut().end() {
            // The guest has background work, and possibly no request will start another instance.
            tasks::restart_later(&self.plugin);
        }
        self.plugin.stats.instance_ended();
    }

    /// Performs the effects that the guest has requested in its callbacks.
    fn run_effects(self: &Rc<Self>) {
        for effect in self.host(Host::take_effects).unwrap_or_default() {
            match effect {
                Effect::Tick(period) => tasks::tick(self, period),
                Effect::Call(call) => tasks::call(self, *call),
                Effect::Grpc(call) => grpc::call(self, *call),
                Effect::Done(context) => self.finish(context),
            }
        }
    }

    /// Creates a context for an exchange.
    pub(super) fn begin(self: &Rc<Self>, filter_context: &Rc<FilterContext>) -> Result<u32, Fault> {
        let context = self.host(|host| host.add_context(filter_context));
        let context = context.ok_or(self.dead.get().unwrap_or(Fault::Trap))?;
        let create = self.exports.context_create.as_ref();
        self.call_or((), context, CONTEXT_CREATE, create, (context, ROOT))?;
        Ok(context)
    }

    /// Ends the exchange of a context. The guest may take time to finish with it.
    fn leave(self: &Rc<Self>, context: u32) {
        match self.call_or(1, context, "proxy_on_done", self.exports.done.as_ref(), context) {
            Err(_ended) => {}
            Ok(answer) if is_true(answer) => self.finish(context),
            Ok(_) => {
                self.host(|host| host.linger(context));
                tasks::finish_later(self, context);
            }
        }
    }

    /// Runs the last callbacks of a context and removes it.
    fn finish(self: &Rc<Self>, context: u32) {
        if self.call_or((), context, "proxy_on_log", self.exports.log.as_ref(), context).is_ok() {
            // A trap ends the instance with all of its contexts.
            let _ended = self.call_or((), context, "proxy_on_delete", self.exports.delete.as_ref(), context);
        }
        self.host(|host| host.remove_context(context));
    }

    /// Finishes a context that has lingered for long enough.
    fn finish_lingering(self: &Rc<Self>, context: u32) {
        if self.host(|host| host.lingers(context)) == Some(true) {
            self.finish(context);
        }
    }

    /// Finishes all contexts that linger.
    pub(super) fn finish_all(self: &Rc<Self>) {
        for context in self.host(|host| host.lingering()).unwrap_or_default() {
            self.finish(context);
        }
    }

    fn on_tick(self: &Rc<Self>) -> Result<(), Fault> {
        self.call_or((), ROOT, "proxy_on_tick", self.exports.tick.as_ref(), ROOT)
    }

    fn on_queue_ready(self: &Rc<Self>, queue: u32) -> Result<(), Fault> {
        self.call_or((), ROOT, "proxy_on_queue_ready", self.exports.queue_ready.as_ref(), (ROOT, queue))
    }

    /// Delivers the outcome of a call.
    fn on_call_response(
        self: &Rc<Self>,
        token: u32,
        response: CallResponse,
        filter_context: Option<&Rc<FilterContext>>,
    ) {
        if let Some(filter_context) = filter_context {
            filter_context.call_ends();
        }
        let fields = response.status.map_or(0, |_| count(response.headers.len() + 1));
        let (body, trailers) = (count(response.body.len()), count(response.trailers.len()));
        self.host(|host| {
            host.end_call();
            host.call_response = Some(response);
        });
        let callback = self.exports.http_call_response.as_ref();
        let parameters = (ROOT, token, fields, body, trailers);
        // A trap has already notified the exchanges of this instance.
        let _ended = self.call_or((), ROOT, "proxy_on_http_call_response", callback, parameters);
        self.host(|host| host.call_response = None);
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if self.store.get_mut().is_some() {
            self.plugin.stats.instance_ended();
        }
    }
}

/// Instantiates the module and initialises the runtime of the guest's language.
fn launch(store: &mut Store<Host>) -> wasmtime::Result<Exports> {
    store.set_epoch_deadline(1);
    store.data_mut().enter(ROOT, "_initialize");
    let plugin = store.data().plugin.clone();
    let instance = plugin.module.pre.instantiate(&mut *store)?;
    let allocate = allocator(&instance, store)?;
    let memory = instance.get_memory(&mut *store, "memory");
    store.data_mut().memory = memory;
    store.data_mut().allocate = allocate.map(Rc::new);
    let exports = Exports::of(&instance, store)?;
    match initialize(&instance, store) {
        // Programs exit like this on success.
        Err(_) if store.data().cause == Some(Cause::Exit(0)) => store.data_mut().cause = None,
        result => result?,
    }
    Ok(exports)
}

/// Creates the root context and gives it its configuration. Returns the name of the callback that rejects it.
fn configure(store: &mut Store<Host>, exports: &Exports) -> wasmtime::Result<Option<&'static str>> {
    store.data_mut().enter(ROOT, CONTEXT_CREATE);
    if let Some(create) = &exports.context_create {
        create.call(&mut *store, (ROOT, 0))?;
    }
    let configuration = u32::try_from(store.data().plugin.configuration().len()).unwrap_or(u32::MAX);
    let steps = [
        ("proxy_on_vm_start", &exports.vm_start, 0),
        ("proxy_on_configure", &exports.configure, configuration),
    ];
    for (name, callback, bytes) in steps {
        let Some(callback) = callback else { continue };
        store.set_epoch_deadline(1);
        store.data_mut().enter(ROOT, name);
        if !is_true(callback.call(&mut *store, (ROOT, bytes))?) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Checks whether a call that has lasted an epoch may continue.
fn check_time(host: &mut Host) -> UpdateDeadline {
    if host.time.allows_another_epoch() {
        return UpdateDeadline::Continue(1);
    }
    host.cause = Some(Cause::Time);
    UpdateDeadline::Interrupt
}

/// A context of an instance, for one exchange.
pub(super) struct Stream {
    instance: Rc<Instance>,
    context: u32,
}

impl Stream {
    pub(super) fn begin(instance: Rc<Instance>, filter_context: &Rc<FilterContext>) -> Result<Self, Fault> {
        let context = instance.begin(filter_context)?;
        Ok(Self { instance, context })
    }

    /// Records the result of a callback for a part of a message. An unknown result holds back the part and everything
    /// behind it.
    fn answered(
        &self,
        callback: &'static str,
        part: (u32, bool),
        answer: u32,
        action: Option<Action>,
    ) -> Action {
        let (size, end) = part;
        let known = action.unwrap_or(Action::PauseAll);
        if let Some(journal) = self.instance.journal() {
            journal.was_about(Part { size, end, action: known });
        }
        if action.is_none() {
            self.instance.plugin.answers_unknown(callback, answer, self.instance.journal());
        }
        known
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn name_of(direction: Direction, names: [&'static str; 2]) -> &'static str {
    match direction {
        Direction::Request => names[0],
        Direction::Response => names[1],
    }
}

impl Callbacks for Stream {
    fn on_head(&self, direction: Direction, fields: usize, end: bool) -> Result<Action, Fault> {
        let (instance, context, fields) = (&self.instance, self.context, count(fields));
        let name = name_of(direction, ["proxy_on_request_headers", "proxy_on_response_headers"]);
        let answer = match instance.exports.head.of(direction) {
            Some(HeadCallback::WithEnd(callback)) => {
                instance.call(context, name, callback, (context, fields, end.into()))
            }
            Some(HeadCallback::WithoutEnd(callback)) => {
                instance.call(context, name, callback, (context, fields))
            }
            None => Ok(0),
        };
        answer.map(|answer| self.answered(name, (fields, end), answer, head_action(answer)))
    }

    fn on_body(&self, direction: Direction, bytes: usize, end: bool) -> Result<Action, Fault> {
        let (instance, context, bytes) = (&self.instance, self.context, count(bytes));
        let name = name_of(direction, ["proxy_on_request_body", "proxy_on_response_body"]);
        let callback = instance.exports.body.of(direction).as_ref();
        let answer = instance.call_or(0, context, name, callback, (context, bytes, end.into()));
        answer.map(|answer| self.answered(name, (bytes, end), answer, body_action(answer)))
    }

    fn on_trailers(&self, direction: Direction, fields: usize) -> Result<Action, Fault> {
        let (instance, context, fields) = (&self.instance, self.context, count(fields));
        let name = name_of(direction, ["proxy_on_request_trailers", "proxy_on_response_trailers"]);
        let callback = instance.exports.trailers.of(direction).as_ref();
        let answer = instance.call_or(0, context, name, callback, (context, fields));
        answer.map(|answer| self.answered(name, (fields, true), answer, trailers_action(answer)))
    }

    fn on_end(&self) {
        self.instance.leave(self.context);
    }
}
