//! The last minutes of pools and routes: samples of their counters, from which rates, percentiles and charts follow.
//!
//! Nothing is counted for them. The control thread reads all counters every [`INTERVAL`]. A pool or route without any use has no history.
//! Sums reach from an older sample up to the moment of the question, so no report waits for the next sample.

mod pool;
mod quantile;
mod report;
mod ring;
mod route;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) use pool::PoolWindow;
pub(crate) use report::{HistoryReport, PoolRecent, RouteRecent};
use tokio::time::{MissedTickBehavior, interval};

use self::pool::{PoolHistory, PoolRow};
use self::ring::Ring;
use self::route::{RouteHistory, RouteWindow};
use crate::net::clock;
use crate::observe::metrics::{PoolReport, RouteCounts, RouteStats};
use crate::snapshot::Snapshot;

/// The time from one sample to the next.
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);

/// The samples of the process.
#[derive(Debug, Default)]
pub(crate) struct History(Mutex<Samples>);

/// The requests of the whole process at one sample.
#[derive(Debug, Clone, Copy, Default)]
struct ProcessRow {
    /// The time of the sample, in seconds of Unix time.
    at: f64,
    requests: u32,
    errors: u32,
    p50_micros: u32,
    p99_micros: u32,
}

#[derive(Debug, Default)]
struct Samples {
    /// The number of samples so far.
    taken: u64,
    /// The time of the last one, as the uptime of the process.
    last_at: Duration,
    /// The time of the one that is being taken.
    now: Duration,
    /// The pools that were used, by number.
    pools: HashMap<u64, PoolHistory>,
    /// The sums of all pools.
    all_pools: Ring<PoolRow>,
    /// The routes that were used, by the place of their counters, which cannot be another's as long as they are kept here.
    routes: HashMap<usize, (Arc<RouteStats>, RouteHistory)>,
    /// The sums of all routes.
    total: Option<(RouteCounts, RouteHistory)>,
    process: Ring<ProcessRow>,
}

