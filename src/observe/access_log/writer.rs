//! The workers' line buffers, and the thread that writes them out.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::program::Written;
use super::sink::{Batch, Counts, Link, Loss, Sent, Sink, lines};
use super::texts::Texts;
use crate::observe::rate_limited_warning::RateLimitedWarning;

/// The size of a thread's line buffer in bytes: some 3,000 lines, so that a hiccup of the disk drops none.
const BUFFER_BYTES_MAX: usize = 1024 * 1024;

/// The time for which lines gather before they are written. It is short enough for a person who watches. Each write costs a wake-up here,
/// work of the file system, and a wake-up of everyone who watches the file or its folder, as the gateway does beside its configuration.
pub(super) const GATHER: Duration = Duration::from_millis(100);

/// The bytes in a line buffer at which it is written out at once.
pub(super) const GATHER_BYTES: usize = 256 * 1024;

/// The time at the end of a log in which its last lines are sent to a receiver that is away.
const ENDING: Duration = Duration::from_secs(2);

/// The longest wait before such a receiver is tried again at the end of a log.
const ENDING_WAIT: Duration = Duration::from_millis(50);

/// The writing side of a log. Its thread ends when this is dropped, after the last line.
#[derive(Debug)]
pub(super) struct Writer(Arc<Shared>);

/// The state that the workers share with the writer's thread.
struct Shared {
    shards: Box<[Shard]>,
    /// True if the thread has been notified of new lines. It spares all workers but the first a wake-up.
    notified: AtomicBool,
    /// True if the thread lets no more lines gather: a buffer is full enough, or the sink changes.
    at_once: AtomicBool,
    gather: Duration,
    link: Link,
    /// The sink that replaces the present one, if any.
    next_sink: Mutex<Option<Box<dyn Sink>>>,
    thread: OnceLock<Thread>,
    ended: Mutex<bool>,
    ended_now: Condvar,
}

/// The lines of one worker. That worker takes the lock for each line, and the writer takes it for a swap.
#[derive(Default)]
#[repr(align(128))]
struct Shard(Mutex<Lines>);

#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    texts: Texts,
}

impl Writer {
    /// Starts the thread, which lets lines gather for that time. It continues the counts of an earlier log.
    pub(super) fn start(sink: Box<dyn Sink>, counts: Arc<Counts>, gather: Duration) -> io::Result<Self> {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let shared = Arc::new(Shared {
            shards: (0..=threads).map(|_| Shard::default()).collect(),
            notified: AtomicBool::new(false),
            at_once: AtomicBool::new(false),
            gather,
            link: Link { closed: AtomicBool::new(false), counts },
            next_sink: Mutex::new(None),
            thread: OnceLock::new(),
            ended: Mutex::new(false),
            ended_now: Condvar::new(),
        });
        let of_thread = Arc::clone(&shared);
        let thread =
            thread::Builder::new().name("access-log".to_owned()).spawn(move || of_thread.run(sink))?;
        shared.thread.get_or_init(|| thread.thread().clone());
        Ok(Self(shared))
    }

    /// Calls `format` to append a line to this thread's buffer.
    pub(super) fn append(&self, format: impl FnOnce(&mut Vec<u8>, &mut Texts) -> Written) {
        self.0.append(format);
    }

    /// Switches to another sink, beginning with the next lines that are written out.
    pub(super) fn redirect(&self, sink: Box<dyn Sink>) {
        *lock(&self.0.next_sink) = Some(sink);
        // Wake the thread at once, so that the old sink is released without delay.
        self.0.at_once.store(true, Ordering::Relaxed);
        self.0.notified.store(true, Ordering::Relaxed);
        self.0.wake();
    }

    /// Returns the counts of lines that are lost.
    pub(super) fn counts(&self) -> &Arc<Counts> {
        &self.0.link.counts
    }

