//! What a worker is asked by others to do with the idle connections that only it can reach.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::Pool;
use crate::upstream::pool::idle;

/// Where each worker hears what a pool wants of the connections that it has idle.
pub(crate) type Mailboxes = Arc<[Mailbox]>;

/// What a worker is asked to do with its idle connections of a pool.
enum Letter {
    /// Another worker's request waits, and the limits leave no other way: give one.
    Offer(Arc<Pool>),
    /// The limits have changed, or the pool is retired: close what is no longer wanted.
    Review(Arc<Pool>),
}

/// A mailbox, as others see it.
pub(crate) struct Mailbox {
    letters: mpsc::Sender<Letter>,
    overdue: Arc<AtomicBool>,
}

/// A mailbox, as its worker sees it.
pub(crate) struct Letters {
    letters: mpsc::Receiver<Letter>,
    /// A review did not fit in: the worker is to review all of its pools.
    overdue: Arc<AtomicBool>,
}

/// A mailbox for `capacity` letters, and what its worker opens them with.
pub(crate) fn mailbox(capacity: usize) -> (Mailbox, Letters) {
    let (sender, receiver) = mpsc::channel(capacity);
    let overdue = Arc::new(AtomicBool::new(false));
    (Mailbox { letters: sender, overdue: overdue.clone() }, Letters { letters: receiver, overdue })
}

impl Mailbox {
    /// Asks for an idle connection of `pool`; whether the letter fitted in.
    pub(super) fn offer(&self, pool: &Arc<Pool>) -> bool {
        self.letters.try_send(Letter::Offer(pool.clone())).is_ok()
    }

    /// Asks for a review of `pool`, which is never lost: a full mailbox makes the worker review all of its pools.
    pub(super) fn review(&self, pool: &Arc<Pool>) {
        if let Err(TrySendError::Full(letter)) = self.letters.try_send(Letter::Review(pool.clone())) {
            self.overdue.swap(true, SeqCst);
            // The worker looks at that with its next letter. If it has opened the last one meanwhile, this is it.
            drop(self.letters.try_send(letter));
        }
    }
}

impl Letters {
    /// Opens letters as they come, on the worker that they are for, as long as anybody can write one.
    pub(crate) async fn open(mut self) {
        while let Some(letter) = self.letters.recv().await {
            if self.overdue.swap(false, SeqCst) {
                idle::pools().iter().for_each(Pool::review_idle);
            }
            letter.act();
        }
    }
}

impl Letter {
    fn act(self) {
        match self {
            Letter::Offer(pool) => {
                pool.offer_idle();
                // Gone meanwhile, or not enough for all who wait: the next worker that has some is asked.
                pool.ask_other_workers();
            }
            Letter::Review(pool) => pool.review_idle(),
        }
    }
}
