//! A worker: a thread with its own runtime, sockets, idle connections and nothing that others write to.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::downstream::accept::accept;
use crate::downstream::listener::UnregisteredSocket;
use crate::filter::proxy_wasm::{Plugin, end_instances, keep_instances, start_instances};
use crate::net::drain::{DrainSignal, cut_off};
use crate::net::end_of_turn;
use crate::net::timer::Timer;
use crate::observe::metrics::{enter_worker, this_worker};
use crate::proxy::client::CurrentSnapshot;
use crate::snapshot::Snapshot;
use crate::snapshot::listener::ListenerId;
use crate::upstream::{Endpoint, PoolCommands, close_idle_connections, dial, keep_idle_connections};

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

/// What the control side tells a worker. Commands are obeyed in their order.
pub(crate) enum Command {
    /// Accept on a socket.
    UnregisteredSocket(UnregisteredSocket),
    /// Accept no more on a listener's socket; its connections end with their present request.
    End(ListenerId),
    /// Start the instances of plugins that there are none of yet, and say when that is done.
    StartFilters(Arc<[Arc<Plugin>]>, oneshot::Sender<()>),
    /// Report that the worker takes commands.
    Ping(oneshot::Sender<()>),
    /// Let go of the snapshot before the present one, and say whether all commands since the last such one could be
    /// obeyed.
    Refresh(oneshot::Sender<io::Result<()>>),
}

/// What a worker starts with.
pub(crate) struct WorkerParts {
    pub(crate) number: usize,
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(crate) worker_channel: PoolCommands,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) phase: watch::Receiver<Phase>,
}

/// Starts a worker and waits until it takes commands. Its thread ends when it has drained, or when the process has
/// ended.
///
/// # Errors
/// The operating system has no thread or event queue to give.
pub(crate) fn start(parts: WorkerParts) -> io::Result<JoinHandle<()>> {
    let name = format!("worker-{}", parts.number);
    let (started, starts) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        enter_worker(parts.number);
        let runtime = Builder::new_current_thread()
            .enable_all()
            .on_thread_park(end_of_turn::sleeps)
            .build_local(LocalOptions::default());
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return drop(started.send(Err(error))),
        };
        if started.send(Ok(())).is_err() {
            return;
        }
        runtime.block_on(run(parts.snapshot, parts.worker_channel, parts.commands, parts.phase));
        cut_off();
        drop(runtime);
        // What cut-off requests gave back last; a thread's own destructors come too late for that.
        close_idle_connections();
        end_instances();
    })?;
    starts.recv().map_err(|_panicked| io::Error::other("a worker ended as it started"))??;
    Ok(thread)
}

async fn run(
    snapshot: Arc<ArcSwap<Snapshot>>,
    worker_channel: PoolCommands,
    commands: mpsc::Receiver<Command>,
    mut phase: watch::Receiver<Phase>,
) {
    let current = CurrentSnapshot::new(snapshot);
    tokio::task::spawn_local(keep_idle_connections());
    tokio::task::spawn_local(worker_channel.open());
    tokio::task::spawn_local(keep_filters(current.clone()));
    let warming = tokio::task::spawn_local(keep_warm(current.clone()));
    let mut listeners = WorkerListeners { current, drains: Vec::new(), failed: Ok(()) };
    listeners.obey_while_serving(commands, &mut phase).await;
    listeners.start_drain();
    warming.abort();
    let ended =
        async { while *phase.borrow_and_update() != Phase::Ended && phase.changed().await.is_ok() {} };
    tokio::select! {
        () = listeners.empty() => {}
        () = ended => {
            let connections = listeners.connections();
            if connections > 0 {
                tracing::warn!(worker = this_worker(), connections, "connections did not end in time and are cut off");
            }
        }
    }
}

/// The listeners of one worker.
struct WorkerListeners {
    current: Rc<CurrentSnapshot>,
    /// Of the listeners that accept here, and of those that were ended and still have connections.
    drains: Vec<(ListenerId, DrainSignal)>,
    /// What went wrong since somebody asked.
    failed: io::Result<()>,
}

impl WorkerListeners {
    /// Obeys commands until the process stops serving.
    async fn obey_while_serving(
        &mut self,
        mut commands: mpsc::Receiver<Command>,
        phase: &mut watch::Receiver<Phase>,
    ) {
        while *phase.borrow_and_update() == Phase::Serving {
            tokio::select! {
                // The channel ends with the process: both ways the loop is over.
                changed = phase.changed() => if changed.is_err() { return },
                Some(command) = commands.recv() => self.obey(command),
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::UnregisteredSocket(listen) => self.listen(listen),
            Command::End(id) => {
                self.drains.iter().filter(|(of, _)| *of == id).for_each(|(_, drain)| drain.start());
            }
            Command::StartFilters(plugins, done) => {
                tokio::task::spawn_local(async move {
                    start_instances(&plugins).await;
                    // The sender may have given up.
                    done.send(()).ok();
                });
            }
            // The watchdog may have given up.
            Command::Ping(done) => drop(done.send(())),
            Command::Refresh(done) => {
                self.current.load();
                tokio::task::spawn_local(keep_filters(self.current.clone()));
                self.drains.retain(|(_, drain)| !drain.is_started() || drain.open() > 0);
                // Whoever asked may have given up.
                drop(done.send(std::mem::replace(&mut self.failed, Ok(()))));
            }
        }
    }

    fn listen(&mut self, listen: UnregisteredSocket) {
        let (id, name, address) =
            (listen.listener.id, listen.listener_settings.name.clone(), listen.listener.address);
        match listen.register() {
            Ok(accepting) => {
                let drain = DrainSignal::default();
                tokio::task::spawn_local(accept(accepting, self.current.clone(), drain.clone()));
                self.drains.push((id, drain));
            }
            Err(error) => {
                let worker = this_worker();
                tracing::error!(listener = &*name, %address, worker, "this worker cannot listen: {error}");
                self.failed = Err(error);
            }
        }
    }

    fn start_drain(&self) {
        self.drains.iter().for_each(|(_, drain)| drain.start());
    }

    /// Waits until no connection is open.
    async fn empty(&self) {
        for (_, drain) in &self.drains {
            drain.empty().await;
        }
    }

    fn connections(&self) -> usize {
        self.drains.iter().map(|(_, drain)| drain.connections()).sum()
    }
}

/// Starts the filters of the present snapshot, and ends those of earlier ones.
async fn keep_filters(current: Rc<CurrentSnapshot>) {
    let snapshot = current.load();
    keep_instances(&snapshot.plugins).await;
}

/// Keeps this worker's share of `pool.min_idle` connections open. Is ended when draining begins.
async fn keep_warm(current: Rc<CurrentSnapshot>) {
    loop {
        let mut warming = JoinSet::new();
        for kept in &current.load().warm {
            // Even where the route has no limit, the next look must come.
            let limit = kept.connect.unwrap_or(WARM_LIMIT);
            for endpoint in kept.upstream.current().iter() {
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
    for _ in 0..endpoint.pool().settings().min_idle {
        let Some(slot) = endpoint.pool().acquire_spare() else { return };
        let Ok(connection) = dial(&endpoint, slot, Some(limit), &timer).await else { return };
        endpoint.pool().release(connection);
    }
}
