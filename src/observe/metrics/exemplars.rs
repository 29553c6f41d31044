//! Exemplars: for each bucket of a route's request durations, the trace of the last request that fell into it (OpenMetrics 1.0, "Exemplars").

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::buckets::{BUCKETS, DURATION_BOUNDS};
use crate::observe::traces::TraceId;

/// The exemplars of a route. Only requests of sampled traces meet the lock.
#[derive(Debug, Default)]
pub(super) struct Exemplars(OnceLock<Box<Mutex<[Option<Exemplar>; BUCKETS]>>>);

/// The last sampled request of a bucket.
#[derive(Debug, Clone, Copy)]
struct Exemplar {
    trace_id: TraceId,
    took: Duration,
    ended: SystemTime,
}

impl Exemplars {
    /// Replaces the exemplar of a bucket, unless another thread is at it.
    pub(super) fn put(&self, bucket: usize, trace_id: TraceId, took: Duration) {
        let exemplars = self.0.get_or_init(Box::default);
        if let Ok(mut exemplars) = exemplars.try_lock()
            && let Some(exemplar) = exemplars.get_mut(bucket)
        {
            *exemplar = Some(Exemplar { trace_id, took, ended: SystemTime::now() });
        }
    }

    /// Returns the exemplars, each with its bucket.
    fn all(&self) -> Vec<(usize, Exemplar)> {
        let exemplars = self.0.get().and_then(|exemplars| exemplars.lock().ok().map(|exemplars| *exemplars));
        let exemplars = exemplars.into_iter().flatten().enumerate();
        exemplars.filter_map(|(bucket, exemplar)| Some((bucket, exemplar?))).collect()
    }
}

/// Returns the exemplars of these routes by the series of `metric` that they belong to. The crate that encodes metrics exports no way to make
/// exemplars, so they are put into its text.
pub(super) fn by_series<'s>(
    metric: &str,
    routes: impl Iterator<Item = (&'s str, &'s Exemplars)>,
) -> HashMap<String, String> {
    let mut by_series = HashMap::new();
    for (route, exemplars) in routes {
        for (bucket, exemplar) in exemplars.all() {
            let bound = DURATION_BOUNDS.get(bucket);
            let bound = bound.map_or_else(|| "+Inf".to_owned(), |bound| format!("{bound:?}"));
            let route = escaped(route);
            let Exemplar { trace_id, took, ended } = exemplar;
            let ended = ended.duration_since(UNIX_EPOCH).unwrap_or_default();
            by_series.insert(
                format!("{metric}_bucket{{le=\"{bound}\",route=\"{route}\"}}"),
                format!(" # {{trace_id=\"{trace_id}\"}} {:?} {:.3}", took.as_secs_f64(), ended.as_secs_f64()),
            );
        }
    }
    by_series
}

/// Puts exemplars into a page.
pub(super) fn insert(page: &str, by_series: &HashMap<String, String>) -> String {
    let mut text = String::with_capacity(page.len() + 128 * by_series.len());
    for line in page.lines() {
        let exemplar = line.rsplit_once(' ').and_then(|(series, _)| by_series.get(series));
        // Writing to a string cannot fail.
        let _written = writeln!(text, "{line}{}", exemplar.map_or("", String::as_str));
    }
    text
}

/// Returns a label's value as it is written.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
