//! A plugin with one configuration: the filter of one or more routes.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::instance::{Instance, StartError, Stream, thread_cpu_time};
use super::local::{instance_of, journal_of};
use super::log::{Sink, escaped};
use super::plugin_metrics::PluginMetrics;
use super::plugins::whole_mebibytes;
use super::services::Services;
use super::shared::SharedVm;
use crate::config::load::files::FileMark;
use crate::config::{ByteSize, FilterSettings, OnError, OnHeadersPause};
use crate::filter::proxy_wasm::module::LinkedModule;
use crate::filter::proxy_wasm::offline::journal::Journal;
use crate::filter::{Callbacks, Fault, Filter, FilterContext, Interests, Policy};
use crate::observe::metrics::FilterStats;
use crate::observe::rate_limited_warning::RateLimitedWarnings;

/// The interval at which the log reports that a plugin fails.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// The memory of a start that is measured, as a multiple of `limits.memory` and as a minimum. A plugin that needs more
/// has not just a tight limit, and the memory belongs to the serving process.
const MEASURED_MEMORY_TIMES: usize = 4;
const MEASURED_MEMORY_MIN: usize = 64 << 20;

/// The time of a start that is measured, as a multiple of `limits.start` and as a minimum.
const MEASURED_START_TIMES: u32 = 4;
const MEASURED_START_MIN: Duration = Duration::from_millis(500);

/// A compiled plugin and its configuration. The same module with two configurations on two routes makes two plugins.
pub(crate) struct Plugin {
    /// A unique number.
    pub(super) id: u64,
    pub(super) settings: FilterSettings,
    /// The content of the module's file.
    mark: FileMark,
    pub(super) module: Arc<LinkedModule>,
    pub(super) stats: Arc<FilterStats>,
    pub(super) metrics: Arc<PluginMetrics>,
    pub(super) vm: Arc<SharedVm>,
    pub(super) warned: RateLimitedWarnings,
    configuration: Bytes,
    policy: Policy,
    interests: Interests,
    reasons: [&'static str; Fault::ALL.len()],
    services: Arc<Services>,
    /// No configuration contains the plugin any more, so workers keep no instance of it.
    retired: AtomicBool,
    /// An unknown callback result has already been logged.
    answered_unknown: AtomicBool,
}

impl Plugin {
    pub(super) fn new(
        settings: FilterSettings,
        mark: FileMark,
        module: Arc<LinkedModule>,
        services: &Arc<Services>,
    ) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let reason = |fault: Fault| intern(format!("filter.{}.{}", settings.name, fault.name()));
        Arc::new(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            mark,
            stats: services.stats_of(&settings.name),
            metrics: services.metrics.of(&settings.name),
            vm: services.shared.vm(&settings.vm_id),
            warned: RateLimitedWarnings::every(WARN_EVERY),
            configuration: settings.config.clone().into(),
            policy: policy(&settings),
            interests: interests(&settings, module.interests),
            reasons: Fault::ALL.map(reason),
            services: services.clone(),
            retired: AtomicBool::new(false),
            answered_unknown: AtomicBool::new(false),
            module,
            settings,
        })
    }

    /// Returns true if the same settings and the same content of the module's file would build this plugin.
    pub(super) fn is_of(&self, settings: &FilterSettings, mark: FileMark) -> bool {
        self.mark == mark && self.settings == *settings
    }

    pub(super) fn mark(&self) -> FileMark {
        self.mark
    }

    /// Returns the configuration that the plugin is given.
    pub(super) fn configuration(&self) -> Bytes {
        self.configuration.clone()
    }

    pub(super) fn services(&self) -> &Services {
        &self.services
    }

    /// Returns true if a call to an upstream of this name can begin.
    pub(super) fn can_call(&self, upstream: &str) -> bool {
        self.services.can_call(upstream)
    }

    /// Starts the plugin once in isolation, with no state shared with serving instances.
    ///
    /// # Errors
    /// Returns the reason why it does not start, with advice and the lines that it logged.
    pub(super) fn try_out(&self) -> Result<(), String> {
        let journal = Rc::new(Journal::default());
        self.trial(self.settings.clone(), &journal).map(drop).map_err(|error| {
            let mut lines = vec![error.what];
            lines.extend(self.advice(error.fault));
            lines.extend(journal.lines().into_iter().map(|said| format!("it said: {said}")));
            lines.join("\n")
        })
    }

    /// Counts a fault, and logs it at a limited rate.
    pub(super) fn fails(&self, fault: Fault, what: impl FnOnce() -> String) {
        self.stats.failed(fault.name());
        if let Some(journal) = journal_of(self) {
            journal.fault(fault, what());
        } else if let Some(suppressed) = self.warned.passes(fault.name()) {
            let (filter, reason, what) = (&*self.settings.name, fault.name(), what());
            tracing::error!(filter, reason, suppressed, "filter failed: {what}");
        }
    }

    /// Logs that a callback returned a number that the ABI does not define. This is logged once, because such a plugin
    /// does so for every message.
    #[cold]
    pub(super) fn answers_unknown(&self, callback: &'static str, answer: u32) {
        if let Some(journal) = journal_of(self) {
            journal.note(format!("the result {answer} is unknown in this ABI: it counts as a pause"));
        } else if !self.answered_unknown.swap(true, Ordering::Relaxed) {
            let filter = &*self.settings.name;
            tracing::warn!(
                filter,
                callback,
                answer,
                "filter `{filter}`: `{callback}` returned {answer}, which is unknown in this ABI and counts as a pause"
            );
        }
    }

    /// Logs that a call names an upstream that the configuration does not have.
    #[cold]
    pub(super) fn calls_unknown_upstream(&self, upstream: &str) {
        if let Some(suppressed) = self.warned.passes("unknown upstream") {
            let (filter, upstream) = (&*self.settings.name, escaped(upstream));
            tracing::warn!(
                filter,
                suppressed,
                "filter `{filter}` calls upstream `{upstream}`, which the configuration does not have: add it to `upstreams`"
            );
        }
    }

    /// Starts an instance that shares nothing with the others.
    fn trial(&self, settings: FilterSettings, journal: &Rc<Journal>) -> Result<Rc<Instance>, StartError> {
        let scratch = Arc::new(Services::trial());
        let trial = Self::new(settings, self.mark, self.module.clone(), &scratch);
        Instance::start(&trial, Sink::Kept(journal.clone()))
    }

    /// Returns a suggestion for a limit that a start has exceeded. To find it, starts the plugin again with higher
    /// limits and measures.
    fn advice(&self, fault: Fault) -> Option<String> {
        if !matches!(fault, Fault::Memory | Fault::Time) {
            return None;
        }
        let mut generous = self.settings.clone();
        generous.memory_bytes_max =
            generous.memory_bytes_max.saturating_mul(MEASURED_MEMORY_TIMES).max(MEASURED_MEMORY_MIN);
        generous.start = generous.start.saturating_mul(MEASURED_START_TIMES).max(MEASURED_START_MIN);
        let (memory_max, start_max) = (whole_mebibytes(generous.memory_bytes_max as u64), generous.start);
        let began = thread_cpu_time();
        let started = self.trial(generous, &Rc::default());
        let took = thread_cpu_time().saturating_sub(began);
        let Ok(instance) = started else {
            return Some(format!("with {memory_max} of memory and {start_max:?} it does not start either"));
        };
        let (memory, mut keys) = (instance.memory_bytes(), Vec::new());
        if memory > self.settings.memory_bytes_max {
            keys.push(format!("memory: {}", whole_mebibytes(memory as u64)));
        }
        if took > self.settings.start {
            keys.push(format!("start: {}ms", (took * 2).as_millis().next_multiple_of(100)));
        }
        let need = format!(
            "a start needs {} of memory and {} ms of CPU time",
            ByteSize::from_bytes(memory as u64),
            took.as_millis()
        );
        // A busy machine may have been the only reason.
        Some(if keys.is_empty() {
            need
        } else {
            format!("{need}: write `limits: {{ {} }}`", keys.join(", "))
        })
    }

    /// Marks the plugin as no longer part of any configuration.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }
}

