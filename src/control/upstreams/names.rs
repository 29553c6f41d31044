//! Resolution of upstreams' names, before a reload takes effect and at intervals after it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::dns::{keep_resolved, resolve_once};
use crate::upstream::{Addresses, Name, Targets};

/// With `resolve: off`, the maximum pause after a failed lookup.
const RETRY_AT_MOST: Duration = Duration::from_secs(60);

/// Resolves the names that have no address yet, all at the same time, so that the first request does not wait for DNS.
/// Takes no longer than one lookup may. [`watch_names`] retries and logs failures.
pub(crate) async fn resolve_new(targets: &Targets) {
    let lookups = targets.unknown_names().into_iter().map(|name| async move {
        let found = resolve_once(&name.host, name.port).await;
        (name, found)
    });
    let mut lookups: JoinSet<_> = lookups.collect();
    while let Some(ended) = lookups.join_next().await {
        match ended {
            Ok((name, Ok(found))) => targets.set_addresses(name.target, &found),
            Ok((name, Err(error))) => {
                tracing::debug!(host = name.host, "{error}; it is retried once the reload is done");
            }
            Err(_panic) => tracing::error!("internal error: a lookup panicked"),
        }
    }
}

/// Resolves the names of an upstream at intervals for as long as the upstream is active. Known addresses are used until
/// the first lookup. Names that are being resolved already are skipped.
pub(crate) fn watch_names(targets: &Arc<Targets>) {
    targets.watch_with(watch);
}

/// Resolves a name every `interval`, or, without one, until it first has an address.
async fn watch(targets: Weak<Targets>, name: Name, interval: Option<Duration>, known: Addresses) {
    let known_until =
        interval.filter(|_| !known.is_empty()).and_then(|interval| name.origin.next_lookup(interval));
    let (found, mut addresses) = watch::channel(known);
    let publish = async {
        while addresses.changed().await.is_ok() {
            // The targets live for as long as a snapshot has them.
            let Some(targets) = targets.upgrade() else { return };
            targets.set_addresses(name.target, &addresses.borrow_and_update().clone());
            if interval.is_none() {
                return;
            }
        }
    };
    let resolve = async {
        // Known addresses were resolved a moment ago, or were kept by a reload.
        if let Some(until) = known_until {
            tokio::time::sleep_until(until).await;
        }
        name.origin.begin_lookups();
        keep_resolved(name.host, name.port, interval.unwrap_or(RETRY_AT_MOST), found).await;
    };
    tokio::select! {
        () = resolve => {}
        () = publish => {}
    }
}