impl History {
    /// Takes a sample every [`INTERVAL`], of the snapshot that `current` returns, if any. Never ends.
    pub(crate) async fn run(&self, current: impl Fn() -> Option<Arc<Snapshot>>) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Some(snapshot) = current() {
                self.sample(&snapshot);
            }
        }
    }

    fn sample(&self, snapshot: &Snapshot) {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut samples = self.lock();
        samples.begin(clock::uptime());
        let mut all = PoolRow::default();
        for named in &snapshot.upstreams {
            for endpoint in named.targets.upstream().current().iter() {
                all.add(samples.pool(&endpoint.sample()));
            }
        }
        samples.all_pools.push(all);
        samples.end(&snapshot.route_stats(), at.as_secs_f64());
    }

    /// Returns the sums of the last minutes of a pool, as its report is now.
    pub(crate) fn pool(&self, report: &PoolReport) -> PoolWindow {
        let samples = self.lock();
        let now = clock::uptime();
        match samples.pools.get(&report.number) {
            Some(history) => history.window(report, now),
            None => PoolHistory::new(samples.last_at, 0).window(report, now),
        }
    }

    /// Returns the last minute of a route, and the time of its last request in Unix time.
    pub(crate) fn route(&self, stats: &Arc<RouteStats>) -> (RouteWindow, Option<f64>) {
        let samples = self.lock();
        samples.route_window(stats, clock::uptime())
    }

    /// Returns the last minute of those of `routes` of which requests failed in it. The others cost next to nothing.
    pub(crate) fn failing<'a>(
        &self,
        routes: impl IntoIterator<Item = &'a Arc<RouteStats>>,
    ) -> Vec<(&'a Arc<RouteStats>, RouteWindow)> {
        let samples = self.lock();
        let now = clock::uptime();
        let failing = routes.into_iter().filter(|stats| samples.has_new_errors(stats));
        failing.map(|stats| (stats, samples.route_window(stats, now).0)).collect()
    }

    /// Returns the last minute of the whole process.
    pub(crate) fn process(&self, routes: &[Arc<RouteStats>]) -> RouteWindow {
        let samples = self.lock();
        let now = clock::uptime();
        let mut since = RouteCounts::default();
        for stats in routes {
            let counts = stats.counts();
            let last = samples.routes.get(&key(stats)).map(|(_, history)| history.since(&counts));
            since.add(&last.unwrap_or(counts));
        }
        match &samples.total {
            Some((total, history)) => {
                since.add(total);
                history.window(&since, now)
            }
            None => RouteHistory::new(samples.last_at).window(&since, now),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Samples> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the key of a route's counters.
fn key(stats: &Arc<RouteStats>) -> usize {
    Arc::as_ptr(stats).addr()
}

impl Samples {
    /// Begins a sample. Until [`end`](Self::end), `last_at` is the time of the one before.
    fn begin(&mut self, now: Duration) {
        self.taken += 1;
        self.now = now;
    }

    /// Adds the sample of a pool. Returns its row.
    fn pool(&mut self, report: &PoolReport) -> PoolRow {
        let (taken, last_at, now) = (self.taken, self.last_at, self.now);
        if !self.pools.contains_key(&report.number) && !PoolHistory::is_used(report) {
            return PoolRow::default();
        }
        let history = self.pools.entry(report.number).or_insert_with(|| PoolHistory::new(last_at, taken));
        history.sample(report, now, taken)
    }

    /// Adds the samples of all routes, and ends the sample. What it has not seen is gone.
    fn end(&mut self, routes: &[Arc<RouteStats>], at: f64) {
        let (taken, last_at, now) = (self.taken, self.last_at, self.now);
        let mut since = RouteCounts::default();
        for stats in routes {
            let counts = stats.counts();
            if counts.requests == 0 {
                continue;
            }
            let new = || (stats.clone(), RouteHistory::new(last_at));
            let (_, history) = self.routes.entry(key(stats)).or_insert_with(new);
            if history.is_newer(&counts) {
                history.used = at;
            }
            since.add(&history.sample(&counts, now, taken));
        }
        let (total, history) =
            self.total.get_or_insert_with(|| (RouteCounts::default(), RouteHistory::new(last_at)));
        total.add(&since);
        history.sample(total, now, taken);
        self.process.push(ProcessRow::of(&since, at));
        self.pools.retain(|_, history| history.seen == taken);
        self.routes.retain(|_, (_, history)| history.seen == taken);
        self.last_at = now;
    }

    fn has_new_errors(&self, stats: &Arc<RouteStats>) -> bool {
        let errors = stats.errors();
        self.routes.get(&key(stats)).map_or(errors > 0, |(_, history)| history.has_new_errors(errors))
    }

    fn route_window(&self, stats: &Arc<RouteStats>, now: Duration) -> (RouteWindow, Option<f64>) {
        let counts = stats.counts();
        match self.routes.get(&key(stats)) {
            Some((_, history)) => {
                let is_newer = history.is_newer(&counts);
                (history.window(&counts, now), Some(if is_newer { unix_now() } else { history.used }))
            }
            None => {
                let used = (counts.requests > 0).then(unix_now);
                (RouteHistory::new(self.last_at).window(&counts, now), used)
            }
        }
    }
}

fn unix_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

impl ProcessRow {
    fn of(counts: &RouteCounts, at: f64) -> Self {
        let bounded = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        let micros = |q| {
            let seconds = quantile::quantile(&counts.durations, 0, q).unwrap_or_default();
            bounded((seconds * 1e6) as u64)
        };
        Self {
            at,
            requests: bounded(counts.requests),
            errors: bounded(counts.errors),
            p50_micros: micros(0.5),
            p99_micros: micros(0.99),
        }
    }
}

#[cfg(test)]
mod tests;
