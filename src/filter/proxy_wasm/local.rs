//! The instances of this worker.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;

use super::instance::Instance;
use super::log::Sink;
use super::plugin::Plugin;
use crate::config::Isolation;
use crate::filter::proxy_wasm::offline::journal::Journal;
use crate::filter::{Fault, Filter as _};

/// How long after a start that failed the next one is tried, at first and at most.
const BACKOFF: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(30)];

thread_local! {
    /// By the plugin's number.
    static INSTANCES: RefCell<HashMap<u64, Slot, FixedState>> = RefCell::default();
}

enum Slot {
    Running(Rc<Instance>),
    /// No start is tried before then.
    Failed {
        until: Instant,
        wait: Duration,
    },
}

/// The instance for the next exchange: the one that this worker has, or a new one.
///
/// # Errors
/// None can be started, or none could a moment ago. That is the only case in which a plugin is left alone for a while:
/// nothing that a request does brings it about.
pub(super) fn instance_of(plugin: &Arc<Plugin>) -> Result<Rc<Instance>, Fault> {
    if plugin.settings.isolation == Isolation::Request || plugin.is_retired() {
        return existing(plugin).map_or_else(|| start(plugin), Ok);
    }
    INSTANCES.with_borrow_mut(|instances| {
        let wait = match instances.get(&plugin.id) {
            Some(Slot::Running(instance)) if !instance.is_dead() => return Ok(instance.clone()),
            Some(Slot::Failed { until, .. }) if Instant::now() < *until => {
                plugin.failed(Fault::Start);
                return Err(Fault::Start);
            }
            Some(Slot::Failed { wait, .. }) => wait.saturating_mul(2).min(BACKOFF[1]),
            Some(Slot::Running(_)) | None => BACKOFF[0],
        };
        match start(plugin) {
            Ok(instance) => {
                instances.insert(plugin.id, Slot::Running(instance.clone()));
                Ok(instance)
            }
            Err(fault) => {
                instances.insert(plugin.id, Slot::Failed { until: Instant::now() + wait, wait });
                Err(fault)
            }
        }
    })
}

/// Has this thread serve a plugin by an instance that somebody else started.
pub(super) fn place(instance: &Rc<Instance>) {
    INSTANCES
        .with_borrow_mut(|instances| instances.insert(instance.plugin.id, Slot::Running(instance.clone())));
}

/// Lets go of the instance of a plugin.
pub(super) fn forget(plugin: &Plugin) {
    drop(INSTANCES.with_borrow_mut(|instances| instances.remove(&plugin.id)));
}

/// What is kept of what the instance of a plugin does, where that is.
pub(super) fn journal_of(plugin: &Plugin) -> Option<Rc<Journal>> {
    // Instances of a worker, which are borrowed while one starts, have none.
    INSTANCES.with(|instances| match instances.try_borrow().ok()?.get(&plugin.id) {
        Some(Slot::Running(instance)) => instance.journal().cloned(),
        _ => None,
    })
}

/// The one that a worker has of a plugin, if there is one at work.
fn existing(plugin: &Plugin) -> Option<Rc<Instance>> {
    INSTANCES.with_borrow(|instances| match instances.get(&plugin.id) {
        Some(Slot::Running(instance)) if !instance.is_dead() => Some(instance.clone()),
        _ => None,
    })
}

fn start(plugin: &Arc<Plugin>) -> Result<Rc<Instance>, Fault> {
    Instance::start(plugin, Sink::Log).map_err(|error| {
        let fault = if error.fault == Fault::Instances { Fault::Instances } else { Fault::Start };
        plugin.stats.failed(fault.name());
        if let Some(suppressed) = plugin.warned.passes(fault.name()) {
            let filter = &*plugin.settings.name;
            tracing::error!(filter, suppressed, "the filter cannot be started: {}", error.what);
        }
        fault
    })
}

/// Starts what this worker has no instance of yet, so that no request has to wait for that; and lets go of the instances of
/// plugins that are not among these. Requests that use them keep them to their end.
pub(crate) async fn keep_instances(plugins: &[Arc<Plugin>]) {
    let dropped: Vec<Slot> = INSTANCES.with_borrow_mut(|instances| {
        let gone: Vec<u64> =
            instances.keys().filter(|id| !plugins.iter().any(|plugin| plugin.id == **id)).copied().collect();
        gone.iter().filter_map(|id| instances.remove(id)).collect()
    });
    drop(dropped);
    start_instances(plugins).await;
}

/// Starts what this worker has no instance of yet. A start runs to its end on this thread; between two, others have a turn.
pub(crate) async fn start_instances(plugins: &[Arc<Plugin>]) {
    for plugin in plugins.iter().filter(|plugin| plugin.settings.isolation == Isolation::Worker) {
        // What went wrong is in the log.
        drop(instance_of(plugin));
        tokio::task::yield_now().await;
    }
}

/// Ends this worker's instances, which have an end to come to as long as the worker's own things are there.
pub(crate) fn end_instances() {
    for slot in INSTANCES.take().into_values() {
        if let Slot::Running(instance) = slot {
            // Contexts that are waited for have their last word now.
            instance.finish_all();
        }
    }
}
