//! The control plane's handle of the workers.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use crate::control::listeners::WorkerCommands;
use crate::filter::proxy_wasm::Plugin;
use crate::snapshot::Snapshot;
use crate::upstream::PoolCommands;
use crate::worker::{Command, Phase, WorkerParts, start};

/// The capacity of a worker's command queue. A sender waits while it is full.
const COMMANDS: usize = 256;

/// The time within which all workers together must execute commands: far longer than live workers need.
const COMMAND_PATIENCE: Duration = Duration::from_secs(10);

/// The time for which a reload waits for its filters to start on the workers.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// The number of groups in which the workers start filters, one group after the other: a start delays the requests of
/// its worker.
const WORKERS_STARTING: usize = 4;

pub(crate) struct Workers {
    workers: Vec<Worker>,
    phase: watch::Sender<Phase>,
}

struct Worker {
    number: usize,
    commands: mpsc::Sender<Command>,
    thread: JoinHandle<()>,
}

/// The command channels of all workers, with which the watchdog checks that they are alive.
pub(crate) struct Pulse(Vec<mpsc::Sender<Command>>);

impl Pulse {
    /// Returns once every worker has executed a command. A stuck worker delays it.
    pub(crate) async fn beat(&self) {
        let mut answers = Vec::new();
        for commands in &self.0 {
            let (done, answer) = oneshot::channel();
            // A worker that has stopped serving is not stuck.
            if commands.send(Command::Ping(done)).await.is_ok() {
                answers.push(answer);
            }
        }
        for answer in answers {
            drop(answer.await);
        }
    }
}

impl Workers {
    /// Starts a worker for each element of `pool_commands`. The workers serve the current content of `snapshot`, and do not listen yet.
    pub(crate) fn start(
        snapshot: &Arc<ArcSwap<Snapshot>>,
        pool_commands: Vec<PoolCommands>,
    ) -> io::Result<Self> {
        let (phase, phase_seen) = watch::channel(Phase::Serving);
        let mut workers = Vec::new();
        for (number, pool_commands) in pool_commands.into_iter().enumerate() {
            let (commands, to_obey) = mpsc::channel(COMMANDS);
            let thread = start(WorkerParts {
                number,
                snapshot: snapshot.clone(),
                pool_commands,
                commands: to_obey,
                phase: phase_seen.clone(),
            })?;
            workers.push(Worker { number, commands, thread });
        }
        Ok(Self { workers, phase })
    }

    /// Returns the handle with which the watchdog checks the workers.
    pub(crate) fn pulse(&self) -> Pulse {
        Pulse(self.workers.iter().map(|worker| worker.commands.clone()).collect())
    }

    /// Starts filters on every worker, so that no request waits for it: a few workers at a time, while the others
    /// serve. A failed start is logged, and the next request tries again.
    pub(crate) async fn start_filters(&self, plugins: &[Arc<Plugin>]) {
        if plugins.is_empty() {
            return;
        }
        let plugins: Arc<[Arc<Plugin>]> = plugins.into();
        let until = Instant::now() + START_PATIENCE;
        for workers in self.workers.chunks(self.workers.len().div_ceil(WORKERS_STARTING)) {
            let mut starting = Vec::new();
            for worker in workers {
                let (done, started) = oneshot::channel();
                worker.send(Command::StartFilters(plugins.clone(), done), until).await;
                starting.push(started);
            }
            for started in starting {
                // A worker that has stopped serving starts none.
                if timeout_at(until, started).await.is_err() {
                    tracing::warn!("filters are not started on every worker yet; requests may wait for them");
                    return;
                }
            }
        }
    }

    /// Executes the plan of the listeners, once the snapshot that belongs to it is the current one. Afterwards every
    /// worker accepts on the sockets of new listeners, has begun to end removed ones, and has released the previous
    /// snapshot.
    ///
    /// # Errors
    /// Returns an error if a worker could not register a socket for lack of memory. The worker has logged it.
    /// Everything else is done.
    pub(crate) async fn obey(&self, worker_commands: WorkerCommands) -> io::Result<()> {
        let WorkerCommands { listen, end } = worker_commands;
        let until = Instant::now() + COMMAND_PATIENCE;
        for (worker, listen) in self.workers.iter().zip(listen) {
            for listen in listen {
                worker.send(Command::Listen(listen), until).await;
            }
        }
        for worker in &self.workers {
            for id in &end {
                worker.send(Command::End(*id), until).await;
            }
        }
        self.refresh(until).await
    }

    /// Ends the instances of filters that are not in the current snapshot.
    pub(crate) async fn end_other_filters(&self) {
        // No command was sent that could fail.
        drop(self.refresh(Instant::now() + COMMAND_PATIENCE).await);
    }

    /// Waits until every worker has executed all its commands and has released the previous snapshot.
    async fn refresh(&self, until: Instant) -> io::Result<()> {
        let mut answers = Vec::new();
        for worker in &self.workers {
            let (done, answer) = oneshot::channel();
            worker.send(Command::Refresh(done), until).await;
            answers.push((worker.number, answer));
        }
        let mut result = Ok(());
        for (worker, answer) in answers {
            match timeout_at(until, answer).await {
                Ok(Ok(obeyed)) => result = result.and(obeyed),
                // The worker has stopped serving.
                Ok(Err(_)) => {}
                Err(_elapsed) => tracing::error!(worker, "the worker does not respond"),
            }
        }
        result
    }

    /// Lets the workers finish the requests that have begun. Ends them when `limit` has passed or the signal arrives.
    pub(crate) async fn drain(self, limit: Option<Duration>, signal: impl Future<Output = ()>) {
        let Self { workers, phase } = self;
        phase.send_replace(Phase::Draining);
        let mut joined = tokio::task::spawn_blocking(move || {
            for worker in workers {
                if worker.thread.join().is_err() {
                    tracing::error!("internal error: a worker panicked");
                }
            }
        });
        let time_up = async {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = &mut joined => return,
            () = time_up => tracing::info!("drain time is over (`shutdown.drain`)"),
            () = signal => tracing::info!("second signal: ending at once"),
        }
        phase.send_replace(Phase::Ended);
        drop(joined.await);
    }
}

impl Worker {
    async fn send(&self, command: Command, until: Instant) {
        // A worker that has stopped serving needs no commands.
        if timeout_at(until, self.commands.send(command)).await.is_err() {
            tracing::error!(worker = self.number, "the worker did not accept a command in time");
        }
    }
}
