//! Checks of endpoints' health on the control plane, once for the process: probes, and comparisons of success rates.
//!
//! A probe has a connection of its own, which is no part of the pool. HTTP/1 is spoken by hyper, and HTTP/2 by our engine without
//! the transport around it, which belongs to a worker's thread and to the pool.

mod connection;
mod grpc;
mod http1;
mod http2;
mod probes;
mod request;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};

use crate::config::HealthSettings;
use crate::upstream::{Endpoint, Targets, Upstream};

/// Checks the health of an upstream's endpoints for as long as the upstream is active. Does nothing if that goes on already.
pub(crate) fn watch_health(targets: &Arc<Targets>) {
    let health = targets.health();
    if health.active.is_none() {
        targets.upstream().current().iter().for_each(|endpoint| endpoint.end_probes());
    }
    let compares_every = health.passive.as_ref().and_then(|passive| Some(passive.success_rate?.interval));
    if health.active.is_none() && compares_every.is_none() {
        return;
    }
    let settings = Arc::new(health.clone());
    targets.check_with(|upstream| async move {
        tokio::join!(probe_all(&upstream, settings), compare(&upstream, compares_every));
    });
}

/// Compares the success rates of the endpoints at intervals.
async fn compare(upstream: &Upstream, interval: Option<Duration>) {
    let Some(interval) = interval else { return };
    loop {
        tokio::time::sleep(interval).await;
        upstream.current().eject_outliers();
    }
}

/// Probes each of the present endpoints in a task of its own. Endpoints come and go with DNS.
async fn probe_all(upstream: &Upstream, settings: Arc<HealthSettings>) {
    if settings.active.is_none() {
        return;
    }
    // Aborts all of them when it is dropped.
    let mut tasks = JoinSet::new();
    let mut probed: Vec<(Arc<Endpoint>, AbortHandle)> = Vec::new();
    loop {
        let changed = upstream.changed();
        let endpoints = upstream.current();
        probed.retain(|(endpoint, task)| {
            let is_present = endpoints.iter().any(|present| Arc::ptr_eq(present, endpoint));
            if !is_present {
                task.abort();
            }
            is_present
        });
        for endpoint in endpoints.iter() {
            if !probed.iter().any(|(known, _)| Arc::ptr_eq(known, endpoint)) {
                let task = tasks.spawn(probes::repeat(endpoint.clone(), settings.clone()));
                probed.push((endpoint.clone(), task));
            }
        }
        drop(endpoints);
        while let Some(ended) = tasks.try_join_next() {
            if ended.is_err_and(|error| error.is_panic()) {
                tracing::error!("internal error: a probe panicked; its endpoint is no longer probed");
            }
        }
        changed.await;
    }
}
