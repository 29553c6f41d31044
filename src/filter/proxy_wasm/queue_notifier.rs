//! Notification of an instance, from any thread, that one of its queues has entries.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use super::shared::QueueListener;

/// The queues with new entries, and the number of entries, until the instance takes them. They are bounded by the
/// number of queues.
#[derive(Default)]
pub(super) struct QueueNotifier {
    queues: Mutex<BTreeMap<u32, usize>>,
    notified: Notify,
}

impl QueueNotifier {
    /// Waits for entries. Returns the queues and the number of entries in each.
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
