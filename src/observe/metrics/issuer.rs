//! The reports about keys that are fetched from issuers.

use std::fmt;

use super::{Page, Scrape};

/// The keys of a way of authentication, and the fetches that brought them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IssuerReport {
    /// The way's name.
    pub(crate) auth: String,
    /// The number of keys in use.
    pub(crate) keys: u64,
    /// The fetches that brought keys.
    pub(crate) fetched: u64,
    pub(crate) failed: u64,
}

impl Scrape {
    pub(super) fn encode_issuers(&self, page: &mut Page<'_>) -> fmt::Result {
        if self.issuers.is_empty() {
            return Ok(());
        }
        page.gauge(
            "gateway_auth_jwks_keys",
            "Keys of the issuer that are in use",
            self.issuers.iter().map(|issuer| ([("auth", &*issuer.auth)], issuer.keys)),
        )?;
        let of_results = self.issuers.iter().flat_map(|issuer| {
            let counts = [("ok", issuer.fetched), ("failed", issuer.failed)];
            counts.map(|(result, count)| ([("auth", &*issuer.auth), ("result", result)], count))
        });
        page.counter("gateway_auth_jwks_fetches", "Fetches of the issuer's keys", of_results)
    }
}
