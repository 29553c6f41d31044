//! Connections that carry several exchanges at once: their leases, and the connections of a worker.
//!
//! A connection belongs to a worker, whose tasks alone touch it. Its [`Leases`] are counted where every worker sees them, so that a
//! lease can be taken under the queue's lock for a request of another worker, too. That request is then sent to the worker that
//! has the connection.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::time::Instant;

use super::connection::{Age, Lease};
use super::leases::Leases;
use super::{Pool, Slot};
use crate::config::PoolSettings;
use crate::net::clock;
use crate::net::timer::{Timer, earlier};
use crate::observe::metrics::this_worker;
use crate::upstream::close_reason::CloseReason;
use crate::upstream::transport::h2::Driver;
use crate::upstream::transport::{H2Connection, Transport};

thread_local! {
    /// The shared connections of this worker by the number of their pool, oldest first.
    static STORE: RefCell<HashMap<u64, Vec<Rc<SharedConnection>>>> = RefCell::default();
}

/// One exchange on a shared connection. Dropping it gives the place to the request that has waited longest.
#[derive(Debug)]
pub(crate) struct StreamLease {
    pool: Arc<Pool>,
    leases: Arc<Leases>,
    /// True once a request was sent on it.
    is_used: bool,
}

impl StreamLease {
    /// Returns a lease that was counted.
    pub(super) fn taken(pool: Arc<Pool>, leases: Arc<Leases>) -> Self {
        Self { pool, leases, is_used: false }
    }

    /// Wakes the task of the connection: it has no lease any more.
    fn wake(&self) {
        if self.leases.worker != this_worker() {
            return self.pool.review_on(self.leases.worker);
        }
        STORE.with_borrow(|store| {
            let connections = store.get(&self.pool.number).into_iter().flatten();
            connections
                .filter(|shared| Arc::ptr_eq(&shared.leases, &self.leases))
                .for_each(|shared| shared.connection.wake());
        });
    }

    /// Returns the worker that the connection belongs to.
    pub(in crate::upstream) fn worker(&self) -> usize {
        self.leases.worker
    }

    pub(in crate::upstream) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Returns the lease as exchanges use it.
    ///
    /// # Errors
    /// Returns the lease if the connection is not this worker's, or is gone.
    pub(in crate::upstream) fn here(self) -> Result<(Transport, Lease), Self> {
        let found = STORE.with_borrow(|store| {
            let connections = store.get(&self.pool.number)?;
            connections.iter().find(|connection| Arc::ptr_eq(&connection.leases, &self.leases)).cloned()
        });
        match found {
            Some(shared) => Ok(shared.leased(self)),
            None => Err(self),
        }
    }
}

impl Drop for StreamLease {
    fn drop(&mut self) {
        if !self.is_used {
            self.leases.forget();
        }
        if self.leases.give_back() {
            self.wake();
        }
        self.pool.grant_streams();
    }
}

/// A lease on the worker of its connection.
#[derive(Debug)]
pub(in crate::upstream) struct LocalLease {
    shared: Rc<SharedConnection>,
    lease: StreamLease,
}

impl LocalLease {
    /// Returns true if the connection has served another request, so that its peer may have closed it unnoticed.
    pub(super) fn is_kept(&self) -> bool {
        self.shared.is_used.get()
    }

    /// Notes that a request is sent.
    pub(super) fn count_request(&mut self) {
        self.lease.is_used = true;
        self.shared.is_used.set(true);
    }
}

/// A shared connection, on the worker that it belongs to.
#[derive(Debug)]
struct SharedConnection {
    connection: Rc<H2Connection>,
    leases: Arc<Leases>,
    /// True once a request was sent on it.
    is_used: Cell<bool>,
    age: Age,
    /// The time since which it has no lease, as its task has seen it.
    idle_since: Cell<Option<Instant>>,
    /// Its slot, until its task ends.
    slot: RefCell<Option<Slot>>,
}

