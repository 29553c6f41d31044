//! Tests of a pool whose limits change, on real sockets. There is one worker unless a test says otherwise.

use std::future::Future;
use std::net::{TcpListener, TcpStream as Peer};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::*;
use crate::net::stream::Stream;
use crate::observe::metrics::PoolReport;
use crate::observe::metrics::enter_worker;
use crate::upstream::pool::connection::{Age, ConnectionState};
use crate::upstream::transport::Exclusive;

/// A pool, the worker that this thread acts as, and the server that accepts all connections.
pub(in crate::upstream) struct Bench {
    pub(in crate::upstream) pool: Arc<Pool>,
    limits: Limits,
    pool_commands: Option<PoolCommands>,
    server: TcpListener,
    /// The server's ends, in the order of connecting.
    pub(in crate::upstream) peers: Vec<Peer>,
}

impl Bench {
    pub(in crate::upstream) fn new(settings: PoolSettings) -> Self {
        enter_worker(0);
        let (worker_channel, pool_commands) = worker_channel(1);
        let limits: Limits = Arc::new(ArcSwap::from_pointee(settings));
        let pool =
            Pool::new("test".to_owned(), UpstreamProtocol::H1, limits.clone(), [worker_channel].into());
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        Self { pool, limits, pool_commands: Some(pool_commands), server, peers: Vec::new() }
    }

    /// Opens a connection, which is then in use.
    pub(in crate::upstream) async fn connect(&mut self) -> Connection {
        let Some(Acquired::New(NewConnection::Dial(slot))) =
            self.pool.acquire(&Timer::default(), Wanted::Fresh, WaitBounds::default()).await.ok()
        else {
            panic!("no leave to dial")
        };
        let connection = open(slot, self.server.local_addr().unwrap()).await;
        self.peers.push(self.server.accept().unwrap().0);
        connection
    }

    async fn connect_all<const COUNT: usize>(&mut self) -> [Connection; COUNT] {
        let mut connections = Vec::new();
        for _ in 0..COUNT {
            connections.push(self.connect().await);
        }
        connections.try_into().unwrap()
    }

    /// Changes the limits. The worker has been notified when this returns.
    async fn apply(&mut self, change: impl FnOnce(&mut PoolSettings)) {
        let mut settings = PoolSettings::clone(&self.limits.load());
        change(&mut settings);
        self.limits.store(Arc::new(settings));
        self.pool.limits_changed();
        self.run_commands().await;
    }

    /// Runs the commands that are waiting for this worker.
    async fn run_commands(&mut self) {
        if let Some(pool_commands) = self.pool_commands.take() {
            tokio::spawn(pool_commands.run());
        }
        tokio::task::yield_now().await;
    }

    fn report(&self) -> PoolReport {
        self.pool.report()
    }

    /// Returns the connections that are open, by their order of connecting.
    fn open_connections(&mut self) -> Vec<usize> {
        let open = self.peers.iter().enumerate().filter(|(_, peer)| {
            peer.set_nonblocking(true).unwrap();
            peer.peek(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
        });
        open.map(|(index, _)| index).collect()
    }
}

async fn open(mut slot: Slot, server: std::net::SocketAddr) -> Connection {
    let stream = Stream::plain(TcpStream::connect(server).await.unwrap());
    slot.opened();
    let state = ConnectionState { slot, served: 1, kept: false, age: Age::begin() };
    Connection { transport: Exclusive::new(stream), state }
}

fn settings(change: impl FnOnce(&mut PoolSettings)) -> PoolSettings {
    let mut settings = PoolSettings::default();
    change(&mut settings);
    settings
}

/// Returns what a waiting request has been granted by now.
fn given(waits: std::pin::Pin<&mut impl Future<Output = Result<Acquired, Refusal>>>) -> Option<Acquired> {
    match waits.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(acquired) => Some(acquired.unwrap()),
        Poll::Pending => None,
    }
}

fn is_dial(acquired: &Option<Acquired>) -> bool {
    matches!(acquired, Some(Acquired::New(NewConnection::Dial(_))))
}

#[tokio::test]
async fn a_lower_limit_is_reached_exactly_idle_ones_first_and_nothing_in_use_is_cut() {
    let mut bench = Bench::new(settings(|limits| limits.max_connections = 6));
    let [idle0, used1, idle2, used3, idle4, used5] = bench.connect_all().await;
    for idle in [idle0, idle2, idle4] {
        bench.pool.release(idle);
    }
    bench.apply(|limits| limits.max_connections = 5).await;
    assert_eq!(bench.open_connections(), [1, 2, 3, 4, 5], "the longest idle went");
    bench.apply(|limits| limits.max_connections = 2).await;
    assert_eq!(bench.open_connections(), [1, 3, 5], "all that were idle went");
    bench.pool.release(used3);
    assert_eq!(bench.open_connections(), [1, 5], "it was one too many");
    bench.pool.release(used5);
    bench.pool.release(used1);
    let report = bench.report();
    assert_eq!((bench.open_connections(), report.idle), (vec![1, 5], 2));
    assert_eq!(report.closed, [("max_connections", 4)]);
}

