//! `/api/reloads`: the last reloads.

use schemars::JsonSchema;
use serde::Serialize;

use super::Operators;
use crate::control::reload::{ReloadHistory, ReloadReport};

/// The last reloads.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ReloadsReport {
    /// The last one first; at most 20. The start is none.
    reloads: Vec<ReloadReport>,
}

impl Operators {
    pub(super) fn reloads_report(&self) -> ReloadsReport {
        ReloadsReport { reloads: self.status.history(ReloadHistory::reports) }
    }
}
