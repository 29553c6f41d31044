//! Where a script waits until the test lets it on.

use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use crate::within;

/// A turnstile between a test and the scripts of its origins; clones are the same gate.
///
/// A script says `gate.pass().await`. The test awaits that it got there (`arrivals`), does what it has to do, and lets it
/// on (`release`), so the order of events is the test's, and no one sleeps.
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
    /// A closed gate.
    #[must_use]
    pub fn new() -> Self {
        Self { permits: Arc::new(Semaphore::new(0)), arrived: Arc::new(watch::Sender::new(0)) }
    }

    /// Waits, without a limit, until the test releases this passage or all.
    pub async fn pass(&self) {
        self.arrived.send_modify(|count| *count += 1);
        if let Ok(permit) = self.permits.acquire().await {
            permit.forget();
        } // else: closed, which is how `release_all` says that everyone may pass.
    }

    /// Lets one passage through: the one that has waited longest, or the next to arrive.
    pub fn release(&self) {
        self.permits.add_permits(1);
    }

    /// Opens the gate for good.
    pub fn release_all(&self) {
        self.permits.close();
    }

    /// Waits until `count` passages have been asked for since the gate was made, those that have been released included.
    ///
    /// # Panics
    /// When they don't come within [`crate::PATIENCE`].
    pub async fn arrivals(&self, count: usize) {
        let mut arrived = self.arrived.subscribe();
        within(&format!("{count} arrivals at a gate"), arrived.wait_for(|arrived| *arrived >= count))
            .await
            .expect("the gate holds the sender");
    }
}
