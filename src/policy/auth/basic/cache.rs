//! The recent results of comparisons, and the comparisons under way.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// The digest of a name, a password and an entry under a random key of the process.
pub(super) type Key = [u8; 32];

/// The most results of each kind that a shard remembers.
const MATCHES_MAX: usize = 1024;
const MISMATCHES_MAX: usize = 64;

/// The most requests that wait for one comparison.
const WAITING_MAX: usize = 4096;

/// A part of the results. A key's first byte chooses its shard.
#[derive(Default)]
pub(super) struct Shard {
    states: HashMap<Key, State, foldhash::fast::RandomState>,
    /// The keys of results, oldest first, each with the time of its result. Guesses must not displace matches, so each kind has its own.
    matches: VecDeque<(Key, Instant)>,
    mismatches: VecDeque<(Key, Instant)>,
}

enum State {
    /// A comparison is under way or queued, and these wait for it.
    Running(Vec<oneshot::Sender<bool>>),
    Done {
        is_match: bool,
        at: Instant,
    },
}

/// The state of a comparison as a new request finds it.
pub(super) enum Seen {
    Done(bool),
    /// It has to be started, and [`Shard::start`] to be called.
    Missing,
    Running(oneshot::Receiver<bool>),
    /// It runs, and too many wait for it.
    TooMany,
}

impl Shard {
    /// Returns the state of a comparison. A match counts for `match_age_max`, a mismatch for `mismatch_age_max`.
    pub(super) fn see(&mut self, key: &Key, match_age_max: Duration, mismatch_age_max: Duration) -> Seen {
        match self.states.get_mut(key) {
            Some(State::Running(waiting)) if waiting.len() >= WAITING_MAX => Seen::TooMany,
            Some(State::Running(waiting)) => {
                let (sender, receiver) = oneshot::channel();
                waiting.push(sender);
                Seen::Running(receiver)
            }
            Some(State::Done { is_match, at }) => {
                let age_max = if *is_match { match_age_max } else { mismatch_age_max };
                if at.elapsed() < age_max { Seen::Done(*is_match) } else { Seen::Missing }
            }
            None => Seen::Missing,
        }
    }

    /// Records that a comparison is queued, and returns what waits for it.
    pub(super) fn start(&mut self, key: Key) -> oneshot::Receiver<bool> {
        let (sender, receiver) = oneshot::channel();
        self.states.insert(key, State::Running(vec![sender]));
        receiver
    }

    /// Returns true if a request still waits for a comparison. Otherwise forgets the comparison.
    pub(super) fn is_awaited(&mut self, key: &Key) -> bool {
        let Some(State::Running(waiting)) = self.states.get_mut(key) else { return false };
        waiting.retain(|sender| !sender.is_closed());
        let is_awaited = !waiting.is_empty();
        if !is_awaited {
            self.states.remove(key);
        }
        is_awaited
    }

    /// Records a result. Returns those that wait for it.
    pub(super) fn finish(&mut self, key: Key, is_match: bool) -> Vec<oneshot::Sender<bool>> {
        let at = Instant::now();
        let before = self.states.insert(key, State::Done { is_match, at });
        let (order, max) = match is_match {
            true => (&mut self.matches, MATCHES_MAX),
            false => (&mut self.mismatches, MISMATCHES_MAX),
        };
        order.push_back((key, at));
        if order.len() > max
            && let Some((oldest, of)) = order.pop_front()
            && matches!(self.states.get(&oldest), Some(State::Done { at, .. }) if *at == of)
        {
            self.states.remove(&oldest);
        }
        match before {
            Some(State::Running(waiting)) => waiting,
            Some(State::Done { .. }) | None => Vec::new(),
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.states.len()
    }
}
