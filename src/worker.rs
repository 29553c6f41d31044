//! A worker: a thread with its own runtime, sockets, idle connections and nothing that others write to.

use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::downstream::Current;
use crate::listener::{Listener, accept};
use crate::metrics::enter_worker;
use crate::shutdown::{Drain, cut_off};
use crate::snapshot::{Action, Snapshot};
use crate::timer::Timer;
use crate::upstream::{Endpoint, Letters, close_idle_connections, dial, keep_idle_connections};

/// Letters that a worker's mailbox holds.
pub(crate) const MAILBOX_LETTERS: usize = 4096;

/// How often a worker looks whether its share of `pool.min_idle` is there.
const WARM_EVERY: Duration = Duration::from_millis(500);

/// How long opening such a connection may take where its route sets no limit.
const WARM_LIMIT: Duration = Duration::from_secs(10);

/// How far the process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Serving,
    /// No new connections; those that are open end with their present request.
    Draining,
    /// Whatever is left is cut off.
    Ended,
}

/// What a worker starts with.
pub(crate) struct WorkerParts {
    pub(crate) number: usize,
    pub(crate) sockets: Vec<(TcpListener, Arc<Listener>)>,
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(crate) mailbox: Letters,
    pub(crate) phase: watch::Receiver<Phase>,
}

/// Starts a worker and waits until it can take connections in. Its thread ends when it has drained, or when the
/// process has ended.
///
/// # Errors
/// The operating system has no thread or event queue to give.
pub(crate) fn start(parts: WorkerParts) -> io::Result<JoinHandle<()>> {
    let name = format!("worker-{}", parts.number);
    let (started, starts) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        enter_worker(parts.number);
        let (runtime, sockets) = match prepare(parts.sockets) {
            Ok(prepared) => prepared,
            Err(error) => return drop(started.send(Err(error))),
        };
        if started.send(Ok(())).is_err() {
            return;
        }
        runtime.block_on(run(sockets, parts.snapshot, parts.mailbox, parts.phase));
        cut_off();
        drop(runtime);
        // What cut-off requests gave back last; a thread's own destructors come too late for that.
        close_idle_connections();
    })?;
    starts.recv().map_err(|_panicked| io::Error::other("a worker ended as it started"))??;
    Ok(thread)
}

/// What needs file descriptors, before the first connection can take them.
fn prepare<L>(
    sockets: Vec<(TcpListener, L)>,
) -> io::Result<(LocalRuntime, Vec<(tokio::net::TcpListener, L)>)> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let entered = runtime.enter();
    let sockets = sockets
        .into_iter()
        .map(|(socket, listener)| Ok((tokio::net::TcpListener::from_std(socket)?, listener)))
        .collect::<io::Result<_>>()?;
    drop(entered);
    Ok((runtime, sockets))
}

async fn run(
    sockets: Vec<(tokio::net::TcpListener, Arc<Listener>)>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    mailbox: Letters,
    mut phase: watch::Receiver<Phase>,
) {
    let current = Current::new(snapshot);
    let drain = Drain::default();
    tokio::task::spawn_local(keep_idle_connections());
    tokio::task::spawn_local(mailbox.open());
    let warming = tokio::task::spawn_local(keep_warm(current.clone()));
    for (socket, listener) in sockets {
        tokio::task::spawn_local(accept(socket, listener, current.clone(), drain.clone()));
    }
    // The channel ends with the process: both ways the loop is over.
    while *phase.borrow_and_update() == Phase::Serving && phase.changed().await.is_ok() {}
    drain.start();
    warming.abort();
    let ended =
        async { while *phase.borrow_and_update() != Phase::Ended && phase.changed().await.is_ok() {} };
    // One turn of the loop lets the listeners take in what the kernel has accepted for them.
    tokio::task::yield_now().await;
    tokio::select! {
        () = drain.empty() => {}
        () = ended => tracing::warn!(open = drain.open(), "drain time is over: connections are cut off"),
    }
}

/// Keeps this worker's share of `pool.min_idle` connections open. Is ended when draining begins.
async fn keep_warm(current: Rc<Current>) {
    loop {
        let mut warming = JoinSet::new();
        for (_, route) in current.load().router.routes() {
            let Action::Upstream(upstream) = &route.action else { continue };
            // Even where the route has no limit, the next look must come.
            let limit = upstream.timeouts.connect.unwrap_or(WARM_LIMIT);
            for endpoint in
                upstream.upstream.current().iter().filter(|endpoint| endpoint.pool().is_kept_warm())
            {
                warming.spawn_local(warm(endpoint.clone(), limit));
            }
        }
        while warming.join_next().await.is_some() {}
        tokio::time::sleep(WARM_EVERY).await;
    }
}

/// Opens what is missing, at most as many as there are to be: an endpoint that closes each at once is no reason to
/// spin. A failure was logged; the next look tries again.
async fn warm(endpoint: Arc<Endpoint>, limit: Duration) {
    let timer = Timer::default();
    let connections = endpoint.pool().settings().min_idle;
    for _ in 0..connections {
        let Some(slot) = endpoint.pool().acquire_spare() else { return };
        let Ok(connection) = dial(&endpoint, slot, Some(limit), &timer).await else { return };
        endpoint.pool().release(connection);
    }
}
