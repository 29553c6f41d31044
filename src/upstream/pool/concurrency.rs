//! The requests at once to one endpoint, whatever connections they are on: their number, and its limit (`max_concurrent`).
//!
//! A request takes a permit before it asks for a connection. Those that find none wait in the order of arrival. Without a limit a
//! permit only counts.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::adaptive::Adaptive;
use super::stretch::Stretch;
use super::{Pool, Refusal, WaitBounds};
use crate::config::MaxConcurrent;
use crate::http::error::Error;
use crate::net::clock;
use crate::net::timer::{Timer, deadline};

/// The limit that is none: more requests than there can be.
const UNLIMITED: usize = Semaphore::MAX_PERMITS >> 8;

/// The permits of a pool.
#[derive(Debug)]
pub(super) struct Concurrency {
    permits: Semaphore,
    limit: AtomicUsize,
    /// The permits that are given up when they come back, since the limit was lowered.
    excess: AtomicUsize,
    /// The requests that wait for a permit.
    waiting: AtomicUsize,
    /// The time during which requests waited.
    at_limit: Mutex<Stretch>,
    /// The requests that have one.
    in_flight: AtomicUsize,
    adaptive: Adaptive,
}

/// One request at an endpoint, until its exchange has ended.
#[derive(Debug)]
pub(crate) struct Permit {
    concurrency: Arc<Concurrency>,
    /// False if there was no limit when it was given.
    is_limited: bool,
}

/// As many requests are under way as may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::upstream) struct Full;

impl Concurrency {
    pub(super) fn new(limit: MaxConcurrent) -> Self {
        let adaptive = Adaptive::default();
        let limit = fixed(limit, &adaptive);
        Self {
            adaptive,
            permits: Semaphore::new(limit),
            limit: AtomicUsize::new(limit),
            excess: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            at_limit: Mutex::default(),
            in_flight: AtomicUsize::new(0),
        }
    }

    /// Changes the limit. Requests that are under way keep their permits. Those that began without a limit do not count for it.
    pub(super) fn set(&self, limit: MaxConcurrent) {
        self.set_to(fixed(limit, &self.adaptive));
    }

    fn set_to(&self, now: usize) {
        let before = self.limit.swap(now, SeqCst);
        if now > before {
            let paid = self.pay_excess(now - before);
            self.permits.add_permits(now - before - paid);
        } else if now < before {
            let less = before - now;
            let forgotten = self.permits.forget_permits(less);
            self.excess.fetch_add(less - forgotten, SeqCst);
        }
    }

    /// Gives up as many permits as are too many, at most `permits`. Returns how many.
    fn pay_excess(&self, permits: usize) -> usize {
        let pay = |excess: usize| Some(excess - excess.min(permits));
        match self.excess.try_update(SeqCst, SeqCst, pay) {
            Ok(excess) | Err(excess) => excess.min(permits),
        }
    }

    /// Returns the number of requests that wait for a permit.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    /// Returns the time during which requests waited for a permit.
    pub(super) fn at_limit(&self) -> Duration {
        self.at_limit.lock().unwrap_or_else(PoisonError::into_inner).total()
    }

    /// Notes that requests wait, or that none does. The number is read under the lock, so that the last change decides.
    fn note_waiting(&self) {
        let mut at_limit = self.at_limit.lock().unwrap_or_else(PoisonError::into_inner);
        at_limit.set(self.waiting() > 0);
    }

    fn give(self: &Arc<Self>, is_limited: bool) -> Permit {
        self.in_flight.fetch_add(1, Relaxed);
        Permit { concurrency: self.clone(), is_limited }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.concurrency.in_flight.fetch_sub(1, Relaxed);
        if self.is_limited && self.concurrency.pay_excess(1) == 0 {
            self.concurrency.permits.add_permits(1);
        }
    }
}

/// Returns the limit as a number, for the present if it adapts.
fn fixed(limit: MaxConcurrent, adaptive: &Adaptive) -> usize {
    let adapted = adaptive.switch(limit == MaxConcurrent::Auto);
    match limit {
        MaxConcurrent::At(count) => usize::try_from(count.get()).unwrap_or(UNLIMITED),
        MaxConcurrent::Off | MaxConcurrent::Auto => adapted.unwrap_or(UNLIMITED),
    }
}

/// A request that waits for a permit.
struct Waiting<'c>(&'c Concurrency);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, SeqCst);
        self.0.note_waiting();
    }
}

