//! A plugin with one configuration: the filter of one or more routes.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use wasmtime::InstancePre;

use super::host::Host;
use super::log::escaped;
use super::plugin_metrics::PluginMetrics;
use super::services::Services;
use super::shared::SharedVm;
use crate::config::load::files::FileMark;
use crate::config::{FilterSettings, OnError, OnHeadersPause};
use crate::filter::proxy_wasm::offline::journal::Journal;
use crate::filter::{ByDirection, Fault, Interests, PartsOfInterest, Policy};
use crate::observe::metrics::FilterStats;
use crate::observe::rate_limited_warning::RateLimitedWarnings;

/// The interval at which the log reports that a plugin fails.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// A compiled module with everything that it imports.
pub(crate) struct LinkedModule {
    pub(super) pre: InstancePre<Host>,
    /// The callbacks for exchanges that the module exports.
    pub(super) interests: Interests,
}

impl LinkedModule {
    /// Returns true if the module has a callback. `_initialize` stands for any kind of initialisation and is always
    /// present.
    pub(super) fn has(&self, callback: &str) -> bool {
        callback == "_initialize" || self.pre.module().get_export(callback).is_some()
    }
}

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
    pub(super) policy: Policy,
    pub(super) interests: Interests,
    pub(super) reasons: [&'static str; Fault::ALL.len()],
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

    /// Counts a fault, keeps it as the last one, and logs it at a limited rate; or notes it in the journal of the instance.
    pub(super) fn fails(&self, fault: Fault, journal: Option<&Rc<Journal>>, what: &str) {
        self.stats.failed(fault.name());
        if let Some(journal) = journal {
            journal.fault(fault, what);
            return;
        }
        self.stats.log().keep_failure(fault.name(), what);
        self.log_failure(fault, what);
    }

    /// Counts a request that comes before the plugin is started again, and logs this at a limited rate. The failure of the last start
    /// stays the last one, because it has the reason.
    pub(super) fn waits_to_start(&self) {
        self.stats.failed(Fault::Start.name());
        self.log_failure(Fault::Start, "it is not started again yet after a failed start");
    }

    fn log_failure(&self, fault: Fault, what: &str) {
        if let Some(suppressed) = self.warned.passes(fault.name()) {
            let (filter, reason) = (&*self.settings.name, fault.name());
            tracing::error!(filter, reason, suppressed, "filter failed: {what}");
        }
    }

    /// Logs that a callback returned a number that the ABI does not define. This is logged once, because such a plugin
    /// does so for every message.
    #[cold]
    pub(super) fn answers_unknown(&self, callback: &'static str, answer: u32, journal: Option<&Rc<Journal>>) {
        if let Some(journal) = journal {
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

    /// Logs that a gRPC call goes to an upstream that does not speak HTTP/2.
    #[cold]
    pub(super) fn calls_without_http2(&self, upstream: &str) {
        if let Some(suppressed) = self.warned.passes("grpc without http2") {
            let (filter, upstream) = (&*self.settings.name, escaped(upstream));
            tracing::warn!(
                filter,
                suppressed,
                "filter `{filter}` makes a gRPC call to upstream `{upstream}`, which does not speak HTTP/2: set `protocol: h2` in `upstreams`"
            );
        }
    }

    /// Marks the plugin as no longer part of any configuration.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
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
    let parts = |PartsOfInterest { head, body, trailers }| PartsOfInterest {
        head,
        body: body && settings.bodies,
        trailers: trailers && settings.bodies,
    };
    let ByDirection { request, response } = has.parts;
    Interests { parts: ByDirection { request: parts(request), response: parts(response) }, ..has }
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
