//! The places of requests that wait for their turn.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::gcra::Gcra;
use super::local;
use super::store::{Store, StoreKey};
use super::table::KeyHash;

/// The requests of a process that may wait at once. The time that one may wait limits those of a key.
const WAITING_MAX: u32 = 16_384;

/// The requests that wait.
static WAITING: AtomicU32 = AtomicU32::new(0);

/// The turn of a request, which is charged already. Dropping it gives the turn back: the client has left, or the gateway stops.
pub(crate) struct Reservation {
    charged: Vec<(KeyHash, Gcra)>,
    /// The charges in stores.
    shared: Vec<(Arc<Store>, StoreKey, Gcra)>,
    wait: u64,
    has_place: bool,
}

impl Reservation {
    /// Holds charges of a request, with the time that it must wait.
    pub(super) fn new(charged: Vec<(KeyHash, Gcra)>, wait: u64) -> Self {
        let mut reservation = Self { charged, shared: Vec::new(), wait: 0, has_place: false };
        reservation.delay(wait);
        reservation
    }

    /// Adds a charge.
    pub(super) fn add(&mut self, key: KeyHash, limit: Gcra, wait: u64) {
        self.charged.push((key, limit));
        self.delay(wait);
    }

    /// Adds a charge in a store.
    pub(super) fn add_shared(&mut self, store: Arc<Store>, key: StoreKey, limit: Gcra, wait: u64) {
        self.shared.push((store, key, limit));
        self.delay(wait);
    }

    fn delay(&mut self, wait: u64) {
        self.wait = self.wait.max(wait);
        if self.wait > 0 && !self.has_place {
            let taken = |waiting: u32| (waiting < WAITING_MAX).then_some(waiting + 1);
            self.has_place = WAITING.fetch_update(Relaxed, Relaxed, taken).is_ok();
        }
    }

    /// Returns true if the request must wait.
    pub(super) fn waits(&self) -> bool {
        self.wait > 0
    }

    /// Returns true if the request may wait: no more do than the process has places for.
    pub(super) fn has_place(&self) -> bool {
        self.has_place
    }

    pub(super) fn wait_nanos(&self) -> u64 {
        self.wait
    }

    /// Returns the time until the request's turn.
    pub(crate) fn wait(&self) -> Duration {
        Duration::from_nanos(self.wait)
    }

    /// Ends the wait, and keeps the charges.
    pub(crate) fn keep(mut self) {
        self.charged.clear();
        self.shared.clear();
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        for (key, limit) in &self.charged {
            local::give_back(*key, limit);
        }
        for (store, key, limit) in &self.shared {
            store.give_back(*key, *limit);
        }
        if self.has_place {
            WAITING.fetch_sub(1, Relaxed);
        }
    }
}
