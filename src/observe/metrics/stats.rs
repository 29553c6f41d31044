//! Counters per route and per listener.

use std::time::Duration;

use super::buckets::{DurationCounter, DurationCounts, duration_bucket};
use super::exemplars::Exemplars;
use super::sharded::{Counter, ReasonCounts, Sharded, add_each, sum_reasons};
use crate::observe::traces::TraceId;

/// The classes by which finished requests are counted; `none` if the client got no status.
pub(crate) const CODE_CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The counters of one route. All methods are cheap enough for the request path: a few plain stores, and no allocation
/// except for the first failure of a kind.
#[derive(Debug)]
pub(crate) struct RouteStats {
    route: String,
    shards: Sharded<RouteShard>,
    exemplars: Exemplars,
}

#[derive(Debug, Default)]
struct RouteShard {
    begun: Counter,
    finished: [Counter; CODE_CLASSES.len()],
    durations: DurationCounter,
    bytes_in: Counter,
    bytes_out: Counter,
    errors: ReasonCounts,
    /// The part of `errors` with a status of 500 or more.
    server_errors: ReasonCounts,
    delayed: Counter,
    grpc_statuses: ReasonCounts,
    mirrored: MirrorCounts,
}

/// The counts of a route's mirrored requests.
#[derive(Debug, Default)]
struct MirrorCounts {
    codes: ReasonCounts,
    errors: ReasonCounts,
    dropped: ReasonCounts,
}

impl RouteStats {
    /// Creates the counters of the route with this name: a slot per worker and one for the control thread.
    pub(crate) fn new(route: &str, workers: usize) -> Self {
        Self { route: route.to_owned(), shards: Sharded::new(workers), exemplars: Exemplars::default() }
    }

    /// Returns the route's name, the value of the `route` label.
    pub(crate) fn route(&self) -> &str {
        &self.route
    }

    /// Counts the begin of a request. [`finish`](Self::finish) must follow on the same worker.
    pub(crate) fn begin(&self, worker: usize) {
        if let Some(shard) = self.shards.of(worker) {
            shard.begun.add(1);
        }
    }

    /// Counts the end of a request: its last byte has been sent, or never will be.
    ///
    /// `status` is the status of the response that the client got, or 0 if it got none (it left, or was cut off).
    /// `error` is the reason that `x-gateway-error` and the access log show.
    pub(crate) fn finish(
        &self,
        worker: usize,
        status: u16,
        duration: Duration,
        bytes_in: u64,
        bytes_out: u64,
        error: Option<&'static str>,
    ) {
        let Some(shard) = self.shards.of(worker) else { return };
        shard.durations.add(duration);
        if let Some(count) = shard.finished.get(usize::from(status / 100)).or(shard.finished.first()) {
            count.add(1);
        }
        shard.bytes_in.add(bytes_in);
        shard.bytes_out.add(bytes_out);
        if let Some(reason) = error {
            shard.errors.add(reason);
            if status >= 500 {
                shard.server_errors.add(reason);
            }
        }
    }

    /// Makes a request of a sampled trace the exemplar of its bucket. Its duration is the one that [`finish`](Self::finish) counts.
    pub(crate) fn exemplify(&self, duration: Duration, trace_id: TraceId) {
        self.exemplars.put(duration_bucket(duration), trace_id, duration);
    }

    pub(super) fn exemplars(&self) -> &Exemplars {
        &self.exemplars
    }

    /// Counts a request that waits for its turn under `rate_limit`.
    pub(crate) fn delayed(&self, worker: usize) {
        if let Some(shard) = self.shards.of(worker) {
            shard.delayed.add(1);
        }
    }

    /// Counts the status of a gRPC call, by its name; `none` if the client got none.
    pub(crate) fn called(&self, worker: usize, status: &'static str) {
        if let Some(shard) = self.shards.of(worker) {
            shard.grpc_statuses.add(status);
        }
    }

    /// Counts a mirrored request that has ended: with this status, or with the reason of its failure.
    pub(crate) fn mirrored(&self, worker: usize, outcome: Result<u16, &'static str>) {
        let Some(shard) = self.shards.of(worker) else { return };
        let [none, ..] = CODE_CLASSES;
        let code = outcome
            .map_or(none, |status| CODE_CLASSES.get(usize::from(status / 100)).copied().unwrap_or(none));
        shard.mirrored.codes.add(code);
        if let Err(reason) = outcome {
            shard.mirrored.errors.add(reason);
        }
    }

    /// Counts a request that was not mirrored although it was its turn.
    pub(crate) fn unmirrored(&self, worker: usize, reason: &'static str) {
        if let Some(shard) = self.shards.of(worker) {
            shard.mirrored.dropped.add(reason);
        }
    }

