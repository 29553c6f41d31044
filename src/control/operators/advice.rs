//! `/api/advice`: the settings that hold requests back.

use schemars::JsonSchema;
use serde::Serialize;

use super::Operators;
use crate::control::advice::{self, Advice};
use crate::observe::metrics::PoolReport;

/// Settings with which the last minutes would have been better.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct AdviceReport {
    /// The worst first: what refuses requests, then what delays them.
    advice: Vec<Advice>,
}

impl Operators {
    pub(super) fn advice_report(&self) -> AdviceReport {
        let snapshot = &self.status.generation().snapshot;
        let mut found = Vec::new();
        for named in &snapshot.upstreams {
            let endpoints = named.targets.upstream().current();
            for endpoint in endpoints.iter() {
                let report = PoolReport {
                    pool: named.name.clone(),
                    routes: named.routes.clone(),
                    breaker: endpoints.breaker(),
                    ..endpoint.report()
                };
                let window = self.status.samples().pool(&report);
                found.extend(advice::of_pool(&report, &window, &endpoint.pool().settings()));
            }
        }
        advice::sort(&mut found);
        AdviceReport { advice: found }
    }
}
