//! The time during which a condition holds, summed up.

use std::time::Duration;

use tokio::time::Instant;

use crate::net::clock;

/// A condition that holds now and then, and the time during which it has.
#[derive(Debug, Default)]
pub(crate) struct Stretch {
    since: Option<Instant>,
    total: Duration,
}

impl Stretch {
    /// Returns true if the condition holds.
    pub(super) fn holds(&self) -> bool {
        self.since.is_some()
    }

    /// Notes that the condition holds from now on, or that it does not.
    pub(super) fn set(&mut self, holds: bool) {
        match self.since {
            None if holds => self.since = Some(clock::now()),
            Some(since) if !holds => {
                self.total += clock::since(since);
                self.since = None;
            }
            _ => {}
        }
    }

    /// Returns the time so far during which it held.
    pub(super) fn total(&self) -> Duration {
        self.total + self.since.map(clock::since).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn stretch_counts_only_the_time_during_which_it_holds() {
        let second = Duration::from_secs(1);
        let mut stretch = Stretch::default();
        for (holds, total) in [(false, 0), (true, 0), (true, 1), (false, 2), (false, 2), (true, 2)] {
            stretch.set(holds);
            assert_eq!((stretch.holds(), stretch.total()), (holds, second * total));
            tokio::time::advance(second).await;
        }
        assert_eq!(stretch.total(), second * 3, "it still holds");
    }
}
