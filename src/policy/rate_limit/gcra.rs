//! The generic cell rate algorithm. The state of a key is one time: that at which all of its credit is back. A request moves it on by the
//! interval between two requests, and is refused if it would move further ahead than the burst permits.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::net::clock::nanos;

/// The longest time that a burst may take to come back. It keeps sums of times within the bits that a table has for them.
const REFILL_NANOS_MAX: u64 = 1 << 58;

/// The most by which the clocks of two workers differ, and a good deal more: a state may be further ahead by it.
const CLOCKS_APART: u64 = 100_000_000;

/// A rate with its burst. All times are nanoseconds, those of events since the start of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Gcra {
    /// The time between two requests at the rate.
    pub(crate) interval: u64,
    /// The time in which a spent burst comes back.
    pub(crate) refill: u64,
    /// The time that a request may wait for its credit.
    pub(crate) queue: u64,
}

/// A request that has credit, at once or soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Admitted {
    /// The new state of the key.
    pub(crate) state: u64,
    /// The time until the request may go on.
    pub(crate) wait: u64,
}

impl Gcra {
    /// Returns the limit of `count` requests in each `period`.
    pub(crate) fn new(count: NonZeroU32, period: Duration, burst: NonZeroU32, queue: Duration) -> Self {
        let count = u64::from(count.get());
        // Rounded: below 0.05 % for a million in a second, and far less for all else.
        let interval = ((nanos(period) + count / 2) / count).clamp(1, REFILL_NANOS_MAX);
        let refill = interval.saturating_mul(burst.get().into()).min(REFILL_NANOS_MAX);
        Self { interval, refill, queue: nanos(queue) }
    }

    /// Returns the time by which a state may be ahead while a further request is admitted at once.
    pub(crate) fn tolerance(&self) -> u64 {
        self.refill - self.interval
    }

    /// Returns the time in which a spent burst comes back.
    pub(crate) fn refill(&self) -> Duration {
        Duration::from_nanos(self.refill)
    }

    /// Decides about a request.
    ///
    /// # Errors
    /// Returns the time until a request would be admitted.
    pub(crate) fn take(&self, state: u64, now: u64) -> Result<Admitted, u64> {
        let ahead = self.ahead(state, now);
        let wait = ahead.saturating_sub(self.tolerance());
        if wait > self.queue {
            return Err(wait - self.queue);
        }
        Ok(Admitted { state: now.saturating_add(ahead).saturating_add(self.interval), wait })
    }

    /// Returns the state that takes the place of one that a slower rate has left, before a reload: no key owes more than it could have
    /// spent. Returns `None` if the state is one of this limit.
    pub(crate) fn settle(&self, state: u64, now: u64) -> Option<u64> {
        let most = self.refill.saturating_add(self.queue);
        let is_foreign = state.saturating_sub(now) > most.saturating_add(CLOCKS_APART);
        is_foreign.then(|| now.saturating_add(most))
    }

    /// Returns the state after a request that `take` admitted has been taken back.
    pub(crate) fn give_back(&self, state: u64) -> u64 {
        state.saturating_sub(self.interval)
    }

    /// Returns the number of requests that would be admitted now, one after the other.
    pub(crate) fn remaining(&self, state: u64, now: u64) -> u64 {
        self.refill.saturating_sub(self.ahead(state, now)) / self.interval
    }

    /// Returns the time until all credit is back.
    pub(crate) fn reset(&self, state: u64, now: u64) -> u64 {
        self.ahead(state, now)
    }

