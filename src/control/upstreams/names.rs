//! Resolution of upstreams' names, before a reload takes effect and for as long as they are active after it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::dns::{keep_resolved, longest_pause, pause_after, resolve_once};
use super::resolver::Resolver;
use crate::config::{Dns, Resolve};
use crate::upstream::{Addresses, Name, Targets};

/// The resolver of the active configuration. The tasks of unchanged upstreams survive a reload, and use the new one from their next
/// lookup.
#[derive(Clone)]
pub(crate) struct ActiveResolver(Arc<ArcSwap<Resolver>>);

impl ActiveResolver {
    pub(crate) fn new(settings: &Dns) -> Self {
        Self(Arc::new(ArcSwap::new(Resolver::new(settings))))
    }

    /// Returns the resolver for these settings: the active one, if they are its own.
    pub(crate) fn with(&self, settings: &Dns) -> Arc<Resolver> {
        let active = self.0.load_full();
        if active.settings() == settings { active } else { Resolver::new(settings) }
    }

    /// Returns the active resolver.
    pub(crate) fn current(&self) -> Arc<Resolver> {
        self.0.load_full()
    }

    pub(crate) fn set(&self, resolver: Arc<Resolver>) {
        self.0.store(resolver);
    }
}

/// Resolves the names that have no address yet, all at the same time, so that the first request does not wait for DNS.
/// Takes no longer than one lookup may. [`watch_names`] retries and logs failures.
pub(crate) async fn resolve_new(targets: &Targets, resolver: &Arc<Resolver>) {
    let lookups = targets.unknown_names().into_iter().map(|name| {
        let resolver = resolver.clone();
        async move {
            let found = resolve_once(&resolver, &name, &[]).await;
            (name, found)
        }
    });
    let mut lookups: JoinSet<_> = lookups.collect();
    while let Some(ended) = lookups.join_next().await {
        match ended {
            Ok((name, Ok(found))) => {
                let pause = pause_after(targets.resolve(), found.ttl);
                name.origin.schedule_lookup(Instant::now() + pause);
                targets.set_addresses(name.target, &found.addresses);
            }
            Ok((name, Err(error))) => {
                tracing::debug!(host = name.host, "{error}; it is retried once the reload is done");
            }
            Err(_panic) => tracing::error!("internal error: a lookup panicked"),
        }
    }
}

/// Resolves the names of an upstream for as long as the upstream is active. Known addresses are used until
/// the first lookup. Names that are being resolved already are skipped.
pub(crate) fn watch_names(targets: &Arc<Targets>, resolver: &ActiveResolver) {
    targets
        .watch_with(|targets, name, resolve, known| watch(targets, name, resolve, known, resolver.clone()));
}

/// Resolves a name as `resolve` says; if that is never, until it first has an address.
async fn watch(
    targets: Weak<Targets>,
    name: Name,
    resolve: Resolve,
    known: Addresses,
    resolver: ActiveResolver,
) {
    // Known addresses were resolved a moment ago, or were kept by a reload.
    let rest = if known.is_empty() { Duration::ZERO } else { longest_pause(resolve) };
    let (found, mut addresses) = watch::channel(known);
    let publish = async {
        while addresses.changed().await.is_ok() {
            // The targets live for as long as a snapshot has them.
            let Some(targets) = targets.upgrade() else { return };
            targets.set_addresses(name.target, &addresses.borrow_and_update().clone());
            if resolve == Resolve::Off {
                return;
            }
        }
    };
    let resolved = async {
        let latest = Instant::now() + rest;
        let due = name.origin.next_lookup().filter(|_| !rest.is_zero()).unwrap_or(latest);
        tokio::time::sleep_until(due.min(latest)).await;
        let lookup = |known: Addresses| {
            let (resolver, name) = (resolver.0.load_full(), &name);
            async move { resolve_once(&resolver, name, &known).await }
        };
        keep_resolved(&name.host, resolve, lookup, &found, |next| name.origin.schedule_lookup(next)).await;
    };
    tokio::select! {
        () = resolved => {}
        () = publish => {}
    }
}