    /// Returns the number of requests that have begun and not ended.
    pub(crate) fn in_flight(&self) -> u64 {
        let ended: u64 = self.shards.sum(|shard| shard.finished.iter().map(Counter::value).sum());
        self.shards.sum(|shard| shard.begun.value()).saturating_sub(ended)
    }

    /// Returns the requests that have ended with a status of 500 or more.
    pub(crate) fn errors(&self) -> u64 {
        self.shards.sum(|shard| shard.finished.last().map_or(0, Counter::value))
    }

    /// Returns the most frequent reason of those requests, if any has one: an upstream's own error has none.
    pub(crate) fn first_error_reason(&self) -> Option<&'static str> {
        let reasons = sum_reasons(self.shards.iter().map(|shard| &shard.server_errors));
        reasons.into_iter().max_by_key(|(_, count)| *count).map(|(reason, _)| reason)
    }

    /// Returns the counts from which rates and percentiles follow: fewer than [`totals`](Self::totals), and without allocating.
    pub(crate) fn counts(&self) -> RouteCounts {
        let mut counts = RouteCounts { errors: self.errors(), ..RouteCounts::default() };
        self.shards.iter().for_each(|shard| shard.durations.add_to(&mut counts.durations));
        counts.requests = counts.durations.iter().sum();
        counts
    }

    /// Returns the sums over all workers.
    pub(crate) fn totals(&self) -> RouteTotals {
        let mut codes = [0; CODE_CLASSES.len()];
        let mut durations = DurationCounts::default();
        let mut begun = 0;
        for shard in self.shards.iter() {
            // Finished requests are read before begun ones: a request that ends in between then counts as in flight,
            // and not as one that ended without having begun.
            add_each(&mut codes, shard.finished.iter().map(Counter::value));
            shard.durations.add_to(&mut durations);
            begun += shard.begun.value();
        }
        RouteTotals {
            in_flight: begun.saturating_sub(codes.iter().sum()),
            codes,
            durations,
            duration: Duration::from_nanos(self.shards.sum(|shard| shard.durations.nanos())),
            bytes_in: self.shards.sum(|shard| shard.bytes_in.value()),
            bytes_out: self.shards.sum(|shard| shard.bytes_out.value()),
            errors: sum_reasons(self.shards.iter().map(|shard| &shard.errors)),
            delayed: self.shards.sum(|shard| shard.delayed.value()),
            grpc_statuses: sum_reasons(self.shards.iter().map(|shard| &shard.grpc_statuses)),
            mirror_codes: sum_reasons(self.shards.iter().map(|shard| &shard.mirrored.codes)),
            mirror_errors: sum_reasons(self.shards.iter().map(|shard| &shard.mirrored.errors)),
            mirror_dropped: sum_reasons(self.shards.iter().map(|shard| &shard.mirrored.dropped)),
        }
    }
}

/// The requests of a route that have ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RouteCounts {
    pub(crate) requests: u64,
    /// Those with a status of 500 or more.
    pub(crate) errors: u64,
    pub(crate) durations: DurationCounts,
}

impl RouteCounts {
    /// Adds the requests of another route.
    pub(crate) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        add_each(&mut self.durations, other.durations);
    }
}

