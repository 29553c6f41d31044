//! Counting without contention: a slot per worker, summed when it is read.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that one thread writes and any thread reads.
///
/// Because there is one writer, adding is a plain load and store instead of a locked instruction. A second writer would
/// lose counts (never more than that), so each counter lives in a [`Sharded`] slot of one worker.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the thread that owns the counter may call it.
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

thread_local! {
    static WORKER: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Marks this thread as worker `worker`. Any other thread counts as the control thread.
pub(crate) fn enter_worker(worker: usize) {
    WORKER.set(worker);
}

/// Returns the number of this thread's worker, or a number beyond all workers if the thread is none.
pub(crate) fn this_worker() -> usize {
    WORKER.get()
}

/// A value per worker, each on its own cache lines, so that two workers never write to the same line.
#[derive(Debug)]
pub(crate) struct Sharded<T>(Box<[Slot<T>]>);

// 128, not 64: the adjacent-line prefetcher of x86 pulls lines in pairs, and Apple's cores have 128-byte lines.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Slot<T>(T);

impl<T: Default> Sharded<T> {
    /// Creates a slot for each of the workers 0 to `workers` - 1, and one, numbered `workers`, for the control thread.
    pub(crate) fn new(workers: usize) -> Self {
        Self((0..=workers).map(|_| Slot::default()).collect())
    }
}

impl<T> Sharded<T> {
    /// Returns the slot of this worker, or `None` for a number that no worker has.
    pub(crate) fn of(&self, worker: usize) -> Option<&T> {
        let slot = self.0.get(worker);
        debug_assert!(slot.is_some(), "worker {worker} has no slot among {}", self.0.len());
        slot.map(|slot| &slot.0)
    }

    /// Returns the slot of this thread's worker, or the control thread's slot for any other thread.
    pub(crate) fn mine(&self) -> Option<&T> {
        self.0.get(this_worker()).or(self.0.last()).map(|slot| &slot.0)
    }

    /// Iterates over all slots, for reading.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|slot| &slot.0)
    }

    /// Returns the sum of `part` over all slots.
    pub(crate) fn sum(&self, part: impl Fn(&T) -> u64) -> u64 {
        self.iter().map(part).sum()
    }
}

/// Counts by a reason that is known only when it occurs: a list that grows and never shrinks.
///
/// Reasons are static strings, so there are as many entries as the program has reasons. The first use of a reason
/// allocates.
#[derive(Debug, Default)]
pub(crate) struct ReasonCounts {
    first: OnceLock<Box<Reason>>,
}

#[derive(Debug)]
struct Reason {
    name: &'static str,
    count: Counter,
    next: OnceLock<Box<Reason>>,
}

impl ReasonCounts {
    /// Counts one more of `reason`. Only the thread that owns the counts may call it.
    pub(crate) fn add(&self, reason: &'static str) {
        let mut place = &self.first;
        loop {
            let entry = place.get_or_init(|| Box::new(Reason::new(reason)));
            if entry.name == reason {
                return entry.count.add(1);
            }
            place = &entry.next;
        }
    }

    /// Iterates over the reasons so far, in the order of their first occurrence.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        std::iter::successors(self.first.get(), |entry| entry.next.get())
            .map(|entry| (entry.name, entry.count.value()))
    }
}

impl Reason {
    fn new(name: &'static str) -> Self {
        Self { name, count: Counter::default(), next: OnceLock::new() }
    }
}

/// Returns the sums of several slots' counts, sorted by reason.
pub(crate) fn sum_reasons<'a>(
    counts: impl IntoIterator<Item = &'a ReasonCounts>,
) -> Vec<(&'static str, u64)> {
    let mut sums = std::collections::BTreeMap::new();
    for (reason, count) in counts.into_iter().flat_map(ReasonCounts::iter) {
        *sums.entry(reason).or_insert(0) += count;
    }
    sums.into_iter().collect()
}

/// Adds values to sums, each to the one at its position.
pub(super) fn add_each(sums: &mut [u64], values: impl IntoIterator<Item = u64>) {
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}

/// Adds counts to sums, by reason.
pub(super) fn add_reasons(sums: &mut Vec<(&'static str, u64)>, counts: Vec<(&'static str, u64)>) {
    for (reason, count) in counts {
        match sums.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, sum)) => *sum += count,
            None => sums.push((reason, count)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_of_different_workers_share_no_cache_line() {
        let counters = Sharded::<Counter>::new(2);
        let addresses: Vec<usize> =
            counters.iter().map(|counter| std::ptr::from_ref(counter).addr()).collect();
        assert_eq!(addresses.len(), 3);
        assert!(addresses.windows(2).all(|pair| pair[1] - pair[0] >= 128), "{addresses:?}");
    }

    #[test]
    fn counts_of_all_workers_are_summed() {
        let counters = Sharded::<Counter>::new(3);
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let counter = counters.of(worker).unwrap();
                scope.spawn(move || (0..1000).for_each(|_| counter.add(1)));
            }
        });
        assert_eq!(counters.sum(Counter::value), 4000);
    }

    #[test]
    fn reasons_are_counted_apart_and_summed_over_workers() {
        let (one, other) = (ReasonCounts::default(), ReasonCounts::default());
        one.add("pool.acquire_timeout");
        one.add("pool.max_pending");
        one.add("pool.acquire_timeout");
        other.add("pool.max_pending");
        assert_eq!(one.iter().collect::<Vec<_>>(), [("pool.acquire_timeout", 2), ("pool.max_pending", 1)]);
        assert_eq!(sum_reasons([&one, &other]), [("pool.acquire_timeout", 2), ("pool.max_pending", 2)]);
    }
}
