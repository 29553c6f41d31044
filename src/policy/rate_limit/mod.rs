//! The limits of a route on the rate of its requests.
//!
//! All limits of a route must admit a request. One that any of them refuses is charged to none. The time is that of the event loop: a
//! request counts at the time at which its bytes were read, or up to the clock's error, 10 ms, before it is decided. The error does not
//! add up, because the state of a key never goes back: in any window, the requests beyond a limit are those of 10 ms at the most.

mod fields;
mod gcra;
mod key;
mod local;
mod queue;
mod shared;
mod store;
mod table;

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::HeaderValue;

use self::fields::{Policy, Standings};
pub(crate) use self::gcra::Gcra;
pub(crate) use self::key::{Caller, Key};
pub(crate) use self::local::report;
pub(crate) use self::queue::Reservation;
pub(crate) use self::store::{Charge, Charged, Store, StoreBackend, StoreKey, StoreSource, StoreState};
use self::store::{KeyPrefix, Shared};
use self::table::KeyHash;
use crate::config::{self, LimitBy};
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::net::clock::nanos;
use crate::policy::Refusal;

/// The limits of a route.
pub(crate) struct RateLimits {
    limits: Box<[Limit]>,
    /// The value of `RateLimit-Policy`.
    policy: HeaderValue,
    has_store: bool,
}

/// The stores of a snapshot, by their names.
pub(crate) type Stores = BTreeMap<String, Arc<Store>>;

/// One limit of a route.
struct Limit {
    /// Its name in the fields of responses.
    name: Box<str>,
    /// The hash of its route, its name and its key. A reload that changes other things leaves it, and with it the states of its keys.
    id: u64,
    by: LimitBy,
    gcra: Gcra,
    /// Its store, if gateways share it.
    shared: Option<Box<Shared>>,
}

/// A request that all limits of its route admit.
pub(crate) struct Admission {
    /// The fields of its response.
    pub(crate) fields: Fields,
    /// The place of a request that must wait for its turn.
    pub(crate) queued: Option<Reservation>,
}

impl RateLimits {
    /// Returns the limits of the route of this name, or `None` if it has none.
    pub(crate) fn new(route: &str, written: &[config::RateLimit], stores: &Stores) -> Option<Self> {
        static IDS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let mut limits: Vec<Limit> = Vec::with_capacity(written.len());
        for limit in written {
            let unit = limit.rate.unit();
            let before = written.iter().take(limits.len()).filter(|other| other.rate.unit() == unit).count();
            let name = if before == 0 { unit.to_owned() } else { format!("{unit}{}", before + 1) };
            let queue = limit.queue.map_or(Duration::ZERO, Duration::from);
            let store = limit.store.as_ref().and_then(|store| stores.get(store));
            let shared = store.map(|store| {
                let prefix = KeyPrefix::new(route, &name, &limit.by.to_string());
                let fallback = limit.on_error.unwrap_or_default();
                Box::new(Shared { store: store.clone(), fallback, prefix })
            });
            limits.push(Limit {
                shared,
                id: IDS.hash_one((route, &name, limit.by.to_string())),
                name: name.into(),
                by: limit.by.clone(),
                gcra: Gcra::new(limit.rate.count, limit.rate.period(), limit.burst(), queue),
            });
        }
        let policies = limits.iter().zip(written).map(|(limit, written)| Policy {
            name: &limit.name,
            quota: written.burst().get().into(),
            window: limit.gcra.refill(),
        });
        let policy = fields::policy(policies);
        let has_store = limits.iter().any(|limit| limit.shared.is_some());
        (!limits.is_empty()).then(|| Self { limits: limits.into(), policy, has_store })
    }

    /// Decides about a request at `now`, the uptime of the process, by limits that are in no store.
    ///
    /// # Errors
    /// Fails if one of the limits refuses the request.
    pub(crate) fn request(&self, caller: &Caller<'_>, now: Duration) -> Result<Admission, Refusal> {
        let now = nanos(now);
        if let [limit] = &*self.limits {
            let key = limit.key(caller);
            let admitted = local::charge(key, &limit.gcra, now);
            let admitted = admitted.map_err(|wait| self.refusal(caller, now, wait))?;
            let mut standings = Standings::default();
            limit.show(&mut standings, admitted.state, now);
            let queued =
                (admitted.wait > 0).then(|| Reservation::new(vec![(key, limit.gcra)], admitted.wait));
            return self.admission(caller, now, standings, queued);
        }
        // First without a charge, so that a refusal is charged to no limit, not even for a moment.
        let refused = self.limits.iter().any(|limit| {
            let key = limit.key(caller);
            limit.gcra.take(local::peek(key, &limit.gcra, now), now).is_err()
        });
        if refused {
            return Err(self.refusal(caller, now, 0));
        }
        let mut standings = Standings::default();
        let mut charged = Reservation::new(Vec::with_capacity(self.limits.len()), 0);
        for limit in &self.limits {
            let key = limit.key(caller);
            // Another worker may have been faster. Dropping the reservation takes the charges back.
            let admitted = local::charge(key, &limit.gcra, now);
            let admitted = admitted.map_err(|wait| self.refusal(caller, now, wait))?;
            charged.add(key, limit.gcra, admitted.wait);
            limit.show(&mut standings, admitted.state, now);
        }
        if charged.waits() {
            return self.admission(caller, now, standings, Some(charged));
        }
        charged.keep();
        self.admission(caller, now, standings, None)
    }

    fn admission(
        &self,
        caller: &Caller<'_>,
        now: u64,
        standings: Standings,
        queued: Option<Reservation>,
    ) -> Result<Admission, Refusal> {
        if queued.as_ref().is_some_and(|queued| !queued.has_place()) {
            drop(queued);
            return Err(self.refusal(caller, now, 0));
        }
        Ok(Admission { fields: standings.into_fields(&self.policy, None), queued })
    }

    /// Returns the refusal of a request that must wait at least for `wait`.
    fn refusal(&self, caller: &Caller<'_>, now: u64, mut wait: u64) -> Refusal {
        let mut standings = Standings::default();
        for limit in &self.limits {
            let state = local::peek(limit.key(caller), &limit.gcra, now);
            wait = wait.max(limit.gcra.take(state, now).err().unwrap_or_default());
            limit.show(&mut standings, state, now);
        }
        Refusal { error: Error::RateLimit, fields: standings.into_fields(&self.policy, Some(wait)) }
    }
}

/// Limits of two routes are equal if they admit the same, one by one: a request that has passed one has passed the other.
impl PartialEq for RateLimits {
    fn eq(&self, other: &Self) -> bool {
        let store =
            |limit: &Limit| limit.shared.as_ref().map(|shared| (Arc::as_ptr(&shared.store), shared.fallback));
        let settings = |limits: &Self| -> Vec<_> {
            limits.limits.iter().map(|limit| (limit.by.clone(), limit.gcra, store(limit))).collect()
        };
        settings(self) == settings(other)
    }
}

impl Limit {
    fn key(&self, caller: &Caller<'_>) -> KeyHash {
        local::hash(self.id, &Key::new(&self.by, caller))
    }

    fn show(&self, standings: &mut Standings, state: u64, now: u64) {
        standings.add(&self.name, self.gcra.remaining(state, now), self.gcra.reset(state, now));
    }
}

#[cfg(test)]
mod tests;
