//! The memory of an address that took no connection, so that requests do not wait for it one after the other.

use crate::net::clock;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

/// The time between two dials that only find out if the address is back.
const PROBE_EVERY: Duration = Duration::from_secs(5);

/// The outcome of the last dial of an endpoint that is one of several addresses of a name, as all workers know it.
#[derive(Debug, Default)]
pub(super) struct Reachability {
    is_unreachable: AtomicBool,
    /// The time of the last probe in nanoseconds since the process began; 0 for none.
    probed_at: AtomicU64,
}

impl Reachability {
    pub(super) fn is_unreachable(&self) -> bool {
        self.is_unreachable.load(Relaxed)
    }

    pub(super) fn note(&self, is_reached: bool) {
        // Nearly always there is nothing to write, and the line stays shared by the workers.
        if self.is_unreachable() == is_reached {
            self.is_unreachable.store(!is_reached, Relaxed);
        }
    }

    /// Returns true for one caller in [`PROBE_EVERY`].
    pub(super) fn takes_probe(&self, now: Duration) -> bool {
        let (before, now) = (self.probed_at.load(Relaxed), clock::nanos(now));
        let is_due = before == 0 || now.saturating_sub(before) >= clock::nanos(PROBE_EVERY);
        is_due && self.probed_at.compare_exchange(before, now.max(1), Relaxed, Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreachable_address_is_probed_once_in_a_while_until_it_is_reached() {
        let address = Reachability::default();
        assert!(!address.is_unreachable());
        address.note(false);
        let probed = [0, 1, 4, 6, 7, 12].map(|at| address.takes_probe(Duration::from_secs(at)));
        assert_eq!(probed, [true, false, false, true, false, true]);
        assert!(address.is_unreachable());
        address.note(true);
        assert!(!address.is_unreachable());
    }
}
