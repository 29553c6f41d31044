//! Commands between workers about connections, which only their own worker can reach.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::Pool;
use super::lending::Loan;
use crate::upstream::pool::{idle, shared};

/// The channel to each worker, by which pools command its idle connections.
pub(crate) type WorkerChannels = Arc<[WorkerChannel]>;

/// A request of another worker, ready to run.
pub(in crate::upstream) type RemoteJob = Box<dyn FnOnce() + Send>;

/// A command to a worker about its connections of a pool.
enum PoolCommand {
    /// Give one: another worker's request waits, and the limits leave no other way.
    Offer(Arc<Pool>),
    /// Lend one that is not needed to another worker, which would open one.
    Lend(Loan),
    /// Run a request on a shared connection of this worker.
    Run(RemoteJob),
    /// Close what is no longer wanted: the limits have changed, or the pool is retired.
    LimitsChanged(Arc<Pool>),
}

/// The sending end of a worker's channel.
pub(crate) struct WorkerChannel {
    pool_commands: mpsc::Sender<PoolCommand>,
    overdue: Arc<AtomicBool>,
}

/// The receiving end of a worker's channel.
pub(crate) struct PoolCommands {
    pool_commands: mpsc::Receiver<PoolCommand>,
    /// True if a command did not fit in the channel. The worker then reviews all its pools.
    overdue: Arc<AtomicBool>,
}

/// Returns the two ends of a channel for `capacity` commands.
pub(crate) fn worker_channel(capacity: usize) -> (WorkerChannel, PoolCommands) {
    let (sender, receiver) = mpsc::channel(capacity);
    let overdue = Arc::new(AtomicBool::new(false));
    (
        WorkerChannel { pool_commands: sender, overdue: overdue.clone() },
        PoolCommands { pool_commands: receiver, overdue },
    )
}

impl WorkerChannel {
    /// Asks for an idle connection of `pool`. Returns true if the command fitted in the channel.
    pub(super) fn offer(&self, pool: &Arc<Pool>) -> bool {
        self.pool_commands.try_send(PoolCommand::Offer(pool.clone())).is_ok()
    }

    /// Asks for an idle connection that is not needed there. If the command does not fit in the channel, there is none.
    pub(super) fn lend(&self, loan: Loan) {
        drop(self.pool_commands.try_send(PoolCommand::Lend(loan)));
    }

    /// Runs a request on a shared connection there. Returns true if the command fitted in the channel.
    pub(super) fn run(&self, job: RemoteJob) -> bool {
        self.pool_commands.try_send(PoolCommand::Run(job)).is_ok()
    }

    /// Requests a review of `pool`. The request is never lost: if the channel is full, the worker reviews all its
    /// pools.
    pub(super) fn limits_changed(&self, pool: &Arc<Pool>) {
        if let Err(TrySendError::Full(command)) =
            self.pool_commands.try_send(PoolCommand::LimitsChanged(pool.clone()))
        {
            self.overdue.swap(true, SeqCst);
            // The worker checks the flag at its next command. If it has taken the last one meanwhile, this is the next.
            drop(self.pool_commands.try_send(command));
        }
    }
}

impl PoolCommands {
    /// Executes commands as they come, on the worker that they are for, until all senders are gone.
    pub(crate) async fn run(mut self) {
        while let Some(command) = self.pool_commands.recv().await {
            if self.overdue.swap(false, SeqCst) {
                let pools = idle::map_pools(|connection| connection.state.slot.pool().clone());
                pools.iter().chain(&shared::pools()).for_each(Pool::close_unwanted_idle);
            }
            command.act();
        }
    }
}

impl PoolCommand {
    fn act(self) {
        match self {
            PoolCommand::Offer(pool) => {
                pool.give_idle_to_waiters();
                // The idle connections may be gone, or too few for all waiters: ask the next worker that has some.
                pool.ask_other_workers();
            }
            PoolCommand::Lend(loan) => loan.answer(),
            PoolCommand::Run(job) => job(),
            PoolCommand::LimitsChanged(pool) => pool.close_unwanted_idle(),
        }
    }
}
