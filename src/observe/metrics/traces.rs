//! The report about traces.

use std::fmt;

use super::{Page, Scrape};

impl Scrape {
    pub(super) fn encode_traces(&self, page: &mut Page<'_>) -> fmt::Result {
        let Some(report) = &self.traces else { return Ok(()) };
        page.counter_of_all(
            "gateway_traces_exported_spans",
            "Spans that the receiver of traces took",
            report.exported,
        )?;
        page.counter_of_all(
            "gateway_traces_export_failures",
            "Requests to the receiver of traces that failed; many are sent again",
            report.failed,
        )?;
        page.counter(
            "gateway_traces_dropped_spans",
            "Spans that were not exported, by reason",
            report.dropped.iter().map(|(reason, count)| ([("reason", *reason)], *count)),
        )
    }
}
