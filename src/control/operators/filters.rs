//! `/api/filters`: the filters and what they cost.

use schemars::JsonSchema;
use serde::Serialize;

use super::Operators;
use crate::observe::metrics::FilterReport;

/// The filters of the active configuration.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct FiltersReport {
    filters: Vec<FilterReport>,
}

impl Operators {
    pub(super) fn filters_report(&self) -> FiltersReport {
        let stats = self.status.generation().snapshot.services.filter_stats();
        let mut filters: Vec<FilterReport> = stats.iter().map(|stats| stats.report()).collect();
        filters.sort_by(|one, other| one.filter.cmp(&other.filter));
        FiltersReport { filters }
    }
}
