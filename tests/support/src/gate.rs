//! A gate at which a script waits until the test releases it.

use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use crate::within;

/// A gate between a test and the scripts of its origins. Clones are the same gate.
///
/// A script calls `gate.pass().await`. The test awaits the script's arrival (`arrivals`), does its work, and releases
/// it (`release`). The test determines the order of events, and nothing sleeps.
#[derive(Debug, Clone)]
pub struct Gate {
    permits: Arc<Semaphore>,
    arrived: Arc<watch::Sender<usize>>,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// Creates a closed gate.
    #[must_use]
    pub fn new() -> Self {
        Self { permits: Arc::new(Semaphore::new(0)), arrived: Arc::new(watch::Sender::new(0)) }
    }

    /// Waits, without a limit, until the test releases this passage or all of them.
    pub async fn pass(&self) {
        self.arrived.send_modify(|count| *count += 1);
        if let Ok(permit) = self.permits.acquire().await {
            permit.forget();
        } // An error means that `release_all` has closed the semaphore to open the gate for good.
    }

    /// Releases one passage: the one that has waited longest, or the next to arrive.
    pub fn release(&self) {
        self.permits.add_permits(1);
    }

    /// Opens the gate for good.
    pub fn release_all(&self) {
        self.permits.close();
    }

    /// Waits until `count` passages have been requested since the gate was made, including those already released.
    ///
    /// # Panics
    /// Panics if they do not arrive within [`crate::PATIENCE`].
    pub async fn arrivals(&self, count: usize) {
        let mut arrived = self.arrived.subscribe();
        within(&format!("{count} arrivals at a gate"), arrived.wait_for(|arrived| *arrived >= count))
            .await
            .expect("the gate holds the sender");
    }
}