    /// Returns the time by which a state is ahead, at the most that of a key that has spent all it could.
    fn ahead(&self, state: u64, now: u64) -> u64 {
        state.saturating_sub(now).min(self.refill.saturating_add(self.queue))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn limit(count: u32, burst: u32, queue: u64) -> Gcra {
        let of = |count| NonZeroU32::new(count).unwrap();
        Gcra::new(of(count), Duration::from_secs(1), of(burst), Duration::from_nanos(queue))
    }

    /// Returns the number of requests admitted at once, one after the other, and the final state.
    fn spend(limit: &Gcra, mut state: u64, now: u64) -> (u32, u64) {
        let mut admitted = 0;
        while let Ok(Admitted { state: next, wait: 0 }) = limit.take(state, now) {
            (admitted, state) = (admitted + 1, next);
        }
        (admitted, state)
    }

    #[test]
    fn burst_is_admitted_at_once_and_then_one_request_an_interval() {
        let limit = limit(10, 5, 0);
        let (admitted, state) = spend(&limit, 0, SECOND);
        assert_eq!((admitted, limit.take(state, SECOND)), (5, Err(SECOND / 10)));
        assert_eq!(limit.take(state, SECOND + SECOND / 10 - 1), Err(1));
        assert_eq!(spend(&limit, state, SECOND + SECOND / 10).0, 1);
        assert_eq!(spend(&limit, state, SECOND + SECOND / 10 * 3).0, 3);
        assert_eq!(spend(&limit, state, 100 * SECOND).0, 5);
    }

    #[test]
    fn burst_of_one_spaces_requests() {
        let limit = limit(4, 1, 0);
        assert_eq!(limit.tolerance(), 0);
        let (admitted, state) = spend(&limit, 0, 0);
        assert_eq!((admitted, limit.take(state, 0)), (1, Err(SECOND / 4)));
    }

    #[test]
    fn queue_makes_requests_wait_as_long_as_it_permits() {
        let limit = limit(10, 1, SECOND / 4);
        let mut state = 0;
        let mut waits = vec![];
        let refused = loop {
            match limit.take(state, 0) {
                Ok(admitted) => (state, _) = (admitted.state, waits.push(admitted.wait)),
                Err(wait) => break wait,
            }
        };
        assert_eq!((waits, refused), (vec![0, SECOND / 10, SECOND / 5], SECOND / 20));
    }

    #[test]
    fn request_that_is_given_back_leaves_no_trace() {
        let limit = limit(10, 5, 0);
        let (_, spent) = spend(&limit, 0, SECOND);
        let given_back = limit.give_back(spent);
        assert_eq!(spend(&limit, given_back, SECOND), (1, spent));
        assert_eq!((limit.remaining(spent, SECOND), limit.remaining(given_back, SECOND)), (0, 1));
    }

    #[test]
    fn raised_rate_applies_at_once() {
        let (slow, fast) = (
            Gcra::new(NonZeroU32::MIN, Duration::from_hours(1), NonZeroU32::MIN, Duration::ZERO),
            limit(10, 5, 0),
        );
        let (_, spent) = spend(&slow, 0, SECOND);
        assert_eq!(fast.take(spent, SECOND), Err(SECOND / 10));
        let settled = fast.settle(spent, SECOND).unwrap();
        assert_eq!(spend(&fast, settled, SECOND + SECOND / 10).0, 1);
        assert_eq!((fast.settle(settled, SECOND), slow.settle(spent, SECOND)), (None, None));
    }

    #[test]
    fn huge_burst_of_a_slow_rate_stays_within_the_bits_of_a_time() {
        let day = Duration::from_hours(24);
        let limit = Gcra::new(NonZeroU32::MIN, day, NonZeroU32::MAX, Duration::ZERO);
        assert_eq!(limit.take(0, 0).unwrap(), Admitted { state: nanos(day), wait: 0 });
    }

    proptest! {
        /// In each window between two requests, whatever their times, no more are admitted than the burst and the rate permit.
        #[test]
        fn no_window_admits_more_than_burst_and_rate(
            count in 1_u32..50,
            burst in 1_u32..20,
            pauses in proptest::collection::vec(0_u64..SECOND / 5, 1..80),
        ) {
            let limit = limit(count, burst, 0);
            let (mut now, mut state, mut admitted) = (0, 0, Vec::new());
            for pause in pauses {
                now += pause;
                let refused_rightly = match limit.take(state, now) {
                    Ok(taken) => { state = taken.state; admitted.push(now); continue }
                    Err(wait) => limit.take(state, now + wait).is_ok() && limit.take(state, now + wait - 1).is_err(),
                };
                prop_assert!(refused_rightly);
            }
            for (from, began) in admitted.iter().enumerate() {
                for (to, ended) in admitted.iter().enumerate().skip(from) {
                    let counted = u64::try_from(to - from + 1).unwrap();
                    let permitted = u64::from(burst) + (ended - began) / limit.interval;
                    prop_assert!(counted <= permitted, "{counted} of {permitted}");
                }
            }
        }
    }
}
