//! What a worker is asked by others to do with the idle connections that only it can reach.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::Pool;
use crate::upstream::connection::CloseReason;
use crate::upstream::idle;

/// Where each worker hears what a pool wants of the connections that it has idle.
pub(crate) type Mailboxes = Arc<[mpsc::Sender<Letter>]>;

/// What a worker is asked to do with its idle connections of a pool.
pub(crate) enum Letter {
    /// Another worker's request waits, and the limits leave no other way: give one.
    Offer(Arc<Pool>),
    /// The pool is retired: close them.
    Retire(Arc<Pool>),
}

impl Letter {
    /// Does it, on the worker that this runs on.
    pub(crate) fn act(self) {
        match self {
            Letter::Offer(pool) => {
                pool.offer_idle();
                // Gone meanwhile, or not enough for all who wait: the next worker that has some is asked.
                pool.ask_other_workers();
            }
            Letter::Retire(pool) => {
                while let Some(connection) = idle::take_oldest(&pool) {
                    connection.close(CloseReason::Drained);
                }
            }
        }
    }
}
