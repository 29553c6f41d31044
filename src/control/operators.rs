//! The sources of the admin listener's pages.

use std::sync::Arc;

use crate::control::admin::{AdminState, Readiness, ReloadRequests};
use crate::control::reload::{RetiredSnapshots, Status};
use crate::observe::access_log::AccessLog;
use crate::observe::metrics::Scrape;
use crate::policy;

/// Returns the sources of all pages. Each reads the generation that is active at the time.
pub(crate) fn admin_state(
    status: Arc<Status>,
    old: Arc<RetiredSnapshots>,
    reload: ReloadRequests,
) -> AdminState {
    let (of_pools, of_metrics, of_config, of_routes) =
        (status.clone(), status.clone(), status.clone(), status.clone());
    let old_pools = old.clone();
    AdminState {
        readiness: Readiness::default(),
        pools: Box::new(move || {
            let snapshot = &of_pools.generation().snapshot;
            [snapshot.pools(), snapshot.draining_pools(), old_pools.pools()].concat()
        }),
        metrics: Box::new(move || metrics(&of_metrics, &old)),
        // The text as it is written: values from the environment may be secret.
        config: Box::new(move || of_config.generation().loaded.source.text().to_owned()),
        routes: Box::new(move || routes(&of_routes)),
        generation: Box::new(move || status.report()),
        reload,
    }
}

fn metrics(status: &Status, old: &RetiredSnapshots) -> String {
    let generation = status.generation();
    let limits = policy::report_of_rate_limits();
    let scrape = Scrape {
        process: status.stats().clone(),
        older_kept: old.snapshots() as u64,
        listeners: generation.snapshot.listener_stats(),
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
        access_log_dropped: generation.access_log.as_ref().map_or(0, AccessLog::dropped),
        password_comparisons: crate::policy::auth::comparisons(),
    };
    scrape.render().unwrap_or_default()
}

fn routes(status: &Status) -> serde_json::Value {
    let generation = status.generation();
    let routes =
        generation.snapshot.router.routes().map(
            |(specificity, route)| serde_json::json!({ "route": &*route.name, "specificity": specificity }),
        );
    serde_json::Value::Array(routes.collect())
}