#[tokio::test]
async fn waiters_are_served_in_order_under_a_lowered_limit() {
    for fresh in [false, true] {
        let mut bench = Bench::new(settings(|limits| limits.max_connections = 3));
        let [first, second, third] = bench.connect_all().await;
        let timer = Timer::default();
        let mut waits = std::pin::pin!(async {
            if fresh {
                bench.pool.acquire(&timer, Wanted::Fresh, WaitBounds::default()).await
            } else {
                bench.pool.acquire(&timer, Wanted::Any, WaitBounds::default()).await
            }
        });
        assert!(given(waits.as_mut()).is_none());
        bench.limits.store(Arc::new(settings(|limits| limits.max_connections = 1)));
        bench.pool.limits_changed();
        for one_too_many in [first, second] {
            bench.pool.release(one_too_many);
            assert!(given(waits.as_mut()).is_none(), "no room yet");
        }
        bench.pool.release(third);
        let acquired = given(waits.as_mut());
        assert_eq!(is_dial(&acquired), fresh, "it is handed over, or makes room");
        let report = bench.pool.report();
        assert_eq!((report.active + report.connecting, report.pending), (1, 0), "{report:?}");
    }
}

/// Under the old limit, a connection was closed for the waiter. The new limit leaves no room for it.
#[tokio::test]
async fn a_waiter_for_a_dial_gets_the_next_free_slot_after_the_limit_is_lowered() {
    let mut bench = Bench::new(settings(|limits| (limits.max_connections, limits.max_connecting) = (3, 1)));
    let [stays, replaced] = bench.connect_all().await;
    let timer = Timer::default();
    let Some(Acquired::New(NewConnection::Dial(dialling))) =
        bench.pool.acquire(&timer, Wanted::Fresh, WaitBounds::default()).await.ok()
    else {
        panic!("there is room for a third")
    };
    let mut waits = std::pin::pin!(bench.pool.acquire(&timer, Wanted::Fresh, WaitBounds::default()));
    assert!(given(waits.as_mut()).is_none());
    bench.pool.release(replaced);
    assert!(given(waits.as_mut()).is_none(), "one is being opened, as many as may");
    bench.limits.store(Arc::new(settings(|limits| limits.max_connections = 1)));
    bench.pool.limits_changed();
    drop(dialling);
    assert!(given(waits.as_mut()).is_none(), "one is open, as many as may");
    bench.pool.release(stays);
    assert!(is_dial(&given(waits.as_mut())));
}

#[tokio::test]
async fn raised_limits_permit_dials_at_once() {
    let cases: [fn(&mut PoolSettings); 2] =
        [|limits| limits.max_connections = 2, |limits| limits.max_connecting = 2];
    for (case, raise) in cases.into_iter().enumerate() {
        let bench = Bench::new(settings(|limits| {
            (limits.max_connections, limits.max_connecting) = (2, 2);
            let limit = if case == 0 { &mut limits.max_connections } else { &mut limits.max_connecting };
            *limit = 1;
        }));
        let timer = Timer::default();
        let first = bench.pool.acquire(&timer, Wanted::Any, WaitBounds::default()).await.ok();
        assert!(is_dial(&first));
        let mut waits =
            [(); 2].map(|()| Box::pin(bench.pool.acquire(&timer, Wanted::Any, WaitBounds::default())));
        assert!(waits.iter_mut().all(|waits| given(waits.as_mut()).is_none()));
        bench.limits.store(Arc::new(settings(|limits| {
            (limits.max_connections, limits.max_connecting) = (2, 2);
            raise(limits);
        })));
        bench.pool.limits_changed();
        let given = waits.each_mut().map(|waits| given(waits.as_mut()));
        assert_eq!(given.each_ref().map(is_dial), [true, false], "case {case}");
        drop(given);
        drop(waits);
    }
}

