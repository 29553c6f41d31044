//! A running instance of a plugin: started once, and then called for one exchange after the other.

mod fault;
mod tasks;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use wasmtime::{Store, UpdateDeadline};

use super::engine::EPOCH;
use super::exports::{Exports, HeadCallback, allocator, initialize};
use super::host::{CallResponse, Cause, Effect, Host, ROOT, limiter};
use super::journal::{Journal, Part};
use super::log::Sink;
use super::plugin::Plugin;
use super::proxy_wasm::abi::ACTION_PAUSE;
use crate::filter::{Action, Callbacks, Direction, Fault, Member};
use fault::{describe, fault_of, tell};
use tasks::Tasks;

/// How many times the time of one call its start may take: SDKs build their tables in it, and it comes once.
const START_TIMES: u32 = 10;

/// An instance, or what is left of one that was ended.
pub(super) struct Instance {
    pub(super) plugin: Arc<Plugin>,
    running: RefCell<Option<Running>>,
    /// Why it was ended.
    dead: Cell<Option<Fault>>,
    tasks: RefCell<Tasks>,
    /// What it does, where that is kept.
    journal: Option<Rc<Journal>>,
}

struct Running {
    store: Store<Host>,
    exports: Rc<Exports>,
}

/// Why an instance could not be started, for whoever reads it.
#[derive(Debug)]
pub(super) struct StartError {
    pub(super) fault: Fault,
    pub(super) what: String,
}

