//! The standing of an endpoint: it serves, it has been ejected or is down, or it is coming back.

use crate::net::clock;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::time::Duration;

use super::troubled::Troubled;

/// The least share of its requests that an endpoint gets as it comes back.
const START_SHARE_MIN: f64 = 0.1;

/// Requests have failed, and it gets none until a time.
const EJECTED: u32 = 1;
/// It is back, and gets a growing share of requests.
const STARTING: u32 = 2;

/// The health of an endpoint, as all workers know it. Times are since the process began.
pub(in crate::upstream) struct Standing {
    troubled: Arc<Troubled>,
    /// True while probes fail, whatever the state is. Each of the two counts in `troubled` for itself.
    is_down: AtomicBool,
    /// [`EJECTED`], [`STARTING`], or 0 for an endpoint that serves.
    state: AtomicU32,
    /// Failures without a success between them.
    failures: AtomicU32,
    /// The end of the ejection in nanoseconds, then the beginning of the return.
    turns_at: AtomicU64,
    /// The time in nanoseconds over which it comes back.
    starts_for: AtomicU64,
    /// The factor of the next ejection's time, less one.
    ejections: AtomicU32,
    /// The ejections since the endpoint is known.
    ejected_total: AtomicU64,
}

/// The times of an ejection.
pub(super) struct Times {
    pub(super) first: Duration,
    pub(super) max: Duration,
    /// The time over which the endpoint comes back; zero for at once.
    pub(super) slow_start: Duration,
}

/// The state of an endpoint, as reports show it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::upstream) enum HealthState {
    Healthy,
    /// It gets no requests until probes succeed.
    Unhealthy,
    /// It gets no requests for so long.
    Ejected(Duration),
    /// It gets this share of its requests.
    Starting(f64),
}

impl HealthState {
    /// Returns the name in reports.
    pub(in crate::upstream) fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Ejected(_) => "ejected",
            Self::Starting(_) => "starting",
        }
    }

    /// Returns the rest of its ejection.
    pub(in crate::upstream) fn ejected_for(self) -> Option<Duration> {
        match self {
            Self::Ejected(left) => Some(left),
            Self::Healthy | Self::Unhealthy | Self::Starting(_) => None,
        }
    }
}

impl Standing {
    pub(in crate::upstream) fn new(troubled: Arc<Troubled>) -> Self {
        Self {
            troubled,
            is_down: AtomicBool::new(false),
            state: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            turns_at: AtomicU64::new(0),
            starts_for: AtomicU64::new(0),
            ejections: AtomicU32::new(0),
            ejected_total: AtomicU64::new(0),
        }
    }

    /// Returns the share of its requests that the endpoint gets: 0.0 for none, 1.0 for all.
    pub(in crate::upstream) fn share(&self, now: Duration) -> f64 {
        match self.state(now) {
            HealthState::Healthy => 1.0,
            HealthState::Unhealthy | HealthState::Ejected(_) => 0.0,
            HealthState::Starting(share) => share,
        }
    }

    /// Returns the state, and ends what is over by now.
    pub(in crate::upstream) fn state(&self, now: Duration) -> HealthState {
        let by_requests = self.state_by_requests(now);
        if self.is_down.load(Acquire) { HealthState::Unhealthy } else { by_requests }
    }

    /// Returns the state as if there were no probes.
    fn state_by_requests(&self, now: Duration) -> HealthState {
        let state = self.state.load(Acquire);
        if state == 0 {
            return HealthState::Healthy;
        }
        let turns_at = time(&self.turns_at);
        match turns_at.checked_sub(now) {
            Some(left) if state == EJECTED && !left.is_zero() => return HealthState::Ejected(left),
            _ if state == EJECTED => self.come_back(now, turns_at),
            _ => {}
        }
        let (starts_for, passed) = (time(&self.starts_for), now.saturating_sub(time(&self.turns_at)));
        if passed >= starts_for {
            self.change(STARTING, 0);
            return HealthState::Healthy;
        }
        let share = passed.as_secs_f64() / starts_for.as_secs_f64();
        HealthState::Starting(share.max(START_SHARE_MIN))
    }

    /// Ends the ejection. The return begins now, not at the time that was set: there has been no request since.
    fn come_back(&self, now: Duration, ends: Duration) {
        // The time comes first: with the state and without the time, the return would seem to be over.
        let (ends, now) = (clock::nanos(ends), clock::nanos(now));
        let is_first = self.turns_at.compare_exchange(ends, now, SeqCst, SeqCst).is_ok();
        if is_first && self.change(EJECTED, STARTING) {
            self.failures.store(0, Relaxed);
        }
    }

