//! Metrics: the counters, and the only place where their names are written.
//!
//! The request path counts into slots of its own worker ([`RouteStats`], [`ListenerStats`]); nothing is shared and
//! nothing is locked. A scrape collects references to all of them into a [`Scrape`] and [`render`](Scrape::render)s it.

mod attempts;
mod auth;
mod buckets;
mod exemplars;
mod exposition;
mod filter;
mod filter_log;
mod issuer;
mod pool_report;
mod pools;
mod process;
mod sharded;
pub(crate) mod stats;
mod store;
mod traces;
mod usage;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

pub(crate) use attempts::{AttemptCounts, AttemptTotals};
pub(crate) use auth::{AuthOutcome, AuthReport, AuthStats};
#[cfg(test)]
pub(crate) use buckets::duration_bucket;
pub(crate) use buckets::{DURATION_BOUNDS, DurationCounter, DurationCounts};
pub(crate) use exposition::Exposition;
pub(crate) use filter::{FilterReport, FilterStats, PluginMetricReport, PluginMetricValue};
pub(crate) use filter_log::{FilterFailure, FilterLine};
pub(crate) use issuer::IssuerReport;
pub(crate) use pool_report::{AWAITED_DIAL_CLASSES, PoolReport};
pub(crate) use process::{ProcessStats, unix_seconds};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
pub(crate) use sharded::{Counter, ReasonCounts, Sharded, enter_worker, sum_reasons, this_worker};
pub(crate) use stats::{CODE_CLASSES, ListenerStats, RouteCounts, RouteStats};
pub(crate) use store::StoreReport;

use crate::observe::access_log::{self, Loss};
use crate::observe::traces::TraceReport;

/// The metric of request durations.
const REQUEST_DURATION: &str = "gateway_request_duration_seconds";

/// The sources of one scrape.
#[derive(Debug)]
pub(crate) struct Scrape {
    pub(crate) process: Arc<ProcessStats>,
    /// The number of earlier configurations that requests may still use.
    pub(crate) older_kept: u64,
    /// Every listener, by its present name.
    pub(crate) listeners: Vec<(Arc<str>, Arc<ListenerStats>)>,
    /// The certificates of listeners: listener, file, and the end in Unix time.
    pub(crate) certificates: Vec<(Arc<str>, String, u64)>,
    pub(crate) routes: Vec<Arc<RouteStats>>,
    pub(crate) pools: Vec<PoolReport>,
    pub(crate) filters: Vec<Arc<FilterStats>>,
    /// The metrics that filters have defined.
    pub(crate) plugin_metrics: Vec<PluginMetricReport>,
    /// The ways of authentication.
    pub(crate) auth: Vec<AuthReport>,
    /// The keys that are fetched from issuers.
    pub(crate) issuers: Vec<IssuerReport>,
    /// The stores of rate limits.
    pub(crate) stores: Vec<StoreReport>,
    /// Bytes of request bodies that are kept for a retry.
    pub(crate) kept_body_bytes: u64,
    /// Request bodies that were not kept for lack of room.
    pub(crate) unkept_bodies: u64,
    /// Lines of the access log that could not be written.
    pub(crate) access_log: Arc<access_log::Counts>,
    /// The spans of traces, if they are on.
    pub(crate) traces: Option<TraceReport>,
    /// Passwords that were compared with hashes, and those that wait for it.
    pub(crate) password_comparisons: (u64, u64),
    /// The table of `rate_limit`: its keys, those given up for others, and the requests that it had no room for.
    pub(crate) rate_limit_keys: u64,
    pub(crate) rate_limit_evicted: u64,
    pub(crate) rate_limit_crowded: u64,
}

impl Scrape {
    /// Renders the metrics as text.
    ///
    /// # Errors
    /// None in practice: writing to a string cannot fail, but the encoder's signature permits an error.
    pub(crate) fn render(mut self, form: Exposition) -> Result<String, fmt::Error> {
        self.pools = PoolReport::merged(self.pools);
        let exemplars = exemplars::by_series(
            REQUEST_DURATION,
            self.routes.iter().map(|stats| (stats.route(), stats.exemplars())),
        );
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        text::encode(&mut text, &registry)?;
        Ok(match form {
            Exposition::OpenMetrics if exemplars.is_empty() => text,
            Exposition::OpenMetrics => exemplars::insert(&text, &exemplars),
            Exposition::Prometheus => exposition::to_prometheus(&text),
        })
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        self.encode_process(&mut page)?;
        self.encode_listeners(&mut page)?;
        self.encode_certificates(&mut page)?;
        self.encode_routes(&mut page)?;
        self.encode_pools(&mut page)?;
        self.encode_attempts(&mut page)?;
        self.encode_filters(&mut page)?;
        self.encode_auth(&mut page)?;
        self.encode_issuers(&mut page)?;
        self.encode_stores(&mut page)?;
        self.encode_traces(&mut page)
    }
}