impl Pool {
    /// Returns the number of requests that are under way at the endpoint, or wait for a place there.
    pub(in crate::upstream) fn load(&self) -> usize {
        self.concurrency.in_flight.load(Relaxed) + self.concurrency.waiting.load(Relaxed)
    }

    /// Returns the limit on requests at once, if there is one.
    pub(super) fn max_concurrent(&self) -> Option<usize> {
        Some(self.concurrency.limit.load(SeqCst)).filter(|limit| *limit < UNLIMITED)
    }

    /// Takes the response time of a request, if the limit follows from it. `now` is the time since the process began.
    pub(in crate::upstream) fn adapt(&self, now: Duration, took: Duration) {
        if let Some(limit) = self.concurrency.adaptive.observe(now, took, self.load()) {
            tracing::trace!(endpoint = self.endpoint, limit, "requests at once");
            self.concurrency.set_to(limit);
            // A reload may have switched it off meanwhile.
            if !self.adapts() {
                self.concurrency.set(self.settings().max_concurrent);
            }
        }
    }

    /// Returns true if the limit follows from response times.
    pub(in crate::upstream) fn adapts(&self) -> bool {
        self.concurrency.adaptive.is_on()
    }

    /// Returns a permit for a request.
    ///
    /// # Errors
    /// As many requests are under way as may be, or others wait.
    pub(in crate::upstream) fn try_permit(&self) -> Result<Permit, Full> {
        if self.concurrency.limit.load(SeqCst) >= UNLIMITED {
            return Ok(self.concurrency.give(false));
        }
        match self.concurrency.permits.try_acquire() {
            Ok(permit) => {
                permit.forget();
                Ok(self.concurrency.give(true))
            }
            Err(_none) => Err(Full),
        }
    }

    /// Waits for a permit, behind those that came before.
    ///
    /// # Errors
    /// [`Error::PoolFull`] if too many requests wait already, and [`Error::MaxConcurrent`] if the wait takes too long, or if the
    /// request can go to another endpoint.
    pub(in crate::upstream) async fn permit(
        &self,
        timer: &Timer,
        bounds: WaitBounds,
    ) -> Result<Permit, Refusal> {
        if bounds.unconnected.is_some() {
            // Another endpoint may have room. To the retry this is like an endpoint that cannot be reached.
            return Err(Refusal { error: Error::MaxConcurrent, is_unconnected: true });
        }
        let settings = self.settings();
        let (pending_max, limit) = (settings.max_pending, deadline(bounds.rest(settings.acquire_timeout)));
        drop(settings);
        let concurrency = &self.concurrency;
        if concurrency.waiting.fetch_add(1, SeqCst) >= pending_max {
            drop(Waiting(concurrency));
            return Err(self.refuse(Error::PoolFull, false));
        }
        let waiting = Waiting(concurrency);
        concurrency.note_waiting();
        self.note_demand();
        let began = clock::now();
        let acquired = timer.within(limit, concurrency.permits.acquire()).await;
        drop(waiting);
        self.count_queued(clock::since(began), true);
        match acquired {
            Ok(Ok(permit)) => {
                permit.forget();
                Ok(concurrency.give(true))
            }
            Ok(Err(_closed)) => Err(Refusal::from(Error::Internal)),
            Err(_elapsed) => Err(self.refuse(Error::MaxConcurrent, false)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn at(limit: u32) -> MaxConcurrent {
        NonZeroU32::new(limit).map_or(MaxConcurrent::Off, MaxConcurrent::At)
    }

    fn taken(concurrency: &Arc<Concurrency>) -> Option<Permit> {
        concurrency.permits.try_acquire().ok()?.forget();
        Some(concurrency.give(true))
    }

    #[test]
    fn changed_limit_holds_for_permits_that_are_out() {
        let concurrency = Arc::new(Concurrency::new(at(2)));
        let (first, second) = (taken(&concurrency).unwrap(), taken(&concurrency).unwrap());
        assert!(taken(&concurrency).is_none());
        concurrency.set(at(1));
        drop(first);
        assert!(taken(&concurrency).is_none(), "one is out, as many as may");
        concurrency.set(at(3));
        let (third, fourth) = (taken(&concurrency), taken(&concurrency));
        assert!(third.is_some() && fourth.is_some() && taken(&concurrency).is_none());
        concurrency.set(MaxConcurrent::Off);
        drop((second, third, fourth));
        concurrency.set(at(1));
        let only = taken(&concurrency);
        assert!(only.is_some() && taken(&concurrency).is_none());
    }
}