    /// Changes the state, if it is `from` still. Returns true if it was this call that did.
    fn change(&self, from: u32, to: u32) -> bool {
        let is_changed = self.state.compare_exchange(from, to, SeqCst, SeqCst).is_ok();
        if is_changed && from == 0 {
            self.troubled.add();
        }
        if is_changed && to == 0 {
            self.troubled.remove();
        }
        is_changed
    }

    /// Counts a success: failures are consecutive only without one.
    pub(super) fn succeed(&self) {
        // Nearly always there is nothing to write, and the line stays shared by the workers.
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
    }

    /// Counts a failure. Returns the number of consecutive ones.
    pub(super) fn fail(&self) -> u32 {
        self.failures.fetch_add(1, Relaxed).saturating_add(1)
    }

    /// Returns true if it is ejected now.
    fn is_ejected(&self, now: Duration) -> bool {
        matches!(self.state_by_requests(now), HealthState::Ejected(_))
    }

    /// Gives it no requests until [`Standing::come_up`]. Returns true if that is news.
    pub(in crate::upstream) fn go_down(&self) -> bool {
        let is_news = !self.is_down.swap(true, SeqCst);
        if is_news {
            self.troubled.add();
        }
        is_news
    }

    /// Gives it requests again, a growing share of them over the time of `slow_start`. Returns true if it was down.
    pub(super) fn come_up(&self, now: Duration, slow_start: Duration) -> bool {
        if !self.is_down.load(Acquire) {
            return false;
        }
        if !slow_start.is_zero() {
            self.start(now, slow_start);
        }
        // Only after the start, or it would get its whole share in between.
        let was_down = self.is_down.swap(false, SeqCst);
        if was_down {
            self.troubled.remove();
        }
        was_down
    }

    /// Begins the return of an endpoint that is not ejected; one that is goes on to be.
    fn start(&self, now: Duration, slow_start: Duration) {
        if self.is_ejected(now) {
            return;
        }
        self.starts_for.store(clock::nanos(slow_start), SeqCst);
        self.turns_at.store(clock::nanos(now), SeqCst);
        self.change(0, STARTING);
    }

    /// Ends an ejection before its time. Returns true if there was one.
    pub(super) fn end_ejection(&self, now: Duration) -> bool {
        let HealthState::Ejected(left) = self.state_by_requests(now) else { return false };
        self.come_back(now, now + left);
        true
    }

    /// Ejects the endpoint. Returns for how long, or `None` if it is ejected already.
    pub(super) fn eject(&self, now: Duration, times: &Times) -> Option<Duration> {
        let before = self.state.load(Acquire);
        if before == EJECTED {
            return None;
        }
        // Each time of the first ejection that has passed since the last one takes one off.
        let since = now.saturating_sub(time(&self.turns_at)).as_nanos();
        let forgiven = u32::try_from(since / times.first.as_nanos().max(1)).unwrap_or(u32::MAX);
        let factor = self.ejections.load(Relaxed).saturating_sub(forgiven).saturating_add(1);
        let ejected_for = times.first.saturating_mul(factor).min(times.max);
        self.turns_at.store(clock::nanos(now.saturating_add(ejected_for)), SeqCst);
        self.starts_for.store(clock::nanos(times.slow_start), SeqCst);
        if !self.change(before, EJECTED) {
            return None;
        }
        self.ejections.store(factor, Relaxed);
        self.ejected_total.fetch_add(1, Relaxed);
        Some(ejected_for)
    }

    /// Returns the number of ejections since the endpoint is known.
    pub(in crate::upstream) fn ejected_total(&self) -> u64 {
        self.ejected_total.load(Relaxed)
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        let before = self.state.load(Acquire);
        if before != 0 {
            self.change(before, 0);
        }
        if self.is_down.swap(false, SeqCst) {
            self.troubled.remove();
        }
    }
}

