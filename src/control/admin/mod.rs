//! The admin listener: what the process is doing, for probes, scrapes and people. It reads; the one thing that it can
//! change is what the operator has written already: `POST /reload` has the configuration read again.
//!
//! It runs on the control thread, so that no scrape holds up a request. There is no authentication: bind it to loopback or
//! to an address that only operators reach. On loopback it answers only to a Host that is an IP address or `localhost`,
//! because a web page open in the operator's browser could otherwise read it under a name that it makes resolve to
//! 127.0.0.1 (DNS rebinding).

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

/// What the admin listener shows, and where it gets it from.
pub(crate) struct AdminState {
    /// What `/ready` answers.
    pub(crate) readiness: Readiness,
    /// Every pool and endpoint, for `/pools`.
    pub(crate) pools: Source<Vec<PoolReport>>,
    /// OpenMetrics text, for `/metrics`.
    pub(crate) metrics: Source<String>,
    /// The running configuration as YAML, without its secrets, for `/config`.
    pub(crate) config: Source<String>,
    /// The routes in order of precedence, as JSON, for `/routes`.
    pub(crate) routes: Source<serde_json::Value>,
    /// Which configuration serves, and whether it is what is on disk, as JSON, for `GET /reload`.
    pub(crate) generation: Source<serde_json::Value>,
    /// Where `POST /reload` is done.
    pub(crate) reload: ReloadRequests,
}

/// Asked anew for each request. It runs on the control thread and should take a few milliseconds at most.
pub(crate) type Source<T> = Box<dyn Fn() -> T + Send + Sync>;

impl std::fmt::Debug for AdminState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdminState").field("readiness", &self.readiness).finish_non_exhaustive()
    }
}

/// The word of `/ready` while new requests are welcome.
const READY: &str = "ready";

/// Whether new requests are welcome: `/ready` answers 200 only between [`set_serving`](Self::set_serving) and
/// [`set_draining`](Self::set_draining).
#[derive(Debug, Default)]
pub(crate) struct Readiness(AtomicU8);

impl Readiness {
    const STARTING: u8 = 0;
    const SERVING: u8 = 1;
    const DRAINING: u8 = 2;

    /// All listeners accept.
    pub(crate) fn set_serving(&self) {
        self.0.store(Self::SERVING, Ordering::Relaxed);
    }

    /// The process has been told to stop: requests in flight end, new ones should go elsewhere.
    pub(crate) fn set_draining(&self) {
        self.0.store(Self::DRAINING, Ordering::Relaxed);
    }

    /// Whether new requests are welcome, and the word that `/ready` says.
    fn as_word(&self) -> (bool, &'static str) {
        match self.0.load(Ordering::Relaxed) {
            Self::STARTING => (false, "starting"),
            Self::SERVING => (true, READY),
            _ => (false, "draining"),
        }
    }
}
