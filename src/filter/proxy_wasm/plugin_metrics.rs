//! Metrics that plugins define, by the name of their filter. All workers and all successive instances share them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::filter::proxy_wasm::abi::MetricKind;
use crate::observe::metrics::{PluginMetricReport, PluginMetricValue};

/// The most metrics of one filter.
const METRICS_MAX: usize = 1000;

/// Upper bounds of every histogram's buckets: powers of four, from one to the range of a 32-bit number.
const BOUNDS: [u64; 17] = {
    let mut bounds = [1; 17];
    let mut index = 1;
    #[allow(clippy::indexing_slicing, reason = "evaluated while compiling")]
    while index < bounds.len() {
        bounds[index] = bounds[index - 1] * 4;
        index += 1;
    }
    bounds
};

/// The metrics of every filter that is in use.
#[derive(Default)]
pub(super) struct AllPluginMetrics(Mutex<BTreeMap<String, Weak<PluginMetrics>>>);

impl AllPluginMetrics {
    /// Returns the metrics of a filter. They live as long as a plugin uses them.
    pub(super) fn of(&self, filter: &str) -> Arc<PluginMetrics> {
        let mut all = lock(&self.0);
        all.retain(|_, metrics| metrics.strong_count() > 0);
        if let Some(metrics) = all.get(filter).and_then(Weak::upgrade) {
            return metrics;
        }
        let metrics = Arc::new(PluginMetrics::default());
        all.insert(filter.to_owned(), Arc::downgrade(&metrics));
        metrics
    }

    /// Returns the current values of all metrics.
    pub(super) fn report(&self) -> Vec<PluginMetricReport> {
        let all: Vec<_> = lock(&self.0)
            .iter()
            .filter_map(|(filter, metrics)| Some((filter.clone(), metrics.upgrade()?)))
            .collect();
        let reports = all.iter().flat_map(|(filter, metrics)| metrics.report(filter));
        reports.collect()
    }
}

#[derive(Default)]
pub(super) struct PluginMetrics(Mutex<BTreeMap<(MetricKind, String), Arc<PluginMetric>>>);

impl PluginMetrics {
    /// Returns the metric of this kind and name, or `None` if there are too many.
    pub(super) fn define(&self, kind: MetricKind, name: &str) -> Option<Arc<PluginMetric>> {
        let mut metrics = lock(&self.0);
        if let Some(metric) = metrics.get(&(kind, name.to_owned())) {
            return Some(metric.clone());
        }
        if metrics.len() >= METRICS_MAX {
            return None;
        }
        let metric = Arc::new(PluginMetric::new(kind));
        metrics.insert((kind, name.to_owned()), metric.clone());
        Some(metric)
    }

    fn report(&self, filter: &str) -> Vec<PluginMetricReport> {
        let metrics = lock(&self.0);
        let report = |((_, name), metric): (&(MetricKind, String), &Arc<PluginMetric>)| PluginMetricReport {
            filter: filter.to_owned(),
            name: name.clone(),
            value: metric.report(),
        };
        metrics.iter().map(report).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) struct PluginMetric {
    kind: MetricKind,
    /// A count, the bits of a gauge's signed number, or the sum of a histogram's observations.
    value: AtomicU64,
    /// The buckets of a histogram, one more than there are bounds.
    buckets: Box<[AtomicU64]>,
}

impl PluginMetric {
    fn new(kind: MetricKind) -> Self {
        let buckets = if kind == MetricKind::Histogram { BOUNDS.len() + 1 } else { 0 };
        Self { kind, value: AtomicU64::new(0), buckets: (0..buckets).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Adds to a counter or a gauge. Returns false if the metric does not support it.
    pub(super) fn increment(&self, by: i64) -> bool {
        match (self.kind, u64::try_from(by)) {
            (MetricKind::Counter, Ok(by)) => self.value.fetch_add(by, Ordering::Relaxed),
            // In two's complement, adding is the same for both signs.
            (MetricKind::Gauge, _) => self.value.fetch_add(by.cast_unsigned(), Ordering::Relaxed),
            (MetricKind::Counter, Err(_)) | (MetricKind::Histogram, _) => return false,
        };
        true
    }

    /// Sets a gauge or a counter, as other hosts do, or adds an observation to a histogram. Always returns true.
    pub(super) fn record(&self, value: u64) -> bool {
        if self.kind != MetricKind::Histogram {
            self.value.store(value, Ordering::Relaxed);
            return true;
        }
        self.value.fetch_add(value, Ordering::Relaxed);
        let bucket = BOUNDS.iter().position(|bound| value <= *bound).unwrap_or(BOUNDS.len());
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        true
    }

    /// Returns the value of a counter or a gauge.
    pub(super) fn value(&self) -> Option<u64> {
        (self.kind != MetricKind::Histogram).then(|| self.value.load(Ordering::Relaxed))
    }

    fn report(&self) -> PluginMetricValue {
        let value = self.value.load(Ordering::Relaxed);
        match self.kind {
            MetricKind::Counter => PluginMetricValue::Counter(value),
            MetricKind::Gauge => PluginMetricValue::Gauge(value.cast_signed()),
            MetricKind::Histogram => PluginMetricValue::Histogram {
                sum: value,
                buckets: BOUNDS
                    .iter()
                    .map(|bound| *bound as f64)
                    .chain([f64::INFINITY])
                    .zip(self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)))
                    .collect(),
            },
        }
    }
}
