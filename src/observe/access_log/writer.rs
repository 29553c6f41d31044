//! The buffers of the workers and the thread that writes them out.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::calendar::Calendar;
use crate::observe::rate_limited_warning::RateLimitedWarning;

/// How many bytes of lines a thread may have waiting: some 3,000 lines, so that a hiccup of the disk costs none.
const BUFFER_BYTES_MAX: usize = 1024 * 1024;

/// How long lines gather before they are written. Short enough for a person who watches, long enough for a hundred lines
/// in a write at ten thousand requests a second.
const GATHER: Duration = Duration::from_millis(10);

/// Where the lines go.
pub(super) type Sink = Box<dyn io::Write + Send>;

/// The writing side of a log; its thread ends when this is dropped, after the last line.
#[derive(Debug)]
pub(super) struct Writer(Arc<Shared>);

/// What the workers and the writer's thread share.
struct Shared {
    shards: Box<[Shard]>,
    /// Whether the thread has been told that there are lines; spares all workers but the first the telling.
    told: AtomicBool,
    /// No line is taken any more: the log was closed, or nobody reads it.
    closed: AtomicBool,
    dropped: AtomicU64,
    /// What is to be written to from now on.
    next_sink: Mutex<Option<Sink>>,
    thread: OnceLock<Thread>,
    ended: Mutex<bool>,
    ended_now: Condvar,
}

/// The lines of one worker. Its lock is taken by that worker, and for the time of a swap by the writer.
#[derive(Default)]
#[repr(align(128))]
struct Shard(Mutex<Lines>);

#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    calendar: Calendar,
}

impl Writer {
    /// Starts the thread that writes to `sink`.
    pub(super) fn start(sink: Sink) -> io::Result<Self> {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let shared = Arc::new(Shared {
            shards: (0..=threads).map(|_| Shard::default()).collect(),
            told: AtomicBool::new(false),
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

    /// Lets `format` append a line to this thread's buffer.
    pub(super) fn append(&self, format: impl FnOnce(&mut Vec<u8>, &mut Calendar) -> io::Result<()>) {
        self.0.append(format);
    }

    /// Writes to another sink, from the next lines that are written out.
    pub(super) fn redirect(&self, sink: Sink) {
        *lock(&self.0.next_sink) = Some(sink);
        // At once, for whoever waits for the one before to be let go.
        self.0.told.store(true, Ordering::Relaxed);
        self.0.wake();
    }

    /// How many lines could not be written.
    pub(super) fn dropped(&self) -> u64 {
        self.0.dropped()
    }

    /// Takes no line any more; answers whether those there are were written within `patience`.
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
        // The writer clears `told` before it locks a buffer. Thus a line that it missed comes from a lock taken after
        // its own, and the one who wrote that line sees `told` cleared.
        if !self.told.load(Ordering::Relaxed) && !self.told.swap(true, Ordering::Relaxed) {
            self.wake();
        }
    }

    fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Has the thread write what there is and end.
    fn end(&self) {
        // Whoever sees this sees the lines that were appended before.
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

    /// The thread: waits for a line, lets more gather, writes them all.
    fn run(&self, mut sink: Sink) {
        let warnings = RateLimitedWarning::every(Duration::from_secs(10));
        let mut bytes = Vec::new();
        let mut dropped = 0;
        loop {
            while !self.told.load(Ordering::Relaxed) && !self.closed.load(Ordering::Relaxed) {
                thread::park();
            }
            self.gather();
            let closed = self.closed.load(Ordering::Acquire);
            self.told.store(false, Ordering::Relaxed);
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

    /// Waits until lines have had their time to gather, or the log is closed.
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
        // A full disk may have room again; a pipe whose reader is gone stays broken.
        if error.kind() == ErrorKind::BrokenPipe && !self.closed.swap(true, Ordering::Relaxed) {
            tracing::warn!("the access log is off from now on: nobody reads its output any more");
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("dropped", &self.dropped).finish_non_exhaustive()
    }
}

/// A small number that is this thread's own, for choosing a buffer.
fn own_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed));
    NUMBER.with(|number| *number)
}

/// Locks, whatever became of the thread that held the lock before: the data is whole after every step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