impl Scrape {
    fn encode_process(&self, page: &mut Page<'_>) -> fmt::Result {
        let process = &self.process;
        let started = process.started().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let workers = u64::try_from(process.workers()).unwrap_or(u64::MAX);
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        page.gauge("gateway_build_info", "The running version", [(version, 1_u64)])?;
        page.gauge_of_all("process_start_time_seconds", "Start time of the process, in Unix time", &started)?;
        if let Some(usage) = usage::Usage::read() {
            usage.encode(page)?;
        }
        page.gauge_of_all("gateway_workers", "Workers that serve", &workers)?;
        page.gauge_of_all(
            "gateway_config_generation",
            "The number of the active configuration",
            &process.generation(),
        )?;
        page.gauge_of_all(
            "gateway_config_live_since_seconds",
            "Time since which that configuration is active, in Unix time",
            &process.live_since(),
        )?;
        page.gauge_of_all(
            "gateway_config_in_sync",
            "1 while the active configuration matches the files on disk, 0 after a reload of them was refused",
            &u64::from(process.is_in_sync()),
        )?;
        page.gauge_of_all(
            "gateway_config_older_kept",
            "Earlier configurations, kept for requests that began with them",
            &self.older_kept,
        )?;
        page.counter_of_all("gateway_config_reloads", "Reloads that took effect", process.reloads())?;
        page.gauge_of_all(
            "gateway_config_reload_duration_seconds",
            "Duration of the last reload, from reading the file until it was active",
            &process.reload_took().as_secs_f64(),
        )?;
        page.counter_of_all(
            "gateway_config_reloads_refused",
            "Reloads that had errors and changed nothing",
            process.reloads_refused(),
        )?;
        page.gauge_of_all(
            "gateway_retry_kept_body_bytes",
            "Bytes of request bodies that are kept until a response begins",
            &self.kept_body_bytes,
        )?;
        page.counter_of_all(
            "gateway_retry_unkept_bodies",
            "Request bodies that were not kept because retry.keep_body_total was reached",
            self.unkept_bodies,
        )?;
        page.gauge_of_all(
            "gateway_rate_limit_keys",
            "Keys in the table of rate limits, of 2097152 that it has room for",
            &self.rate_limit_keys,
        )?;
        page.counter_of_all(
            "gateway_rate_limit_evictions",
            "Keys that the table of rate limits gave up for others before their credit was complete",
            self.rate_limit_evicted,
        )?;
        page.counter_of_all(
            "gateway_rate_limit_crowded",
            "Requests refused because the table of rate limits had only keys over their limits in their place",
            self.rate_limit_crowded,
        )?;
        page.counter(
            "gateway_access_log_dropped_lines",
            "Access log lines that could not be written, by reason",
            Loss::ALL.map(|loss| ([("reason", loss.word())], self.access_log.dropped(loss))),
        )?;
        page.counter_of_all(
            "gateway_access_log_cut_lines",
            "Access log lines whose values were cut so that the line fits into a datagram",
            self.access_log.cut(),
        )?;
        let (computed, queued) = self.password_comparisons;
        page.counter_of_all(
            "gateway_auth_basic_computations",
            "Passwords that were compared with a hash; equal requests share one, and its result for a while",
            computed,
        )?;
        page.gauge_of_all(
            "gateway_auth_basic_queued",
            "Passwords that wait to be compared with a hash",
            &queued,
        )
    }

    fn encode_listeners(&self, page: &mut Page<'_>) -> fmt::Result {
        let rows: Vec<_> = self.listeners.iter().map(|(name, stats)| (&**name, stats.totals())).collect();
        page.counter(
            "gateway_listener_accepted",
            "Connections accepted",
            rows.iter().map(|(name, totals)| ([("listener", *name)], totals.accepted)),
        )?;
        page.gauge(
            "gateway_listener_connections",
            "Connections open",
            rows.iter().map(|(name, totals)| ([("listener", *name)], totals.active)),
        )?;
        page.counter(
            "gateway_listener_closed",
            "Connections ended, by reason",
            rows.iter().flat_map(|(name, totals)| reasons([("listener", *name)], &totals.closed)),
        )?;
        page.counter(
            "gateway_listener_tls_failures",
            "TLS handshakes failed, by reason",
            rows.iter().flat_map(|(name, totals)| reasons([("listener", *name)], &totals.tls_failed)),
        )
    }

    fn encode_certificates(&self, page: &mut Page<'_>) -> fmt::Result {
        page.gauge(
            "gateway_listener_certificate_expiry_seconds",
            "The end of a certificate that the listener shows, in Unix time",
            self.certificates
                .iter()
                .map(|(listener, file, expires)| ([("listener", &**listener), ("file", &**file)], *expires)),
        )
    }

