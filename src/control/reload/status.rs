//! The active generation and the outcome of the last reload, for operators.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use schemars::JsonSchema;
use serde::Serialize;

use super::history::{ErrorReport, Outcome, ReloadHistory};
use crate::config::ConfigErrors;
use crate::control::compile::generation::Generation;
use crate::control::diff::Changes;
use crate::control::history::History;
use crate::observe::metrics::ProcessStats;

/// The state of the configuration, for the admin listener and the metrics.
pub(crate) struct Status {
    generation: ArcSwap<Generation>,
    stats: Arc<ProcessStats>,
    /// The errors of the last update, if it was refused.
    errors: Mutex<Option<Refusal>>,
    history: Mutex<ReloadHistory>,
    samples: History,
}

/// The errors of a refused update.
struct Refusal {
    /// As `gateway check` prints them.
    text: String,
    errors: Vec<ErrorReport>,
}

/// The active configuration, and the outcome of the last reload.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct StatusReport {
    /// The number of the active configuration. The one of the start is 1.
    generation: u64,
    /// The time since which it is active, in seconds of Unix time.
    live_since: u64,
    /// Its changes against the one before.
    changes: Changes,
    /// The duration of the reload that made it active, in seconds.
    took_seconds: f64,
    /// True if the files on disk are the active configuration.
    in_sync: bool,
    /// The errors that refused the files on disk, up to a number.
    errors: Vec<ErrorReport>,
    /// The same as `gateway check` prints them.
    error_text: Option<String>,
    /// True if this reload changed something; only in the response to POST.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<bool>,
}

impl StatusReport {
    /// Returns the report of a reload that changed something, or nothing.
    pub(super) fn after(self, changed: bool) -> Self {
        Self { changed: Some(changed), ..self }
    }
}

impl Status {
    pub(crate) fn new(first: Generation, workers: usize) -> Self {
        Self {
            generation: ArcSwap::from_pointee(first),
            stats: Arc::new(ProcessStats::new(workers)),
            errors: Mutex::default(),
            history: Mutex::default(),
            samples: History::default(),
        }
    }

    pub(crate) fn generation(&self) -> Arc<Generation> {
        self.generation.load_full()
    }

    pub(crate) fn stats(&self) -> &Arc<ProcessStats> {
        &self.stats
    }

    /// Returns the last minutes of pools and routes.
    pub(crate) fn samples(&self) -> &History {
        &self.samples
    }

    /// Takes a sample of pools and routes at intervals, as long as there is an admin listener to show them. Never ends.
    pub(crate) async fn take_samples(&self) {
        let current = || {
            let generation = self.generation();
            generation.loaded.config.admin.as_on().map(|_| generation.snapshot.clone())
        };
        self.samples.run(current).await;
    }

    /// Sets the active generation. Returns its number.
    pub(super) fn replace(&self, generation: Generation) -> u64 {
        *self.errors() = None;
        self.generation.store(Arc::new(generation));
        self.stats.next_generation()
    }

    /// Records that the active generation was made so by a reload, which took this long.
    pub(super) fn reloaded(&self, took: Duration) {
        self.stats.reloaded(took);
        let outcome = Outcome::active(took, self.generation.load().changes.clone());
        self.lock_history().add(self.stats.generation(), outcome);
    }

    /// Records that the files on disk were refused. Returns true if the errors are new.
    pub(super) fn refused(&self, errors: &ConfigErrors) -> bool {
        let refusal = Refusal { text: errors.to_string(), errors: ErrorReport::of(errors) };
        let outcome = Outcome::Refused { errors: refusal.errors.clone() };
        self.lock_history().add(self.stats.generation(), outcome);
        let text = refusal.text.clone();
        self.errors().replace(refusal).is_none_or(|before| before.text != text)
    }

    /// Records that the files on disk match the active generation again.
    pub(super) fn back_in_sync(&self) {
        self.stats.back_in_sync();
        *self.errors() = None;
    }

    /// Returns a sentence for the service manager: the active generation, and why the files on disk were refused.
    pub(crate) fn sentence(&self) -> String {
        let generation = self.stats.generation();
        match self.first_error() {
            None => format!("configuration generation {generation} serves"),
            Some(error) => {
                format!("configuration generation {generation} serves; the one on disk is refused: {error}")
            }
        }
    }

    /// Returns the first line of the errors that refused the files on disk.
    pub(crate) fn first_error(&self) -> Option<String> {
        let errors = self.errors();
        let line = errors.as_ref()?.text.lines().next()?;
        Some(line.strip_prefix("error: ").unwrap_or(line).to_owned())
    }

    /// Returns the whole state.
    pub(crate) fn report(&self) -> StatusReport {
        let (errors, error_text) = match &*self.errors() {
            Some(refusal) => (refusal.errors.clone(), Some(refusal.text.clone())),
            None => (Vec::new(), None),
        };
        StatusReport {
            generation: self.stats.generation(),
            live_since: self.stats.live_since(),
            changes: self.generation.load().changes.clone(),
            took_seconds: self.stats.reload_took().as_secs_f64(),
            in_sync: self.stats.is_in_sync(),
            errors,
            error_text,
            changed: None,
        }
    }

    /// Reads the memory of reloads.
    pub(crate) fn history<T>(&self, read: impl FnOnce(&ReloadHistory) -> T) -> T {
        read(&self.lock_history())
    }

    fn errors(&self) -> MutexGuard<'_, Option<Refusal>> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_history(&self) -> MutexGuard<'_, ReloadHistory> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
