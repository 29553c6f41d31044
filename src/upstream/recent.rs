//! Counts of what has happened lately, cheaply: a number for each worker and tenth of a time.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::observe::metrics::Sharded;

/// The parts of the time that is looked back on.
const PARTS: usize = 10;

/// A count of the events of the last time. Each worker writes its own.
pub(super) struct Recent(Sharded<[Part; PARTS]>);

/// The events of a part, with the number of the part since the process began: in the upper half.
#[derive(Default)]
struct Part(AtomicU64);

impl Recent {
    pub(super) fn new(workers: usize) -> Self {
        Self(Sharded::new(workers))
    }

    /// Counts an event that happens `now`, which is the time since the process began. `within` is the time that is looked back on.
    pub(super) fn add(&self, now: Duration, within: Duration) {
        let number = part(now, within);
        let index = usize::try_from(number).unwrap_or_default() % PARTS;
        let Some(Part(packed)) = self.0.mine().and_then(|parts| parts.get(index)) else { return };
        let (of, count) = unpack(packed.load(Relaxed));
        let count = if of == number { count.saturating_add(1) } else { 1 };
        packed.store(u64::from(number) << 32 | u64::from(count), Relaxed);
    }

    /// Returns the events of the last `within`, give or take a tenth of it.
    pub(super) fn count(&self, now: Duration, within: Duration) -> u64 {
        let number = part(now, within);
        let is_recent = |of: u32| number.wrapping_sub(of) < PARTS as u32;
        self.0.sum(|parts| {
            let counts = parts.iter().map(|Part(packed)| unpack(packed.load(Relaxed)));
            counts.filter(|(of, _)| is_recent(*of)).map(|(_, count)| u64::from(count)).sum()
        })
    }

    /// Forgets all events.
    pub(super) fn clear(&self) {
        // Another worker may be counting at this moment. Its count of this part survives.
        self.0.iter().flatten().for_each(|Part(packed)| packed.store(0, Relaxed));
    }
}

/// Returns the number of the part that `now` is in.
fn part(now: Duration, within: Duration) -> u32 {
    let length = (within / PARTS as u32).as_nanos().max(1);
    // From one on: an empty part has the number 0.
    u32::try_from(now.as_nanos() / length + PARTS as u128).unwrap_or(u32::MAX)
}

fn unpack(packed: u64) -> (u32, u32) {
    ((packed >> 32) as u32, packed as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_forgotten_part_by_part() {
        let (recent, within) = (Recent::new(2), Duration::from_secs(10));
        let at = Duration::from_millis;
        assert_eq!(recent.count(at(0), within), 0);
        for event in 0..100 {
            recent.add(at(100 * event), within);
        }
        let counts = [9_900, 10_500, 14_500, 18_900, 19_500, 60_000].map(|now| recent.count(at(now), within));
        assert_eq!(counts, [100, 90, 50, 10, 0, 0]);
        recent.add(at(60_000), within);
        assert_eq!(recent.count(at(60_000), within), 1);
        recent.clear();
        assert_eq!(recent.count(at(60_000), within), 0);
    }
}
