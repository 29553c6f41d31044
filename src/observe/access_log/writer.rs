//! The workers' line buffers, and the thread that writes them out.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::calendar::Calendar;
use crate::observe::rate_limited_warning::RateLimitedWarning;

/// The size of a thread's line buffer in bytes: some 3,000 lines, so that a hiccup of the disk drops none.
const BUFFER_BYTES_MAX: usize = 1024 * 1024;

/// The time for which lines gather before they are written. It is short enough for a person who watches, and long
/// enough for a hundred lines per write at ten thousand requests a second.
const GATHER: Duration = Duration::from_millis(10);

/// The destination of the lines.
pub(super) type Sink = Box<dyn io::Write + Send>;

/// The writing side of a log. Its thread ends when this is dropped, after the last line.
#[derive(Debug)]
pub(super) struct Writer(Arc<Shared>);

/// The state that the workers share with the writer's thread.
struct Shared {
    shards: Box<[Shard]>,
    /// True if the thread has been notified of new lines. It spares all workers but the first a wake-up.
    notified: AtomicBool,
    /// True if no more lines are accepted: the log was closed, or its reader is gone.
    closed: AtomicBool,
    dropped: AtomicU64,
    /// The sink that replaces the present one, if any.
    next_sink: Mutex<Option<Sink>>,
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
    calendar: Calendar,
}

impl Writer {
    pub(super) fn start(sink: Sink) -> io::Result<Self> {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let shared = Arc::new(Shared {
            shards: (0..=threads).map(|_| Shard::default()).collect(),
            notified: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
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
    pub(super) fn append(&self, format: impl FnOnce(&mut Vec<u8>, &mut Calendar) -> io::Result<()>) {
        self.0.append(format);
    }

    /// Switches to another sink, beginning with the next lines that are written out.
    pub(super) fn redirect(&self, sink: Sink) {
        *lock(&self.0.next_sink) = Some(sink);
        // Wake the thread at once, so that the old sink is released without delay.
        self.0.notified.store(true, Ordering::Relaxed);
        self.0.wake();
    }

    /// Returns the number of lines that could not be written.
    pub(super) fn dropped(&self) -> u64 {
        self.0.dropped()
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
    fn append(&self, format: impl FnOnce(&mut Vec<u8>, &mut Calendar) -> io::Result<()>) {
        let shard = self.shards.get(own_number() % self.shards.len());
        let Some(shard) = shard.filter(|_| !self.closed.load(Ordering::Relaxed)) else {
            return self.drop_lines(1);
        };
        let mut lines = lock(&shard.0);
        if lines.bytes.len() >= BUFFER_BYTES_MAX {
            return self.drop_lines(1);
        }
        let Lines { bytes, calendar } = &mut *lines;
        let before = bytes.len();
        if format(bytes, calendar).is_err() {
            bytes.truncate(before);
            self.drop_lines(1);
        }
        drop(lines);
        // The writer clears `notified` before it locks a buffer. A line that it missed was therefore appended under a
        // later lock, and the worker that appended it sees `notified` cleared.
        if !self.notified.load(Ordering::Relaxed) && !self.notified.swap(true, Ordering::Relaxed) {
            self.wake();
        }
    }

    fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Makes the thread write the remaining lines and end.
    fn end(&self) {
        // Release: a thread that sees this also sees the lines that were appended before.
        self.closed.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn drop_lines(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }

    /// Runs the thread: waits for a line, lets more gather, writes them all.
    fn run(&self, mut sink: Sink) {
        let warnings = RateLimitedWarning::every(Duration::from_secs(10));
        let mut bytes = Vec::new();
        let mut dropped = 0;
        loop {
            while !self.notified.load(Ordering::Relaxed) && !self.closed.load(Ordering::Relaxed) {
                thread::park();
            }
            self.gather();
            let closed = self.closed.load(Ordering::Acquire);
            self.notified.store(false, Ordering::Relaxed);
            if let Some(next) = lock(&self.next_sink).take() {
                sink = next;
            }
            for shard in &self.shards {
                std::mem::swap(&mut bytes, &mut lock(&shard.0).bytes);
                self.write_out(&mut *sink, &bytes);
                bytes.clear();
            }
            if self.dropped() != dropped && warnings.passes().is_some() {
                tracing::warn!(
                    lines = self.dropped() - dropped,
                    "access log lines were dropped: its output does not keep up or fails"
                );
                dropped = self.dropped();
            }
            if closed {
                break;
            }
        }
        *lock(&self.ended) = true;
        self.ended_now.notify_all();
    }

    /// Waits until lines have had time to gather, or until the log is closed.
    fn gather(&self) {
        let until = Instant::now() + GATHER;
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            if self.closed.load(Ordering::Relaxed) {
                return;
            }
            thread::park_timeout(left);
        }
    }

    fn write_out(&self, sink: &mut dyn io::Write, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let Err(error) = sink.write_all(bytes).and_then(|()| sink.flush()) else { return };
        self.drop_lines(bytes.iter().map(|&byte| u64::from(byte == b'\n')).sum());
        // A full disk may have room again later. A pipe whose reader is gone stays broken.
        if error.kind() == ErrorKind::BrokenPipe && !self.closed.swap(true, Ordering::Relaxed) {
            tracing::warn!("the access log is off from now on: the reader of its output is gone");
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("dropped", &self.dropped).finish_non_exhaustive()
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
