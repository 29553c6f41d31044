//! State that the plugins of a process share across configurations.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwap;

use super::plugin_metrics::AllPluginMetrics;
use super::shared::SharedVms;
use crate::config::{HeaderCase, RouteTimeouts, UpstreamProtocol};
use crate::filter::engine::runtime::Engines;
use crate::filter::proxy_wasm::offline::played::PlayedUpstreams;
use crate::observe::metrics::{FilterStats, PluginMetricReport};
use crate::upstream::Upstream;

/// Engines, shared data, metrics, and the upstreams that plugins may call.
#[derive(Default)]
pub(crate) struct Services {
    pub(super) engines: Engines,
    pub(super) shared: SharedVms,
    pub(super) metrics: AllPluginMetrics,
    stats: Mutex<BTreeMap<String, Weak<FilterStats>>>,
    callable_upstreams: ArcSwap<CallableUpstreams>,
    workers: usize,
    purpose: Purpose,
    /// The upstreams of a run without a gateway.
    pub(super) played: PlayedUpstreams,
}

/// The purpose of instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Purpose {
    #[default]
    Serve,
    /// To be started once. Any call is accepted, and none is sent.
    Trial,
    /// To be run without a gateway, with simulated upstreams.
    Offline,
}

/// Upstreams by name.
pub(crate) type CallableUpstreams = HashMap<String, CallableUpstream>;

/// An upstream that plugins may call, with its own pool and timeouts.
#[derive(Clone)]
pub(crate) struct CallableUpstream {
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) timeouts: RouteTimeouts,
    pub(crate) keep_alive: bool,
    pub(crate) header_case: HeaderCase,
    pub(crate) protocol: UpstreamProtocol,
}

impl Services {
    pub(crate) fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self { workers, ..Self::default() })
    }

    /// Creates the services of a trial instance. Any call is accepted, and none is sent.
    pub(super) fn trial() -> Self {
        Self { purpose: Purpose::Trial, ..Self::default() }
    }

    /// Creates the services of instances that run without a gateway. `upstreams` respond to their calls.
    pub(super) fn offline(upstreams: PlayedUpstreams) -> Self {
        Self { purpose: Purpose::Offline, played: upstreams, ..Self::default() }
    }

    /// Returns the simulated upstreams, if instances run without a gateway.
    pub(super) fn played(&self) -> Option<&PlayedUpstreams> {
        (self.purpose == Purpose::Offline).then_some(&self.played)
    }

    pub(super) fn is_trial(&self) -> bool {
        self.purpose == Purpose::Trial
    }

    /// Returns true if a call to an upstream of this name can begin.
    pub(super) fn can_call(&self, upstream: &str) -> bool {
        self.purpose != Purpose::Serve || self.callable(upstream).is_some()
    }

    /// Adds the upstreams of a configuration that is about to serve: its filters may call them as they start. For a
    /// name that already serves, calls keep their present upstream until [`Services::set_callees`].
    pub(crate) fn add_callees(&self, more: &CallableUpstreams) {
        let mut callable_upstreams = more.clone();
        callable_upstreams.extend(
            self.callable_upstreams.load().iter().map(|(name, callable)| (name.clone(), callable.clone())),
        );
        self.set_callees(callable_upstreams);
    }

    /// Directs calls to these upstreams from now on.
    pub(crate) fn set_callees(&self, callable_upstreams: CallableUpstreams) {
        self.callable_upstreams.store(Arc::new(callable_upstreams));
    }

    pub(super) fn callable(&self, name: &str) -> Option<CallableUpstream> {
        self.callable_upstreams.load().get(name).cloned()
    }

    /// Returns the counters of a filter of this name. They live as long as a plugin uses them.
    pub(super) fn stats_of(&self, name: &str) -> Arc<FilterStats> {
        let mut all = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, stats| stats.strong_count() > 0);
        if let Some(stats) = all.get(name).and_then(Weak::upgrade) {
            return stats;
        }
        let stats = Arc::new(FilterStats::new(name, self.workers));
        all.insert(name.to_owned(), Arc::downgrade(&stats));
        stats
    }

    /// Returns the counters of every filter.
    pub(crate) fn filter_stats(&self) -> Vec<Arc<FilterStats>> {
        let all = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().filter_map(Weak::upgrade).collect()
    }

    /// Returns the metrics that plugins have defined.
    pub(crate) fn plugin_metrics(&self) -> Vec<PluginMetricReport> {
        self.metrics.report()
    }
}