impl SharedConnection {
    fn leased(self: &Rc<Self>, lease: StreamLease) -> (Transport, Lease) {
        let transport = Transport::Shared(self.connection.clone());
        (transport, Lease::local(LocalLease { shared: self.clone(), lease }))
    }

    /// Returns the reason for the end, if the connection is to end and no exchange uses it.
    fn ended(&self) -> Option<CloseReason> {
        self.connection.closing().filter(|_| self.leases.count() == 0)
    }

    /// Takes no further leases. The connection is closed when the last one has ended.
    fn close(&self, reason: CloseReason) {
        self.leases.close();
        self.connection.close(reason);
    }

    /// Ends the connection if its time is over, and follows the limits on its streams. Wakes `cx` when there is more to do.
    fn review(&self, pool: &Arc<Pool>, timer: &Timer, cx: &mut Context<'_>) {
        if self.connection.is_ending() {
            return self.close(CloseReason::Peer);
        }
        let settings = pool.settings();
        let max = settings.max_streams.min(self.connection.streams_max());
        if self.leases.set_max(max) {
            pool.learn_streams(max);
            pool.grant_streams();
        }
        if let Some(reason) = self.unwanted(pool, &settings) {
            return self.close(reason);
        }
        let old = self.age.expires(settings.max_lifetime);
        let idle_since = self.leases.is_idle().then(|| self.idle_since.get().unwrap_or_else(clock::now));
        self.idle_since.set(idle_since);
        let unused =
            idle_since.zip(settings.idle_timeout).and_then(|(since, limit)| since.checked_add(limit));
        if timer.poll_elapsed(cx, earlier(old, unused)).is_pending() {
            return;
        }
        if old.is_some_and(|old| old <= clock::now()) {
            self.close(CloseReason::Lifetime);
        } else if self.leases.close_if_idle() {
            self.connection.close(CloseReason::IdleTimeout);
        }
    }

    /// Returns the reason to take no further leases, if there is one.
    fn unwanted(&self, pool: &Pool, settings: &PoolSettings) -> Option<CloseReason> {
        let granted = self.leases.granted();
        match () {
            () if !settings.keep_alive => Some(CloseReason::KeepAliveOff),
            () if pool.is_retired() => Some(CloseReason::Drained),
            () if settings.max_requests.is_some_and(|max| granted >= max) => Some(CloseReason::MaxRequests),
            () if self.leases.is_idle() => self.surplus(pool, settings),
            () => None,
        }
    }

    /// Returns the reason if the connection is one too many, and gives no further lease then.
    fn surplus(&self, pool: &Pool, settings: &PoolSettings) -> Option<CloseReason> {
        let mut slot = self.slot.borrow_mut();
        pool.leave_if_surplus(slot.as_mut()?, &self.leases, settings)
    }
}

/// Adds a connection that was opened in `slot` to this worker's. Returns its first lease.
pub(in crate::upstream) fn open(mut slot: Slot, driver: Driver) -> (Transport, Lease) {
    slot.mark_opened();
    let pool = slot.pool().clone();
    let settings = pool.settings();
    let streams_max = driver.connection().streams_max();
    // A server that takes no stream yet is asked for the first one all the same: it says no, or has changed its mind by then.
    let max = settings.max_streams.min(streams_max).max(1);
    let leases = Arc::new(Leases::first(this_worker(), max, !settings.keep_alive));
    pool.learn_streams(max);
    pool.learn_upgrades(driver.connection().takes_upgrades());
    let transport = Transport::Shared(driver.connection().clone());
    let shared = Rc::new(SharedConnection {
        connection: driver.connection().clone(),
        leases: leases.clone(),
        is_used: Cell::new(false),
        age: Age::begin(),
        idle_since: Cell::new(None),
        slot: RefCell::new(Some(slot)),
    });
    STORE.with_borrow_mut(|store| store.entry(pool.number).or_default().push(shared.clone()));
    pool.lock().shared.push(leases.clone());
    tokio::task::spawn_local(run(shared.clone(), pool.clone(), driver));
    let lease = LocalLease { shared, lease: StreamLease::taken(pool, leases) };
    (transport, Lease::local(lease))
}

