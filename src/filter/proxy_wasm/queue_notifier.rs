//! What tells an instance, from any thread, that one of its queues has something.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use super::shared::QueueListener;

/// The queues that have something, and how many entries came into each, until the instance looks. There are never more of
/// them than queues.
#[derive(Default)]
pub(super) struct QueueNotifier {
    queues: Mutex<BTreeMap<u32, usize>>,
    notified: Notify,
}

impl QueueNotifier {
    /// Waits until there is something, and answers where, and how many entries.
    pub(super) async fn notified(&self) -> BTreeMap<u32, usize> {
        self.notified.notified().await;
        std::mem::take(&mut *self.queues.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl QueueListener for QueueNotifier {
    fn ready(&self, queue: u32) {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = queues.entry(queue).or_default();
        *entries = entries.saturating_add(1);
        drop(queues);
        self.notified.notify_one();
    }
}
