//! The states of all keys, in one table that all workers share.
//!
//! The table never grows: it has [`PAGES`] pages of 4 KiB, and a page is allocated when the first of its keys comes. A key belongs to
//! one set of eight slots. Its state is changed by a compare-and-swap, so workers wait for each other only when a key comes that has no
//! slot: then a lock of its page is held for the length of the search.
//!
//! A set that is full gives up the key with the most credit. It never gives up one that is over its limit, because that key would
//! begin with all of its credit. If all keys of a set are over their limits, a further key is refused.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::key::Key;

/// The pages of the table of a process: 32 MiB once all of them are in use, with two million slots. A million keys at once leave sets
/// that are on average half full, so that fewer than one in a hundred finds its set full.
const PAGES: usize = 1 << 13;

const SETS_PER_PAGE: usize = 32;
const SLOTS_PER_SET: usize = 8;

/// The states of keys.
pub(crate) struct Table {
    /// Hashes are by keys of the process, so that a client cannot choose its set.
    hasher: RandomState,
    /// A power of two.
    pages: Box<[Page]>,
    keys: AtomicU64,
    evicted: AtomicU64,
    crowded: AtomicU64,
}

/// The counts of a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TableReport {
    /// Slots that have a key.
    pub(crate) keys: u64,
    /// Keys that were given up for others although their credit was not complete.
    pub(crate) evicted: u64,
    /// Requests that were refused because all keys of their set were over their limits.
    pub(crate) crowded: u64,
}

/// The hash of a key, which stands for it: of two million keys, the chance that any two are taken for one is one in ten million.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyHash(u64);

/// A set has no room, because all of its keys are over their limits. The first of them is within its limit after this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Crowded(pub(crate) u64);

#[derive(Default)]
struct Page {
    /// Held while a key gets a slot.
    lock: Mutex<()>,
    sets: OnceLock<Box<[Set; SETS_PER_PAGE]>>,
}

/// A line of the cache for the tags, and one for the states.
#[derive(Default)]
#[repr(align(128))]
struct Set {
    tags: [AtomicU64; SLOTS_PER_SET],
    states: [AtomicU64; SLOTS_PER_SET],
}

impl Table {
    /// Creates the table of a process. It takes memory for its pages only when keys come.
    pub(crate) fn new() -> Self {
        Self::with_pages(PAGES)
    }

    /// Creates a table of so many pages, a power of two.
    fn with_pages(pages: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            pages: std::iter::repeat_with(Page::default).take(pages).collect(),
            keys: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            crowded: AtomicU64::new(0),
        }
    }

    /// Returns the hash of a limit's key.
    pub(crate) fn hash(&self, limit: u64, key: &Key<'_>) -> KeyHash {
        KeyHash(self.hasher.hash_one((limit, key)))
    }

    pub(crate) fn report(&self) -> TableReport {
        let count = |counter: &AtomicU64| counter.load(Relaxed);
        TableReport { keys: count(&self.keys), evicted: count(&self.evicted), crowded: count(&self.crowded) }
    }

    /// Lets `decide` change the state of a key, as one step for all workers. It gets the state, which is 0 for a key without one, and
    /// returns the new one, or `None` to leave it. It is called again if another worker has been faster. `tolerance` is the time by
    /// which a state of this limit may be ahead.
    ///
    /// # Errors
    /// Fails if the key has no state and the table has no room for one.
    pub(crate) fn update<R>(
        &self,
        KeyHash(hash): KeyHash,
        tolerance: u64,
        now: u64,
        mut decide: impl FnMut(u64) -> (Option<u64>, R),
    ) -> Result<R, Crowded> {
        // The lower bits choose the page and the set, the upper ones are the tag. With a table of 2^18 sets, no bit is left out.
        let low = usize::try_from(hash & u64::from(u32::MAX)).unwrap_or_default();
        let page = self.pages.get(low & (self.pages.len() - 1)).ok_or(Crowded(0))?;
        let number = (low >> PAGES.trailing_zeros()) % SETS_PER_PAGE;
        let tag = Tag::new(hash, tolerance);
        if let Some(sets) = page.sets.get()
            && let Some(result) = sets.get(number).and_then(|set| set.update(tag, &mut decide))
        {
            return Ok(result);
        }
        let (state, result) = match decide(0) {
            (Some(state), result) => (state, result),
            (None, result) => return Ok(result),
        };
        let _held = page.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let sets = page.sets.get_or_init(Box::default);
        let set = sets.get(number).ok_or(Crowded(0))?;
        // Another worker may have brought the key since.
        if let Some(result) = set.update(tag, &mut decide) {
            return Ok(result);
        }
        match set.insert(tag, state, now) {
            Ok(Inserted::IntoFree) => self.keys.fetch_add(1, Relaxed),
            Ok(Inserted::InPlaceOf { ahead: 0 }) => 0,
            Ok(Inserted::InPlaceOf { .. }) => self.evicted.fetch_add(1, Relaxed),
            Err(crowded) => {
                self.crowded.fetch_add(1, Relaxed);
                return Err(crowded);
            }
        };
        Ok(result)
    }
}