/// The totals of a route so far.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RouteTotals {
    /// Finished requests, in the order of [`CODE_CLASSES`].
    pub(crate) codes: [u64; CODE_CLASSES.len()],
    /// Finished requests per bucket of [`DURATION_BOUNDS`](super::DURATION_BOUNDS), the last bucket without bound; not cumulative.
    pub(crate) durations: DurationCounts,
    /// The sum of all durations.
    pub(crate) duration: Duration,
    /// Request body bytes received from clients.
    pub(crate) bytes_in: u64,
    /// Response body bytes sent to clients.
    pub(crate) bytes_out: u64,
    /// Requests that have begun and not ended.
    pub(crate) in_flight: u64,
    /// Requests that failed, by reason.
    pub(crate) errors: Vec<(&'static str, u64)>,
    /// Requests that waited for their turn under `rate_limit`.
    pub(crate) delayed: u64,
    /// gRPC calls, by the name of their status.
    pub(crate) grpc_statuses: Vec<(&'static str, u64)>,
    /// Mirrored requests that have ended, by class of the status.
    pub(crate) mirror_codes: Vec<(&'static str, u64)>,
    /// Mirrored requests that failed, by reason.
    pub(crate) mirror_errors: Vec<(&'static str, u64)>,
    /// Requests that were not mirrored, by reason.
    pub(crate) mirror_dropped: Vec<(&'static str, u64)>,
}

/// The counters of one listener. They do not hold its name: a renamed listener keeps counting.
#[derive(Debug)]
pub(crate) struct ListenerStats {
    shards: Sharded<ListenerShard>,
}

#[derive(Debug, Default)]
struct ListenerShard {
    accepted: Counter,
    ended: Counter,
    closed: ReasonCounts,
    tls_failed: ReasonCounts,
}

impl ListenerStats {
    /// Creates the counters: a slot per worker and one for the control thread.
    pub(crate) fn new(workers: usize) -> Self {
        Self { shards: Sharded::new(workers) }
    }

    /// Counts an accepted connection. [`closed`](Self::closed) must follow on the same worker.
    pub(crate) fn accepted(&self, worker: usize) {
        if let Some(shard) = self.shards.of(worker) {
            shard.accepted.add(1);
        }
    }

    /// Counts the end of an accepted connection by its reason (`client`, `keep_alive`, `drain`, …).
    pub(crate) fn closed(&self, worker: usize, reason: &'static str) {
        if let Some(shard) = self.shards.of(worker) {
            shard.ended.add(1);
            shard.closed.add(reason);
        }
    }

    /// Counts a failed TLS handshake by its reason. The connection's [`closed`](Self::closed) is counted separately.
    pub(crate) fn tls_failed(&self, worker: usize, reason: &'static str) {
        if let Some(shard) = self.shards.of(worker) {
            shard.tls_failed.add(reason);
        }
    }

    /// Returns the sums over all workers.
    pub(crate) fn totals(&self) -> ListenerTotals {
        // Ended connections are read before accepted ones, for the reason given in `RouteStats::totals`.
        let ended = self.shards.sum(|shard| shard.ended.value());
        let accepted = self.shards.sum(|shard| shard.accepted.value());
        ListenerTotals {
            accepted,
            active: accepted.saturating_sub(ended),
            closed: sum_reasons(self.shards.iter().map(|shard| &shard.closed)),
            tls_failed: sum_reasons(self.shards.iter().map(|shard| &shard.tls_failed)),
        }
    }
}

/// The totals of a listener so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListenerTotals {
    pub(crate) accepted: u64,
    pub(crate) active: u64,
    /// Connections that ended, by reason.
    pub(crate) closed: Vec<(&'static str, u64)>,
    /// TLS handshakes that failed, by reason.
    pub(crate) tls_failed: Vec<(&'static str, u64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_whose_bound_it_does_not_exceed() {
        let stats = RouteStats::new("spike", 1);
        for micros in [1, 100, 101, 30_000_000, 30_000_001] {
            stats.begin(0);
            stats.finish(0, 200, Duration::from_micros(micros), 0, 0, None);
        }
        let durations = stats.totals().durations;
        assert_eq!((durations[0], durations[1], durations[16], durations[17]), (2, 1, 1, 1));
        assert_eq!(durations.iter().sum::<u64>(), 5);
    }

    #[test]
    fn finished_requests_are_counted_by_class_and_the_others_are_in_flight() {
        let stats = RouteStats::new("spike", 2);
        (0..6).for_each(|_| stats.begin(1));
        for status in [0, 101, 204, 503, 999] {
            let error = (status == 503).then_some("pool.max_pending");
            stats.finish(1, status, Duration::from_millis(1), 2, 3, error);
        }
        let totals = stats.totals();
        assert_eq!(totals.codes, [2, 1, 1, 0, 0, 1]);
        assert_eq!(totals.in_flight, 1);
        assert_eq!((totals.bytes_in, totals.bytes_out), (10, 15));
        assert_eq!(totals.errors, [("pool.max_pending", 1)]);
        assert_eq!(totals.duration, Duration::from_millis(5));
    }

    #[test]
    fn mirrored_requests_are_counted_apart_from_those_of_clients() {
        let stats = RouteStats::new("spike", 2);
        for outcome in [Ok(204), Ok(500), Ok(999), Err("upstream.connect")] {
            stats.mirrored(1, outcome);
        }
        stats.unmirrored(0, "mirror.max_body");
        let totals = stats.totals();
        assert_eq!(totals.mirror_codes, [("2xx", 1), ("5xx", 1), ("none", 2)]);
        assert_eq!(totals.mirror_errors, [("upstream.connect", 1)]);
        assert_eq!(totals.mirror_dropped, [("mirror.max_body", 1)]);
        assert_eq!((totals.codes, totals.in_flight, totals.errors), ([0; 6], 0, vec![]));
    }

    #[test]
    fn a_listener_has_as_many_active_connections_as_were_accepted_and_not_closed() {
        let stats = ListenerStats::new(2);
        stats.accepted(0);
        stats.accepted(1);
        stats.accepted(1);
        stats.closed(1, "keep_alive");
        stats.tls_failed(0, "no_protocol");
        let totals = stats.totals();
        assert_eq!((totals.accepted, totals.active), (3, 2));
        assert_eq!(totals.closed, [("keep_alive", 1)]);
        assert_eq!(totals.tls_failed, [("no_protocol", 1)]);
    }
}
