//! `/api/history`: the last minutes in columns.

use super::Operators;
use super::query::PoolQuery;
use crate::control::history::HistoryReport;

impl Operators {
    /// Returns the history of the pools that a query names, or of the process. `None` if there is no such pool.
    pub(super) fn history_report(&self, query: &str) -> Option<HistoryReport> {
        let query = PoolQuery::parse(query);
        if query.is_empty() {
            return Some(self.status.samples().report(None));
        }
        let pools = self.status.generation().snapshot.pools();
        let pools: Vec<_> = pools.into_iter().filter(|pool| query.names(pool)).collect();
        (!pools.is_empty()).then(|| self.status.samples().report(Some(&pools)))
    }
}