/// The way in which a key got its slot.
enum Inserted {
    IntoFree,
    /// In place of a key whose credit was complete after this time.
    InPlaceOf {
        ahead: u64,
    },
}

impl Set {
    /// Changes the state of a key, or returns `None` if the key has no slot.
    fn update<R>(&self, tag: Tag, decide: &mut impl FnMut(u64) -> (Option<u64>, R)) -> Option<R> {
        let slots = self.tags.iter().zip(&self.states);
        for (own, word) in slots.filter(|(own, _)| Tag(own.load(Relaxed)).is_of_same_key(tag)) {
            loop {
                // In this order: an inserting worker marks the state as busy before it changes the tag. If the tag is still that of the
                // key, the state is, too, and the exchange fails if either changes.
                let present = State(word.load(Acquire));
                let found = Tag(own.load(Relaxed));
                if present.is_busy() || !found.is_of_same_key(tag) {
                    break;
                }
                let (state, result) = match decide(present.time()) {
                    (Some(state), result) => (state, result),
                    (None, result) => return Some(result),
                };
                let changed = present.with_time(state);
                if word.compare_exchange_weak(present.0, changed.0, AcqRel, Relaxed).is_ok() {
                    if found != tag {
                        // The limit has changed by a reload. If the slot has been given to another key meanwhile, nothing happens.
                        let _superseded = own.compare_exchange(found.0, tag.0, Relaxed, Relaxed);
                    }
                    return Some(result);
                }
            }
        }
        None
    }

    /// Gives a slot to a key that has none. The caller holds the lock of the page.
    fn insert(&self, tag: Tag, state: u64, now: u64) -> Result<Inserted, Crowded> {
        loop {
            let mut best: Option<(&AtomicU64, &AtomicU64, State, Standing)> = None;
            let mut soonest = u64::MAX;
            for (own, word) in self.tags.iter().zip(&self.states) {
                let (found, present) = (Tag(own.load(Relaxed)), State(word.load(Acquire)));
                let standing =
                    Standing { ahead: present.time().saturating_sub(now), tolerance: found.tolerance() };
                if found.is_free() {
                    best = Some((own, word, present, standing));
                    break;
                }
                match standing.over() {
                    Some(over) => soonest = soonest.min(over),
                    None if best.as_ref().is_none_or(|(.., best)| standing.has_more_credit_than(best)) => {
                        best = Some((own, word, present, standing));
                    }
                    None => {}
                }
            }
            let Some((own, word, present, standing)) = best else { return Err(Crowded(soonest)) };
            if word.compare_exchange(present.0, State::BUSY.0, AcqRel, Relaxed).is_err() {
                // The key that was chosen has just had a request.
                continue;
            }
            let is_free = Tag(own.load(Relaxed)).is_free();
            own.store(tag.0, Relaxed);
            word.store(present.of_next_key(state).0, Release);
            return Ok(if is_free {
                Inserted::IntoFree
            } else {
                Inserted::InPlaceOf { ahead: standing.ahead }
            });
        }
    }
}

/// The key of a slot: 46 bits of its hash, a bit that is set for each key, and 16 bits of its limit's tolerance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tag(u64);

impl Tag {
    const KEY: u32 = 18;
    const USED: u64 = 1 << 16;

    fn new(hash: u64, tolerance: u64) -> Self {
        let key = hash >> Self::KEY << Self::KEY;
        Self(key | Self::USED | u64::from(shorten(tolerance)))
    }

    fn is_free(self) -> bool {
        self.0 == 0
    }

    fn is_of_same_key(self, other: Self) -> bool {
        self.0 >> 16 == other.0 >> 16
    }