impl Filter for Plugin {
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
        self.fails(fault, || match fault {
            Fault::Pause => {
                format!("held a message back for longer than `limits.pause`, {:?}", self.settings.pause)
            }
            Fault::Body => {
                format!("held back more of a body than `limits.body`, {} bytes", self.settings.body_bytes_max)
            }
            fault => fault.name().to_owned(),
        });
    }

    fn begin(self: Arc<Self>, context: &Rc<FilterContext>) -> Result<Box<dyn Callbacks>, Fault> {
        let instance = instance_of(&self)?;
        Ok(Box::new(Stream::begin(instance, context)?))
    }
}

fn policy(settings: &FilterSettings) -> Policy {
    Policy {
        fails_open: settings.on_error == OnError::Open,
        body_while_head_held: settings.on_headers_pause == OnHeadersPause::ContinueBody,
        sees_local_responses: settings.local_responses,
        decode: settings.decode,
        body_bytes_max: settings.body_bytes_max,
        output_bytes_max: settings.output_bytes_max,
        pause: settings.pause,
    }
}

fn interests(settings: &FilterSettings, has: Interests) -> Interests {
    let bodies = settings.bodies;
    Interests {
        request_body: has.request_body && bodies,
        request_trailers: has.request_trailers && bodies,
        response_body: has.response_body && bodies,
        response_trailers: has.response_trailers && bodies,
        ..has
    }
}

/// Returns a copy of a text that lives as long as the program. Every request passes reasons around, and their number is
/// bounded by the filter names ever used.
fn intern(text: String) -> &'static str {
    static TEXTS: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = texts.get(text.as_str()) {
        return known;
    }
    let text: &'static str = Box::leak(text.into_boxed_str());
    texts.insert(text);
    text
}
