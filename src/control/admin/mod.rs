//! The admin listener: the state of the process for probes, scrapes and people. It is read-only with one exception:
//! `POST /reload` reads the configuration again, which the operator has written already.
//!
//! It runs on the control thread, so that no scrape delays a request. There is no authentication: bind it to loopback
//! or to an address that only operators reach. On loopback it serves only requests whose Host is an IP address or
//! `localhost`. Otherwise a web page in the operator's browser could read it under a name that resolves to 127.0.0.1
//! (DNS rebinding).

mod answer;
mod client;
mod pages;
mod reload;
mod server;

use std::sync::atomic::{AtomicU8, Ordering};

pub(crate) use client::{ready, running_config};
pub(crate) use reload::{ReloadOutcome, ReloadRequest, ReloadRequests};
pub(crate) use server::serve;

use crate::observe::metrics::PoolReport;

/// The sources of the admin listener's pages.
pub(crate) struct AdminState {
    /// The state that `/ready` reports.
    pub(crate) readiness: Readiness,
    /// Every pool and endpoint, for `/pools`.
    pub(crate) pools: Source<Vec<PoolReport>>,
    /// OpenMetrics text, for `/metrics`.
    pub(crate) metrics: Source<String>,
    /// The running configuration as it is written, with variables in place of their values, for `/config`.
    pub(crate) config: Source<String>,
    /// The routes in order of precedence, as JSON, for `/routes`.
    pub(crate) routes: Source<serde_json::Value>,
    /// The active configuration's number, and whether it matches the files on disk, as JSON, for `GET /reload`.
    pub(crate) generation: Source<serde_json::Value>,
    /// The queue to which `POST /reload` sends its requests.
    pub(crate) reload: ReloadRequests,
}

/// A function that is called for each request. It runs on the control thread and should take a few milliseconds at
/// most.
pub(crate) type Source<T> = Box<dyn Fn() -> T + Send + Sync>;

impl std::fmt::Debug for AdminState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdminState").field("readiness", &self.readiness).finish_non_exhaustive()
    }
}

/// The word of `/ready` while new requests are accepted.
const READY: &str = "ready";

/// The readiness for new requests. `/ready` returns 200 only between [`set_serving`](Self::set_serving) and
/// [`set_draining`](Self::set_draining).
#[derive(Debug, Default)]
pub(crate) struct Readiness(AtomicU8);

impl Readiness {
    const STARTING: u8 = 0;
    const SERVING: u8 = 1;
    const DRAINING: u8 = 2;

    /// Reports that all listeners accept.
    pub(crate) fn set_serving(&self) {
        self.0.store(Self::SERVING, Ordering::Relaxed);
    }

    /// Reports that the process is stopping: requests in flight end, and new ones should go elsewhere.
    pub(crate) fn set_draining(&self) {
        self.0.store(Self::DRAINING, Ordering::Relaxed);
    }

    /// Returns true if new requests are accepted, and the word that `/ready` shows.
    fn as_word(&self) -> (bool, &'static str) {
        match self.0.load(Ordering::Relaxed) {
            Self::STARTING => (false, "starting"),
            Self::SERVING => (true, READY),
            _ => (false, "draining"),
        }
    }
}
