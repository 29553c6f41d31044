//! A worker: a thread with its own runtime, sockets and idle connections. Other threads write to none of its state.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::downstream::accept::accept;
use crate::downstream::listener::UnregisteredSocket;
use crate::filter::proxy_wasm::{Plugin, end_instances, keep_instances, start_instances};
use crate::net::drain::{DrainSignal, cut_off};
use crate::net::event_loop;
use crate::net::timer::Timer;
use crate::observe::metrics::{enter_worker, this_worker};
use crate::proxy::client::CurrentSnapshot;
use crate::snapshot::Snapshot;
use crate::snapshot::listener::ListenerId;
use crate::upstream::{
    Endpoint, PoolCommands, close_idle_connections, dial, guests_left, keep_idle_connections,
};

/// The most pool commands that wait for a worker.
pub(crate) const POOL_COMMANDS_MAX: usize = 4096;

/// The interval at which a worker tops up its share of `pool.min_idle`.
const WARM_EVERY: Duration = Duration::from_millis(500);

/// The time limit for opening such a connection if its route sets none.
const WARM_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Serving,
    /// No new connections are accepted; open ones close after their current request.
    Draining,
    /// The remaining connections are cut off.
    Ended,
}

/// A command from the control plane to a worker. A worker executes commands in order.
pub(crate) enum Command {
    Listen(UnregisteredSocket),
    /// Stops accepting on a listener's socket. Its connections close after their current request.
    End(ListenerId),
    /// Starts missing instances of these plugins, and notifies the sender when that is done.
    StartFilters(Arc<[Arc<Plugin>]>, oneshot::Sender<()>),
    /// Reports that the worker is executing commands.
    Ping(oneshot::Sender<()>),
    /// Releases the previous snapshot, and reports whether all commands since the last refresh succeeded.
    Refresh(oneshot::Sender<io::Result<()>>),
}

/// The parts that a worker is started with.
pub(crate) struct WorkerParts {
    pub(crate) number: usize,
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(crate) pool_commands: PoolCommands,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) phase: watch::Receiver<Phase>,
}

/// Starts a worker and waits until it executes commands. Its thread ends when it has drained, or when the process has
/// ended.
pub(crate) fn start(parts: WorkerParts) -> io::Result<JoinHandle<()>> {
    let name = format!("worker-{}", parts.number);
    let (started, starts) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        enter_worker(parts.number);
        let runtime = match event_loop::runtime() {
            Ok(runtime) => runtime,
            Err(error) => return drop(started.send(Err(error))),
        };
        if started.send(Ok(())).is_err() {
            return;
        }
        runtime.block_on(run(parts.snapshot, parts.pool_commands, parts.commands, parts.phase));
        cut_off();
        drop(runtime);
        // Cut-off requests have just returned connections and instances. Thread-local destructors would run too late to
        // close them.
        close_idle_connections();
        end_instances();
    })?;
    starts.recv().map_err(|_panicked| io::Error::other("a worker ended during its start"))??;
    Ok(thread)
}

async fn run(
    snapshot: Arc<ArcSwap<Snapshot>>,
    pool_commands: PoolCommands,
    commands: mpsc::Receiver<Command>,
    mut phase: watch::Receiver<Phase>,
) {
    let current = CurrentSnapshot::new(snapshot);
    tokio::task::spawn_local(keep_idle_connections());
    tokio::task::spawn_local(pool_commands.run());
    tokio::task::spawn_local(keep_filters(current.clone()));
    let warming = tokio::task::spawn_local(keep_warm(current.clone()));
    let mut listeners = WorkerListeners { current, drains: Vec::new(), failed: Ok(()) };
    listeners.obey_while_serving(commands, &mut phase).await;
    listeners.start_drain();
    warming.abort();
    let ended =
        async { while *phase.borrow_and_update() != Phase::Ended && phase.changed().await.is_ok() {} };
    tokio::select! {
        // Other workers may have requests on connections of this one.
        () = async { listeners.empty().await; guests_left().await } => {}
        () = ended => {
            let connections = listeners.connections();
            if connections > 0 {
                tracing::warn!(worker = this_worker(), connections, "connections did not end in time and are cut off");
            }
        }
    }
}

