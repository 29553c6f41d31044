//! Background work of an instance: ticks, queues, calls, and contexts that are not done yet.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::Instance;
use crate::config::Isolation;
use crate::filter::proxy_wasm::calls::{CallResponse, OutgoingCall};
use crate::filter::proxy_wasm::local::instance_of;
use crate::filter::proxy_wasm::offline::played::{CallOutcome, PlayedCall, UpstreamCall};
use crate::filter::proxy_wasm::plugin::Plugin;
use crate::filter::proxy_wasm::services::CallableUpstream;
use crate::net::clock;
use crate::net::drain::is_cut_off;
use crate::upstream::{self, CallLimits, OwnResponse};

/// Tasks that end with their instance.
#[derive(Default)]
pub(super) struct Tasks {
    ticks: Option<AbortHandle>,
    queues: Option<AbortHandle>,
}

impl Tasks {
    /// Aborts the tasks. Returns true if there were any.
    pub(super) fn end(&mut self) -> bool {
        let tasks: Vec<AbortHandle> = self.ticks.take().into_iter().chain(self.queues.take()).collect();
        tasks.iter().for_each(AbortHandle::abort);
        !tasks.is_empty()
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        let _had_any = self.end();
    }
}

/// The delay after which an instance that had ticks or queues is replaced, unless a request needs one earlier.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// Starts a replacement for an instance that ended, after a delay.
pub(super) fn restart_later(plugin: &Arc<Plugin>) {
    let is_kept = plugin.settings.isolation == Isolation::Worker && !plugin.is_retired();
    if is_cut_off() || !is_kept {
        return;
    }
    let plugin = Arc::downgrade(plugin);
    spawn_local(async move {
        tokio::time::sleep(RESTART_AFTER).await;
        if let Some(plugin) = plugin.upgrade().filter(|plugin| !plugin.is_retired()) {
            // A failure is logged, and the next request tries again.
            drop(instance_of(&plugin));
        }
    });
}

/// Returns true if the worker can run tasks for the instance. An instance on trial has no worker, and a worker that
/// ends polls no more tasks.
pub(super) fn is_live(instance: &Instance) -> bool {
    !is_cut_off() && instance.host(|host| host.is_live) == Some(true)
}

/// Starts ticking at an interval.
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

/// Notifies the instance of entries in the queues that it has registered.
pub(super) fn listen(instance: &Rc<Instance>) {
    if instance.exports.queue_ready.is_none() || !is_live(instance) {
        return;
    }
    let Some(notifier) = instance.host(|host| host.notifier.clone()) else { return };
    let waiting = Rc::downgrade(instance);
    let listening = async move {
        loop {
            let queues = notifier.notified().await;
            let Some(instance) = waiting.upgrade() else { return };
            for (queue, entries) in queues {
                // One callback for each entry, as in other hosts: guests take one at a time.
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

/// Finishes a context after a delay, unless the guest reports earlier that it is done.
pub(super) fn finish_later(instance: &Rc<Instance>, context: u32) {
    if !is_live(instance) {
        return instance.finish_lingering(context);
    }
    // The context keeps the instance alive, as it has callbacks left to run. The task ends with the context.
    let (patience, waiting) = (instance.plugin.settings.pause, Rc::downgrade(instance));
    let task = spawn_local(async move {
        tokio::time::sleep(patience).await;
        if let Some(instance) = waiting.upgrade() {
            instance.finish_lingering(context);
        }
    });
    instance.host(|host| host.ends_by(context, task.abort_handle()));
}

/// Sends a request of the guest's own. The guest always gets a response callback, even if no response arrived.
pub(super) fn call(instance: &Rc<Instance>, call: OutgoingCall) {
    if !is_live(instance) {
        return;
    }
    let plugin = instance.plugin.clone();
    let played =
        plugin.services().played().map(|played| played.answer(&call, plugin.settings.body_bytes_max));
    if let (Some(journal), Some(played)) = (instance.journal(), &played) {
        journal.calls(call_entry(&call, played.outcome));
    }
    let (weak, callable) = (Rc::downgrade(instance), plugin.services().callable(&call.upstream));
    spawn_local(async move {
        let response = match (played, callable) {
            (Some(PlayedCall { after, response, .. }), _) => {
                if !after.is_zero() {
                    tokio::time::sleep(after).await;
                }
                response
            }
            (None, Some(callable)) => send(&plugin, &callable, &call).await.unwrap_or_default(),
            (None, None) => CallResponse::default(),
        };
        let OutgoingCall { token, request, filter_context, held, .. } = call;
        drop((request, held));
        // The response keeps neither alive: an exchange that is over does not wait for one.
        let filter_context = filter_context.and_then(|filter_context| filter_context.upgrade());
        match (weak.upgrade(), filter_context) {
            (Some(instance), filter_context) => {
                instance.on_call_response(token, response, filter_context.as_ref())
            }
            (None, Some(filter_context)) => filter_context.call_ends(),
            (None, None) => {}
        }
    });
}

/// Describes a call for the journal.
fn call_entry(call: &OutgoingCall, outcome: CallOutcome) -> UpstreamCall {
    UpstreamCall {
        upstream: call.upstream.clone(),
        line: call.request.line(),
        headers: call.request.headers().clone().into(),
        body: call.request.body().clone(),
        timeout: call.timeout,
        outcome,
    }
}

async fn send(plugin: &Plugin, callable: &CallableUpstream, call: &OutgoingCall) -> Option<CallResponse> {
    let limits = CallLimits {
        timeouts: &callable.timeouts,
        done_by: Some(clock::now() + call.timeout),
        body_bytes_max: plugin.settings.body_bytes_max,
        keep_alive: callable.keep_alive,
        header_case: callable.header_case,
    };
    match upstream::call(&callable.upstream, &call.request, limits).await {
        Ok(OwnResponse { status, headers, body, trailers }) => {
            Some(CallResponse { status: Some(status), headers, body, trailers: trailers.unwrap_or_default() })
        }
        Err(error) => {
            let filter = &*plugin.settings.name;
            tracing::debug!(filter, upstream = call.upstream, "a filter's call failed: {error}");
            None
        }
    }
}