impl Instance {
    /// Starts an instance: its memory, what initialises it, its root context, and its configuration.
    ///
    /// # Errors
    /// It trapped, took too long, or refused its configuration.
    pub(super) fn start(plugin: &Arc<Plugin>, sink: Sink) -> Result<Rc<Self>, StartError> {
        let mut store = Store::new(plugin.module.pre.module().engine(), Host::new(plugin, sink));
        store.limiter(limiter);
        store.epoch_deadline_callback(|mut context| Ok(look_at_clock(context.data_mut())));
        store.data_mut().time_max = plugin.settings.time.saturating_mul(START_TIMES);
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
            let what = format!("`{callback}` answers that it cannot work like this");
            return Err(StartError { fault: Fault::Start, what });
        }
        store.data_mut().time_max = plugin.settings.time;
        let journal = store.data().log.journal().cloned();
        plugin.stats.instance_started();
        let running = RefCell::new(Some(Running { store, exports: Rc::new(exports) }));
        let instance = Rc::new(Self {
            plugin: plugin.clone(),
            running,
            dead: Cell::new(None),
            tasks: RefCell::default(),
            journal,
        });
        instance.see_to_effects();
        tasks::listen(&instance);
        Ok(instance)
    }

    /// Why it was ended, if it was.
    pub(super) fn is_dead(&self) -> bool {
        self.dead.get().is_some()
    }

    /// What it does, where that is kept.
    pub(super) fn journal(&self) -> Option<&Rc<Journal>> {
        self.journal.as_ref()
    }

    /// Calls into the guest. A trap ends the instance, and with it the part of it in all of its exchanges.
    fn call<T>(
        self: &Rc<Self>,
        context: u32,
        callback: &'static str,
        call: impl FnOnce(&mut Store<Host>, &Exports) -> wasmtime::Result<T>,
    ) -> Result<T, Fault> {
        let dead = || self.dead.get().unwrap_or(Fault::Trap);
        // A guest's callback never runs within another one's: only a fault of the gateway could bring that about.
        let mut slot = self.running.try_borrow_mut().map_err(|_| Fault::Trap)?;
        let Some(running) = &mut *slot else { return Err(dead()) };
        let exports = running.exports.clone();
        running.store.set_epoch_deadline(1);
        running.store.data_mut().enter(context, callback);
        let began = Instant::now();
        let result = call(&mut running.store, &exports);
        self.plugin.stats.called(began.elapsed());
        running.store.data().leaves_callback();
        let error = match result {
            Ok(answer) => {
                let has_effects = running.store.data().has_effects();
                drop(slot);
                if has_effects {
                    self.see_to_effects();
                }
                return Ok(answer);
            }
            Err(error) => error,
        };
        let fault = fault_of(&error, running.store.data());
        tell(running.store.data(), fault, &describe(&error, running.store.data()));
        let members = running.store.data_mut().take_members();
        self.end(&mut slot, fault);
        drop(slot);
        for member in members {
            member.fail(fault);
        }
        Err(fault)
    }

    fn end(&self, slot: &mut Option<Running>, fault: Fault) {
        self.dead.set(Some(fault));
        *slot = None;
        self.tasks.borrow_mut().end();
        self.plugin.stats.instance_ended();
    }

    /// Does what the guest has asked for in its callbacks.
    fn see_to_effects(self: &Rc<Self>) {
        let effects = match &mut *self.running.borrow_mut() {
            Some(running) => running.store.data_mut().take_effects(),
            None => return,
        };
        for effect in effects {
            match effect {
                Effect::Tick(period) => tasks::tick(self, period),
                Effect::Call(call) => tasks::call(self, *call),
                Effect::Done(context) => self.finish(context),
            }
        }
    }

    /// A context for an exchange.
    pub(super) fn begin(self: &Rc<Self>, member: &Rc<Member>) -> Result<u32, Fault> {
        let context = match &mut *self.running.borrow_mut() {
            Some(running) => running.store.data_mut().add_context(member),
            None => return Err(self.dead.get().unwrap_or(Fault::Trap)),
        };
        self.call(context, "proxy_on_context_create", |store, exports| match &exports.context_create {
            Some(create) => create.call(store, (context, ROOT)),
            None => Ok(()),
        })?;
        Ok(context)
    }

    /// The exchange of a context is over: it may take its time to be done with it.
    fn leave(self: &Rc<Self>, context: u32) {
        let done = self.call(context, "proxy_on_done", |store, exports| match &exports.done {
            Some(done) => done.call(store, context),
            None => Ok(1),
        });
        match done {
            Err(_ended) => {}
            Ok(0) => {
                if let Some(running) = &mut *self.running.borrow_mut() {
                    running.store.data_mut().linger(context);
                }
                tasks::finish_later(self, context);
            }
            Ok(_) => self.finish(context),
        }
    }

    /// The last words of a context.
    fn finish(self: &Rc<Self>, context: u32) {
        let logged = self.call(context, "proxy_on_log", |store, exports| match &exports.log {
            Some(log) => log.call(store, context),
            None => Ok(()),
        });
        if logged.is_ok() {
            // A trap ends the instance, context and all.
            let _ended = self.call(context, "proxy_on_delete", |store, exports| match &exports.delete {
                Some(delete) => delete.call(store, context),
                None => Ok(()),
            });
        }
        if let Some(running) = &mut *self.running.borrow_mut() {
            running.store.data_mut().remove_context(context);
        }
    }

    /// Finishes a context that has lingered for long enough.
    fn finish_lingering(self: &Rc<Self>, context: u32) {
        let lingers = match &*self.running.borrow() {
            Some(running) => running.store.data().lingers(context),
            None => false,
        };
        if lingers {
            self.finish(context);
        }
    }

    /// Finishes all contexts that linger.
    pub(super) fn finish_all(self: &Rc<Self>) {
        let lingering = match &*self.running.borrow() {
            Some(running) => running.store.data().lingering(),
            None => return,
        };
        for context in lingering {
            self.finish(context);
        }
    }

    fn on_tick(self: &Rc<Self>) -> Result<(), Fault> {
        self.call(ROOT, "proxy_on_tick", |store, exports| match &exports.tick {
            Some(tick) => tick.call(store, ROOT),
            None => Ok(()),
        })
    }

    fn on_queue_ready(self: &Rc<Self>, queue: u32) -> Result<(), Fault> {
        self.call(ROOT, "proxy_on_queue_ready", |store, exports| match &exports.queue_ready {
            Some(ready) => ready.call(store, (ROOT, queue)),
            None => Ok(()),
        })
    }

    /// What came of a call of its own.
    fn on_call_response(self: &Rc<Self>, token: u32, response: CallResponse, member: Option<&Rc<Member>>) {
        if let Some(member) = member {
            member.call_ends();
        }
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let fields = response.status.map_or(0, |_| count(response.headers.len() + 1));
        let (body, trailers) = (count(response.body.len()), count(response.trailers.len()));
        // What a trap means for its exchanges, they know already.
        let _ended = self.call(ROOT, "proxy_on_http_call_response", |store, exports| {
            store.data_mut().end_call();
            store.data_mut().call_response = Some(response);
            let result = match &exports.http_call_response {
                Some(callback) => callback.call(&mut *store, (ROOT, token, fields, body, trailers)),
                None => Ok(()),
            };
            store.data_mut().call_response = None;
            result
        });
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if self.running.get_mut().is_some() {
            self.plugin.stats.instance_ended();
        }
    }
}