    /// Returns the tolerance of the key's limit, or up to a thousandth less.
    fn tolerance(self) -> u64 {
        lengthen(u16::try_from(self.0 & u64::from(u16::MAX)).unwrap_or_default())
    }
}

/// Returns a number in 16 bits: the ten bits behind its highest one, and the place of that.
fn shorten(number: u64) -> u16 {
    let place = u64::BITS - number.leading_zeros();
    let shift = place.saturating_sub(10);
    u16::try_from(u64::from(shift) << 10 | number >> shift).unwrap_or(u16::MAX)
}

fn lengthen(short: u16) -> u64 {
    u64::from(short & 0x3ff) << (short >> 10)
}

/// The state of a slot: a time in 60 bits, which last for 36 years, and the number of the slot's key in the other four. The number
/// keeps a worker that was interrupted from changing the state of a later key that happens to be the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State(u64);

impl State {
    /// The key of the slot is being replaced.
    const BUSY: Self = Self(u64::MAX);

    fn is_busy(self) -> bool {
        self == Self::BUSY
    }

    fn time(self) -> u64 {
        self.0 >> 4
    }

    fn with_time(self, time: u64) -> Self {
        // One less than all bits, which is the time of a busy state.
        Self(time.min((1 << 60) - 2) << 4 | self.0 & 0xf)
    }

    fn of_next_key(self, time: u64) -> Self {
        Self(self.0.wrapping_add(1) & 0xf).with_time(time)
    }
}

/// The standing of a key that could be given up.
struct Standing {
    /// The time until its credit is complete.
    ahead: u64,
    tolerance: u64,
}

impl Standing {
    /// Returns the time until the key is within its limit, if it is over it.
    fn over(&self) -> Option<u64> {
        (self.ahead > self.tolerance).then(|| self.ahead - self.tolerance)
    }

