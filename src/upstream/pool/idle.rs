//! The idle connections of a worker: newest first, watched for their end.
//!
//! They are kept by the number of their pool, in the worker's own memory, so taking one and giving it back touches nothing
//! shared but the counters. Each worker has one task, the keeper. It is woken when an idle connection's peer closes it or
//! sends unrequested bytes, and when the next connection has been idle for too long.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::hash::{BuildHasherDefault, Hasher};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::connection::{Connection, Wanted};
use crate::config::PoolSettings;
use crate::net::clock;
use crate::net::timer::earlier;
use crate::upstream::close_reason::CloseReason;

thread_local! {
    static STORE: RefCell<Store> = RefCell::new(Store::default());
}

/// Pool numbers are small and distinct: they are their own hash.
#[derive(Default)]
struct PoolHasher(u64);

impl Hasher for PoolHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, number: u64) {
        // Spread over the high bits, which the table uses too.
        self.0 = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

#[derive(Default)]
struct Store {
    pools: HashMap<u64, VecDeque<Idle>, BuildHasherDefault<PoolHasher>>,
    /// The keeper's waker, with which idle connections are polled.
    keeper: Option<Waker>,
    /// The time at which the keeper wakes by itself.
    next_check: Option<Instant>,
}

struct Idle {
    connection: Connection,
    since: Instant,
    /// The time at which it expires under the present limits, and the reason.
    ends: Option<(Instant, CloseReason)>,
}

impl Idle {
    fn new(connection: Connection, since: Instant, settings: &PoolSettings) -> Self {
        let server_keeps =
            connection.transport.idle_max().or_else(|| connection.state.slot.pool().habit.limit());
        let limit = earlier(settings.idle_timeout, server_keeps);
        let unused = limit.and_then(|limit| since.checked_add(limit));
        let old = connection.state.age.expires(settings.max_lifetime);
        let ends = [old.zip(Some(CloseReason::Lifetime)), unused.zip(Some(CloseReason::IdleTimeout))];
        let ends = ends.into_iter().flatten().min_by_key(|(at, _)| *at);
        Self { connection, since, ends }
    }

    /// Returns the reason if its time is up.
    fn is_over(&self) -> Option<CloseReason> {
        self.ends.filter(|(at, _)| *at <= clock::now()).map(|(_, reason)| reason)
    }

    /// Returns the reason if it must no longer be used.
    fn ended(&mut self, cx: &mut Context<'_>) -> Option<CloseReason> {
        if let Some(reason) = self.is_over() {
            return Some(reason);
        }
        let Poll::Ready(reason) = self.connection.transport.poll_dead(cx) else { return None };
        if reason == CloseReason::Peer && self.connection.transport.idle_max().is_none() {
            self.connection.state.slot.pool().learn_idle_timeout(clock::since(self.since));
        }
        Some(reason)
    }

    /// Returns true if its server may be about to close it.
    fn is_in_doubt(&self) -> bool {
        let settles = self.connection.transport.settles_after();
        settles.is_some_and(|settles| clock::since(self.since) < settles)
    }