fn time(nanos: &AtomicU64) -> Duration {
    Duration::from_nanos(nanos.load(Acquire))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn times(slow_start: f64) -> Times {
        Times { first: seconds(30.0), max: seconds(80.0), slow_start: seconds(slow_start) }
    }

    fn standing() -> (Standing, Arc<Troubled>) {
        let troubled = Arc::new(Troubled::default());
        (Standing::new(troubled.clone()), troubled)
    }

    #[test]
    fn ejected_endpoint_gets_nothing_then_a_growing_share() {
        let (standing, troubled) = standing();
        assert!(standing.share(seconds(1.0)) == 1.0 && !troubled.any());
        assert_eq!(standing.eject(seconds(10.0), &times(10.0)), Some(seconds(30.0)));
        assert_eq!(standing.eject(seconds(11.0), &times(10.0)), None, "it is ejected already");
        assert_eq!(standing.state(seconds(39.0)), HealthState::Ejected(seconds(1.0)));
        assert!(troubled.any());
        // Nothing has asked for a while. It starts with the first request that does.
        let shares = [100.0, 101.0, 105.0, 110.0].map(|at| standing.share(seconds(at)));
        assert_eq!(shares, [0.1, 0.1, 0.5, 1.0]);
        assert!(!troubled.any());
    }

    #[test]
    fn without_a_slow_start_it_serves_at_once() {
        let (standing, troubled) = standing();
        standing.eject(seconds(0.0), &times(0.0));
        assert_eq!(standing.share(seconds(30.0)), 1.0);
        assert!(!troubled.any());
    }

    #[test]
    fn each_further_ejection_is_longer_until_it_has_served_for_a_while() {
        let (standing, _) = standing();
        let mut now = seconds(0.0);
        let mut eject_after = |served: f64| {
            now += seconds(served);
            let ejected_for = standing.eject(now, &times(0.0)).unwrap();
            now += ejected_for;
            standing.state(now);
            ejected_for.as_secs()
        };
        let all = [0.0, 1.0, 1.0, 1.0, 31.0, 200.0].map(&mut eject_after);
        assert_eq!(all, [30, 60, 80, 80, 80, 30]);
    }

    #[test]
    fn endpoint_that_goes_is_no_trouble_any_more() {
        for (ejected, down) in [(false, false), (true, false), (false, true), (true, true)] {
            let (standing, troubled) = standing();
            if ejected {
                standing.eject(seconds(0.0), &times(10.0));
            }
            if down {
                standing.go_down();
            }
            assert_eq!(troubled.any(), ejected || down);
            drop(standing);
            assert!(!troubled.any());
            // Below zero it would be trouble again.
            troubled.add();
            troubled.remove();
            assert!(!troubled.any());
        }
    }

    #[test]
    fn endpoint_that_is_down_gets_nothing_until_it_is_up() {
        let (standing, troubled) = standing();
        assert!(standing.go_down() && !standing.go_down(), "only the first is news");
        assert_eq!(standing.state(seconds(1.0)), HealthState::Unhealthy);
        assert_eq!(standing.share(seconds(1000.0)), 0.0);
        assert!(standing.come_up(seconds(1000.0), seconds(10.0)));
        assert!(!standing.come_up(seconds(1000.0), seconds(10.0)));
        let shares = [1000.0, 1005.0, 1010.0].map(|at| standing.share(seconds(at)));
        assert_eq!(shares, [0.1, 0.5, 1.0]);
        assert!(!troubled.any());
        standing.go_down();
        assert!(standing.come_up(seconds(2000.0), seconds(0.0)));
        assert!(standing.share(seconds(2000.0)) == 1.0 && !troubled.any());
    }

    #[test]
    fn ejection_and_probes_are_causes_of_their_own() {
        let (standing, troubled) = standing();
        standing.eject(seconds(0.0), &times(10.0));
        standing.go_down();
        assert_eq!(standing.state(seconds(1.0)), HealthState::Unhealthy);
        standing.come_up(seconds(2.0), seconds(10.0));
        assert_eq!(standing.state(seconds(2.0)), HealthState::Ejected(seconds(28.0)));
        assert!(standing.end_ejection(seconds(3.0)) && !standing.end_ejection(seconds(3.0)));
        assert_eq!(standing.state(seconds(8.0)), HealthState::Starting(0.5));
        assert_eq!(standing.share(seconds(13.0)), 1.0);
        assert!(!troubled.any());
        // The ejection ends while it is down, and nothing is left of it.
        standing.eject(seconds(100.0), &times(0.0));
        standing.go_down();
        assert_eq!(standing.state(seconds(200.0)), HealthState::Unhealthy);
        standing.come_up(seconds(200.0), seconds(0.0));
        assert!(!troubled.any());
    }
}