    /// Stops accepting lines. Returns true if the remaining ones were written within `patience`.
    pub(super) fn close(&self, patience: Duration) -> bool {
        self.0.end();
        let ended = lock(&self.0.ended);
        let waited = self.0.ended_now.wait_timeout_while(ended, patience, |ended| !*ended);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Shared {
    fn append(&self, format: impl FnOnce(&mut Vec<u8>, &mut Texts) -> Written) {
        let shard = self.shards.get(own_number() % self.shards.len());
        let Some(shard) = shard.filter(|_| !self.link.is_closed()) else {
            return self.link.counts.drop_lines(Loss::Closed, 1);
        };
        let mut lines = lock(&shard.0);
        if lines.bytes.len() >= BUFFER_BYTES_MAX {
            return self.link.counts.drop_lines(Loss::Buffer, 1);
        }
        let Lines { bytes, texts } = &mut *lines;
        match format(bytes, texts) {
            Written::Whole => {}
            Written::Cut => self.link.counts.cut_line(),
            Written::TooLong => self.link.counts.drop_lines(Loss::TooLong, 1),
        }
        let is_full = bytes.len() >= GATHER_BYTES;
        drop(lines);
        // The writer clears both flags before it locks a buffer. A line that it missed was therefore appended under a
        // later lock, and the worker that appended it sees them cleared.
        let raise = |flag: &AtomicBool| !flag.load(Ordering::Relaxed) && !flag.swap(true, Ordering::Relaxed);
        let (is_first, is_urgent) = (raise(&self.notified), is_full && raise(&self.at_once));
        if is_first || is_urgent {
            self.wake();
        }
    }

    /// Makes the thread write the remaining lines and end.
    fn end(&self) {
        // Release: a thread that sees this also sees the lines that were appended before.
        self.link.closed.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Runs the thread: waits for a line, lets more gather, sends them all.
    fn run(&self, mut sink: Box<dyn Sink>) {
        let warnings = RateLimitedWarning::every(Duration::from_secs(10));
        let mut batch = Batch::default();
        let mut later = None;
        let mut ending: Option<Instant> = None;
        let mut dropped = self.link.counts.all_dropped();
        loop {
            match later {
                None => self.wait_for_lines(),
                Some(later) => self.wait_until(later),
            }
            let closed = self.link.closed.load(Ordering::Acquire);
            self.at_once.store(false, Ordering::Relaxed);
            self.notified.store(false, Ordering::Relaxed);
            if let Some(next) = lock(&self.next_sink).take() {
                sink = next;
            }
            later = self.send_out(&mut *sink, &mut batch);
            let dropped_now = self.link.counts.all_dropped();
            if dropped_now != dropped && warnings.passes().is_some() {
                tracing::warn!(
                    lines = dropped_now - dropped,
                    "access log lines were dropped: its output does not keep up or fails"
                );
                dropped = dropped_now;
            }
            let now = Instant::now();
            if closed && (later.is_none() || now >= *ending.get_or_insert(now + ENDING)) {
                break;
            }
        }
        let buffered: u64 =
            self.shards.iter().map(|shard| lines(&std::mem::take(&mut lock(&shard.0).bytes))).sum();
        let lost = batch.give_up() + buffered;
        self.link.counts.drop_lines(Loss::Output, lost);
        if lost > 0 {
            tracing::warn!(lines = lost, "the access log has ended before its output took the last lines");
        }
        *lock(&self.ended) = true;
        self.ended_now.notify_all();
    }

    /// Sends what is left of the batch, and then each worker's lines. Returns a time if the sink wants to be tried again then; lines that it
    /// does not take stay in their buffers.
    fn send_out(&self, sink: &mut dyn Sink, batch: &mut Batch) -> Option<Instant> {
        let mut shards = self.shards.iter();
        loop {
            if batch.is_empty() {
                batch.refill(&mut lock(&shards.next()?.0).bytes);
                continue;
            }
            match sink.send(batch, &self.link) {
                Sent::All => {}
                Sent::Later(later) => return Some(later),
                Sent::Gone => {
                    self.link.counts.drop_lines(Loss::Output, batch.give_up());
                    if !self.link.closed.swap(true, Ordering::Relaxed) {
                        tracing::warn!("the access log is off from now on: the reader of its output is gone");
                    }
                }
            }
        }
    }

    /// Waits for the first line, or for the end of the log, and then until more lines have gathered.
    fn wait_for_lines(&self) {
        while !self.notified.load(Ordering::Relaxed) && !self.link.is_closed() {
            thread::park();
        }
        let until = Instant::now() + self.gather;
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            if self.at_once.load(Ordering::Relaxed) || self.link.is_closed() {
                return;
            }
            thread::park_timeout(left);
        }
    }

    /// Waits until a time, or a moment if the log is closed.
    fn wait_until(&self, time: Instant) {
        let began = Instant::now();
        loop {
            let time = if self.link.is_closed() { time.min(began + ENDING_WAIT) } else { time };
            let left = time.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::park_timeout(left);
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("link", &self.link).finish_non_exhaustive()
    }
}

/// Returns a small number that is unique to this thread and selects its buffer.
fn own_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed));
    NUMBER.with(|number| *number)
}

/// Locks a mutex and ignores poisoning: the data is consistent after every step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
