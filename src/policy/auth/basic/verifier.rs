//! The comparison of passwords with hashes, on threads beside the workers.
//!
//! A hash is made to take long: fifty milliseconds are usual, in which a worker would serve a thousand requests. Workers only look up
//! results. Equal requests of all workers share a computation, and those that follow for a while share its result.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use tokio::sync::oneshot;

use super::cache::{Key, Seen, Shard};
use super::users::Entry;
use crate::net::timer::{Timer, deadline};

/// The longest time that a request waits for a comparison.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The most comparisons that wait for a thread: as many as two threads do within [`WAIT_MAX`], at forty milliseconds each.
const QUEUE_MAX: usize = 256;

/// The most threads. Half of the cores, since the workers need them, too.
const THREADS_MAX: usize = 4;

/// The niceness of the threads: a third of a worker's share if both want the same core.
const NICENESS: i32 = 5;

/// A thread without work ends after this time.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// The time for which a mismatch is remembered, so that a client that keeps asking costs one computation per interval.
pub(super) const MISMATCH_AGE_MAX: Duration = Duration::from_secs(5);

const SHARDS: usize = 16;

/// The failure to compare a password in time.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Busy;

/// A password and the entry to compare it with.
pub(super) struct Comparison<'a> {
    pub(super) user: &'a str,
    pub(super) password: &'a [u8],
    pub(super) entry: &'a Arc<Entry>,
    /// False for the entry of another user, which the password must not match.
    pub(super) is_known: bool,
    /// The time for which a match counts.
    pub(super) match_age_max: Duration,
}

/// The results of comparisons, and the threads that compute them.
pub(super) struct Verifier {
    /// The key of the digests. Without it, nothing in memory leads back to a password in less than the time of its hash.
    key: hmac::Key,
    shards: [Mutex<Shard>; SHARDS],
    queue: Mutex<Queue>,
    queued: Condvar,
    threads_max: usize,
    /// The number of comparisons that were computed.
    computed: AtomicU64,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

struct Job {
    key: Key,
    password: Box<[u8]>,
    entry: Arc<Entry>,
    is_known: bool,
}

impl Verifier {
    /// Returns the verifier of the process, or `None` if the system has no random numbers.
    pub(super) fn of_process() -> Option<&'static Arc<Self>> {
        static VERIFIER: LazyLock<Option<Arc<Verifier>>> = LazyLock::new(|| {
            let cores = thread::available_parallelism().map_or(1, usize::from);
            Verifier::new((cores / 2).clamp(1, THREADS_MAX)).map(Arc::new)
        });
        VERIFIER.as_ref()
    }

