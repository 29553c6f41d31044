//! Counters per way of authentication, and per identity where that is asked for.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::sharded::{Counter, Sharded};
use super::{Page, Scrape};

/// The most identities of a way with a counter of their own: those that come first.
const IDENTITIES_MAX: usize = 100;

/// The longest identity with a counter of its own.
const IDENTITY_BYTES_MAX: usize = 128;

/// The label of all other identities.
const OTHER: &str = "other";

/// The verdict of a way on a request, as it is counted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum AuthOutcome {
    Known,
    Absent,
    Refused,
    Unavailable,
    Responded,
}

const OUTCOMES: [&str; 5] = ["known", "absent", "refused", "unavailable", "responded"];

/// The counters of one way. A reload takes those of a way with the same name over.
#[derive(Debug)]
pub(crate) struct AuthStats {
    shards: Sharded<[Counter; OUTCOMES.len()]>,
    identities: Identities,
}

/// The counters of identities. A known one is found without a lock; a new one is added under one, of which there are few.
#[derive(Debug)]
struct Identities {
    counters: ArcSwap<HashMap<Box<str>, Arc<Sharded<Counter>>>>,
    adding: Mutex<()>,
    others: Sharded<Counter>,
    workers: usize,
}

impl AuthStats {
    /// Creates the counters: a slot per worker and one for other threads.
    pub(crate) fn new(workers: usize) -> Self {
        let identities = Identities {
            counters: ArcSwap::default(),
            adding: Mutex::new(()),
            others: Sharded::new(workers),
            workers,
        };
        Self { shards: Sharded::new(workers), identities }
    }

    /// Counts a request by the verdict on it.
    pub(crate) fn count(&self, outcome: AuthOutcome) {
        if let Some(counter) = self.shards.mine().and_then(|outcomes| outcomes.get(outcome as usize)) {
            counter.add(1);
        }
    }

    /// Counts a request by its caller.
    pub(crate) fn count_identity(&self, subject: &str) {
        self.identities.count(subject);
    }

    /// Returns the counts, with the name of the way, and those of its identities if they are asked for.
    pub(crate) fn report(&self, auth: &str, with_identities: bool) -> AuthReport {
        let outcomes = std::array::from_fn(|outcome| {
            self.shards.sum(|outcomes| outcomes.get(outcome).map_or(0, Counter::value))
        });
        let identities = if with_identities { self.identities.report() } else { Vec::new() };
        AuthReport { auth: auth.to_owned(), outcomes, identities }
    }
}

impl Identities {
    fn count(&self, subject: &str) {
        let bump = |counter: &Sharded<Counter>| {
            if let Some(own) = counter.mine() {
                own.add(1);
            }
        };
        // Without another handle, whose count all workers would write.
        match self.counters.load().get(subject) {
            Some(counter) => bump(counter),
            None => bump(self.add(subject).as_deref().unwrap_or(&self.others)),
        }
    }

    /// Adds the counter of an identity, or returns `None` if it has none of its own.
    fn add(&self, subject: &str) -> Option<Arc<Sharded<Counter>>> {
        let is_nameable = !subject.is_empty() && subject.len() <= IDENTITY_BYTES_MAX && subject != OTHER;
        if !is_nameable || self.counters.load().len() >= IDENTITIES_MAX {
            return None;
        }
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        // Another worker may have been faster.
        let known = self.counters.load();
        if let Some(counter) = known.get(subject) {
            return Some(counter.clone());
        }
        if known.len() >= IDENTITIES_MAX {
            return None;
        }
        let counter = Arc::new(Sharded::new(self.workers));
        let mut counters = HashMap::clone(&known);
        counters.insert(subject.into(), counter.clone());
        self.counters.store(Arc::new(counters));
        Some(counter)
    }

    fn report(&self) -> Vec<(Box<str>, u64)> {
        let counters = self.counters.load();
        let mut rows: Vec<_> = counters
            .iter()
            .map(|(subject, counter)| (subject.clone(), counter.sum(Counter::value)))
            .collect();
        rows.sort_unstable();
        let others = self.others.sum(Counter::value);
        rows.extend((others > 0).then(|| (OTHER.into(), others)));
        rows
    }
}

/// The counts of one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AuthReport {
    /// The way's name.
    pub(crate) auth: String,
    /// In the order of [`OUTCOMES`].
    outcomes: [u64; OUTCOMES.len()],
    identities: Vec<(Box<str>, u64)>,
}

impl Scrape {
    pub(super) fn encode_auth(&self, page: &mut Page<'_>) -> fmt::Result {
        if self.auth.is_empty() {
            return Ok(());
        }
        let outcomes = self.auth.iter().flat_map(|way| {
            let counts = OUTCOMES.into_iter().zip(way.outcomes).filter(|(_, count)| *count > 0);
            counts.map(|(outcome, count)| ([("auth", &*way.auth), ("outcome", outcome)], count))
        });
        page.counter("gateway_auth_requests", "Requests that a way of authentication has judged", outcomes)?;
        let identities = self.auth.iter().flat_map(|way| {
            let counts = way.identities.iter();
            counts.map(|(identity, count)| ([("auth", &*way.auth), ("identity", &**identity)], *count))
        });
        page.counter("gateway_identity_requests", "Requests of known callers, by their identity", identities)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(stats: &AuthStats) -> Vec<(String, u64)> {
        stats.report("w", true).identities.into_iter().map(|(name, count)| (name.into(), count)).collect()
    }

    #[test]
    fn identities_beyond_the_first_hundred_share_a_counter() {
        let stats = AuthStats::new(1);
        for number in 0..IDENTITIES_MAX + 5 {
            stats.count_identity(&format!("{number:03}"));
        }
        stats.count_identity("000");
        stats.count_identity("104");
        let counts = counts(&stats);
        assert_eq!(counts.len(), IDENTITIES_MAX + 1);
        assert_eq!((&counts[0], &counts[99]), (&("000".to_owned(), 2), &("099".to_owned(), 1)));
        assert_eq!(counts[100], (OTHER.to_owned(), 6));
    }

    #[test]
    fn identity_that_is_no_label_is_counted_with_the_others() {
        let stats = AuthStats::new(1);
        for subject in ["", OTHER, &"x".repeat(IDENTITY_BYTES_MAX + 1)] {
            stats.count_identity(subject);
        }
        stats.count_identity(&"x".repeat(IDENTITY_BYTES_MAX));
        assert_eq!(counts(&stats), [("x".repeat(IDENTITY_BYTES_MAX), 1), (OTHER.to_owned(), 3)]);
    }

    #[test]
    fn identity_that_several_workers_see_first_is_one() {
        let stats = AuthStats::new(4);
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let stats = &stats;
                scope.spawn(move || {
                    super::super::enter_worker(worker);
                    for number in 0..1000 {
                        stats.count_identity(&format!("{:02}", number % 50));
                        stats.count(AuthOutcome::Known);
                    }
                });
            }
        });
        let counts = counts(&stats);
        assert_eq!(counts.len(), 50);
        assert!(counts.iter().all(|(_, count)| *count == 80), "{counts:?}");
        assert_eq!(stats.report("w", true).outcomes, [4000, 0, 0, 0, 0]);
    }
}