/// Instantiates, and initialises what the guest's language needs.
fn launch(store: &mut Store<Host>) -> wasmtime::Result<Exports> {
    store.set_epoch_deadline(1);
    store.data_mut().enter(ROOT, "_initialize");
    let plugin = store.data().plugin.clone();
    let instance = plugin.module.pre.instantiate(&mut *store)?;
    let allocate = allocator(&instance, store)?;
    let memory = instance.get_memory(&mut *store, "memory");
    store.data_mut().memory = memory;
    store.data_mut().allocate = allocate;
    let exports = Exports::of(&instance, store)?;
    match initialize(&instance, store) {
        // Programs end like this when all is well.
        Err(_) if store.data().cause == Some(Cause::Exit(0)) => store.data_mut().cause = None,
        result => result?,
    }
    Ok(exports)
}

/// Creates the root context and gives it its configuration; answers the callback that refuses.
fn configure(store: &mut Store<Host>, exports: &Exports) -> wasmtime::Result<Option<&'static str>> {
    store.data_mut().enter(ROOT, "proxy_on_context_create");
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
        if callback.call(&mut *store, (ROOT, bytes))? == 0 {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Whether a call that has lasted an epoch may go on. Its CPU time counts from the first epoch's end that it meets: a call
/// that is over before costs nothing to measure.
fn look_at_clock(host: &mut Host) -> UpdateDeadline {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let now = std::time::Duration::try_from(now).unwrap_or_default();
    match host.cpu_since {
        None => host.cpu_since = Some(now),
        Some(since) if now.saturating_sub(since) + EPOCH > host.time_max => {
            host.cause = Some(Cause::Time);
            return UpdateDeadline::Interrupt;
        }
        Some(_) => {}
    }
    UpdateDeadline::Continue(1)
}

/// A context of an instance, for one exchange.
pub(super) struct Stream {
    instance: Rc<Instance>,
    context: u32,
}

impl Stream {
    pub(super) fn begin(instance: Rc<Instance>, member: &Rc<Member>) -> Result<Self, Fault> {
        let context = instance.begin(member)?;
        Ok(Self { instance, context })
    }

    /// What a callback for a part of a message has answered.
    fn answered(&self, size: u32, end: u32, answer: u32) -> Action {
        let action = if answer == ACTION_PAUSE { Action::Pause } else { Action::Continue };
        if let Some(journal) = self.instance.journal() {
            journal.was_about(Part { size, end: end != 0, action });
        }
        action
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
        let (context, fields, end) = (self.context, count(fields), u32::from(end));
        let name = name_of(direction, ["proxy_on_request_headers", "proxy_on_response_headers"]);
        let answer = self.instance.call(context, name, |store, exports| match exports.head(direction) {
            Some(HeadCallback::WithEnd(callback)) => callback.call(store, (context, fields, end)),
            Some(HeadCallback::WithoutEnd(callback)) => callback.call(store, (context, fields)),
            None => Ok(0),
        });
        answer.map(|answer| self.answered(fields, end, answer))
    }

    fn on_body(&self, direction: Direction, bytes: usize, end: bool) -> Result<Action, Fault> {
        let (context, bytes, end) = (self.context, count(bytes), u32::from(end));
        let name = name_of(direction, ["proxy_on_request_body", "proxy_on_response_body"]);
        let answer = self.instance.call(context, name, |store, exports| match exports.body(direction) {
            Some(callback) => callback.call(store, (context, bytes, end)),
            None => Ok(0),
        });
        answer.map(|answer| self.answered(bytes, end, answer))
    }

    fn on_trailers(&self, direction: Direction, fields: usize) -> Result<Action, Fault> {
        let (context, fields) = (self.context, count(fields));
        let name = name_of(direction, ["proxy_on_request_trailers", "proxy_on_response_trailers"]);
        let answer = self.instance.call(context, name, |store, exports| match exports.trailers(direction) {
            Some(callback) => callback.call(store, (context, fields)),
            None => Ok(0),
        });
        answer.map(|answer| self.answered(fields, 1, answer))
    }

    fn on_end(&self) {
        self.instance.leave(self.context);
    }
}
