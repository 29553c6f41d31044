//! Traces: the requests that OpenTelemetry shows as spans.
//!
//! A worker records a request that is sampled beside its other work and, at its end, puts one record into a bounded queue. An exporter
//! on a thread of its own takes records from there. A queue that is full drops them and counts their spans: no request waits.

mod context;
mod counts;
mod record;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use context::{SpanId, TRACEPARENT, TRACESTATE, TraceContext, TraceId};
pub(crate) use counts::{DropReason, TraceCounts, TraceReport};
pub(crate) use record::{AttemptFacts, RequestFacts, RequestTrace, Span, SpanKind};
use tokio::sync::{mpsc, watch};

use crate::config::load::files::FileMark;
use crate::config::{self, TraceErrors, TraceParents};

/// The number of requests that may wait for the exporter: a few MiB.
const QUEUE_MAX: usize = 4096;

/// The number of random bits of a trace's identifier, in each of which a sampler finds the same number.
const RANDOM_BITS: u32 = 56;

/// The traces of requests, while they are on. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Traces(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    sampling: Sampling,
    queue: mpsc::Sender<Box<RequestTrace>>,
    counts: Arc<TraceCounts>,
    /// The time by which the exporter has to end.
    end_by: watch::Sender<Option<Instant>>,
    /// Closed when the exporter has ended.
    ended: watch::Sender<()>,
    source: TraceSource,
}

/// The settings of traces, and the marks of the files that they name. Traces of equal ones continue after a reload.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TraceSource {
    pub(crate) settings: config::Traces,
    pub(crate) files: Vec<FileMark>,
}

/// The requests that are recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Sampling {
    /// The share of new traces, from 0 to 1.
    ratio: f64,
    /// True if requests that fail are recorded, whatever was decided at their beginning.
    has_all_errors: bool,
    parents: TraceParents,
}

/// The side of the exporter.
pub(crate) struct TraceQueue {
    queue: mpsc::Receiver<Box<RequestTrace>>,
    pub(crate) counts: Arc<TraceCounts>,
    end_by: watch::Receiver<Option<Instant>>,
    /// Dropped when the exporter ends.
    _running: watch::Receiver<()>,
}

/// The decision at the beginning of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decision {
    /// True if others, who see the flag, record the request as well.
    pub(crate) is_sampled: bool,
    /// True if the request is recorded, even if only for the case that it fails.
    pub(crate) is_recorded: bool,
}

impl Traces {
    /// Returns both ends. `counts` are those of the traces before a reload.
    pub(crate) fn new(source: TraceSource, counts: Arc<TraceCounts>) -> (Self, TraceQueue) {
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        let (end_by, of_exporter) = watch::channel(None);
        let (ended, running) = watch::channel(());
        let sampling = Sampling {
            ratio: source.settings.sample.get(),
            has_all_errors: source.settings.errors == TraceErrors::Always,
            parents: source.settings.parents,
        };
        let shared = Shared { sampling, queue: sender, counts: counts.clone(), end_by, ended, source };
        (Self(Arc::new(shared)), TraceQueue { queue, counts, end_by: of_exporter, _running: running })
    }

    pub(crate) fn source(&self) -> &TraceSource {
        &self.0.source
    }

    /// Returns true if the caller's trace is continued.
    pub(crate) fn accepts(&self, is_trusted: bool) -> bool {
        match self.0.sampling.parents {
            TraceParents::Any => true,
            TraceParents::Trusted => is_trusted,
            TraceParents::None => false,
        }
    }

    /// Decides about a request: as its caller has, or by its trace's identifier.
    pub(crate) fn decide(&self, parent: Option<TraceContext>, context: TraceContext) -> Decision {
        let is_sampled = match parent {
            Some(parent) => parent.is_sampled(),
            None => self.0.sampling.takes(context.trace_id),
        };
        Decision { is_sampled, is_recorded: is_sampled || self.0.sampling.has_all_errors }
    }

