//! `/api/filters`: the filters, what they cost, how they failed last, and what they logged last.

use schemars::JsonSchema;
use serde::Serialize;

use super::Operators;
use crate::observe::metrics::{FilterFailure, FilterLine, FilterReport, FilterStats};

/// The filters of the active configuration.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct FiltersReport {
    filters: Vec<FilterState>,
}

/// A filter, its last failure and its last log lines. A reload keeps all of it for a name that stays.
#[derive(Debug, Serialize, JsonSchema)]
struct FilterState {
    #[serde(flatten)]
    filter: FilterReport,
    /// The last failure; null if there was none.
    last_failure: Option<FilterFailure>,
    /// The last lines that the filter has logged and that the level of the log lets through: at most 20, the oldest first.
    last_lines: Vec<FilterLine>,
}

impl FilterState {
    fn of(stats: &FilterStats) -> Self {
        let (last_failure, last_lines) = stats.log().report();
        Self { filter: stats.report(), last_failure, last_lines }
    }
}

impl Operators {
    pub(super) fn filters_report(&self) -> FiltersReport {
        let stats = self.status.generation().snapshot.services.filter_stats();
        let mut filters: Vec<FilterState> = stats.iter().map(|stats| FilterState::of(stats)).collect();
        filters.sort_by(|one, other| one.filter.filter.cmp(&other.filter.filter));
        FiltersReport { filters }
    }
}
