//! What tells an instance, from any thread, that one of its queues has something.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use super::shared::QueueListener;

/// The queues that have something, and how many entries came into each, until the instance looks. There are never more of
/// them than queues.
#[derive(Default)]
pub(super) struct Bell {
    queues: Mutex<BTreeMap<u32, usize>>,
    rung: Notify,
}

impl Bell {
    /// Waits until there is something, and answers where, and how many entries.
    pub(super) async fn rung(&self) -> BTreeMap<u32, usize> {
        self.rung.notified().await;
        std::mem::take(&mut *self.queues.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl QueueListener for Bell {
    fn ready(&self, queue: u32) {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = queues.entry(queue).or_default();
        *entries = entries.saturating_add(1);
        drop(queues);
        self.rung.notify_one();
    }
}
