//! The instances of this worker.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;

use super::instance::{Instance, Stream};
use super::log::Sink;
use super::plugin::Plugin;
use crate::config::Isolation;
use crate::filter::proxy_wasm::offline::journal::Journal;
use crate::filter::{Callbacks, Fault, Filter, FilterContext, Interests, Policy};

/// The first and the longest delay before another start is tried after a failure.
const BACKOFF: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(30)];

thread_local! {
    /// Instances by the plugin's number.
    static INSTANCES: RefCell<HashMap<u64, Slot, FixedState>> = RefCell::default();
}

enum Slot {
    Running(Rc<Instance>),
    /// The time before which no start is tried.
    Failed {
        until: Instant,
        wait: Duration,
    },
}

/// Returns the instance for the next exchange: this worker's existing one, or a new one.
///
/// # Errors
/// Fails if none can be started, or if a start failed a moment ago. Only a failed start makes the gateway back off from
/// a plugin: no request can cause it.
pub(super) fn instance_of(plugin: &Arc<Plugin>) -> Result<Rc<Instance>, Fault> {
    if plugin.settings.isolation == Isolation::Request || plugin.is_retired() {
        return existing(plugin).map_or_else(|| start(plugin), Ok);
    }
    INSTANCES.with_borrow_mut(|instances| {
        let wait = match instances.get(&plugin.id) {
            Some(Slot::Running(instance)) if !instance.is_dead() => return Ok(instance.clone()),
            Some(Slot::Failed { until, .. }) if Instant::now() < *until => {
                plugin.waits_to_start();
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

/// Makes this thread serve a plugin with an instance that was started elsewhere.
pub(super) fn place(instance: &Rc<Instance>) {
    INSTANCES
        .with_borrow_mut(|instances| instances.insert(instance.plugin.id, Slot::Running(instance.clone())));
}

/// Removes the instance of a plugin.
pub(super) fn forget(plugin: &Plugin) {
    drop(INSTANCES.with_borrow_mut(|instances| instances.remove(&plugin.id)));
}

/// Returns the journal of a plugin's instance, if one is kept.
fn journal_of(plugin: &Plugin) -> Option<Rc<Journal>> {
    // Worker instances keep no journal. They are borrowed while one starts.
    INSTANCES.with(|instances| match instances.try_borrow().ok()?.get(&plugin.id) {
        Some(Slot::Running(instance)) => instance.journal().cloned(),
        _ => None,
    })
}

/// Returns the worker's running instance of a plugin, if there is one.
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
        plugin.stats.log().keep_failure(fault.name(), &error.what);
        if let Some(suppressed) = plugin.warned.passes(fault.name()) {
            let filter = &*plugin.settings.name;
            tracing::error!(filter, suppressed, "the filter cannot be started: {}", error.what);
        }
        fault
    })
}

/// Starts the instances that this worker lacks, so that no request has to wait for a start. Drops the instances of all
/// other plugins. Requests that use those keep them to their end.
pub(crate) async fn keep_instances(plugins: &[Arc<Plugin>]) {
    let dropped: Vec<Slot> = INSTANCES.with_borrow_mut(|instances| {
        let gone: Vec<u64> =
            instances.keys().filter(|id| !plugins.iter().any(|plugin| plugin.id == **id)).copied().collect();
        gone.iter().filter_map(|id| instances.remove(id)).collect()
    });
    drop(dropped);
    start_instances(plugins).await;
}

/// Starts the instances that this worker lacks. A start runs to completion on this thread; other tasks run between two
/// starts.
pub(crate) async fn start_instances(plugins: &[Arc<Plugin>]) {
    for plugin in plugins.iter().filter(|plugin| plugin.settings.isolation == Isolation::Worker) {
        // A failure is already logged.
        drop(instance_of(plugin));
        tokio::task::yield_now().await;
    }
}

/// Ends this worker's instances while the worker's other state still exists.
pub(crate) fn end_instances() {
    for slot in INSTANCES.take().into_values() {
        if let Slot::Running(instance) = slot {
            // Contexts that linger run their last callbacks now.
            instance.finish_all();
        }
    }
}

impl Filter for Plugin {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn policy(&self) -> &Policy {
        &self.policy
    }

    fn interests(&self) -> Interests {
        self.interests
    }

    fn reason(&self, fault: Fault) -> &'static str {
        self.reasons.get(fault as usize).copied().unwrap_or("filter")
    }

    fn failed(&self, fault: Fault) {
        let what = match fault {
            Fault::Pause => {
                format!("held a message back for longer than `limits.pause`, {:?}", self.settings.pause)
            }
            Fault::Body => {
                format!("held back more of a body than `limits.body`, {} bytes", self.settings.body_bytes_max)
            }
            fault => fault.name().to_owned(),
        };
        self.fails(fault, journal_of(self).as_ref(), &what);
    }

    fn begin(self: Arc<Self>, context: &Rc<FilterContext>) -> Result<Box<dyn Callbacks>, Fault> {
        let instance = instance_of(&self)?;
        Ok(Box::new(Stream::begin(instance, context)?))
    }
}