    /// Compares the parts of the credit that are left.
    fn has_more_credit_than(&self, other: &Self) -> bool {
        let product = |ahead: u64, tolerance: u64| u128::from(ahead) * u128::from(tolerance.max(1));
        product(self.ahead, other.tolerance) < product(other.ahead, self.tolerance)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::thread;

    use super::*;

    /// A table of one page, whose sets tests choose by the hash.
    fn small() -> Table {
        Table::with_pages(1)
    }

    /// Returns the hash of the key `number` in the first set.
    fn key(number: u64) -> KeyHash {
        KeyHash((number + 1) << Tag::KEY)
    }

    /// Moves the state of a key on by `by`. Returns the state before.
    fn add(table: &Table, key: KeyHash, tolerance: u64, by: u64, now: u64) -> Result<u64, Crowded> {
        table.update(key, tolerance, now, |state| (Some(state.max(now) + by), state))
    }

    fn state(table: &Table, key: KeyHash) -> u64 {
        table.update(key, 0, 0, |state| (None, state)).unwrap()
    }

    #[test]
    fn table_takes_no_page_before_a_key_comes() {
        let table = Table::new();
        state(&table, key(0));
        assert_eq!(table.pages.iter().filter(|page| page.sets.get().is_some()).count(), 0);
        add(&table, key(0), 0, 1, 0).unwrap();
        assert_eq!(table.pages.iter().filter(|page| page.sets.get().is_some()).count(), 1);
        assert_eq!(size_of::<[Set; SETS_PER_PAGE]>(), 4096);
    }

    #[test]
    fn full_set_gives_up_the_key_with_the_most_credit() {
        let table = small();
        for number in 0..8 {
            // The credit that is left of 1000: 900, 850, 800, …, but for the key 5, which has 990.
            let spent = if number == 5 { 10 } else { 100 + 50 * number };
            add(&table, key(number), 1000, spent, 1).unwrap();
        }
        add(&table, key(8), 1000, 500, 1).unwrap();
        let left: Vec<u64> = (0..9).filter(|number| state(&table, key(*number)) != 0).collect();
        assert_eq!(left, [0, 1, 2, 3, 4, 6, 7, 8]);
        assert_eq!(table.report(), TableReport { keys: 8, evicted: 1, crowded: 0 });
    }

    #[test]
    fn credit_is_compared_by_its_part_of_the_limit() {
        let table = small();
        add(&table, key(0), 1_000_000, 10_000, 1).unwrap();
        for number in 1..8 {
            add(&table, key(number), 1000, 500, 1).unwrap();
        }
        add(&table, key(8), 1000, 500, 1).unwrap();
        assert_eq!(state(&table, key(0)), 0, "it had 99 % left, and the others 50 %");
    }

    #[test]
    fn key_over_its_limit_is_never_given_up_and_a_further_key_is_refused() {
        let table = small();
        for number in 0..8 {
            add(&table, key(number), 1000, 2000 + number, 1).unwrap();
        }
        // 2000 ahead of 1, with a tolerance of 1000 that is kept as 1000.
        assert_eq!(add(&table, key(8), 1000, 1, 1), Err(Crowded(1000)));
        assert_eq!(table.report(), TableReport { keys: 8, evicted: 0, crowded: 1 });
        assert!((0..8).all(|number| state(&table, key(number)) == 2001 + number));
        // Later the first is within its limit, and has the most credit.
        add(&table, key(8), 1000, 1, 1002).unwrap();
        assert_eq!((state(&table, key(0)), state(&table, key(8))), (0, 1003));
    }

    #[test]
    fn key_with_all_of_its_credit_is_replaced_without_being_counted() {
        let table = small();
        for number in 0..100 {
            add(&table, key(number), 0, 10, number * 10).unwrap();
        }
        assert_eq!(table.report(), TableReport { keys: 8, evicted: 0, crowded: 0 });
    }

    #[test]
    fn tolerance_is_kept_to_a_thousandth_and_never_more_than_it_is() {
        for exponent in 0..64 {
            for number in [1_u64 << exponent, (1 << exponent) - 1, u64::MAX >> exponent, 0b1011 << exponent] {
                let kept = lengthen(shorten(number));
                assert!(kept <= number && number - kept <= number / 512, "{number} as {kept}");
            }
        }
    }

    #[test]
    fn every_step_of_many_threads_counts_once() {
        let table = Table::with_pages(4);
        let (threads, steps, keys) = (4, 20_000, 100);
        let hash = |number: u64| table.hash(1, &Key::Header(&number.to_le_bytes()));
        thread::scope(|scope| {
            for thread in 0..threads {
                let table = &table;
                scope.spawn(move || {
                    for step in 0..steps {
                        add(table, hash((step + thread) % keys), u64::MAX, 1, 0).unwrap();
                    }
                });
            }
        });
        let total: u64 = (0..keys).map(|number| state(&table, hash(number))).sum();
        assert_eq!(total, threads * steps);
        assert_eq!(table.report(), TableReport { keys, evicted: 0, crowded: 0 });
    }

    /// Threads fight for the slots of one set. A key that keeps its slot has all of its steps; one that loses it begins again. So each
    /// state that a thread sees follows from steps of the same key only, which carry the number of the key.
    #[test]
    fn states_of_keys_that_fight_for_slots_never_mix() {
        let table = small();
        let mixed: u64 = thread::scope(|scope| {
            let fight = |thread: u64| {
                let table = &table;
                move || {
                    let mut mixed = 0;
                    for step in 0..30_000_u64 {
                        let number = (step * 7 + thread * 3) % 24;
                        // All states of a key are its number, modulo 32.
                        let decide = |state: u64| {
                            let is_own = state == 0 || state % 32 == number + 1;
                            (Some(if state == 0 { number + 1 } else { state + 32 }), is_own)
                        };
                        let is_own = table.update(key(number), u64::MAX, 0, decide).unwrap();
                        mixed += u64::from(!is_own);
                    }
                    mixed
                }
            };
            let threads: Vec<_> = (0..4).map(|thread| scope.spawn(fight(thread))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(mixed, 0);
        assert!(table.report().evicted > 1000);
    }

    /// One worker: the table does what a map does, as long as no set overflows.
    #[test]
    fn table_is_a_map_of_states() {
        let (table, mut model) = (Table::with_pages(16), HashMap::new());
        let mut random = fastrand::Rng::with_seed(7);
        for now in 0..20_000 {
            let number = random.u64(..500);
            let by = random.u64(1..1000);
            let hash = table.hash(2, &Key::Header(&number.to_le_bytes()));
            let before = add(&table, hash, u64::MAX >> 6, by, now).unwrap();
            let expected = model.entry(number).or_insert(0);
            assert_eq!(before, *expected);
            *expected = before.max(now) + by;
        }
        assert_eq!(table.report().evicted, 0);
    }
}