struct WorkerListeners {
    current: Rc<CurrentSnapshot>,
    /// The drain signals of the listeners that accept here, and of ended listeners that still have connections.
    drains: Vec<(ListenerId, DrainSignal)>,
    /// The last failure since the previous refresh.
    failed: io::Result<()>,
}

impl WorkerListeners {
    /// Executes commands until the process stops serving.
    async fn obey_while_serving(
        &mut self,
        mut commands: mpsc::Receiver<Command>,
        phase: &mut watch::Receiver<Phase>,
    ) {
        while *phase.borrow_and_update() == Phase::Serving {
            tokio::select! {
                // The channel closes with the process. Either way the loop ends.
                changed = phase.changed() => if changed.is_err() { return },
                Some(command) = commands.recv() => self.obey(command),
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Listen(listen) => self.listen(listen),
            Command::End(id) => {
                self.drains.iter().filter(|(of, _)| *of == id).for_each(|(_, drain)| drain.start());
            }
            Command::StartFilters(plugins, done) => {
                tokio::task::spawn_local(async move {
                    start_instances(&plugins).await;
                    // The requester may have timed out.
                    done.send(()).ok();
                });
            }
            // The watchdog may have stopped waiting.
            Command::Ping(done) => drop(done.send(())),
            Command::Refresh(done) => {
                self.current.load();
                tokio::task::spawn_local(keep_filters(self.current.clone()));
                self.drains.retain(|(_, drain)| !drain.is_started() || drain.open() > 0);
                // The requester may have timed out.
                drop(done.send(std::mem::replace(&mut self.failed, Ok(()))));
            }
        }
    }

    fn listen(&mut self, listen: UnregisteredSocket) {
        let (listener, name) = (listen.listener.clone(), listen.listener_settings.name.clone());
        match listen.register() {
            Ok(accepting) => {
                let drain = DrainSignal::default();
                tokio::task::spawn_local(accept(accepting, self.current.clone(), drain.clone()));
                self.drains.push((listener.id, drain));
            }
            Err(error) => {
                let (worker, address) = (this_worker(), &listener.address);
                tracing::error!(listener = &*name, %address, worker, "this worker cannot listen: {error}");
                self.failed = Err(error);
            }
        }
    }

    fn start_drain(&self) {
        self.drains.iter().for_each(|(_, drain)| drain.start());
    }

    async fn empty(&self) {
        for (_, drain) in &self.drains {
            drain.empty().await;
        }
    }

    fn connections(&self) -> usize {
        self.drains.iter().map(|(_, drain)| drain.connections()).sum()
    }
}

/// Starts the filters of the current snapshot, and ends those of earlier ones.
async fn keep_filters(current: Rc<CurrentSnapshot>) {
    let snapshot = current.load();
    keep_instances(&snapshot.plugins).await;
}

/// Keeps this worker's share of `pool.min_idle` connections open. The task is aborted when draining begins.
async fn keep_warm(current: Rc<CurrentSnapshot>) {
    loop {
        let mut warming = JoinSet::new();
        for kept in &current.load().warm {
            // Even without a limit of the route, the next round must come.
            let limit = kept.connect.unwrap_or(WARM_LIMIT);
            for endpoint in kept.upstream.current().iter() {
                warming.spawn_local(warm(endpoint.clone(), limit));
            }
        }
        while warming.join_next().await.is_some() {}
        tokio::time::sleep(WARM_EVERY).await;
    }
}

/// Opens the missing connections, at most `min_idle` of them: an endpoint that closes each one at once must not cause a
/// busy loop. A failure has been logged, and the next round tries again.
async fn warm(endpoint: Arc<Endpoint>, limit: Duration) {
    let timer = Timer::default();
    for _ in 0..endpoint.pool().settings().min_idle {
        let Some(slot) = endpoint.pool().acquire_spare() else { return };
        let Ok((transport, lease)) =
            dial(&endpoint, slot, false, Some(limit), &timer, &Cell::default()).await
        else {
            return;
        };
        lease.give_back(transport);
    }
}
