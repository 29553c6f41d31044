//! The limit of a route on the requests of a key in progress.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use foldhash::HashMap;

use crate::config::{self, LimitBy};
use crate::http::error::Error;
use crate::policy::rate_limit::{Caller, Key};

/// The number of locks among which keys are spread. Each is held for the length of a lookup.
const SHARDS: usize = 32;

/// The counts of all limits. A reload leaves them, so that its limit counts the requests that began before it, too. There is an entry for
/// each key that has requests in progress, so the limits on connections are those of its size.
static COUNTS: LazyLock<Counts> = LazyLock::new(Counts::default);

#[derive(Default)]
struct Counts {
    hasher: RandomState,
    shards: [Mutex<HashMap<u64, u32>>; SHARDS],
}

/// The limit of a route.
pub(crate) struct Concurrent {
    /// The hash of its route and its key.
    id: u64,
    limit: u32,
    by: LimitBy,
}

/// The place of a request in progress. Dropping it frees the place.
pub(crate) struct Permit {
    key: u64,
}

impl Concurrent {
    /// Creates the limit of the route of this name.
    pub(crate) fn new(route: &str, written: &config::ConcurrentBy) -> Self {
        let id = COUNTS.hasher.hash_one((route, written.by.to_string()));
        Self { id, limit: written.limit.get(), by: written.by.clone() }
    }

    /// Takes a place for a request.
    ///
    /// # Errors
    /// Fails if as many requests of the key as the limit permits are in progress.
    pub(crate) fn request(&self, caller: &Caller<'_>) -> Result<Permit, Error> {
        // The hash stands for the key: among the requests that a process can have in progress, no two keys are taken for one.
        let key = COUNTS.hasher.hash_one((self.id, Key::new(&self.by, caller)));
        let mut counts = COUNTS.of(key);
        let count = counts.entry(key).or_insert(0);
        if *count >= self.limit {
            return Err(Error::Concurrent);
        }
        *count += 1;
        Ok(Permit { key })
    }
}

/// A request that has a place under the one limit has one under the other.
impl PartialEq for Concurrent {
    fn eq(&self, other: &Self) -> bool {
        (self.limit, &self.by) == (other.limit, &other.by)
    }
}

impl Counts {
    fn of(&self, key: u64) -> MutexGuard<'_, HashMap<u64, u32>> {
        let [first, others @ ..] = &self.shards;
        let number = usize::try_from(key % SHARDS as u64).unwrap_or_default();
        let shard = number.checked_sub(1).and_then(|number| others.get(number)).unwrap_or(first);
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = COUNTS.of(self.key);
        match counts.get_mut(&self.key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.remove(&self.key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    use super::*;
    use crate::config::section;
    use crate::http::fields::Fields;

    fn limit(route: &str, yaml: &str) -> Concurrent {
        let written: config::Concurrent = section(yaml);
        Concurrent::new(route, &(&written).into())
    }

    fn request(limit: &Concurrent, client: u8) -> Result<Permit, Error> {
        let client = Some(IpAddr::from([192, 0, 2, client]));
        limit.request(&Caller { client, identity: None, headers: &Fields::new() })
    }

    #[test]
    fn place_is_free_once_its_request_has_ended() {
        let limit = limit("place", "2");
        let places = [request(&limit, 1).ok().unwrap(), request(&limit, 1).ok().unwrap()];
        assert_eq!(request(&limit, 1).err(), Some(Error::Concurrent));
        let other = request(&limit, 2).ok().unwrap();
        drop(places);
        drop(other);
        assert!(request(&limit, 1).is_ok());
        let key = COUNTS.hasher.hash_one((limit.id, Key::V4(0xc000_0201)));
        assert!(!COUNTS.of(key).contains_key(&key), "no entry is left");
    }

    #[test]
    fn requests_of_before_a_reload_count_after_it() {
        let place = request(&limit("reload", "2"), 1).ok().unwrap();
        assert!(request(&limit("reload", "1"), 1).is_err());
        assert!(request(&limit("reload", "2"), 1).is_ok());
        drop(place);
        assert!(request(&limit("reload", "1"), 1).is_ok());
    }

    #[test]
    fn threads_never_hold_more_places_than_the_limit() {
        let (limit, held, most) =
            (limit("threads", "{ limit: 3, by: route }"), AtomicU32::new(0), AtomicU32::new(0));
        thread::scope(|scope| {
            for client in 0..8 {
                let (limit, held, most) = (&limit, &held, &most);
                scope.spawn(move || {
                    for _ in 0..5000 {
                        let Ok(place) = request(limit, client) else { continue };
                        most.fetch_max(held.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        thread::yield_now();
                        held.fetch_sub(1, Ordering::SeqCst);
                        drop(place);
                    }
                });
            }
        });
        assert_eq!(most.into_inner(), 3);
        let places: Vec<Permit> = (0..3).map(|client| request(&limit, client).ok().unwrap()).collect();
        assert_eq!(places.len(), 3);
    }
}
