//! What tells an instance, from any thread, that one of its queues has something.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use super::shared::QueueListener;

/// The queues that have something, until the instance looks. There are never more of them than queues.
#[derive(Default)]
pub(super) struct Bell {
    queues: Mutex<BTreeSet<u32>>,
    rung: Notify,
}

impl Bell {
    /// Waits until there is something, and answers where.
    pub(super) async fn rung(&self) -> BTreeSet<u32> {
        self.rung.notified().await;
        std::mem::take(&mut *self.queues.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl QueueListener for Bell {
    fn ready(&self, queue: u32) {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).insert(queue);
        self.rung.notify_one();
    }
}