    /// Hands a record to the exporter. It never waits: if the queue is full, the spans are dropped and counted.
    pub(crate) fn record(&self, trace: Box<RequestTrace>) {
        let counts = &self.0.counts;
        counts.dropped(DropReason::TooMany, trace.left_out.into());
        if let Err(error) = self.0.queue.try_send(trace) {
            let (reason, trace) = match error {
                mpsc::error::TrySendError::Full(trace) => (DropReason::QueueFull, trace),
                mpsc::error::TrySendError::Closed(trace) => (DropReason::Stopped, trace),
            };
            counts.dropped(reason, trace.len());
        }
    }

    pub(crate) fn counts(&self) -> &Arc<TraceCounts> {
        &self.0.counts
    }

    /// Returns true if both are clones of the same traces.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Makes the exporter send what it has and end. Does not wait for it.
    pub(crate) fn end(&self, patience: Duration) {
        let now = Instant::now();
        self.0.end_by.send_replace(Some(now.checked_add(patience).unwrap_or(now)));
    }

    /// Waits until the exporter has ended.
    pub(crate) async fn ended(&self) {
        self.0.ended.closed().await;
    }
}

impl Sampling {
    /// Returns true for the share of all identifiers that are sampled. Every sampler that goes by the last 56 bits and takes the highest
    /// ones, as OpenTelemetry's consistent probability sampling does, decides the same way.
    fn takes(&self, trace_id: TraceId) -> bool {
        let all = (1_u64 << RANDOM_BITS) as f64;
        let rejected = ((1.0 - self.ratio) * all).round();
        // Exact: both are integers below 2^57.
        self.ratio > 0.0 && trace_id.randomness() >= rejected as u64
    }
}

impl RequestTrace {
    /// Returns the number of its spans.
    pub(crate) fn len(&self) -> u64 {
        self.spans.len() as u64 + 1
    }
}

impl TraceQueue {
    /// Returns the next record, or `None` if there will be none.
    pub(crate) async fn next(&mut self) -> Option<Box<RequestTrace>> {
        tokio::select! {
            biased;
            next = self.queue.recv() => next,
            () = ending(&mut self.end_by) => None,
        }
    }

    /// Returns a record that waits.
    pub(crate) fn waiting(&mut self) -> Option<Box<RequestTrace>> {
        self.queue.try_recv().ok()
    }

    /// Returns the number of records that wait.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Returns true if no further records come.
    pub(crate) fn is_ending(&self) -> bool {
        self.queue.is_closed() || self.end_by().is_some()
    }

    /// Returns the time by which the exporter has to end, once there is one.
    pub(crate) fn end_by(&self) -> Option<Instant> {
        *self.end_by.borrow()
    }

    /// Waits until the exporter has to end.
    pub(crate) async fn ending(&mut self) {
        ending(&mut self.end_by).await;
    }
}

async fn ending(end_by: &mut watch::Receiver<Option<Instant>>) {
    // Without a sender, the queue ends, too, and says so.
    if end_by.wait_for(Option::is_some).await.is_err() {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(ratio: f64) -> Sampling {
        Sampling { ratio, has_all_errors: false, parents: TraceParents::Any }
    }

    fn trace_of(randomness: u64) -> TraceId {
        let text = format!("00-ffffffffffffffffff{randomness:014x}-00000000000000aa-00");
        TraceContext::parse(text.as_bytes()).unwrap().trace_id
    }

    #[test]
    fn highest_identifiers_are_sampled() {
        let half = 1 << 55;
        for (ratio, randomness, expected) in [
            (0.0, (1 << 56) - 1, false),
            (1.0, 0, true),
            (0.5, half, true),
            (0.5, half - 1, false),
            (0.25, half, false),
            (0.25, half + half / 2, true),
            (1e-9, (1 << 56) - 1, true),
        ] {
            assert_eq!(sampling(ratio).takes(trace_of(randomness)), expected, "{ratio} {randomness:x}");
        }
    }

    #[test]
    fn share_of_new_traces_that_is_sampled_is_the_ratio() {
        let sampled = (0..20_000).filter(|_| sampling(0.1).takes(TraceContext::new().trace_id)).count();
        // Six standard deviations.
        assert!((1745..2255).contains(&sampled), "{sampled}");
    }
}