/// Runs a connection to its end: closes the socket, then frees the slot.
async fn run(shared: Rc<SharedConnection>, pool: Arc<Pool>, driver: Driver) {
    let mut running = Running { driver, shared, pool };
    // The requests that waited for this dial have their leases by now. Only for the others may more be opened.
    running.pool.grant_streams();
    running.pool.grant_dials();
    let timer = Timer::default();
    let reason = std::future::poll_fn(|cx| {
        if let Poll::Ready(reason) = running.driver.poll(cx) {
            return Poll::Ready(reason);
        }
        running.shared.review(&running.pool, &timer, cx);
        match running.shared.ended() {
            Some(reason) => Poll::Ready(running.driver.end(reason)),
            None => Poll::Pending,
        }
    })
    .await;
    running.end(reason);
}

/// A connection whose task runs. Dropping it closes the connection and takes it out of the pool.
struct Running {
    driver: Driver,
    shared: Rc<SharedConnection>,
    pool: Arc<Pool>,
}

impl Running {
    fn end(&mut self, reason: CloseReason) {
        self.driver.close();
        let leases = &self.shared.leases;
        leases.close();
        self.pool.lock().shared.retain(|other| !Arc::ptr_eq(other, leases));
        STORE.with_borrow_mut(|store| {
            if let Some(connections) = store.get_mut(&self.pool.number) {
                connections.retain(|other| !Rc::ptr_eq(other, &self.shared));
                if connections.is_empty() {
                    store.remove(&self.pool.number);
                }
            }
        });
        let slot = self.shared.slot.borrow_mut().take();
        if let Some(slot) = slot {
            slot.close(reason);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.driver.end(CloseReason::Drained);
        self.end(CloseReason::Drained);
    }
}

/// Returns a lease of this worker's oldest connection that has room, so that the others turn idle.
pub(super) fn lease(pool: &Arc<Pool>) -> Option<(Transport, Lease)> {
    STORE.with_borrow(|store| {
        let takes_more = |shared: &&Rc<SharedConnection>| !shared.connection.is_ending();
        store.get(&pool.number)?.iter().filter(takes_more).find_map(|shared| {
            let is_taken = shared.leases.take(pool.requests_max());
            is_taken.then(|| shared.leased(StreamLease::taken(pool.clone(), shared.leases.clone())))
        })
    })
}

/// Returns the number of connections of a pool on this worker that have no lease.
pub(super) fn count_idle(pool: u64) -> usize {
    STORE.with_borrow(|store| {
        let connections = store.get(&pool).map_or(&[][..], Vec::as_slice);
        connections.iter().filter(|shared| shared.leases.is_idle()).count()
    })
}

/// Applies changed limits to this worker's connections of a pool. Those that are too many are closed when their last exchange has
/// ended, idle ones first.
pub(super) fn apply_limits(pool: &Pool, settings: &PoolSettings) {
    let connections = STORE.with_borrow(|store| store.get(&pool.number).cloned().unwrap_or_default());
    let (idle, used): (Vec<_>, Vec<_>) = connections.iter().partition(|shared| shared.leases.is_idle());
    for shared in idle.into_iter().chain(used) {
        if let Some(reason) = shared.surplus(pool, settings) {
            shared.close(reason);
        }
        // For the limits that its own task applies.
        shared.connection.wake();
    }
}

/// Returns a pool for each that has shared connections on this worker.
pub(super) fn pools() -> Vec<Arc<Pool>> {
    STORE.with_borrow(|store| {
        let pools = store.values().filter_map(|connections| {
            let slot = connections.first()?.slot.borrow();
            Some(slot.as_ref()?.pool().clone())
        });
        pools.collect()
    })
}
