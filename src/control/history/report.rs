//! The reports of the history, as the API shows them.

use schemars::JsonSchema;
use serde::Serialize;

use super::pool::PoolRow;
use super::ring::Ring;
use super::route::RouteWindow;
use super::{History, INTERVAL, PoolWindow, ProcessRow};
use crate::observe::metrics::PoolReport;

/// The requests of the last minute.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RouteRecent {
    /// The time that the other numbers are about, in seconds.
    seconds: f64,
    /// Requests per second.
    rate: f64,
    /// The part of requests that ended with a status of 500 or more; null without requests.
    error_share: Option<f64>,
    p50_seconds: Option<f64>,
    p90_seconds: Option<f64>,
    p99_seconds: Option<f64>,
}

impl From<&RouteWindow> for RouteRecent {
    fn from(window: &RouteWindow) -> Self {
        Self {
            seconds: window.length.as_secs_f64(),
            rate: window.rate(),
            error_share: window.error_share(),
            p50_seconds: window.quantile(0.5),
            p90_seconds: window.quantile(0.9),
            p99_seconds: window.quantile(0.99),
        }
    }
}

/// A pool in the last minutes: four to five.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PoolRecent {
    /// The time that the other numbers are about, in seconds.
    seconds: f64,
    /// Requests per second that got a connection.
    rate: f64,
    /// The part of them that got a kept connection; null without requests.
    reuse_share: Option<f64>,
    opened: u64,
    closed: u64,
    /// Requests that found no idle connection.
    waited: u64,
    /// The time until a request had a connection: of all requests, those that waited for none among them.
    acquire_p50_seconds: Option<f64>,
    acquire_p99_seconds: Option<f64>,
    /// The part of the time during which requests waited because `max_connections` was reached.
    max_connections_reached_share: f64,
    /// The part of the time during which requests waited because `max_concurrent` was reached.
    max_concurrent_reached_share: f64,
    /// The most requests at once.
    peak_requests: u64,
    tls_handshakes: u64,
    /// TLS handshakes that a request waited for.
    tls_handshakes_awaited: u64,
}

impl From<&PoolWindow> for PoolRecent {
    fn from(window: &PoolWindow) -> Self {
        let seconds = window.length.as_secs_f64();
        Self {
            seconds,
            rate: if seconds > 0.0 { window.acquired as f64 / seconds } else { 0.0 },
            reuse_share: window.reuse_share(),
            opened: window.opened,
            closed: window.closed.iter().map(|(_, count)| count).sum(),
            waited: window.waited(),
            acquire_p50_seconds: window.acquire_quantile(0.5),
            acquire_p99_seconds: window.acquire_quantile(0.99),
            max_connections_reached_share: window.share_of(window.max_connections_reached),
            max_concurrent_reached_share: window.share_of(window.max_concurrent_reached),
            peak_requests: window.peak_requests,
            tls_handshakes: window.tls_handshakes,
            tls_handshakes_awaited: window.tls_handshakes_awaited,
        }
    }
}

/// The last fifteen minutes as columns, which all have a number for each sample, the oldest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct HistoryReport {
    /// The time from one sample to the next, in seconds.
    interval_seconds: f64,
    /// The times of the samples, in seconds of Unix time.
    at: Vec<f64>,
    /// The connections and requests of one pool, or of all together.
    pools: PoolSeries,
    /// The requests of all routes; only without a pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<ProcessSeries>,
}

/// The columns of a pool. Counts are those since the sample before.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct PoolSeries {
    idle: Vec<u32>,
    active: Vec<u32>,
    connecting: Vec<u32>,
    /// Requests waiting for a connection.
    pending: Vec<u32>,
    opened: Vec<u32>,
    reused: Vec<u32>,
    closed: Vec<u32>,
    acquired: Vec<u32>,
    /// The time during which `max_connections` or `max_concurrent` was reached; of all pools, the longest.
    limit_reached_seconds: Vec<f64>,
    /// The most requests at once.
    peak_requests: Vec<u32>,
    /// The time until a request had a connection; of all pools, the longest.
    acquire_p99_seconds: Vec<f64>,
}

/// The columns of all routes. Counts are those since the sample before.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct ProcessSeries {
    requests: Vec<u32>,
    /// Requests that ended with a status of 500 or more.
    errors: Vec<u32>,
    p50_seconds: Vec<f64>,
    p99_seconds: Vec<f64>,
}

impl History {
    /// Returns the series of some pools together; without `pools`, those of the whole process.
    pub(crate) fn report(&self, pools: Option<&[PoolReport]>) -> HistoryReport {
        let samples = self.lock();
        let at: Vec<f64> = samples.process.iter().map(|row| row.at).collect();
        let series = match pools {
            None => PoolSeries::of(at.len(), [&samples.all_pools]),
            Some(pools) => {
                let of =
                    |report: &PoolReport| samples.pools.get(&report.number).map(|history| history.rows());
                PoolSeries::of(at.len(), pools.iter().filter_map(of))
            }
        };
        let process = pools.is_none().then(|| ProcessSeries::of(&samples.process));
        HistoryReport { interval_seconds: INTERVAL.as_secs_f64(), at, pools: series, process }
    }
}

fn seconds(micros: u32) -> f64 {
    f64::from(micros) / 1e6
}

impl PoolSeries {
    /// Returns the sums of several series, of which each ends now.
    fn of<'a>(length: usize, series: impl IntoIterator<Item = &'a Ring<PoolRow>>) -> Self {
        let mut sums = vec![PoolRow::default(); length];
        for rows in series {
            let pairs = sums.iter_mut().rev().zip(rows.iter().rev());
            pairs.for_each(|(sum, row)| sum.add(*row));
        }
        let column = |of: fn(&PoolRow) -> u32| sums.iter().map(of).collect();
        Self {
            idle: column(|row| row.idle),
            active: column(|row| row.active),
            connecting: column(|row| row.connecting.into()),
            pending: column(|row| row.pending),
            opened: column(|row| row.opened),
            reused: column(|row| row.reused),
            closed: column(|row| row.closed),
            acquired: column(|row| row.acquired),
            limit_reached_seconds: sums.iter().map(|row| f64::from(row.limited_millis) / 1e3).collect(),
            peak_requests: column(|row| row.peak),
            acquire_p99_seconds: sums.iter().map(|row| seconds(row.acquire_p99_micros)).collect(),
        }
    }
}

impl ProcessSeries {
    fn of(rows: &Ring<ProcessRow>) -> Self {
        Self {
            requests: rows.iter().map(|row| row.requests).collect(),
            errors: rows.iter().map(|row| row.errors).collect(),
            p50_seconds: rows.iter().map(|row| seconds(row.p50_micros)).collect(),
            p99_seconds: rows.iter().map(|row| seconds(row.p99_micros)).collect(),
        }
    }
}
