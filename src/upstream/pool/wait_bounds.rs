//! The time that a request spends in the queue of a pool, and its end without a connection.

use std::time::Duration;

use crate::http::error::Error;

/// The bounds of a wait.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WaitBounds {
    /// The time that the request has spent in queues before: `pool.acquire_timeout` holds for all of its waits together.
    pub(crate) queued: Duration,
    /// The longest wait while the endpoint has no open connection; `None` where the request has nowhere else to go.
    pub(crate) unconnected: Option<Duration>,
}

/// A wait that ended without a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) error: Error,
    /// The endpoint had no open connection then. Its limits are full of attempts to connect, and it may be unreachable.
    pub(crate) is_unconnected: bool,
}

impl WaitBounds {
    /// Returns how long the request may still wait.
    pub(super) fn rest(self, acquire_timeout: Option<Duration>) -> Option<Duration> {
        acquire_timeout.map(|limit| limit.saturating_sub(self.queued))
    }

    /// Returns how long the request waits while the endpoint has no open connection: half of the rest at most, so that each
    /// further endpoint has a share of it.
    pub(super) fn leaves_after(self, acquire_timeout: Option<Duration>) -> Option<Duration> {
        let unconnected = self.unconnected?;
        Some(self.rest(acquire_timeout).map_or(unconnected, |rest| unconnected.min(rest / 2)))
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error, is_unconnected: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_wait_for_an_unconnected_endpoint_takes_half_of_the_rest_and_no_longer_than_a_dial() {
        let bounds = |queued: u32, unconnected| WaitBounds { queued: SECOND * queued, unconnected };
        for (bounds, acquire_timeout, rest, leaves) in [
            (bounds(0, None), Some(8), Some(8), None),
            (bounds(0, Some(SECOND * 30)), Some(8), Some(8), Some(4)),
            (bounds(4, Some(SECOND * 30)), Some(8), Some(4), Some(2)),
            (bounds(9, Some(SECOND * 30)), Some(8), Some(0), Some(0)),
            (bounds(0, Some(SECOND)), Some(8), Some(8), Some(1)),
            (bounds(9, Some(SECOND * 3)), None, None, Some(3)),
        ] {
            let acquire_timeout = acquire_timeout.map(|seconds: u32| SECOND * seconds);
            assert_eq!(bounds.rest(acquire_timeout), rest.map(|seconds: u32| SECOND * seconds));
            assert_eq!(bounds.leaves_after(acquire_timeout), leaves.map(|seconds: u32| SECOND * seconds));
        }
    }
}
