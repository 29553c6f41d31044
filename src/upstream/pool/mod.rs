//! The pool of connections to one endpoint: its limits, its idle connections and its queue of waiting requests.
//!
//! Limits hold for the whole process. Idle connections belong to a worker (see [`crate::upstream::pool::idle`]); what
//! must be exact across workers is in [`crate::upstream::pool::queue`]. `taken` and `waiting` are copies of its numbers
//! that can be read without the lock. Each side of a race first publishes its own number and then reads the other's, so
//! at least one of the two sees both.

mod adaptive;
mod commands;
pub(in crate::upstream) mod concurrency;
mod connection;
mod counting;
mod counts;
mod habit;
pub(crate) mod idle;
mod leases;
mod lending;
mod limits;
mod place;
pub(crate) mod queue;
mod report;
pub(in crate::upstream) mod seats;
pub(in crate::upstream) mod shared;
mod sharing;
mod slot;
mod stream_grants;
mod stretch;
#[cfg(test)]
pub(in crate::upstream) mod tests;
mod wait_bounds;

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use counts::Counts;
use place::{Grant, Place};
pub(crate) use slot::Slot;

use crate::config::{PoolSettings, UpstreamProtocol};
use crate::http::error::Error;
use crate::net::clock;
use crate::net::timer::{Timer, deadline, earlier};
use crate::observe::metrics::{Sharded, this_worker};
use crate::upstream::close_reason::CloseReason;
pub(crate) use crate::upstream::pool::commands::{PoolCommands, WorkerChannels, worker_channel};
use crate::upstream::pool::concurrency::Concurrency;
use crate::upstream::pool::connection::Connection;
pub(crate) use crate::upstream::pool::connection::{Lease, Wanted};
use crate::upstream::pool::habit::Habit;
use crate::upstream::pool::queue::{Capacity, Queue};
use crate::upstream::pool::seats::Seat;
use crate::upstream::pool::shared::StreamLease;
use crate::upstream::pool::sharing::Sharing;
pub(crate) use crate::upstream::pool::wait_bounds::{Refusal, WaitBounds};
use crate::upstream::transport::Transport;

static NEXT_NUMBER: AtomicU64 = AtomicU64::new(0);

/// The limits of all pools of an upstream. They are in one place so that they also hold for an address that DNS adds
/// later. After changing them, notify each pool by [`Pool::limits_changed`].
pub(super) type Limits = Arc<ArcSwap<PoolSettings>>;

/// The pool of one endpoint of one route or upstream.
pub(crate) struct Pool {
    number: u64,
    /// The endpoint's name in the log.
    endpoint: String,
    limits: Limits,
    /// The number of slots that are not free.
    taken: AtomicUsize,
    /// The number of waiting requests that a kept connection would serve.
    waiting: AtomicUsize,
    retired: AtomicBool,
    /// The most requests at the endpoint since the last sample, seen whenever one finds no idle connection.
    peak: AtomicUsize,
    queue: Mutex<Queue<Grant>>,
    counts: Sharded<Counts>,
    channels: WorkerChannels,
    sharing: Sharing,
    concurrency: Arc<Concurrency>,
    habit: Habit,
}

/// The result of acquiring from a pool.
pub(crate) enum Acquired {
    /// A kept connection.
    Reused((Transport, Lease)),
    /// A place on a shared connection of another worker.
    Elsewhere(StreamLease),
    /// The way to a new one.
    New(NewConnection),
}

/// The way to a connection that is not open yet.
pub(crate) enum NewConnection {
    /// A permit to open it.
    Dial(Slot),
    /// A place in a dial that is under way.
    Seat(Seat),
}

impl Pool {
    /// Returns an empty pool. `endpoint` is its name in the log; `channels` has one channel for each worker.
    pub(crate) fn new(
        endpoint: String,
        protocol: UpstreamProtocol,
        limits: Limits,
        channels: WorkerChannels,
    ) -> Arc<Self> {
        let max_concurrent = limits.load().max_concurrent;
        Arc::new(Self {
            number: NEXT_NUMBER.fetch_add(1, SeqCst),
            counts: Sharded::new(channels.len()),
            endpoint,
            limits,
            taken: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            retired: AtomicBool::new(false),
            peak: AtomicUsize::new(0),
            queue: Mutex::default(),
            channels,
            sharing: Sharing::new(protocol),
            concurrency: Arc::new(Concurrency::new(max_concurrent)),
            habit: Habit::default(),
        })
    }

