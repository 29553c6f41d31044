//! The admin listener: the state of the process for probes, scrapes, people and programs, and the few requests by which operators
//! change it.
//!
//! It runs on the control thread, so that no scrape delays a request. [`Access`] has the rules of who may ask. Everything that it shows
//! comes from [`Reports`], so that this room knows HTTP and no generation.

mod access;
mod answer;
mod client;
mod drain;
mod log;
mod page;
mod problem;
mod reload;
pub(crate) mod resources;
mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

pub(crate) use access::Access;
pub(crate) use client::Client;
pub(crate) use log::LogFilter;
pub(crate) use reload::{ReloadOutcome, ReloadRequest, ReloadRequests};
pub(crate) use server::serve;

use crate::observe::metrics::Exposition;

/// The state of the admin listener.
pub(crate) struct AdminState {
    /// The state that `/ready` reports.
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) reports: Box<dyn Reports>,
    /// The queue to which `POST /api/reload` sends its requests.
    pub(crate) reload: ReloadRequests,
}

/// The sources of the responses. Each is called for a request, on the control thread, and should take a few milliseconds at most.
pub(crate) trait Reports: Send + Sync {
    /// Returns the rules of access of the active configuration.
    fn access(&self) -> Arc<Access>;

    /// Returns a report as JSON, or `None` if the query asks for something that there is not.
    fn report(&self, report: Report, query: &str, form: Form) -> Option<String>;

    /// Returns a sentence about the active configuration.
    fn sentence(&self) -> String;

    /// Returns the active configuration as it is written, with variables in place of their values.
    fn config(&self) -> String;

    /// Returns the metrics.
    fn metrics(&self, form: Exposition) -> String;

    /// Returns the description of the API, as JSON.
    fn openapi(&self) -> String;
}

/// A report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Report {
    /// The process, and the problems that it has.
    Status,
    Pools,
    Routes,
    Upstreams,
    Filters,
    Listeners,
    /// The last minutes, for charts.
    History,
    /// The settings that hold requests back.
    Advice,
    /// The kernel's count of connections.
    Kernel,
    /// The last reloads.
    Reloads,
    /// The active generation, and the outcome of the last reload.
    Reload,
    /// The state of readiness.
    Drain,
}

/// The form of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// For people.
    Indented,
    /// For programs.
    Compact,
}

/// The word of `/ready` while new requests are accepted.
const READY: &str = "ready";

/// The readiness for new requests. `/ready` returns 200 only between [`set_serving`](Self::set_serving) and
/// [`set_draining`](Self::set_draining), unless an operator drains.
#[derive(Debug, Default)]
pub(crate) struct Readiness(AtomicU8);

impl Readiness {
    const STARTING: u8 = 0;
    const SERVING: u8 = 1;
    const DRAINING: u8 = 2;
    /// An operator had it report that it drains, and may take that back.
    const HELD: u8 = 3;

    /// Reports that all listeners accept.
    pub(crate) fn set_serving(&self) {
        self.0.store(Self::SERVING, Ordering::Relaxed);
    }

    /// Reports that the process is stopping: requests in flight end, and new ones should go elsewhere.
    pub(crate) fn set_draining(&self) {
        self.0.store(Self::DRAINING, Ordering::Relaxed);
    }

    /// Reports that it drains, at an operator's wish. Everything else goes on.
    fn hold(&self) {
        self.exchange(Self::SERVING, Self::HELD);
    }

    /// Takes back [`hold`](Self::hold). Returns false if there is nothing to take back, because the process is stopping.
    fn release(&self) -> bool {
        self.exchange(Self::HELD, Self::SERVING) || self.0.load(Ordering::Relaxed) == Self::SERVING
    }

    fn exchange(&self, from: u8, to: u8) -> bool {
        self.0.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Returns true if new requests are accepted, and the word that `/ready` shows.
    pub(crate) fn as_word(&self) -> (bool, &'static str) {
        match self.0.load(Ordering::Relaxed) {
            Self::STARTING => (false, "starting"),
            Self::SERVING => (true, READY),
            _ => (false, "draining"),
        }
    }
}
