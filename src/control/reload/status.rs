//! The active generation and the outcome of the last reload, for operators.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use serde_json::{Value, json};

use crate::control::compile::generation::Generation;
use crate::observe::metrics::ProcessStats;

/// The state of the configuration, for the admin listener and the metrics.
pub(crate) struct Status {
    generation: ArcSwap<Generation>,
    stats: Arc<ProcessStats>,
    /// The errors of the last update, if it was refused.
    errors: Mutex<Option<String>>,
}

impl Status {
    pub(crate) fn new(first: Generation, workers: usize) -> Self {
        Self {
            generation: ArcSwap::from_pointee(first),
            stats: Arc::new(ProcessStats::new(workers)),
            errors: Mutex::default(),
        }
    }

    pub(crate) fn generation(&self) -> Arc<Generation> {
        self.generation.load_full()
    }

    pub(crate) fn stats(&self) -> &Arc<ProcessStats> {
        &self.stats
    }

    /// Sets the active generation. Returns its number.
    pub(super) fn replace(&self, generation: Generation) -> u64 {
        *self.errors() = None;
        self.generation.store(Arc::new(generation));
        self.stats.next_generation()
    }

    /// Records that the files on disk were refused. Returns true if the errors are new.
    pub(super) fn refused(&self, errors: &str) -> bool {
        self.errors().replace(errors.to_owned()).as_deref() != Some(errors)
    }

    /// Records that the files on disk match the active generation again.
    pub(super) fn back_in_sync(&self) {
        self.stats.back_in_sync();
        *self.errors() = None;
    }

    /// Returns a sentence for the service manager: the active generation, and why the files on disk were refused.
    pub(crate) fn sentence(&self) -> String {
        let generation = self.stats.generation();
        match self.errors().as_deref().and_then(|errors| errors.lines().next()) {
            None => format!("configuration generation {generation} serves"),
            Some(error) => {
                let error = error.strip_prefix("error: ").unwrap_or(error);
                format!("configuration generation {generation} serves; the one on disk is refused: {error}")
            }
        }
    }

    /// Returns the whole state as JSON.
    pub(crate) fn report(&self) -> Value {
        json!({
            "generation": self.stats.generation(),
            "live_since": self.stats.live_since(),
            "changes": self.generation.load().changes,
            "took_seconds": self.stats.reload_took().as_secs_f64(),
            "in_sync": self.stats.is_in_sync(),
            "errors": *self.errors(),
        })
    }

    fn errors(&self) -> MutexGuard<'_, Option<String>> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
