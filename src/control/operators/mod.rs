//! The reports for operators: a file for each, with the types that the API documents. They are made for a request, from the generation
//! that is active at the time.

mod advice;
mod filters;
mod history;
mod kernel;
mod listeners;
pub(crate) mod openapi;
mod pools;
mod problems;
mod query;
mod reloads;
mod routes;
mod status;
mod upstreams;

use std::sync::Arc;

use serde::Serialize;

use crate::control::admin::{Access, AdminState, Form, Readiness, ReloadRequests, Report, Reports};
use crate::control::reload::{RetiredSnapshots, Status};
use crate::observe::metrics::{Exposition, Scrape};
use crate::policy;

/// Returns the state of the admin listener.
pub(crate) fn admin_state(
    status: Arc<Status>,
    old: Arc<RetiredSnapshots>,
    reload: ReloadRequests,
) -> AdminState {
    let readiness: Arc<Readiness> = Arc::default();
    let reports = Box::new(Operators { status, old, readiness: readiness.clone() });
    AdminState { readiness, reports, reload }
}

/// The sources of all reports.
struct Operators {
    status: Arc<Status>,
    old: Arc<RetiredSnapshots>,
    readiness: Arc<Readiness>,
}

impl Reports for Operators {
    fn access(&self) -> Arc<Access> {
        self.status.generation().access.clone()
    }

    fn report(&self, report: Report, query: &str, form: Form) -> Option<String> {
        Some(match report {
            Report::Status => text(&self.status_report(), form),
            Report::Pools => text(&self.pools_report(), form),
            Report::Routes => text(&self.routes_report(), form),
            Report::Upstreams => text(&self.upstreams_report(), form),
            Report::Filters => text(&self.filters_report(), form),
            Report::Listeners => text(&self.listeners_report(), form),
            Report::History => text(&self.history_report(query)?, form),
            Report::Advice => text(&self.advice_report(), form),
            Report::Kernel => text(&self.kernel_report(), form),
            Report::Reloads => text(&self.reloads_report(), form),
            Report::Reload => text(&self.status.report(), form),
            Report::Drain => text(&status::Readiness::of(&self.readiness), form),
        })
    }

    fn sentence(&self) -> String {
        let generation = self.status.stats().generation();
        let on_disk = if self.status.stats().is_in_sync() {
            "It matches the files on disk."
        } else {
            "It does NOT match the files on disk: those were refused, see /api/reload."
        };
        format!("Generation {generation} of the configuration is active. {on_disk}")
    }

    fn config(&self) -> String {
        // The text as it is written: values from the environment may be secret.
        self.status.generation().loaded.source.text().to_owned()
    }

    fn metrics(&self, form: Exposition) -> String {
        let generation = self.status.generation();
        let limits = policy::report_of_rate_limits();
        let scrape = Scrape {
            process: self.status.stats().clone(),
            older_kept: self.old.snapshots() as u64,
            listeners: generation.snapshot.listener_stats(),
            certificates: generation.snapshot.listener_certificates(),
            routes: generation.snapshot.route_stats(),
            // Draining pools are left out: they may have the labels of a pool that is in use.
            pools: generation.snapshot.pools(),
            filters: generation.snapshot.services.filter_stats(),
            plugin_metrics: generation.snapshot.services.plugin_metrics(),
            auth: generation.snapshot.ways.values().map(|way| way.report()).collect(),
            issuers: generation.snapshot.issuers(),
            stores: generation.snapshot.stores(),
            kept_body_bytes: generation.snapshot.kept_bodies.bytes(),
            unkept_bodies: generation.snapshot.kept_bodies.refused(),
            rate_limit_keys: limits.keys,
            rate_limit_evicted: limits.evicted,
            rate_limit_crowded: limits.crowded,
            access_log: generation.access_log.as_ref().map(|log| log.counts().clone()).unwrap_or_default(),
            traces: generation.snapshot.telemetry.traces.as_ref().map(|traces| traces.counts().report()),
            password_comparisons: crate::policy::auth::comparisons(),
        };
        scrape.render(form).unwrap_or_default()
    }

    fn openapi(&self) -> String {
        openapi::document().to_owned()
    }
}

/// Returns a report as JSON. The types of reports have text keys and finite numbers only, so none fails.
fn text(report: &impl Serialize, form: Form) -> String {
    let text = match form {
        Form::Indented => serde_json::to_string_pretty(report),
        Form::Compact => serde_json::to_string(report),
    };
    text.map(|text| text + "\n").unwrap_or_default()
}