    fn encode_routes(&self, page: &mut Page<'_>) -> fmt::Result {
        let rows: Vec<_> = self.routes.iter().map(|stats| (stats.route(), stats.totals())).collect();
        page.counter(
            "gateway_requests",
            "Requests finished, by class of the status code; none: the client got no response",
            rows.iter().flat_map(|(name, totals)| {
                let codes = CODE_CLASSES.iter().zip(totals.codes).filter(|(_, count)| *count > 0);
                codes.map(|(code, count)| ([("route", *name), ("code", *code)], count))
            }),
        )?;
        page.counter(
            "gateway_request_errors",
            "Requests that failed, by reason (the x-gateway-error of the response)",
            rows.iter().flat_map(|(name, totals)| reasons([("route", *name)], &totals.errors)),
        )?;
        page.counter(
            "gateway_rate_limit_delayed",
            "Requests that waited for their turn under rate_limit",
            rows.iter()
                .filter(|(_, totals)| totals.delayed > 0)
                .map(|(name, totals)| ([("route", *name)], totals.delayed)),
        )?;
        page.counter(
            "gateway_grpc_calls",
            "gRPC calls finished, by grpc-status; none: the client got no status",
            rows.iter().flat_map(|(name, totals)| {
                let statuses = totals.grpc_statuses.iter();
                statuses.map(|(status, count)| ([("route", *name), ("grpc_status", *status)], *count))
            }),
        )?;
        page.counter(
            "gateway_mirror_requests",
            "Mirrored requests finished, by class of the status code; none: there was no response",
            rows.iter().flat_map(|(name, totals)| {
                let codes = totals.mirror_codes.iter();
                codes.map(|(code, count)| ([("route", *name), ("code", *code)], *count))
            }),
        )?;
        page.counter(
            "gateway_mirror_errors",
            "Mirrored requests that failed, by reason",
            rows.iter().flat_map(|(name, totals)| reasons([("route", *name)], &totals.mirror_errors)),
        )?;
        page.counter(
            "gateway_mirror_dropped",
            "Requests that were not mirrored although it was their turn, by reason",
            rows.iter().flat_map(|(name, totals)| reasons([("route", *name)], &totals.mirror_dropped)),
        )?;
        page.gauge(
            "gateway_requests_in_flight",
            "Requests begun and not finished",
            rows.iter().map(|(name, totals)| ([("route", *name)], totals.in_flight)),
        )?;
        page.counter(
            "gateway_request_body_bytes",
            "Request body bytes received",
            rows.iter().map(|(name, totals)| ([("route", *name)], totals.bytes_in)),
        )?;
        page.counter(
            "gateway_response_body_bytes",
            "Response body bytes sent",
            rows.iter().map(|(name, totals)| ([("route", *name)], totals.bytes_out)),
        )?;
        let help = "From the request's header to the last byte of its response";
        let durations =
            rows.iter().map(|(name, totals)| ([("route", *name)], &totals.durations, totals.duration));
        page.durations(REQUEST_DURATION, help, durations)
    }
}

/// Returns the labels with one more.
fn with<'a, const N: usize>(
    labels: [(&'a str, &'a str); N],
    key: &'a str,
    value: &'a str,
) -> Vec<(&'a str, &'a str)> {
    labels.into_iter().chain([(key, value)]).collect()
}

/// Returns a row per reason, with the reason as an additional label.
fn reasons<'a, const N: usize>(
    labels: [(&'a str, &'a str); N],
    counts: &'a [(&'static str, u64)],
) -> impl Iterator<Item = (Vec<(&'a str, &'a str)>, u64)> {
    counts.iter().map(move |(reason, count)| (with(labels, "reason", reason), *count))
}

/// A page that is being written. The encoder appends `_total` to the names of counters.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn counter_of_all(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, u64, f64>(&value, None)
    }

    fn float_counter_of_all(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, f64, f64>(&value, None)
    }

    fn gauge_of_all(&mut self, name: &str, help: &str, value: &impl EncodeGaugeValue) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(value)
    }

    fn counter<L: EncodeLabelSet, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in rows {
            metric.encode_family(&labels)?.encode_counter::<NoLabelSet, V, f64>(&value, None)?;
        }
        Ok(())
    }

    fn gauge<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in rows {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// Writes a histogram for each row: its labels, the counts and the sum of all durations.
    fn durations<'r, L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (L, &'r DurationCounts, Duration)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, counts, sum) in rows {
            let bounds = DURATION_BOUNDS.into_iter().chain([f64::INFINITY]);
            let buckets: Vec<_> = bounds.zip(counts.iter().copied()).collect();
            let mut row = metric.encode_family(&labels)?;
            row.encode_histogram::<NoLabelSet>(sum.as_secs_f64(), counts.iter().sum(), &buckets, None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
