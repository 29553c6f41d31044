//! The time that a request may spend in the queue of a pool, and the refusal that ends it.

use std::time::Duration;

use crate::http::error::Error;

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WaitBounds {
    /// The time that the request has already spent in queues: `pool.acquire_timeout` covers all its waits together.
    pub(crate) queued: Duration,
    /// The longest wait while the endpoint has no open connection; `None` if the request cannot go to another endpoint.
    pub(crate) unconnected: Option<Duration>,
}

/// A wait that ended without a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) error: Error,
    /// True if the endpoint had no open connection then. Its limits are full of connection attempts, and it may be
    /// unreachable.
    pub(crate) is_unconnected: bool,
}

impl WaitBounds {
    /// Returns the time that the request may still wait.
    pub(super) fn rest(self, acquire_timeout: Option<Duration>) -> Option<Duration> {
        acquire_timeout.map(|limit| limit.saturating_sub(self.queued))
    }

    /// Returns the time that the request may wait while the endpoint has no open connection: at most half of the rest,
    /// so that each further endpoint gets a share of it.
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
