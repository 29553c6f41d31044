//! The memory of reloads.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use schemars::JsonSchema;
use serde::Serialize;

use crate::config::ConfigErrors;
use crate::control::diff::Changes;

/// The reloads that are remembered.
const REMEMBERED: usize = 20;

/// A reload that changed something, or was refused.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ReloadReport {
    /// The time of its end, in seconds of Unix time.
    at: f64,
    /// The number of the configuration that was active after it.
    generation: u64,
    #[serde(flatten)]
    outcome: Outcome,
}

/// The outcome of a reload.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// The files are active.
    Active {
        /// The time from reading the files until they were active, in seconds.
        took_seconds: f64,
        /// The changes against the configuration before.
        changes: Box<Changes>,
    },
    /// The files have errors, and nothing changed.
    Refused {
        /// The errors, up to a number.
        errors: Vec<ErrorReport>,
    },
}

/// An error of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct ErrorReport {
    /// The code, which stays the same when the message changes.
    code: &'static str,
    /// The file, if the error is in one.
    file: Option<String>,
    /// Its line, from 1.
    line: Option<usize>,
    /// Its column, from 1, in characters.
    column: Option<usize>,
    message: String,
    /// The advice, if there is one.
    suggestion: Option<String>,
}

impl ErrorReport {
    /// Returns reports of errors, as many as are shown.
    pub(crate) fn of(errors: &ConfigErrors) -> Vec<Self> {
        let (shown, _) = errors.shown();
        let reports = shown.iter().map(|error| {
            let position = error.position();
            Self {
                code: error.code().as_str(),
                file: error.place_name().map(str::to_owned),
                line: position.map(|position| position.line),
                column: position.map(|position| position.column),
                message: error.message().to_owned(),
                suggestion: error.advice().map(str::to_owned),
            }
        });
        reports.collect()
    }
}

impl Outcome {
    pub(super) fn active(took: Duration, changes: Changes) -> Self {
        Self::Active { took_seconds: took.as_secs_f64(), changes: Box::new(changes) }
    }
}

/// The memory of reloads.
#[derive(Debug, Default)]
pub(crate) struct ReloadHistory(VecDeque<ReloadReport>);

impl ReloadHistory {
    /// Adds a reload. A refusal that equals the last one takes its place: a file that is wrong may be tried every few seconds.
    pub(crate) fn add(&mut self, generation: u64, outcome: Outcome) {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let last = self.0.front().map(|last| &last.outcome);
        let is_same = matches!((last, &outcome), (
            Some(Outcome::Refused { errors: before }),
            Outcome::Refused { errors },
        ) if before == errors);
        if is_same {
            self.0.pop_front();
        }
        self.0.push_front(ReloadReport { at, generation, outcome });
        self.0.truncate(REMEMBERED);
    }

    /// Returns the reloads, the last one first.
    pub(crate) fn reports(&self) -> Vec<ReloadReport> {
        self.0.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_reloads_are_remembered_and_a_repeated_refusal_is_one() {
        let mut history = ReloadHistory::default();
        let refused = |message: &str| Outcome::Refused {
            errors: vec![ErrorReport {
                code: "invalid-value",
                file: None,
                line: None,
                column: None,
                message: message.into(),
                suggestion: None,
            }],
        };
        for _ in 0..3 {
            history.add(1, refused("bad"));
        }
        history.add(1, refused("worse"));
        assert_eq!(history.0.len(), 2);
        for generation in 2..40 {
            history.add(generation, Outcome::active(Duration::from_millis(3), Changes::default()));
        }
        let numbers: Vec<u64> = history.0.iter().map(|reload| reload.generation).collect();
        assert_eq!(numbers, (20..40).rev().collect::<Vec<_>>());
    }
}
