//! The time after which a server closes idle connections, learned from those that it closes.
//!
//! A request that meets the close on its way has to be sent again, or fails. So the pool closes such connections first. Servers that
//! say `Keep-Alive: timeout=N` need not be watched.

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::net::clock;

/// The closes that are remembered.
const REMEMBERED: usize = 8;
/// The closes of about the same age that make a habit.
const ENOUGH: usize = 3;
/// A close sooner than this belongs to the response before it.
const AGE_MIN: Duration = Duration::from_millis(500);
/// The part by which ages of one habit differ, and the least such difference.
const SPREAD: (u32, Duration) = (10, Duration::from_millis(100));
/// The part of the age by which the pool closes earlier, and the least.
const MARGIN: (u32, Duration) = (10, Duration::from_millis(100));
/// The time in which the limit grows by its own length without further evidence. So the habit is tried again after a tenth of it, and is
/// forgotten after all of it.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(100 * 60);

/// A server's habit, as far as it is known.
#[derive(Default)]
pub(super) struct Habit {
    /// The age at which it closes, in milliseconds; 0 if it is not known.
    age: AtomicU64,
    /// The time of the last evidence, in milliseconds since the process began.
    seen: AtomicU64,
    /// The closes by which it was learned.
    closes: AtomicU64,
    recent: Mutex<VecDeque<Close>>,
}

/// An idle connection that the server has closed.
#[derive(Clone, Copy)]
struct Close {
    at: Duration,
    age: Duration,
}

impl Habit {
    /// Takes the age at which the server has closed an idle connection. Returns the age at which it closes them, if that is news.
    pub(super) fn observe(&self, age: Duration) -> Option<Duration> {
        if age < AGE_MIN {
            return None;
        }
        let close = Close { at: clock::uptime(), age };
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == REMEMBERED {
            recent.pop_front();
        }
        recent.push_back(close);
        let known = Duration::from_millis(self.age.load(Relaxed));
        let is_known = is_near(known, age);
        let alike: Vec<&Close> = recent.iter().filter(|other| is_near(other.age, age)).collect();
        let first = alike.first().map_or(close.at, |first| first.at);
        // A server that stops closes all its connections at one moment, and says nothing about its habit.
        let is_habit = alike.len() >= ENOUGH && close.at.saturating_sub(first) >= age / 2;
        if !is_known && !is_habit {
            return None;
        }
        let shortest = alike.iter().map(|close| close.age).min().unwrap_or(age);
        let shortest = if is_known { shortest.min(known) } else { shortest };
        self.age.store(clock::millis(shortest), Relaxed);
        self.seen.store(clock::millis(close.at), Relaxed);
        self.closes.fetch_add(if is_known { 1 } else { alike.len() as u64 }, Relaxed);
        (!is_known).then_some(shortest)
    }

    /// Returns the time after which an idle connection is closed, if the server's habit is known.
    pub(super) fn limit(&self) -> Option<Duration> {
        let age = match self.age.load(Relaxed) {
            0 => return None,
            age => Duration::from_millis(age),
        };
        let limit = age.saturating_sub(part(age, MARGIN));
        let since = clock::uptime().saturating_sub(Duration::from_millis(self.seen.load(Relaxed)));
        let forgotten = since.as_secs_f64() / FORGOTTEN_AFTER.as_secs_f64();
        (forgotten < 1.0).then(|| limit.mul_f64(1.0 + forgotten))
    }

    /// Returns the number of closes by which it was learned.
    pub(super) fn closes(&self) -> u64 {
        self.closes.load(Relaxed)
    }
}

fn is_near(one: Duration, other: Duration) -> bool {
    one.abs_diff(other) <= part(other, SPREAD)
}

/// Returns a part of an age, but at least so much.
fn part(age: Duration, (part, min): (u32, Duration)) -> Duration {
    (age / part).max(min)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pass(millis: u64) {
        tokio::time::advance(Duration::from_millis(millis)).await;
    }

    fn observe(habit: &Habit, age: u64) -> Option<u64> {
        habit.observe(Duration::from_millis(age)).map(clock::millis)
    }

    fn limit(habit: &Habit) -> Option<u64> {
        habit.limit().map(clock::millis)
    }

    #[tokio::test(start_paused = true)]
    async fn three_closes_of_about_the_same_age_make_a_habit() {
        let habit = Habit::default();
        for (age, learned) in [(5_010, None), (1_200, None), (5_000, None), (5_040, Some(5_000))] {
            pass(6_000).await;
            assert_eq!(observe(&habit, age), learned, "{age}");
        }
        assert_eq!((limit(&habit), habit.closes()), (Some(4_500), 3));
        // Once known, each further one confirms it.
        assert_eq!(observe(&habit, 4_950), None);
        assert_eq!((limit(&habit), habit.closes()), (Some(4_455), 4));
    }

    #[tokio::test(start_paused = true)]
    async fn server_that_stops_has_no_habit() {
        let habit = Habit::default();
        for _ in 0..20 {
            assert_eq!(observe(&habit, 2_300), None, "all at one moment");
        }
        pass(10_000).await;
        for age in [700, 1_400, 3_000, 9_000] {
            assert_eq!(observe(&habit, age), None, "of any age");
        }
        assert_eq!(limit(&habit), None);
    }

    #[tokio::test(start_paused = true)]
    async fn closes_behind_a_response_are_none_of_idleness() {
        let habit = Habit::default();
        for _ in 0..10 {
            pass(1_000).await;
            assert_eq!(observe(&habit, 20), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn habit_is_forgotten_slowly_and_learned_anew() {
        let habit = Habit::default();
        for _ in 0..3 {
            pass(6_000).await;
            observe(&habit, 5_000);
        }
        pass(10 * 60_000).await;
        assert_eq!(limit(&habit), Some(4_950), "a tenth more: nearly what the server does");
        pass(80 * 60_000).await;
        assert_eq!(limit(&habit), Some(8_550));
        for _ in 0..3 {
            pass(3_000).await;
            observe(&habit, 2_000);
        }
        assert_eq!(limit(&habit), Some(1_800), "another habit");
        pass(101 * 60_000).await;
        assert_eq!(limit(&habit), None);
    }
}
