//! `/api/status`: the process, and what is wrong with it at the moment.

use std::time::UNIX_EPOCH;

use schemars::JsonSchema;
use serde::Serialize;

use super::Operators;
use super::problems::Concern;
use crate::control::admin;
use crate::control::history::RouteRecent;

/// The state of the process.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct StatusReport {
    /// The version of the program.
    version: &'static str,
    #[serde(flatten)]
    readiness: Readiness,
    /// The time at which the process started, in seconds of Unix time.
    started: f64,
    /// The time now, as this machine has it, in seconds of Unix time.
    now: f64,
    workers: u64,
    /// The number of the active configuration. The one of the start is 1.
    generation: u64,
    /// True if the files on disk are the active configuration.
    in_sync: bool,
    /// Open connections of clients.
    client_connections: u64,
    /// Requests that have begun and not ended.
    requests_in_flight: u64,
    /// The requests of all routes in the last minute.
    recent: RouteRecent,
    /// Everything that an operator may have to act on, the most urgent first.
    problems: Vec<Concern>,
}

/// The readiness for new requests.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Readiness {
    /// The word of `/ready`: `starting`, `ready` or `draining`.
    state: &'static str,
    /// True if `/ready` answers 200.
    ready: bool,
}

impl Readiness {
    pub(super) fn of(readiness: &admin::Readiness) -> Self {
        let (ready, state) = readiness.as_word();
        Self { state, ready }
    }
}

impl Operators {
    pub(super) fn status_report(&self) -> StatusReport {
        let snapshot = self.status.generation().snapshot.clone();
        let (stats, routes) = (self.status.stats(), snapshot.route_stats());
        let unix =
            |time: std::time::SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        StatusReport {
            version: env!("CARGO_PKG_VERSION"),
            readiness: Readiness::of(&self.readiness),
            started: unix(stats.started()),
            now: unix(std::time::SystemTime::now()),
            workers: stats.workers() as u64,
            generation: stats.generation(),
            in_sync: stats.is_in_sync(),
            client_connections: snapshot
                .listener_stats()
                .iter()
                .map(|(_, stats)| stats.totals().active)
                .sum(),
            requests_in_flight: routes.iter().map(|stats| stats.in_flight()).sum(),
            recent: (&self.status.samples().process(&routes)).into(),
            problems: self.problems(),
        }
    }
}
