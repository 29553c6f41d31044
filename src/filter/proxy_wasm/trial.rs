//! The trial of a plugin before it serves: one start, with nothing shared.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::instance::{Instance, StartError};
use super::log::Sink;
use super::plugin::Plugin;
use super::services::Services;
use crate::config::{ByteSize, FilterSettings};
use crate::filter::Fault;
use crate::filter::engine::limit::thread_cpu_time;
use crate::filter::proxy_wasm::offline::journal::Journal;

/// The memory of a start that is measured, as a multiple of `limits.memory` and as a minimum. A plugin that needs more
/// has not just a tight limit, and the memory belongs to the serving process.
const MEASURED_MEMORY_TIMES: usize = 4;
const MEASURED_MEMORY_MIN: usize = 64 << 20;

/// The time of a start that is measured, as a multiple of `limits.start` and as a minimum.
const MEASURED_START_TIMES: u32 = 4;
const MEASURED_START_MIN: Duration = Duration::from_millis(500);

/// Starts the plugin once in isolation, with no state shared with serving instances.
///
/// # Errors
/// Returns the reason why it does not start, with advice and the lines that it logged.
pub(super) fn try_out(plugin: &Plugin) -> Result<(), String> {
    let journal = Rc::new(Journal::default());
    trial(plugin, plugin.settings.clone(), &journal).map(drop).map_err(|error| {
        let mut lines = vec![error.what];
        lines.extend(advice(plugin, error.fault));
        lines.extend(journal.lines().into_iter().map(|said| format!("it said: {said}")));
        lines.join("\n")
    })
}

/// Starts an instance that shares nothing with the others.
fn trial(
    plugin: &Plugin,
    settings: FilterSettings,
    journal: &Rc<Journal>,
) -> Result<Rc<Instance>, StartError> {
    let scratch = Arc::new(Services::trial());
    let trial = Plugin::new(settings, plugin.mark(), plugin.module.clone(), &scratch);
    Instance::start(&trial, Sink::Kept(journal.clone()))
}

/// Returns a suggestion for a limit that a start has exceeded. To find it, starts the plugin again with higher
/// limits and measures.
fn advice(plugin: &Plugin, fault: Fault) -> Option<String> {
    if !matches!(fault, Fault::Memory | Fault::Time) {
        return None;
    }
    let mut generous = plugin.settings.clone();
    generous.memory_bytes_max =
        generous.memory_bytes_max.saturating_mul(MEASURED_MEMORY_TIMES).max(MEASURED_MEMORY_MIN);
    generous.start = generous.start.saturating_mul(MEASURED_START_TIMES).max(MEASURED_START_MIN);
    let (memory_max, start_max) = (whole_mebibytes(generous.memory_bytes_max as u64), generous.start);
    let began = thread_cpu_time();
    let started = trial(plugin, generous, &Rc::default());
    let took = thread_cpu_time().saturating_sub(began);
    let Ok(instance) = started else {
        return Some(format!("with {memory_max} of memory and {start_max:?} it does not start either"));
    };
    let (memory, mut keys) = (instance.memory_bytes(), Vec::new());
    if memory > plugin.settings.memory_bytes_max {
        keys.push(format!("memory: {}", whole_mebibytes(memory as u64)));
    }
    if took > plugin.settings.start {
        keys.push(format!("start: {}ms", (took * 2).as_millis().next_multiple_of(100)));
    }
    let need = format!(
        "a start needs {} of memory and {} ms of CPU time",
        ByteSize::from_bytes(memory as u64),
        took.as_millis()
    );
    // A busy machine may have been the only reason.
    Some(if keys.is_empty() { need } else { format!("{need}: write `limits: {{ {} }}`", keys.join(", ")) })
}

/// Returns a size rounded up to whole mebibytes, as people write it.
pub(super) fn whole_mebibytes(bytes: u64) -> ByteSize {
    ByteSize::from_bytes(bytes.div_ceil(1 << 20) << 20)
}
