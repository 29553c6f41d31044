//! A plugin with one configuration: the filter of one or more routes.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::instance::{Instance, Stream};
use super::journal::Journal;
use super::local::{instance_of, journal_of};
use super::log::Sink;
use super::module::LinkedModule;
use super::plugin_metrics::PluginMetrics;
use super::services::Services;
use super::shared::SharedVm;
use crate::config::{FilterSettings, OnError, OnHeadersPause};
use crate::files::FileMark;
use crate::filter::{Callbacks, Fault, Filter, Interests, Member, Policy};
use crate::metrics::FilterStats;
use crate::warn_limit::OccasionalByReason;

/// How often the log says that a plugin fails.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// A compiled plugin and its configuration. The same on two routes with two configurations is two of these, of one module.
pub(crate) struct Plugin {
    /// No other one's.
    pub(super) id: u64,
    pub(super) settings: FilterSettings,
    /// The content of the module's file.
    mark: FileMark,
    pub(super) module: Arc<LinkedModule>,
    pub(super) stats: Arc<FilterStats>,
    pub(super) metrics: Arc<PluginMetrics>,
    pub(super) vm: Arc<SharedVm>,
    pub(super) warned: OccasionalByReason,
    configuration: Bytes,
    policy: Policy,
    interests: Interests,
    reasons: [&'static str; Fault::ALL.len()],
    services: Arc<Services>,
    /// No configuration has it any more: no worker keeps an instance of it for later.
    retired: AtomicBool,
}

impl Plugin {
    pub(super) fn new(
        settings: FilterSettings,
        mark: FileMark,
        module: Arc<LinkedModule>,
        services: &Arc<Services>,
    ) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let reason = |fault: Fault| lasting(format!("filter.{}.{}", settings.name, fault.name()));
        Arc::new(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            mark,
            stats: services.stats_of(&settings.name),
            metrics: services.metrics.of(&settings.name),
            vm: services.shared.vm(&settings.vm_id),
            warned: OccasionalByReason::every(WARN_EVERY),
            configuration: settings.config.clone().into(),
            policy: policy(&settings),
            interests: interests(&settings, module.interests),
            reasons: Fault::ALL.map(reason),
            services: services.clone(),
            retired: AtomicBool::new(false),
            module,
            settings,
        })
    }

    /// Whether it is what these settings and this content of the module's file would make.
    pub(super) fn is_of(&self, settings: &FilterSettings, mark: FileMark) -> bool {
        self.mark == mark && self.settings == *settings
    }

    pub(super) fn mark(&self) -> FileMark {
        self.mark
    }

    /// What the plugin is given as its configuration.
    pub(super) fn configuration(&self) -> Bytes {
        self.configuration.clone()
    }

    pub(super) fn services(&self) -> &Services {
        &self.services
    }

    /// Whether there is an upstream of this name.
    pub(super) fn can_call(&self, upstream: &str) -> bool {
        self.services.can_call(upstream)
    }

    /// Starts it once, beside everything that serves: whatever it shares, it shares with nobody.
    ///
    /// # Errors
    /// Why it does not start, and what it has to say about that.
    pub(super) fn try_out(&self) -> Result<(), String> {
        let scratch = Arc::new(Services::trial());
        let trial = Self::new(self.settings.clone(), self.mark, self.module.clone(), &scratch);
        let journal = Rc::new(Journal::default());
        Instance::start(&trial, Sink::Kept(journal.clone())).map(drop).map_err(|error| {
            let mut lines = vec![error.what];
            lines.extend(journal.lines().into_iter().map(|said| format!("it said: {said}")));
            lines.join("\n")
        })
    }

    /// No configuration has it any more.
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
        self.stats.failed(fault.name());
        let limit = || match fault {
            Fault::Pause => {
                format!("held a message back for longer than `limits.pause`, {:?}", self.settings.pause)
            }
            Fault::Body => {
                format!("held back more of a body than `limits.body`, {} bytes", self.settings.body_bytes_max)
            }
            fault => fault.name().to_owned(),
        };
        if let Some(journal) = journal_of(self) {
            journal.fault(fault, limit());
        } else if let Some(held_back) = self.warned.passes(fault.name()) {
            let (filter, reason, limit) = (&*self.settings.name, fault.name(), limit());
            tracing::error!(filter, reason, held_back, "filter failed: {limit}");
        }
    }

    fn begin(self: Arc<Self>, member: &Rc<Member>) -> Result<Box<dyn Callbacks>, Fault> {
        let instance = instance_of(&self)?;
        Ok(Box::new(Stream::begin(instance, member)?))
    }
}

fn policy(settings: &FilterSettings) -> Policy {
    Policy {
        fails_open: settings.on_error == OnError::Open,
        body_while_head_held: settings.on_headers_pause == OnHeadersPause::ContinueBody,
        decode: settings.decode,
        body_bytes_max: settings.body_bytes_max,
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

/// A text that lives as long as the program: reasons are passed around by every request, and their number is that of the
/// names which filters have ever had.
fn lasting(text: String) -> &'static str {
    static TEXTS: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = texts.get(text.as_str()) {
        return known;
    }
    let text: &'static str = Box::leak(text.into_boxed_str());
    texts.insert(text);
    text
}
