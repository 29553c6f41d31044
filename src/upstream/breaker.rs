//! The circuit breaker: an upstream that fails most requests gets none for a while, and then one that shows how it is.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use super::recent::Recent;
use crate::config::BreakerSettings;
use crate::net::clock;

/// Requests pass. Any other state is a time in nanoseconds, with the last bit set while one request is under way that decides: until
/// then, further requests are refused.
const CLOSED: u64 = 0;
const HALF_OPEN: u64 = 1;

/// The breaker of an upstream, for all workers.
pub(super) struct Breaker {
    state: AtomicU64,
    /// The number of times that it has opened. Requests from before say nothing about the time after.
    opened: AtomicU64,
    requests: Recent,
    failures: Recent,
}

/// A request that the breaker has let pass. Its end decides about those to come.
pub(super) struct Passage<'b> {
    breaker: &'b Breaker,
    settings: &'b BreakerSettings,
    /// The state to which it decides, or else [`CLOSED`].
    probes: u64,
    opened: u64,
    /// True for a success so far; `None` if the request's end would say nothing about the upstream, as if the client had gone.
    pub(super) outcome: Option<bool>,
}

/// The breaker refuses the request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused;

impl Breaker {
    pub(super) fn new(workers: usize) -> Self {
        let [state, opened] = [CLOSED, 0].map(AtomicU64::new);
        Self { state, opened, requests: Recent::new(workers), failures: Recent::new(workers) }
    }

    /// Lets a request pass, unless too many have failed.
    ///
    /// # Errors
    /// The breaker is open.
    pub(super) fn pass<'b>(&'b self, settings: &'b BreakerSettings) -> Result<Passage<'b>, Refused> {
        let state = self.state.load(SeqCst);
        let mut probes = CLOSED;
        if state != CLOSED {
            if state & !HALF_OPEN > clock::nanos(clock::uptime()) {
                return Err(Refused);
            }
            // This request decides, and after as long a time another does: a slow client may hold this one up.
            probes = until(settings) | HALF_OPEN;
            if self.state.compare_exchange(state, probes, SeqCst, SeqCst).is_err() {
                return Err(Refused);
            }
        }
        Ok(Passage { breaker: self, settings, probes, opened: self.opened.load(SeqCst), outcome: None })
    }

    /// Returns the name of the state for reports.
    pub(super) fn state(&self) -> &'static str {
        match self.state.load(SeqCst) {
            CLOSED => "closed",
            state if state & HALF_OPEN == 0 && state > clock::nanos(clock::uptime()) => "open",
            _ => "half_open",
        }
    }

    /// Counts a request that has ended. Opens if too many have failed.
    fn count(&self, settings: &BreakerSettings, is_success: bool) {
        let (now, within) = (clock::uptime(), settings.within);
        self.requests.add(now, within);
        if is_success {
            return;
        }
        self.failures.add(now, within);
        let (failed, all) = (self.failures.count(now, within), self.requests.count(now, within));
        let is_much = failed * 100 >= all * settings.failure_percent;
        if all >= settings.requests_min && is_much && self.open(CLOSED, settings) {
            tracing::warn!(
                endpoint = settings.endpoint,
                "breaker open for {:?}: {failed} of {all} requests failed within {within:?}",
                settings.open_for
            );
        }
    }

    fn open(&self, from: u64, settings: &BreakerSettings) -> bool {
        let is_open = self.state.compare_exchange(from, until(settings), SeqCst, SeqCst).is_ok();
        if is_open {
            self.opened.fetch_add(1, SeqCst);
        }
        is_open
    }

    /// Takes the outcome of the request that decides, in the state that it began.
    fn decide(&self, from: u64, settings: &BreakerSettings, outcome: Option<bool>) {
        match outcome {
            Some(true) => {
                self.requests.clear();
                self.failures.clear();
                if self.state.compare_exchange(from, CLOSED, SeqCst, SeqCst).is_ok() {
                    tracing::info!(endpoint = settings.endpoint, "breaker closed: a request has succeeded");
                }
            }
            Some(false) => {
                self.open(from, settings);
            }
            // The next request decides: the time is over.
            None => drop(self.state.compare_exchange(from, HALF_OPEN, SeqCst, SeqCst)),
        }
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        let is_of_now = || self.opened == self.breaker.opened.load(SeqCst);
        match (self.probes, self.outcome) {
            (CLOSED, Some(is_success)) if is_of_now() => self.breaker.count(self.settings, is_success),
            (CLOSED, _) => {}
            (from, outcome) => self.breaker.decide(from, self.settings, outcome),
        }
    }
}

