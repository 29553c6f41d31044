//! What an instance has under way besides its callbacks: ticks, queues, calls, contexts that are not done yet.

use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::Instance;
use crate::upstream::{self, CallLimits, OwnResponse};
use crate::wasm::host::{CallResponse, OutgoingCall};

/// Tasks that end with their instance.
#[derive(Default)]
pub(super) struct Tasks {
    ticks: Option<AbortHandle>,
    queues: Option<AbortHandle>,
}

impl Tasks {
    pub(super) fn end(&mut self) {
        for task in self.ticks.take().into_iter().chain(self.queues.take()) {
            task.abort();
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.end();
    }
}

/// Whether there is a worker that tasks could run on. An instance that is only tried has none.
fn is_live(instance: &Instance) -> bool {
    instance.running.borrow().as_ref().is_some_and(|running| running.store.data().is_live)
}

/// Ticks in an interval from now on.
pub(super) fn tick(instance: &Rc<Instance>, period: Option<Duration>) {
    if !is_live(instance) {
        return;
    }
    let ticks = period.map(|period| {
        let instance = Rc::downgrade(instance);
        let ticking = async move {
            let mut ticks = interval_at(Instant::now() + period, period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let Some(instance) = instance.upgrade() else { return };
                if instance.on_tick().is_err() {
                    return;
                }
            }
        };
        spawn_local(ticking).abort_handle()
    });
    if let Some(before) = std::mem::replace(&mut instance.tasks.borrow_mut().ticks, ticks) {
        before.abort();
    }
}

/// Tells the instance of what comes into the queues that it has registered.
pub(super) fn listen(instance: &Rc<Instance>) {
    let bell = match &*instance.running.borrow() {
        Some(running) if running.exports.queue_ready.is_some() => running.store.data().bell.clone(),
        _ => return,
    };
    if !is_live(instance) {
        return;
    }
    let waiting = Rc::downgrade(instance);
    let listening = async move {
        loop {
            let queues = bell.rung().await;
            let Some(instance) = waiting.upgrade() else { return };
            for (queue, entries) in queues {
                // Once for each, as in other hosts: guests take one at a time.
                for _ in 0..entries {
                    if !instance.plugin.services().shared.has_entries(queue) {
                        break;
                    }
                    if instance.on_queue_ready(queue).is_err() {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
            }
        }
    };
    instance.tasks.borrow_mut().queues = Some(spawn_local(listening).abort_handle());
}

/// Finishes a context, unless it says before that it is done.
pub(super) fn finish_later(instance: &Rc<Instance>, context: u32) {
    if !is_live(instance) {
        return instance.finish_lingering(context);
    }
    let (patience, waiting) = (instance.plugin.settings.pause, instance.clone());
    // It holds the instance: the context has a word to say yet.
    spawn_local(async move {
        tokio::time::sleep(patience).await;
        waiting.finish_lingering(context);
    });
}

/// Makes a request of the guest's own. The answer comes in any case, be it that there is none.
pub(super) fn call(instance: &Rc<Instance>, call: OutgoingCall) {
    if !is_live(instance) {
        return;
    }
    let weak = Rc::downgrade(instance);
    spawn_local(async move {
        let (token, member) = (call.token, call.member.clone());
        let response = send(&weak, call).await.unwrap_or_default();
        match weak.upgrade() {
            Some(instance) => instance.on_call_response(token, response, member.as_ref()),
            // The exchange waits for nobody any more.
            None => {
                if let Some(member) = member {
                    member.call_ends();
                }
            }
        }
    });
}

async fn send(instance: &Weak<Instance>, call: OutgoingCall) -> Option<CallResponse> {
    let (callee, body_bytes_max, filter) = {
        let instance = instance.upgrade()?;
        let plugin = &instance.plugin;
        (
            plugin.services().callee(&call.upstream)?,
            plugin.settings.body_bytes_max,
            plugin.settings.name.clone(),
        )
    };
    let limits = CallLimits {
        timeouts: &callee.timeouts,
        done_by: Instant::now() + call.timeout,
        body_bytes_max,
        keep_alive: callee.keep_alive,
    };
    match upstream::call(&callee.upstream, &call.request, limits).await {
        Ok(OwnResponse { status, headers, body, trailers }) => {
            Some(CallResponse { status: Some(status), headers, body, trailers: trailers.unwrap_or_default() })
        }
        Err(error) => {
            tracing::debug!(filter, upstream = call.upstream, "a filter's call failed: {error}");
            None
        }
    }
}