    fn ends_by(&self) -> Option<Instant> {
        self.ends.map(|(at, _)| at)
    }
}

/// Keeps a connection for the next request of this worker. A connection that turns out to be dead is closed.
pub(super) fn put(connection: Connection, settings: &PoolSettings) {
    put_back(connection, clock::now(), settings);
}

/// Keeps a connection that has been idle since this time.
pub(super) fn put_back(mut connection: Connection, since: Instant, settings: &PoolSettings) {
    STORE.with_borrow_mut(|store| {
        let waker = store.keeper.as_ref().unwrap_or(Waker::noop());
        if let Poll::Ready(reason) = connection.transport.poll_dead(&mut Context::from_waker(waker)) {
            return connection.close(reason);
        }
        let idle = Idle::new(connection, since, settings);
        let ends_by = idle.ends_by();
        if ends_by.is_some() && earlier(ends_by, store.next_check) != store.next_check {
            store.next_check = ends_by;
            waker.wake_by_ref();
        }
        idle.connection.count_idle(1);
        store.pools.entry(idle.connection.pool_number()).or_default().push_back(idle);
    });
}

/// Applies changed limits to this worker's idle connections of a pool. Those that are `unwanted` are closed. The others
/// expire when they would have if these limits had applied from the start.
pub(super) fn apply_limits(
    pool: u64,
    settings: &PoolSettings,
    unwanted: impl Fn(&Connection) -> Option<CloseReason>,
) {
    STORE.with_borrow_mut(|store| {
        let Some(idle) = store.pools.get_mut(&pool) else { return };
        for entry in std::mem::take(idle) {
            let entry = Idle::new(entry.connection, entry.since, settings);
            match unwanted(&entry.connection).or(entry.is_over()) {
                None => idle.push_back(entry),
                Some(reason) => {
                    entry.connection.count_idle(-1);
                    entry.connection.close(reason);
                }
            }
        }
        // The keeper may have to wake earlier than scheduled.
        if let Some(keeper) = &store.keeper {
            keeper.wake_by_ref();
        }
    });
}

/// Calls `of` with an idle connection of each pool that has one on this worker.
pub(super) fn map_pools<T>(of: impl Fn(&Connection) -> T) -> Vec<T> {
    STORE.with_borrow(|store| {
        let newest = store.pools.values().filter_map(VecDeque::back);
        newest.map(|idle| of(&idle.connection)).collect()
    })
}

/// Takes the newest idle connection of this worker that is alive and `wanted`.
pub(super) fn take(pool: u64, wanted: Wanted) -> Option<Connection> {
    STORE.with_borrow_mut(|store| {
        let idle = store.pools.get_mut(&pool)?;
        let mut cx = Context::from_waker(Waker::noop());
        while let Some(mut newest) = take_newest(idle, wanted) {
            newest.connection.count_idle(-1);
            match newest.ended(&mut cx) {
                None if newest.is_in_doubt() => return Some(newest.connection),
                None => {
                    newest.connection.transport.settle();
                    return Some(newest.connection);
                }
                Some(reason) => newest.connection.close(reason),
            }
        }
        None
    })
}

fn take_newest(idle: &mut VecDeque<Idle>, wanted: Wanted) -> Option<Idle> {
    if wanted != Wanted::Settled || !idle.back()?.is_in_doubt() {
        return idle.pop_back();
    }
    let settled = idle.iter().rposition(|idle| !idle.is_in_doubt())?;
    idle.remove(settled)
}

/// Takes the connection of this worker that has been idle longest, if it has been for `idle_min` and is alive. Returns it with the
/// time since which it has.
pub(super) fn take_unused(pool: u64, idle_min: Duration) -> Option<(Connection, Instant)> {
    STORE.with_borrow_mut(|store| {
        let idle = store.pools.get_mut(&pool)?;
        let mut cx = Context::from_waker(Waker::noop());
        while idle.front().is_some_and(|oldest| clock::since(oldest.since) >= idle_min) {
            let mut oldest = idle.pop_front()?;
            oldest.connection.count_idle(-1);
            match oldest.ended(&mut cx) {
                None => {
                    oldest.connection.transport.settle();
                    return Some((oldest.connection, oldest.since));
                }
                Some(reason) => oldest.connection.close(reason),
            }
        }
        None
    })
}

/// Takes the connection of this worker that has been idle longest.
pub(super) fn take_oldest(pool: u64) -> Option<Connection> {
    STORE.with_borrow_mut(|store| {
        let oldest = store.pools.get_mut(&pool)?.pop_front()?;
        oldest.connection.count_idle(-1);
        Some(oldest.connection)
    })
}

/// Returns the number of idle connections of a pool on this worker.
pub(super) fn count(pool: u64) -> usize {
    STORE.with_borrow(|store| store.pools.get(&pool).map_or(0, VecDeque::len))
}

/// Closes all idle connections of this worker as it ends.
pub(crate) fn close_all() {
    let pools = STORE.with_borrow_mut(|store| std::mem::take(&mut store.pools));
    for idle in pools.into_values().flatten() {
        idle.connection.count_idle(-1);
        idle.connection.close(CloseReason::Drained);
    }
}

/// Closes idle connections that expire or whose peer is gone. Runs for ever, once per worker.
pub(crate) async fn keep() {
    let mut sleep = pin!(tokio::time::sleep(Duration::ZERO));
    std::future::poll_fn(|cx| {
        poll_keep(sleep.as_mut(), cx);
        Poll::<()>::Pending
    })
    .await;
}

fn poll_keep(mut sleep: Pin<&mut Sleep>, cx: &mut Context<'_>) {
    // Otherwise the timer of a busy worker may fire before the clock has reached its deadline.
    clock::advance();
    let next = STORE.with_borrow_mut(|store| {
        store.keeper = Some(cx.waker().clone());
        store.sweep(cx)
    });
    let Some(next) = next else { return };
    if sleep.deadline() != next {
        sleep.as_mut().reset(next);
    }
    if sleep.as_mut().poll(cx).is_ready() {
        // Already due: sweep again at once, but let other tasks run first.
        cx.waker().wake_by_ref();
    }
}

impl Store {
    /// Closes the connections that have ended. Returns the time at which the next one expires.
    fn sweep(&mut self, cx: &mut Context<'_>) -> Option<Instant> {
        let mut next = None;
        let mut ended = Vec::new();
        for idle in self.pools.values_mut() {
            let mut index = 0;
            while let Some(entry) = idle.get_mut(index) {
                if let Some(reason) = entry.ended(cx) {
                    ended.extend(idle.remove(index).map(|entry| (entry.connection, reason)));
                } else {
                    next = earlier(next, entry.ends_by());
                    index += 1;
                }
            }
        }
        self.pools.retain(|_, idle| !idle.is_empty());
        self.next_check = next;
        for (connection, reason) in ended {
            connection.count_idle(-1);
            connection.close(reason);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::upstream::pool::connection::Age;
    use crate::upstream::pool::tests::Bench;
    use crate::upstream::transport::Exclusive;
    use crate::upstream::transport::h1::connection::{H1Connection, Word};

    fn h1(connection: &mut Connection) -> &mut H1Connection {
        let Exclusive::H1(connection) = &mut connection.transport;
        connection
    }

    #[tokio::test]
    async fn eof_after_a_response_without_a_body_is_seen_before_the_reactor_reports_it() {
        let mut bench = Bench::new(PoolSettings::default());
        let mut connection = bench.connect().await;
        h1(&mut connection).bodiless = true;
        bench.pool.release(connection);
        drop(bench.peers.pop());
        assert!(take(bench.pool.number, Wanted::Any).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_in_doubt_serves_what_can_go_again_and_others_once_it_has_settled() {
        let mut bench = Bench::new(PoolSettings::default());
        let older = bench.connect().await;
        let mut newer = bench.connect().await;
        h1(&mut newer).word = Word::Silent;
        let (older_age, newer_age) = (older.state.age, newer.state.age);
        let is = |connection: Option<&Connection>, age: Age| connection.unwrap().state.age == age;
        bench.pool.release(older);
        bench.pool.release(newer);
        let settled = take(bench.pool.number, Wanted::Settled);
        assert!(is(settled.as_ref(), older_age));
        assert!(take(bench.pool.number, Wanted::Settled).is_none());
        assert_eq!(count(bench.pool.number), 1, "it stays");
        let doubtful = take(bench.pool.number, Wanted::Any).unwrap();
        assert!(is(Some(&doubtful), newer_age));
        bench.pool.release(doubtful);
        tokio::time::advance(Duration::from_millis(100)).await;
        assert!(is(take(bench.pool.number, Wanted::Settled).as_ref(), newer_age));
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_connection_that_was_idle_for_a_while_is_unused() {
        let mut bench = Bench::new(PoolSettings::default());
        let (older, newer) = (bench.connect().await, bench.connect().await);
        let older_age = older.state.age;
        let while_ = Duration::from_secs(1);
        bench.pool.release(older);
        tokio::time::advance(while_).await;
        bench.pool.release(newer);
        assert_eq!(take_unused(bench.pool.number, while_).unwrap().0.state.age, older_age);
        assert!(take_unused(bench.pool.number, while_).is_none());
        tokio::time::advance(while_).await;
        let (given_back, since) = take_unused(bench.pool.number, while_).unwrap();
        put_back(given_back, since, &PoolSettings::default());
        assert!(take_unused(bench.pool.number, while_).is_some(), "it has been idle since before");
    }

    #[tokio::test]
    async fn unexpected_body_bytes_are_seen_before_the_reactor_reports_them() {
        let mut bench = Bench::new(PoolSettings::default());
        for body in [false, true] {
            let mut connection = bench.connect().await;
            h1(&mut connection).bodiless = true;
            bench.pool.release(connection);
            if body {
                bench.peers.last_mut().unwrap().write_all(b"late").unwrap();
            }
            // The reactor has not run since the connection was released.
            let taken = take(bench.pool.number, Wanted::Any);
            assert_eq!(taken.as_ref().map(|taken| taken.state.kept), (!body).then_some(true));
        }
    }
}
