//! The names of upstreams, resolved before a reload takes effect and at intervals after it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::dns::{keep_resolved, resolve_once};
use crate::upstream::{Addresses, Name, Targets};

/// With `resolve: off`, the longest time between a failed look-up and the next one.
const RETRY_AT_MOST: Duration = Duration::from_secs(60);

/// Resolves, all at the same time, the names that have no address yet, so that the first request need not wait for DNS. Takes
/// no longer than one look-up may. A failure is left to [`watch_names`], which tries again and logs it.
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
                tracing::debug!(host = name.host, "{error}; looked up again once the reload is done");
            }
            Err(_panic) => tracing::error!("internal error: a lookup panicked"),
        }
    }
}

/// Resolves the names of an upstream at intervals, for as long as the upstream is active. Known addresses hold until then.
/// Names that are resolved already are left alone.
pub(crate) fn watch_names(targets: &Arc<Targets>) {
    targets.watch_with(watch);
}

/// Resolves a name every `interval`, or until it has an address once.
async fn watch(targets: Weak<Targets>, name: Name, interval: Option<Duration>, known: Addresses) {
    let known_until =
        interval.filter(|_| !known.is_empty()).and_then(|interval| name.origin.next_lookup(interval));
    let (found, mut addresses) = watch::channel(known);
    let publish = async {
        while addresses.changed().await.is_ok() {
            // The targets live as long as a snapshot has them.
            let Some(targets) = targets.upgrade() else { return };
            targets.set_addresses(name.target, &addresses.borrow_and_update().clone());
            if interval.is_none() {
                return;
            }
        }
    };
    let resolve = async {
        // Known addresses were resolved a moment ago, or are kept from before a reload.
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