    /// Returns the number of workers.
    pub(super) fn workers(&self) -> usize {
        self.channels.len()
    }

    /// Returns an idle connection, or a permit to open one, as soon as the limits allow it. Requests are served in
    /// order of arrival. `bounds` limits the wait.
    ///
    /// # Errors
    /// Returns [`Error::PoolFull`] if too many requests wait already, and [`Error::AcquireTimeout`] if the wait takes
    /// too long.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        timer: &Timer,
        wanted: Wanted,
        bounds: WaitBounds,
    ) -> Result<Acquired, Refusal> {
        match self.acquire_idle(wanted) {
            Some(leased) => Ok(Acquired::Reused(leased)),
            None => {
                if let Some(connection) = self.borrow(timer, wanted).await {
                    self.count_reused();
                    return Ok(Acquired::Reused(connection.lease()));
                }
                self.acquire_later(timer, wanted, bounds).await
            }
        }
    }

    /// Returns an idle connection of this worker, unless requests are waiting. Most requests find one.
    pub(crate) fn acquire_idle(self: &Arc<Self>, wanted: Wanted) -> Option<(Transport, Lease)> {
        // Waiting requests came first.
        if wanted == Wanted::Fresh || self.waiting.load(SeqCst) > 0 {
            return None;
        }
        let leased = match idle::take(self.number, wanted) {
            Some(connection) => connection.lease(),
            None if self.may_share(wanted) => shared::lease(self)?,
            None => return None,
        };
        self.count_reused();
        Some(leased)
    }

    async fn acquire_later(
        self: &Arc<Self>,
        timer: &Timer,
        wanted: Wanted,
        bounds: WaitBounds,
    ) -> Result<Acquired, Refusal> {
        self.note_demand();
        let place = {
            let mut queue = self.lock();
            let settings = self.settings();
            let is_first = queue.waiting() == 0;
            if is_first
                && self.expects_shared(wanted)
                && let Some(seat) = seats::join(self)
            {
                return Ok(Acquired::New(NewConnection::Seat(seat)));
            }
            if is_first && queue.reserve(Capacity::of(&settings)) {
                self.publish(&mut queue);
                self.count(|counts| counts.acquired.add(1));
                return Ok(Acquired::New(NewConnection::Dial(self.awaited_slot(queue))));
            }
            let may_share = is_first && self.may_share(wanted);
            let free = may_share.then(|| self.free_stream(&queue, this_worker())).flatten();
            if let Some(lease) = free {
                drop(queue);
                return Ok(self.shared_grant(lease));
            }
            // A waiter that another worker's idle connection can serve is about to leave the queue, so it does not
            // count.
            if queue.waiting() >= settings.max_pending.saturating_add(self.idle()) {
                return Err(self.refuse(Error::PoolFull, queue.is_unconnected()));
            }
            let (number, granted) = queue.push(this_worker());
            self.publish(&mut queue);
            Place { pool: self.clone(), number, granted }
        };
        let began = clock::now();
        let acquired = self.wait(place, timer, wanted, bounds).await;
        self.count_queued(clock::since(began), !matches!(acquired, Ok(Acquired::New(_))));
        acquired
    }

    /// Notes the number of requests at the endpoint, of which one has found no idle connection.
    fn note_demand(&self) {
        self.peak.fetch_max(self.load(), Relaxed);
    }

    /// Begins a new peak. Returns the most requests at once since the last one began.
    pub(crate) fn take_peak(&self) -> usize {
        let load = self.load();
        self.peak.swap(load, Relaxed).max(load)
    }

    /// Waits in `place` for a grant. A kept connection that is not `wanted` is closed to make room for a new one.
    async fn wait(
        self: &Arc<Self>,
        mut place: Place,
        timer: &Timer,
        wanted: Wanted,
        bounds: WaitBounds,
    ) -> Result<Acquired, Refusal> {
        let acquire_timeout = self.settings().acquire_timeout;
        let limit = deadline(bounds.rest(acquire_timeout));
        let mut leaves = deadline(bounds.leaves_after(acquire_timeout));
        self.give_idle_to_waiters();
        self.ask_other_workers();
        self.grant_streams();
        loop {
            let Ok(granted) = timer.within(earlier(limit, leaves), &mut place.granted).await else {
                let (is_unconnected, is_early) = (self.is_unconnected(), leaves.take().is_some());
                if is_early && !is_unconnected {
                    continue; // The endpoint is reachable, so the rest of the time is worth waiting.
                }
                return Err(self.refuse(Error::AcquireTimeout, is_unconnected));
            };
            let acquired = match granted.map_err(|_closed| Refusal::from(Error::Internal))? {
                Grant::Connection(mut kept) if !wanted.serves(&kept) => {
                    // Re-enqueue before the slot is free, so that no other request takes it.
                    place.wait_to_dial(&mut kept);
                    kept.close(CloseReason::Replaced);
                    continue;
                }
                Grant::Connection(connection) => {
                    self.count(|counts| counts.reused.add(1));
                    Acquired::Reused(connection.lease())
                }
                Grant::Stream(lease) if wanted == Wanted::Exclusive => {
                    drop(lease);
                    place.wait_for_room();
                    continue;
                }
                Grant::Stream(lease) => return Ok(self.shared_grant(lease)),
                Grant::Dial(slot) => Acquired::New(NewConnection::Dial(slot)),
            };
            self.count(|counts| counts.acquired.add(1));
            return Ok(acquired);
        }
    }

    /// Returns a permit to open a connection that no request waits for, if there is room and none is waiting.
    pub(super) fn try_dial(self: &Arc<Self>) -> Option<Slot> {
        let mut queue = self.lock();
        if queue.waiting() > 0 || !queue.reserve(Capacity::of(&self.settings())) {
            return None;
        }
        self.publish(&mut queue);
        Some(Slot::new(self.clone()))
    }

    fn refuse(&self, error: Error, is_unconnected: bool) -> Refusal {
        self.count(|counts| counts.refused.add(error.reason()));
        Refusal { error, is_unconnected }
    }

    /// Returns true if no connection to the endpoint is open.
    pub(super) fn is_unconnected(&self) -> bool {
        self.lock().is_unconnected()
    }

    /// Takes a connection back after an exchange that left it reusable.
    pub(super) fn release(&self, mut connection: Connection) {
        connection.state.kept = true;
        let settings = self.settings();
        if let Some(reason) = self.no_longer_wanted(&connection, &settings) {
            return connection.close(reason);
        }
        let stays = self.waiting.load(SeqCst) == 0 && self.taken.load(SeqCst) <= settings.max_connections;
        let connection = if stays { Some(connection) } else { self.hand_over(connection, &settings) };
        let Some(connection) = connection else { return };
        self.keep(connection, &settings);
        // Only now do other workers see the connection as idle, so check again for waiters that arrived meanwhile.
        if self.waiting.load(SeqCst) > 0 {
            self.give_idle_to_waiters();
        }
    }

    /// Adds a connection to this worker's idle ones, and closes any excess in the process.
    fn keep(&self, connection: Connection, settings: &PoolSettings) {
        idle::put(connection, settings);
        if self.taken.load(SeqCst) > settings.max_idle {
            self.close_excess(settings);
        }
    }

    /// Gives a connection to the request that has waited longest, or closes it if there are too many. Returns it if no
    /// request is waiting.
    fn hand_over(&self, mut connection: Connection, settings: &PoolSettings) -> Option<Connection> {
        if connection.transport.has_forbidden_body() {
            connection.close(CloseReason::UnexpectedBytes);
            return None;
        }
        loop {
            let waiter = {
                let mut queue = self.lock();
                if queue.taken() > settings.max_connections {
                    connection.state.slot.leave(&mut queue);
                    self.publish(&mut queue);
                    drop(queue);
                    connection.close(CloseReason::MaxConnections);
                    return None;
                }
                let waiter = queue.pop_for_connection();
                self.publish(&mut queue);
                waiter
            };
            let Some(waiter) = waiter else { return Some(connection) };
            if waiter.worker != this_worker() && connection.transport.detach().is_err() {
                // The connection cannot move to that worker, so the waiter gets a new one in its place.
                let mut queue = self.lock();
                connection.state.slot.leave(&mut queue);
                queue.put_back_to_dial(waiter);
                drop(queue);
                connection.close(CloseReason::Error);
                return None;
            }
            match waiter.grant.send(Grant::Connection(Box::new(connection))) {
                Err(Grant::Connection(refused)) => connection = *refused,
                Ok(()) | Err(Grant::Dial(_) | Grant::Stream(_)) => return None,
            }
        }
    }

    /// Hands this worker's idle connections to waiting requests.
    pub(crate) fn give_idle_to_waiters(&self) {
        while self.waiting.load(SeqCst) > 0
            && let Some(connection) = idle::take(self.number, Wanted::Any)
        {
            // No waiters are left. While the connection was outside the idle store no request could see it, so check
            // again for waiters that arrived meanwhile.
            let settings = self.settings();
            if let Some(unwanted) = self.hand_over(connection, &settings) {
                self.keep(unwanted, &settings);
            }
        }
    }

    /// Asks one other worker that has idle connections to give one, if any request is waiting.
    fn ask_other_workers(self: &Arc<Self>) {
        if self.waiting.load(SeqCst) == 0 {
            return;
        }
        let me = this_worker();
        let others = self.counts.iter().zip(self.channels.iter()).enumerate();
        for (worker, (counts, worker_channel)) in others {
            // If every channel is full, the next released connection ends the wait.
            if worker != me && counts.idle.load(SeqCst) > 0 && worker_channel.offer(self) {
                return;
            }
        }
    }

    /// Permits the requests that have waited longest to open connections, as far as the limits allow.
    fn grant_dials(self: &Arc<Self>) {
        loop {
            let mut queue = self.lock();
            // A dial that is under way may serve all that wait.
            let served_soon = queue.connecting.saturating_mul(self.seats_max());
            let is_expected = self.expects_shared(Wanted::Any)
                && queue.waiting() == queue.waiting_for_connection()
                && queue.waiting() <= served_soon;
            if queue.waiting() == 0 || is_expected || !queue.reserve(Capacity::of(&self.settings())) {
                return;
            }
            let waiter = queue.pop();
            self.publish(&mut queue);
            let slot = self.awaited_slot(queue);
            // A receiver that no longer waits drops the slot, which grants it to the next one.
            drop(waiter.map(|waiter| waiter.grant.send(Grant::Dial(slot))));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue<Grant>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, queue: &mut Queue<Grant>) {
        self.taken.store(queue.taken(), SeqCst);
        self.waiting.store(queue.waiting_for_connection(), SeqCst);
        let waits = queue.waiting() > 0;
        if waits || queue.at_limit.holds() {
            queue.at_limit.set(waits && queue.open >= self.settings().max_connections);
        }
    }

    /// Returns the slot of a connection that was reserved for a request, and counts its dial.
    fn awaited_slot(self: &Arc<Self>, queue: MutexGuard<'_, Queue<Grant>>) -> Slot {
        let busy = queue.open.saturating_sub(self.idle() + queue.idle_shared());
        drop(queue);
        self.count(|counts| counts.add_awaited_dial(busy));
        Slot::awaited(self.clone())
    }

    /// Returns true if this worker has idle connections.
    fn has_idle(&self, worker: usize) -> bool {
        self.counts.of(worker).is_some_and(|counts| counts.idle.load(SeqCst) > 0)
    }

    /// Returns the number of idle connections in the whole process.
    fn idle(&self) -> usize {
        let idle: i64 = self.counts.iter().map(|counts| counts.idle.load(SeqCst)).sum();
        usize::try_from(idle).unwrap_or(0)
    }

    /// Takes the age at which the server has closed an idle connection.
    fn learn_idle_timeout(&self, age: Duration) {
        if let Some(age) = self.habit.observe(age) {
            let limit = self.habit.limit().unwrap_or_default();
            tracing::info!(
                endpoint = self.endpoint,
                "the server closes idle connections after {age:?}; the pool does so after {limit:?}"
            );
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("number", &self.number).finish_non_exhaustive()
    }
}
