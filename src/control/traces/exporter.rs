//! The work of an exporter: it gathers records, and sends them until the receiver takes them or has refused them for too long.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::client::Client;
use super::encode::Encoder;
use super::outcome::Refusal;
use super::settings::ExporterSettings;
use crate::observe::rate_limited_warning::RateLimitedWarnings;
use crate::observe::traces::{DropReason, RequestTrace, TraceQueue};

/// The time for which records gather before they are sent.
const GATHER: Duration = Duration::from_millis(500);

/// The interval at which the exporter looks whether enough have gathered: at 80,000 requests a second, the queue is not full by then.
const LOOK: Duration = Duration::from_millis(50);

/// The number of records that are sent together. Their spans take less than 4 MiB, which receivers of gRPC accept.
const BATCH_MAX: usize = 512;

/// The time for which a batch is tried. Meanwhile further records wait in the queue, as long as it has room.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);

/// The pause after the first failure, and the longest one. Each further failure doubles it.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// The part of a pause by which it is shortened at random, so that gateways do not send at the same time.
const SPREAD: f64 = 0.2;

/// The minimum interval between two warnings of a kind.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// Records that are sent together.
struct Batch {
    message: Bytes,
    spans: u64,
}

/// Sends the records of a queue until it has ended.
pub(super) async fn run(settings: ExporterSettings, mut queue: TraceQueue) {
    let encoder = Encoder::new(&settings.written);
    let mut exporter = Exporter {
        receiver: settings.written.otlp.to_string(),
        client: Client::new(settings),
        warned: RateLimitedWarnings::every(WARN_EVERY),
        is_failing: false,
    };
    while let Some(first) = queue.next().await {
        gather(&mut queue).await;
        let mut records = vec![first];
        while records.len() < BATCH_MAX
            && let Some(next) = queue.waiting()
        {
            records.push(next);
        }
        let spans = records.iter().map(|record| record.len()).sum();
        let batch = Batch { message: encoder.encode(&records), spans };
        drop::<Vec<Box<RequestTrace>>>(records);
        exporter.export(&batch, &mut queue).await;
    }
}

/// Waits until records have had time to gather, or there are enough, or no more come.
async fn gather(queue: &mut TraceQueue) {
    let until = Instant::now() + GATHER;
    while Instant::now() < until && queue.len() < BATCH_MAX && !queue.is_ending() {
        drop(timeout(LOOK, queue.ending()).await);
    }
}

struct Exporter {
    /// The URL of the receiver.
    receiver: String,
    client: Client,
    warned: RateLimitedWarnings,
    /// True if the last request has failed.
    is_failing: bool,
}

impl Exporter {
    /// Sends a batch until the receiver has taken or refused it, or the time for it is over.
    async fn export(&mut self, batch: &Batch, queue: &mut TraceQueue) {
        let (began, mut pause) = (Instant::now(), RETRY_FIRST);
        loop {
            let sent = self.send(batch, queue).await;
            let (retry_after, error) = match sent {
                Ok(rejected) => return self.note_taken(batch, rejected, queue),
                Err(Refusal::Final(error)) => {
                    self.warn(batch, &error, "they are dropped");
                    queue.counts.failed();
                    return queue.counts.dropped(DropReason::Rejected, batch.spans);
                }
                Err(Refusal::Retry { after, error }) => (after, error),
            };
            queue.counts.failed();
            if queue.end_by().is_some_and(|by| by <= Instant::now()) {
                self.warn(batch, &error, "the gateway stops, and they are dropped");
                return queue.counts.dropped(DropReason::Stopped, batch.spans);
            }
            if began.elapsed() >= GIVE_UP_AFTER {
                self.warn(batch, &error, "they are dropped after a minute");
                return queue.counts.dropped(DropReason::Unavailable, batch.spans);
            }
            self.warn(batch, &error, "they are sent again later");
            let shortened = pause.mul_f64(1.0 - SPREAD * fastrand::f64());
            let wait = retry_after.unwrap_or(shortened).min(GIVE_UP_AFTER);
            self.rest(wait, queue).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    /// Sends a batch once. Returns the number of spans that the receiver refused.
    async fn send(&mut self, batch: &Batch, queue: &TraceQueue) -> Result<u64, Refusal> {
        let sending = self.client.send(batch.message.clone());
        match queue.end_by() {
            None => sending.await,
            Some(by) => {
                let left = by.saturating_duration_since(Instant::now());
                let late = || Refusal::Retry { after: None, error: "no response in time".to_owned() };
                timeout(left, sending).await.unwrap_or_else(|_elapsed| Err(late()))
            }
        }
    }

    /// Waits before a batch is sent again. When the gateway stops, the wait ends soon: there may be time for another try or two.
    async fn rest(&self, wait: Duration, queue: &mut TraceQueue) {
        if queue.end_by().is_none() {
            tokio::select! {
                () = sleep(wait) => {}
                () = queue.ending() => {}
            }
        } else {
            sleep(wait.min(RETRY_FIRST)).await;
        }
    }

    fn note_taken(&mut self, batch: &Batch, rejected: u64, queue: &TraceQueue) {
        let rejected = rejected.min(batch.spans);
        queue.counts.exported(batch.spans - rejected);
        queue.counts.dropped(DropReason::Rejected, rejected);
        if std::mem::take(&mut self.is_failing) {
            tracing::info!(receiver = self.receiver, "the receiver of traces takes spans again");
        }
    }

    fn warn(&mut self, batch: &Batch, error: &str, fate: &'static str) {
        self.is_failing = true;
        if let Some(suppressed) = self.warned.passes(fate) {
            tracing::warn!(
                receiver = self.receiver,
                spans = batch.spans,
                suppressed,
                "the receiver does not take spans, and {fate}: {error}"
            );
        }
    }
}
