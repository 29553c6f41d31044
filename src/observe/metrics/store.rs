//! The reports about stores of rate limits.

use std::fmt;

use super::{Page, Scrape};

/// A store of rate limits and its counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoreReport {
    /// The store's name.
    pub(crate) store: String,
    /// True if it responds.
    pub(crate) is_up: bool,
    /// The requests that it admitted.
    pub(crate) admitted: u64,
    /// The requests that it refused.
    pub(crate) refused: u64,
    /// The commands that were sent to it. One decides about all requests of a key that have come during the one before.
    pub(crate) commands: u64,
    /// The times that it has stopped to respond.
    pub(crate) losses: u64,
    /// The requests that it did not decide about.
    pub(crate) missed: u64,
}

impl Scrape {
    pub(super) fn encode_stores(&self, page: &mut Page<'_>) -> fmt::Result {
        if self.stores.is_empty() {
            return Ok(());
        }
        let of = |value: fn(&StoreReport) -> u64| {
            self.stores.iter().map(move |store| ([("store", &*store.store)], value(store)))
        };
        page.gauge(
            "gateway_rate_limit_store_up",
            "1 while the store of rate limits responds",
            of(|store| store.is_up.into()),
        )?;
        page.counter(
            "gateway_rate_limit_store_commands",
            "Commands that were sent to the store",
            of(|store| store.commands),
        )?;
        page.counter(
            "gateway_rate_limit_store_losses",
            "Times that the store has stopped to respond",
            of(|store| store.losses),
        )?;
        let decisions = self.stores.iter().flat_map(|store| {
            let counts = [("admitted", store.admitted), ("refused", store.refused), ("missed", store.missed)];
            counts.map(|(result, count)| ([("store", &*store.store), ("result", result)], count))
        });
        page.counter(
            "gateway_rate_limit_store_decisions",
            "Requests that the store admitted, refused, or missed, so that `on_error` decided",
            decisions,
        )
    }
}
