//! Names of targets, looked up on the control side: before a reload takes effect, and then now and again.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{State, Targets};
use crate::control::upstreams::dns::{Addresses, keep_resolved, literal, resolve_once};
use crate::upstream::origin::Origin;

/// With `resolve: off`, how long after a failed look-up the next one comes at most.
const RETRY_AT_MOST: Duration = Duration::from_secs(60);

/// A name that has to be looked up.
struct Name {
    /// Which target it is of.
    target: usize,
    origin: Arc<Origin>,
    host: String,
    port: u16,
}

impl Targets {
    fn names(&self) -> impl Iterator<Item = Name> {
        let named = self.targets.iter().enumerate().filter(|(_, target)| literal(&target.host).is_none());
        named.map(|(index, target)| Name {
            target: index,
            origin: target.origin.clone(),
            host: target.host.clone(),
            port: target.port,
        })
    }

    /// Looks up, all at the same time, the names that nothing is known of yet, so that the first request has not to
    /// wait for DNS. Takes no longer than one lookup may. A failure is left to [`watch_names`], which tries again and logs it.
    pub(crate) async fn resolve_new(&self) {
        let unknown: Vec<Name> = {
            let state = self.lock();
            // Those that are watched are being looked up.
            let names = self.names().filter(|_| state.watching.is_empty());
            names.filter(|name| state.addresses(name.target).is_empty()).collect()
        };
        let lookups = unknown.into_iter().map(|name| async move {
            let found = resolve_once(&name.host, name.port).await;
            (name, found)
        });
        let mut lookups: JoinSet<_> = lookups.collect();
        while let Some(ended) = lookups.join_next().await {
            match ended {
                Ok((name, Ok(found))) => self.set_addresses(name.target, &found),
                Ok((name, Err(error))) => {
                    tracing::debug!(host = name.host, "{error}; looked up again once the reload is done");
                }
                Err(_panic) => tracing::error!("internal error: a lookup panicked"),
            }
        }
    }
}

impl State {
    /// The addresses that are known of a target, sorted.
    fn addresses(&self, target: usize) -> Addresses {
        let endpoints = self.endpoints.iter().filter(|(index, _)| *index == target);
        let mut addresses: Vec<SocketAddr> = endpoints.map(|(_, endpoint)| endpoint.address()).collect();
        addresses.sort_unstable();
        addresses.into()
    }
}

/// Looks the names of an upstream up, now and again, for as long as it is in force; what is known of them so far
/// holds until then. Runs on the control side. Names that are watched already go on being so.
pub(crate) fn watch_names(targets: &Arc<Targets>) {
    let mut state = targets.lock();
    if state.superseded || !state.watching.is_empty() {
        return;
    }
    for name in targets.names() {
        let known = state.addresses(name.target);
        if targets.resolve.is_some() || known.is_empty() {
            state.watching.spawn(watch(Arc::downgrade(targets), name, targets.resolve, known));
        }
    }
}

/// Looks a name up every `interval`, or until it is found once.
async fn watch(targets: Weak<Targets>, name: Name, interval: Option<Duration>, known: Addresses) {
    let known_until =
        interval.filter(|_| !known.is_empty()).and_then(|interval| name.origin.next_lookup(interval));
    let (found, mut addresses) = watch::channel(known);
    let tell = async {
        while addresses.changed().await.is_ok() {
            // They live as long as a snapshot has them: without one there is nobody to tell.
            let Some(targets) = targets.upgrade() else { return };
            targets.set_addresses(name.target, &addresses.borrow_and_update().clone());
            if interval.is_none() {
                return;
            }
        }
    };
    let look_up = async {
        // What is known was looked up a moment ago, or goes on from before a reload.
        if let Some(until) = known_until {
            tokio::time::sleep_until(until).await;
        }
        name.origin.looks_up();
        keep_resolved(name.host, name.port, interval.unwrap_or(RETRY_AT_MOST), found).await;
    };
    tokio::select! {
        () = look_up => {}
        () = tell => {}
    }
}
