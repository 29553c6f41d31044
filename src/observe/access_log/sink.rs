//! The destinations of lines, as the writer's thread sees them.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// The destination of the lines.
pub(super) trait Sink: Send {
    /// Sends the lines of a batch from its front.
    fn send(&mut self, batch: &mut Batch, link: &Link) -> Sent;
}

/// The outcome of sending a batch.
#[derive(Debug)]
pub(super) enum Sent {
    /// The batch is empty: its lines were sent, or were lost and counted.
    All,
    /// The rest of the batch must wait until then.
    Later(Instant),
    /// The reader is gone for good. The rest of the batch is lost.
    Gone,
}

/// Whole lines on their way to a sink.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    done: usize,
}

impl Batch {
    /// Exchanges an empty batch for the lines in a buffer, which gets the batch's memory.
    pub(super) fn refill(&mut self, lines: &mut Vec<u8>) {
        self.bytes.clear();
        self.done = 0;
        std::mem::swap(&mut self.bytes, lines);
    }

    /// Returns the lines that are not sent yet.
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.done..).unwrap_or_default()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.done >= self.bytes.len()
    }

    /// Takes so many bytes off the front.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.done = self.done.saturating_add(bytes).min(self.bytes.len());
    }

    /// Gives the rest up, and returns the number of its lines.
    pub(super) fn give_up(&mut self) -> u64 {
        let lines = lines(self.rest());
        self.done = self.bytes.len();
        lines
    }
}

/// Returns the number of newlines.
pub(super) fn lines(bytes: &[u8]) -> u64 {
    bytes.iter().map(|&byte| u64::from(byte == b'\n')).sum()
}

/// The state of a log that its workers, its thread and its sink share.
#[derive(Debug, Default)]
pub(super) struct Link {
    /// True if no more lines are accepted: the log was closed, or its reader is gone.
    pub(super) closed: AtomicBool,
    pub(super) counts: Arc<Counts>,
}

impl Link {
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}

/// The reason for which a line is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The buffer of its worker is full: the output does not keep up, or its receiver is away.
    Buffer,
    /// The log is closed, since the reader of its output is gone.
    Closed,
    /// The output does not take it.
    Output,
    /// It does not fit into a datagram.
    TooLong,
}

impl Loss {
    pub(crate) const ALL: [Self; 4] = [Self::Buffer, Self::Closed, Self::Output, Self::TooLong];

    /// Returns the word in metrics.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Buffer => "buffer",
            Self::Closed => "closed",
            Self::Output => "output",
            Self::TooLong => "too_long",
        }
    }
}

/// The counts of a log, which its successors continue.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    dropped: [AtomicU64; Loss::ALL.len()],
    cut: AtomicU64,
}

impl Counts {
    pub(crate) fn drop_lines(&self, loss: Loss, lines: u64) {
        if let Some(count) = self.dropped.get(loss as usize) {
            count.fetch_add(lines, Ordering::Relaxed);
        }
    }

    pub(crate) fn cut_line(&self) {
        self.cut.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of lines that were lost for a reason.
    pub(crate) fn dropped(&self, loss: Loss) -> u64 {
        self.dropped.get(loss as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Returns the number of lines that were lost.
    pub(crate) fn all_dropped(&self) -> u64 {
        Loss::ALL.iter().map(|loss| self.dropped(*loss)).sum()
    }

    /// Returns the number of lines with values that were cut.
    pub(crate) fn cut(&self) -> u64 {
        self.cut.load(Ordering::Relaxed)
    }
}

/// A standard stream, or any other writer that cannot be opened again.
pub(super) struct Stream(pub(super) Box<dyn io::Write + Send>);

impl Sink for Stream {
    fn send(&mut self, batch: &mut Batch, link: &Link) -> Sent {
        let Err(error) = self.0.write_all(batch.rest()).and_then(|()| self.0.flush()) else {
            batch.give_up();
            return Sent::All;
        };
        // A full disk may have room again later. A pipe whose reader is gone stays broken.
        if error.kind() == ErrorKind::BrokenPipe {
            return Sent::Gone;
        }
        link.counts.drop_lines(Loss::Output, batch.give_up());
        Sent::All
    }
}
