//! What a worker is asked by others to do with the idle connections that only it can reach.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::Pool;
use crate::upstream::pool::idle;

/// Where each worker hears what a pool wants of the connections that it has idle.
pub(crate) type WorkerChannels = Arc<[WorkerChannel]>;

/// What a worker is asked to do with its idle connections of a pool.
enum PoolCommand {
    /// Another worker's request waits, and the limits leave no other way: give one.
    Offer(Arc<Pool>),
    /// The limits have changed, or the pool is retired: close what is no longer wanted.
    LimitsChanged(Arc<Pool>),
}

/// A mailbox, as others see it.
pub(crate) struct WorkerChannel {
    pool_commands: mpsc::Sender<PoolCommand>,
    overdue: Arc<AtomicBool>,
}

/// A mailbox, as its worker sees it.
pub(crate) struct PoolCommands {
    pool_commands: mpsc::Receiver<PoolCommand>,
    /// A review did not fit in: the worker is to review all of its pools.
    overdue: Arc<AtomicBool>,
}

/// A mailbox for `capacity` letters, and what its worker opens them with.
pub(crate) fn worker_channel(capacity: usize) -> (WorkerChannel, PoolCommands) {
    let (sender, receiver) = mpsc::channel(capacity);
    let overdue = Arc::new(AtomicBool::new(false));
    (
        WorkerChannel { pool_commands: sender, overdue: overdue.clone() },
        PoolCommands { pool_commands: receiver, overdue },
    )
}

impl WorkerChannel {
    /// Asks for an idle connection of `pool`; whether the letter fitted in.
    pub(super) fn offer(&self, pool: &Arc<Pool>) -> bool {
        self.pool_commands.try_send(PoolCommand::Offer(pool.clone())).is_ok()
    }

    /// Asks for a review of `pool`, which is never lost: a full mailbox makes the worker review all of its pools.
    pub(super) fn limits_changed(&self, pool: &Arc<Pool>) {
        if let Err(TrySendError::Full(command)) =
            self.pool_commands.try_send(PoolCommand::LimitsChanged(pool.clone()))
        {
            self.overdue.swap(true, SeqCst);
            // The worker looks at that with its next letter. If it has opened the last one meanwhile, this is it.
            drop(self.pool_commands.try_send(command));
        }
    }
}

impl PoolCommands {
    /// Opens letters as they come, on the worker that they are for, as long as anybody can write one.
    pub(crate) async fn open(mut self) {
        while let Some(command) = self.pool_commands.recv().await {
            if self.overdue.swap(false, SeqCst) {
                idle::pools().iter().for_each(Pool::close_unwanted_idle);
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
                // Gone meanwhile, or not enough for all who wait: the next worker that has some is asked.
                pool.ask_other_workers();
            }
            PoolCommand::LimitsChanged(pool) => pool.close_unwanted_idle(),
        }
    }
}
