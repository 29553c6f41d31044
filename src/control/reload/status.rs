//! The active generation and the outcome of the last reload, for operators.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use serde_json::{Value, json};

use crate::control::compile::generation::Generation;
use crate::control::diff::Changes;
use crate::observe::metrics::ProcessStats;

/// The state of the configuration, for the admin listener and the metrics.
pub(crate) struct Status {
    generation: ArcSwap<Generation>,
    stats: Arc<ProcessStats>,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    /// The changes that the active generation made.
    changes: Changes,
    /// The errors of the files on disk, if they were refused.
    errors: Option<String>,
}

impl Status {
    pub(crate) fn new(first: Generation, workers: usize) -> Self {
        Self {
            generation: ArcSwap::from_pointee(first),
            stats: Arc::new(ProcessStats::new(workers)),
            last: Mutex::default(),
        }
    }

    /// Returns the active generation.
    pub(crate) fn generation(&self) -> Arc<Generation> {
        self.generation.load_full()
    }

    pub(crate) fn stats(&self) -> &Arc<ProcessStats> {
        &self.stats
    }

    /// Sets the active generation. Returns its number.
    pub(super) fn replace(&self, generation: Generation, changes: Changes) -> u64 {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Last { changes, errors: None };
        self.generation.store(Arc::new(generation));
        self.stats.next_generation()
    }

    /// Records that the files on disk were refused. Returns true if the errors are new.
    pub(super) fn refused(&self, errors: &str) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = last.errors.as_deref() != Some(errors);
        last.errors = Some(errors.to_owned());
        is_news
    }

    /// Records that the files on disk match the active generation again.
    pub(super) fn back_in_sync(&self) {
        self.stats.back_in_sync();
        self.last.lock().unwrap_or_else(PoisonError::into_inner).errors = None;
    }

    /// Returns a sentence for the service manager: the active generation, and why the files on disk were refused.
    pub(crate) fn sentence(&self) -> String {
        let generation = self.stats.generation();
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match last.errors.as_deref().and_then(|errors| errors.lines().next()) {
            None => format!("configuration generation {generation} serves"),
            Some(error) => {
                let error = error.strip_prefix("error: ").unwrap_or(error);
                format!("configuration generation {generation} serves; the one on disk is refused: {error}")
            }
        }
    }

    /// Returns the whole state as JSON.
    pub(crate) fn report(&self) -> Value {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        json!({
            "generation": self.stats.generation(),
            "live_since": self.stats.live_since(),
            "changes": last.changes,
            "took_seconds": self.stats.reload_took().as_secs_f64(),
            "in_sync": self.stats.is_in_sync(),
            "errors": last.errors,
        })
    }
}