#[tokio::test(start_paused = true)]
async fn idle_connections_are_judged_by_limits_that_change() {
    const SECOND: Duration = Duration::from_secs(1);
    let cases: [(&str, fn(&mut PoolSettings), usize); 7] = [
        ("keep_alive_off", |limits| limits.keep_alive = false, 3),
        ("max_idle", |limits| limits.max_idle = 1, 2),
        ("max_connections", |limits| limits.max_connections = 2, 1),
        ("idle_timeout", |limits| limits.idle_timeout = Some(15 * SECOND), 2),
        ("max_lifetime", |limits| limits.max_lifetime = Some(25 * SECOND), 1),
        ("max_requests", |limits| limits.max_requests = Some(1), 3),
        ("", |limits| limits.idle_timeout = None, 0),
    ];
    for (reason, change, closed) in cases {
        let mut bench = Bench::new(settings(|limits| limits.idle_timeout = Some(300 * SECOND)));
        for _ in 0..3 {
            let connection = bench.connect().await;
            bench.pool.release(connection);
            tokio::time::advance(10 * SECOND).await;
        }
        bench.apply(change).await;
        assert_eq!(
            bench.open_connections(),
            (closed..3).collect::<Vec<_>>(),
            "{reason}: the longest idle go first"
        );
        let report = bench.report();
        let expected: &[(&str, u64)] = if closed == 0 { &[] } else { &[(reason, closed as u64)] };
        assert_eq!((report.closed.as_slice(), report.idle), (expected, 3 - closed as u64));
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_ends_when_the_changed_limit_says() {
    for (before, after, ends) in [(60, 20, 20), (20, 60, 60)] {
        let limit = |seconds| settings(|limits| limits.idle_timeout = Some(Duration::from_secs(seconds)));
        let mut bench = Bench::new(limit(before));
        let connection = bench.connect().await;
        tokio::spawn(idle::keep());
        bench.pool.release(connection);
        tokio::time::sleep(Duration::from_secs(10)).await;
        bench.apply(|settings| *settings = limit(after)).await;
        tokio::time::sleep(Duration::from_secs(ends - 11)).await;
        assert_eq!(bench.report().idle, 1, "{before} to {after}");
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(bench.report().closed, [("idle_timeout", 1)], "{before} to {after}");
    }
}

#[tokio::test]
async fn a_change_of_limits_reaches_a_worker_whose_channel_is_full() {
    let mut bench = Bench::new(PoolSettings::default());
    let connections: [Connection; 2] = bench.connect_all().await;
    connections.into_iter().for_each(|connection| bench.pool.release(connection));
    let other = Pool::new(
        "other".to_owned(),
        UpstreamProtocol::H1,
        bench.limits.clone(),
        bench.pool.channels.clone(),
    );
    other.limits_changed();
    bench.pool.retire();
    assert_eq!(bench.report().idle, 2, "the channel holds one command");
    bench.run_commands().await;
    assert_eq!((bench.report().closed, bench.pool.is_drained()), (vec![("drained", 2)], true));
}

#[tokio::test]
async fn a_retired_pool_serves_its_waiters_and_is_drained_when_all_have_ended() {
    let mut bench = Bench::new(settings(|limits| limits.max_connections = 1));
    let used = bench.connect().await;
    let timer = Timer::default();
    let mut waits = Box::pin(bench.pool.acquire(&timer, Wanted::Any, WaitBounds::default()));
    assert!(given(waits.as_mut()).is_none());
    assert!(!bench.report().draining);
    bench.pool.retire();
    assert!(bench.report().draining && !bench.pool.is_drained());
    bench.pool.release(used);
    let Some(Acquired::New(NewConnection::Dial(slot))) = given(waits.as_mut()) else {
        panic!("leave to dial")
    };
    assert!(!bench.pool.is_drained());
    let last = open(slot, bench.server.local_addr().unwrap()).await;
    bench.pool.release(last);
    assert_eq!((bench.report().closed, bench.pool.is_drained()), (vec![("drained", 2)], true));
}

#[tokio::test(start_paused = true)]
async fn the_waits_of_a_request_count_together_against_the_acquire_timeout() {
    let second = Duration::from_secs(1);
    let limits = settings(|limits| (limits.max_connections, limits.acquire_timeout) = (1, Some(second * 2)));
    let mut bench = Bench::new(limits);
    let _used = bench.connect().await;
    for (queued, left) in [(Duration::ZERO, second * 2), (second, second), (second * 3, Duration::ZERO)] {
        // With one open connection, a request that has other endpoints waits as long.
        for unconnected in [None, Some(second / 2)] {
            let began = Instant::now();
            let bounds = WaitBounds { queued, unconnected };
            let refusal = bench.pool.acquire(&Timer::default(), Wanted::Any, bounds).await.err();
            assert_eq!(refusal, Some(Refusal { error: Error::AcquireTimeout, is_unconnected: false }));
            assert_eq!(began.elapsed().as_millis() / 100, left.as_millis() / 100, "{queued:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_behind_a_dial_ends_early_where_the_request_can_go_elsewhere() {
    let second = Duration::from_secs(1);
    let pool = |acquire_timeout| {
        let limits =
            settings(|limits| (limits.max_connecting, limits.acquire_timeout) = (1, acquire_timeout));
        Bench::new(limits).pool
    };
    for (acquire_timeout, unconnected, ends) in [
        (Some(second * 2), None, second * 2),
        (Some(second * 2), Some(second * 3), second),
        (Some(second * 20), Some(second * 3), second * 3),
        (None, Some(second * 3), second * 3),
    ] {
        let (pool, timer) = (pool(acquire_timeout), Timer::default());
        let Ok(Acquired::New(NewConnection::Dial(_dialling))) =
            pool.acquire(&timer, Wanted::Any, WaitBounds::default()).await
        else {
            panic!("no leave to dial")
        };
        let began = Instant::now();
        let bounds = WaitBounds { queued: Duration::ZERO, unconnected };
        let refusal = pool.acquire(&timer, Wanted::Any, bounds).await.err();
        assert_eq!(refusal, Some(Refusal { error: Error::AcquireTimeout, is_unconnected: true }));
        assert_eq!(began.elapsed().as_millis() / 100, ends.as_millis() / 100);
        assert_eq!(pool.report().pending, 0);
    }
}

#[tokio::test]
async fn a_connection_that_makes_room_for_a_new_one_is_not_counted_twice() {
    let mut bench = Bench::new(settings(|limits| limits.max_connections = 2));
    let [mut makes_room, stays] = bench.connect_all().await;
    let (number, granted) = bench.pool.lock().push(0);
    drop(bench.pool.lock().pop());
    let mut place = Place { pool: bench.pool.clone(), number, granted };
    place.wait_to_dial(&mut makes_room);
    // A connection released at this moment is not one too many, even for checks made right now.
    bench.pool.publish(&mut bench.pool.lock());
    bench.pool.release(stays);
    makes_room.close(CloseReason::Replaced);
    assert!(matches!(place.granted.try_recv(), Ok(Grant::Dial(_))));
    assert_eq!((bench.report().idle, bench.open_connections()), (1, vec![1]));
}

/// Acts as a worker that has some idle connections, and releases its others while the limit is lowered.
async fn give_back(
    pool: &Arc<Pool>,
    server: std::net::SocketAddr,
    pool_commands: PoolCommands,
    idle: usize,
    step: &Barrier,
) {
    let mut used = Vec::new();
    for _ in 0..EACH {
        let Ok(Acquired::New(NewConnection::Dial(slot))) =
            pool.acquire(&Timer::default(), Wanted::Fresh, WaitBounds::default()).await
        else {
            panic!("there is room for all")
        };
        used.push(open(slot, server).await);
    }
    used.drain(..idle).for_each(|idle| pool.release(idle));
    step.wait();
    tokio::spawn(pool_commands.run());
    tokio::task::yield_now().await;
    step.wait();
    for used in used {
        pool.release(used);
    }
    step.wait();
    tokio::task::yield_now().await;
    step.wait();
    // Wait until the counts have been read.
    step.wait();
}

const WORKERS: usize = 3;
const EACH: usize = 8;
/// A fault that needs two workers to decide at the same moment does not show up in every round.
const ROUNDS: usize = 20;

#[test]
fn workers_together_close_exactly_as_many_as_are_too_many() {
    for (limit, idle) in [(1, 4), (5, 4), (20, 4), (9, 0), (12, 0), (15, 0)].repeat(ROUNDS) {
        let (channels, pool_commands): (Vec<_>, Vec<_>) = (0..WORKERS).map(|_| worker_channel(4)).unzip();
        let limits: Limits = Arc::new(ArcSwap::from_pointee(settings(|limits| {
            limits.max_connecting = WORKERS * EACH;
        })));
        let pool = Pool::new("test".to_owned(), UpstreamProtocol::H1, limits.clone(), channels.into());
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let step = Barrier::new(WORKERS + 1);
        let run = |worker: usize, pool_commands: PoolCommands| {
            enter_worker(worker);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(give_back(&pool, server.local_addr().unwrap(), pool_commands, idle, &step));
        };
        let report = std::thread::scope(|scope| {
            for (worker, pool_commands) in pool_commands.into_iter().enumerate() {
                scope.spawn(move || run(worker, pool_commands));
            }
            step.wait();
            step.wait();
            limits.store(Arc::new(settings(|settings| settings.max_connections = limit)));
            pool.limits_changed();
            step.wait();
            step.wait();
            let report = pool.report();
            step.wait();
            report
        });
        let closed: u64 = report.closed.iter().map(|(_, count)| count).sum();
        let expected = (limit as u64, (WORKERS * EACH - limit) as u64);
        assert_eq!((report.idle + report.active, closed), expected, "{report:?}");
    }
}