/// Returns the end of a time of refusal that begins now, as a state.
fn until(settings: &BreakerSettings) -> u64 {
    clock::nanos(clock::uptime().saturating_add(settings.open_for)).max(2) & !HALF_OPEN
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn settings() -> BreakerSettings {
        BreakerSettings {
            failure_percent: 50,
            within: Duration::from_secs(10),
            requests_min: 4,
            open_for: Duration::from_secs(5),
            endpoint: "http://a".to_owned(),
        }
    }

    fn end_one(mut passage: Passage<'_>, is_success: bool) {
        passage.outcome = Some(is_success);
    }

    /// Lets requests pass that end so. Returns how many were refused.
    fn end(breaker: &Breaker, outcomes: &[bool]) -> usize {
        let settings = settings();
        let passed =
            outcomes.iter().map(|outcome| breaker.pass(&settings).map(|passage| end_one(passage, *outcome)));
        passed.filter(Result::is_err).count()
    }

    #[tokio::test(start_paused = true)]
    async fn breaker_opens_at_the_share_of_failures_and_closes_with_a_success() {
        let breaker = Breaker::new(1);
        assert_eq!(end(&breaker, &[false, false, false]), 0, "too few to tell");
        assert_eq!(end(&breaker, &[true, true, true, true, false]), 0, "four of eight");
        assert_eq!((breaker.state(), end(&breaker, &[true, true])), ("open", 2));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(breaker.state(), "half_open");
        let settings = settings();
        let probe = breaker.pass(&settings).unwrap();
        assert_eq!(breaker.pass(&settings).err(), Some(Refused), "one at a time");
        end_one(probe, false);
        assert_eq!((breaker.state(), end(&breaker, &[true])), ("open", 1));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(end(&breaker, &[true, false, false, false, true]), 0, "the failures before do not count");
        assert_eq!(breaker.state(), "closed");
    }

    #[tokio::test(start_paused = true)]
    async fn request_that_decides_and_leaves_is_followed_by_another() {
        let breaker = Breaker::new(1);
        end(&breaker, &[false; 4]);
        tokio::time::advance(Duration::from_secs(5)).await;
        let settings = settings();
        drop(breaker.pass(&settings).unwrap());
        assert_eq!(end(&breaker, &[true, true]), 0);
        assert_eq!(breaker.state(), "closed");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_of_long_ago_do_not_count() {
        let breaker = Breaker::new(1);
        end(&breaker, &[false; 3]);
        tokio::time::advance(Duration::from_secs(12)).await;
        assert_eq!(end(&breaker, &[false, false, false]), 0);
        assert_eq!(breaker.state(), "closed");
    }

    #[tokio::test(start_paused = true)]
    async fn request_that_decides_slowly_is_followed_by_another() {
        let breaker = Breaker::new(1);
        end(&breaker, &[false; 4]);
        tokio::time::advance(Duration::from_secs(5)).await;
        let settings = settings();
        let slow = breaker.pass(&settings).unwrap();
        assert_eq!((breaker.state(), end(&breaker, &[true])), ("half_open", 1));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(end(&breaker, &[true, true]), 0);
        end_one(slow, false);
        assert_eq!(breaker.state(), "closed", "it has been decided");
    }

    #[tokio::test(start_paused = true)]
    async fn requests_from_before_it_opened_do_not_open_it_again() {
        let breaker = Breaker::new(1);
        let settings = settings();
        let old: Vec<_> = (0..20).map(|_| breaker.pass(&settings).unwrap()).collect();
        end(&breaker, &[false; 4]);
        tokio::time::advance(Duration::from_secs(5)).await;
        end(&breaker, &[true]);
        old.into_iter().for_each(|passage| end_one(passage, false));
        assert_eq!(breaker.state(), "closed");
    }
}