    pub(super) fn new(threads_max: usize) -> Option<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok()?;
        let (shards, queue, queued) = (Default::default(), Mutex::default(), Condvar::new());
        Some(Self { key, shards, queue, queued, threads_max, computed: AtomicU64::new(0) })
    }

    /// Returns true if a password matches its entry and its user is known.
    ///
    /// # Errors
    /// Fails if too many comparisons wait, or if this one takes too long.
    pub(super) async fn compare(self: &Arc<Self>, comparison: Comparison<'_>) -> Result<bool, Busy> {
        let waiting = match self.begin(&comparison)? {
            Begun::Done(is_match) => return Ok(is_match),
            Begun::Waiting(waiting) => waiting,
        };
        let compared = Timer::default().within(deadline(Some(WAIT_MAX)), waiting).await;
        compared.ok().and_then(Result::ok).ok_or(Busy)
    }

    fn begin(self: &Arc<Self>, comparison: &Comparison<'_>) -> Result<Begun, Busy> {
        let key = self.key_of(comparison);
        let mut shard = self.shard(&key);
        match shard.see(&key, comparison.match_age_max, MISMATCH_AGE_MAX) {
            Seen::Done(is_match) => Ok(Begun::Done(is_match)),
            Seen::Running(waiting) => Ok(Begun::Waiting(waiting)),
            Seen::TooMany => Err(Busy),
            Seen::Missing => {
                self.enqueue(Job {
                    key,
                    password: comparison.password.into(),
                    entry: Arc::clone(comparison.entry),
                    is_known: comparison.is_known,
                })?;
                Ok(Begun::Waiting(shard.start(key)))
            }
        }
    }

    fn key_of(&self, comparison: &Comparison<'_>) -> Key {
        let mut context = hmac::Context::with_key(&self.key);
        // Neither a name nor a hash has a NUL, so the parts cannot be mistaken for each other.
        context.update(comparison.user.as_bytes());
        context.update(&[0, u8::from(comparison.is_known)]);
        context.update(comparison.entry.text().as_bytes());
        context.update(&[0]);
        context.update(comparison.password);
        let mut key = Key::default();
        key.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
        key
    }

    /// Queues a job, and starts a thread if none is idle.
    fn enqueue(self: &Arc<Self>, job: Job) -> Result<(), Busy> {
        let mut queue = self.queue();
        if queue.jobs.len() >= QUEUE_MAX {
            return Err(Busy);
        }
        if queue.idle <= queue.jobs.len() && queue.threads < self.threads_max {
            let verifier = Arc::clone(self);
            let started = thread::Builder::new().name("password".to_owned()).spawn(move || verifier.run());
            match started {
                Ok(_detached) => queue.threads += 1,
                Err(error) if queue.threads == 0 => {
                    tracing::error!("no thread to compare passwords with can be started: {error}");
                    return Err(Busy);
                }
                Err(_) => {}
            }
        }
        queue.jobs.push_back(job);
        self.queued.notify_one();
        Ok(())
    }

    /// Computes until there is nothing to do for a while.
    fn run(&self) {
        // On Linux each thread has its own niceness. If this fails, only that is unchanged.
        let _unchanged = rustix::process::nice(NICENESS);
        while let Some(job) = self.next() {
            self.compute(&job);
        }
    }

    fn compute(&self, job: &Job) {
        // A request that has given up needs no result.
        if !self.shard(&job.key).is_awaited(&job.key) {
            return;
        }
        let compared = catch_unwind(AssertUnwindSafe(|| job.entry.hash().is_of(&job.password)));
        let is_equal = compared.unwrap_or_else(|_| {
            tracing::error!("internal error: the comparison of a password panicked; the password is refused");
            false
        });
        self.computed.fetch_add(1, Ordering::Relaxed);
        let is_match = is_equal && job.is_known;
        let waiting = self.shard(&job.key).finish(job.key, is_match);
        for sender in waiting {
            let _abandoned = sender.send(is_match);
        }
    }

    /// Returns the number of comparisons that were computed.
    pub(super) fn computed(&self) -> u64 {
        self.computed.load(Ordering::Relaxed)
    }

    /// Returns the number of comparisons that wait for a thread.
    pub(super) fn queued(&self) -> u64 {
        self.queue().jobs.len() as u64
    }

    /// Computes what is queued.
    #[cfg(test)]
    pub(super) fn run_queued(&self) {
        let jobs = std::mem::take(&mut self.queue().jobs);
        jobs.iter().for_each(|job| self.compute(job));
    }

    /// Waits for a job. Returns `None` if the thread is to end.
    fn next(&self) -> Option<Job> {
        let mut queue = self.queue();
        queue.idle += 1;
        let waited = self.queued.wait_timeout_while(queue, IDLE_MAX, |queue| queue.jobs.is_empty());
        let (mut queue, _elapsed) = waited.unwrap_or_else(PoisonError::into_inner);
        queue.idle -= 1;
        let job = queue.jobs.pop_front();
        if job.is_none() {
            queue.threads -= 1;
        }
        job
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Every change is complete in itself, so the state after a panic is sound.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, Shard> {
        let ([chooses, ..], [first, ..]) = (*key, &self.shards);
        let shard = self.shards.get(usize::from(chooses) % SHARDS).unwrap_or(first);
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Begun {
    Done(bool),
    Waiting(oneshot::Receiver<bool>),
}
