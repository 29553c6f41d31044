//! Counters per filter, and the metrics that filters define.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::NoLabelSet;
use prometheus_client::metrics::MetricType;
use schemars::JsonSchema;
use serde::Serialize;

use super::buckets::nanos;
use super::filter_log::FilterLog;
use super::sharded::{Counter, ReasonCounts, Sharded, sum_reasons};
use super::{Page, Scrape, with};

#[derive(Debug)]
pub(crate) struct FilterStats {
    filter: String,
    shards: Sharded<FilterShard>,
    instances: AtomicI64,
    memory_bytes: AtomicU64,
    log: FilterLog,
}

#[derive(Debug, Default)]
struct FilterShard {
    calls: Counter,
    nanos: Counter,
    failures: ReasonCounts,
}

impl FilterStats {
    /// Creates the counters of the filter with this name: a slot per worker and one for other threads.
    pub(crate) fn new(filter: &str, workers: usize) -> Self {
        Self {
            filter: filter.to_owned(),
            shards: Sharded::new(workers),
            instances: AtomicI64::new(0),
            memory_bytes: AtomicU64::new(0),
            log: FilterLog::default(),
        }
    }

    /// Counts a callback. If this one was timed, `took` is added to the total time.
    pub(crate) fn called(&self, took: Option<Duration>) {
        let Some(shard) = self.shards.mine() else { return };
        shard.calls.add(1);
        if let Some(took) = took {
            shard.nanos.add(nanos(took));
        }
    }

    /// Counts a failure by its reason.
    pub(crate) fn failed(&self, reason: &'static str) {
        if let Some(shard) = self.shards.mine() {
            shard.failures.add(reason);
        }
    }

    /// Returns the totals so far.
    pub(crate) fn report(&self) -> FilterReport {
        FilterReport {
            filter: self.filter.clone(),
            calls: self.shards.sum(|shard| shard.calls.value()),
            seconds: Duration::from_nanos(self.shards.sum(|shard| shard.nanos.value())).as_secs_f64(),
            failures: sum_reasons(self.shards.iter().map(|shard| &shard.failures)).into_iter().collect(),
            instances: self.instances.load(Ordering::Relaxed),
            memory_bytes: self.memory_bytes.load(Ordering::Relaxed),
        }
    }

    /// Returns the last failure and the last log lines.
    pub(crate) fn log(&self) -> &FilterLog {
        &self.log
    }

    pub(crate) fn instance_started(&self) {
        self.instances.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn instance_ended(&self) {
        self.instances.fetch_sub(1, Ordering::Relaxed);
    }

    /// Adjusts the total for an instance's linear memory, whose size has changed.
    pub(crate) fn memory_changes(&self, before: usize, now: usize) {
        let change = (now as u64).wrapping_sub(before as u64);
        // In two's complement, a decrease is a wrapping addition too.
        self.memory_bytes.fetch_add(change, Ordering::Relaxed);
    }
}

/// A filter and its counts.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct FilterReport {
    /// The filter's name.
    pub(crate) filter: String,
    /// The callbacks that have run.
    pub(crate) calls: u64,
    /// The time that timed callbacks took, in seconds. Every eighth is timed.
    pub(crate) seconds: f64,
    /// Failures by reason; `trap` ends an instance.
    pub(crate) failures: BTreeMap<&'static str, u64>,
    /// Running instances, at most one for each worker.
    pub(crate) instances: i64,
    /// The linear memory of all instances together, in bytes.
    pub(crate) memory_bytes: u64,
}

/// A metric that a filter has defined.
#[derive(Debug, Clone)]
pub(crate) struct PluginMetricReport {
    pub(crate) filter: String,
    /// The name that the filter has given the metric.
    pub(crate) name: String,
    pub(crate) value: PluginMetricValue,
}

/// The value of a metric that a filter has defined.
#[derive(Debug, Clone)]
pub(crate) enum PluginMetricValue {
    Counter(u64),
    Gauge(i64),
    /// Observations: their sum, and the number in each bucket by its upper bound.
    Histogram {
        /// The sum of all observed values.
        sum: u64,
        /// Upper bounds and counts, not cumulative.
        buckets: Vec<(f64, u64)>,
    },
}

impl Scrape {
    pub(super) fn encode_filters(&self, page: &mut Page<'_>) -> fmt::Result {
        let reports: Vec<FilterReport> = self.filters.iter().map(|stats| stats.report()).collect();
        if reports.is_empty() {
            return Ok(());
        }
        let rows = || reports.iter().map(|report| ([("filter", &*report.filter)], report));
        page.counter(
            "gateway_filter_calls",
            "Callbacks of the filter that have run",
            rows().map(|(labels, report)| (labels, report.calls)),
        )?;
        page.counter(
            "gateway_filter_seconds",
            "Time spent in callbacks, of which every eighth is timed",
            rows().map(|(labels, report)| (labels, report.seconds)),
        )?;
        page.counter(
            "gateway_filter_failures",
            "Failures of the filter, by reason",
            rows().flat_map(|(labels, report)| {
                report.failures.iter().map(move |(reason, count)| (with(labels, "reason", reason), *count))
            }),
        )?;
        page.gauge(
            "gateway_filter_instances",
            "Running instances",
            rows().map(|(labels, report)| (labels, report.instances)),
        )?;
        page.gauge(
            "gateway_filter_memory_bytes",
            "Linear memory of all instances together",
            rows().map(|(labels, report)| (labels, report.memory_bytes)),
        )?;
        self.encode_plugin_metrics(page)
    }

    /// Encodes the metrics that filters have defined. Their names become labels, so that no filter can take the name of
    /// a metric of the gateway or break the page.
    fn encode_plugin_metrics(&self, page: &mut Page<'_>) -> fmt::Result {
        let labels =
            |metric: &PluginMetricReport| [("filter", metric.filter.clone()), ("name", metric.name.clone())];
        let counters = self.plugin_metrics.iter().filter_map(|metric| match metric.value {
            PluginMetricValue::Counter(value) => Some((labels(metric), value)),
            _ => None,
        });
        page.counter("gateway_plugin_counter", "Counters that filters have defined", counters)?;
        let gauges = self.plugin_metrics.iter().filter_map(|metric| match metric.value {
            PluginMetricValue::Gauge(value) => Some((labels(metric), value)),
            _ => None,
        });
        page.gauge("gateway_plugin_gauge", "Gauges that filters have defined", gauges)?;
        let help = "Histograms that filters have defined";
        let mut histograms =
            page.0.encode_descriptor("gateway_plugin_histogram", help, None, MetricType::Histogram)?;
        for metric in &self.plugin_metrics {
            if let PluginMetricValue::Histogram { sum, buckets } = &metric.value {
                let count = buckets.iter().map(|(_, count)| count).sum();
                histograms.encode_family(&labels(metric))?.encode_histogram::<NoLabelSet>(
                    *sum as f64,
                    count,
                    buckets,
                    None,
                )?;
            }
        }
        Ok(())
    }
}
