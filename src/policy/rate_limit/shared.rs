//! Limits of a route of which some are in a store that gateways share.
//!
//! One step for all of them would need all of their keys on one server. So each shared limit is charged by itself, all at the same time,
//! and a charge is taken back if another limit refuses. Limits of this process come before, to refuse without a round trip, and after.

use std::time::Duration;

use super::fields::Standings;
use super::key::{Caller, Key};
use super::queue::Reservation;
use super::store::{Charged, Pending, Shared, StoreKey};
use super::{Admission, Limit, RateLimits, local};
use crate::config::StoreFallback;
use crate::http::error::Error;
use crate::net::clock::nanos;
use crate::net::timer::Timer;
use crate::policy::Refusal;

/// The time after which a client that was refused for want of the store may try again.
const RETRY_AFTER: u64 = 1_000_000_000;

/// A decision in the making.
struct Decision<'l> {
    limits: &'l [Limit],
    /// The time by which the state of each limit is ahead, as far as it is known.
    ahead: Vec<Option<u64>>,
    charged: Reservation,
    /// The reason of the refusal, and the time after which the request would be admitted.
    refused: Option<(Error, u64)>,
}

impl RateLimits {
    /// Returns true if one of the limits is in a store, so that a decision has to wait.
    pub(crate) fn has_store(&self) -> bool {
        self.has_store
    }

    /// Decides about a request, as [`RateLimits::request`] does, with limits that gateways share.
    ///
    /// # Errors
    /// Fails if one of the limits refuses the request.
    pub(crate) async fn request_shared(
        &self,
        caller: &Caller<'_>,
        now: Duration,
        timer: &Timer,
    ) -> Result<Admission, Refusal> {
        let now = nanos(now);
        let mut decision = Decision::new(&self.limits);
        decision.peek(caller, now);
        if decision.refused.is_none() {
            let pending: Vec<Option<(StoreKey, Pending<'_>)>> =
                self.limits.iter().map(|limit| limit.begin(caller)).collect();
            for (index, (limit, pending)) in self.limits.iter().zip(pending).enumerate() {
                if let (Some(shared), Some((key, pending))) = (&limit.shared, pending) {
                    match pending.decision(timer).await {
                        Some(charged) => decision.charged(index, limit, shared, key, charged),
                        None => decision.missed(index, limit, shared, caller, now),
                    }
                }
            }
        }
        for (index, limit) in self.limits.iter().enumerate() {
            if limit.shared.is_none() && decision.refused.is_none() {
                decision.charge_here(index, limit, caller, now);
            }
        }
        decision.end(self)
    }
}

impl Limit {
    /// Begins to charge the store of a limit, if it has one.
    fn begin(&self, caller: &Caller<'_>) -> Option<(StoreKey, Pending<'_>)> {
        let shared = self.shared.as_ref()?;
        let key = shared.prefix.key(&Key::new(&self.by, caller));
        Some((key, shared.store.charge(key, self.gcra)))
    }
}

impl<'l> Decision<'l> {
    fn new(limits: &'l [Limit]) -> Self {
        let charged = Reservation::new(Vec::with_capacity(limits.len()), 0);
        Self { limits, ahead: vec![None; limits.len()], charged, refused: None }
    }

    /// Looks at the limits of this process, without a charge.
    fn peek(&mut self, caller: &Caller<'_>, now: u64) {
        for (index, limit) in self.limits.iter().enumerate().filter(|(_, limit)| limit.shared.is_none()) {
            let state = local::peek(limit.key(caller), &limit.gcra, now);
            self.know(index, limit.gcra.reset(state, now));
            if let Err(wait) = limit.gcra.take(state, now) {
                self.refuse(Error::RateLimit, wait);
            }
        }
    }

    /// Takes the decision of a store.
    fn charged(&mut self, index: usize, limit: &Limit, shared: &Shared, key: StoreKey, charged: Charged) {
        // The store's clock does not matter: the state is known by the time that it is ahead.
        match limit.gcra.take(charged.ahead, 0) {
            Ok(admitted) if charged.is_admitted => {
                self.know(index, admitted.state);
                self.charged.add_shared(shared.store.clone(), key, limit.gcra, admitted.wait);
            }
            taken => {
                self.know(index, charged.ahead);
                self.refuse(Error::RateLimit, taken.err().unwrap_or_default());
            }
        }
    }

    /// Decides in place of a store that does not.
    fn missed(&mut self, index: usize, limit: &Limit, shared: &Shared, caller: &Caller<'_>, now: u64) {
        match shared.fallback {
            StoreFallback::Local => self.charge_here(index, limit, caller, now),
            StoreFallback::Open => {}
            StoreFallback::Closed => self.refuse(Error::RateLimitStore, RETRY_AFTER),
        }
    }

    /// Charges the table of this process.
    fn charge_here(&mut self, index: usize, limit: &Limit, caller: &Caller<'_>, now: u64) {
        let key = limit.key(caller);
        match local::charge(key, &limit.gcra, now) {
            Ok(admitted) => {
                self.know(index, limit.gcra.reset(admitted.state, now));
                self.charged.add(key, limit.gcra, admitted.wait);
            }
            Err(wait) => {
                let state = local::peek(key, &limit.gcra, now);
                self.know(index, limit.gcra.reset(state, now));
                self.refuse(Error::RateLimit, wait);
            }
        }
    }

    fn know(&mut self, index: usize, ahead: u64) {
        if let Some(known) = self.ahead.get_mut(index) {
            *known = Some(ahead);
        }
    }

    fn refuse(&mut self, error: Error, wait: u64) {
        // A limit that refuses says more to a client than a store that is away.
        let before = self.refused.filter(|(before, _)| *before == Error::RateLimit || *before == error);
        let (error, least) = before.unwrap_or((error, 0));
        self.refused = Some((error, wait.max(least)));
    }

    fn end(self, limits: &RateLimits) -> Result<Admission, Refusal> {
        let Self { ahead, charged, mut refused, .. } = self;
        if refused.is_none() && charged.waits() && !charged.has_place() {
            refused = Some((Error::RateLimit, charged.wait_nanos()));
        }
        let mut standings = Standings::default();
        for (limit, ahead) in limits.limits.iter().zip(ahead) {
            if let Some(ahead) = ahead {
                limit.show(&mut standings, ahead, 0);
            }
        }
        if let Some((error, wait)) = refused {
            // The charges are taken back.
            drop(charged);
            return Err(Refusal { error, fields: standings.into_fields(&limits.policy, Some(wait)) });
        }
        let fields = standings.into_fields(&limits.policy, None);
        let queued = if charged.waits() {
            Some(charged)
        } else {
            charged.keep();
            None
        };
        Ok(Admission { fields, queued })
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use super::super::store::{Store, StoreBackend, StoreSource};
    use super::*;
    use crate::config::{self, section};
    use crate::http::fields::Fields;

    const SECOND: u64 = 1_000_000_000;

    /// Limits with the store `s`, whose other end is the test.
    fn limits(route: &str, yaml: &str) -> (RateLimits, StoreBackend) {
        let written: config::RateLimits = section(yaml);
        let source = StoreSource { settings: section("{ url: 'redis://a' }"), files: vec![] };
        let (store, server) = Store::new("s", source);
        let stores = [("s".to_owned(), Arc::new(store))].into();
        server.state.set_up();
        (RateLimits::new(route, written.as_slice(), &stores).unwrap(), server)
    }

    async fn request(limits: &RateLimits) -> Result<Admission, Refusal> {
        let caller =
            Caller { client: Some(IpAddr::from([192, 0, 2, 1])), identity: None, headers: &Fields::new() };
        limits.request_shared(&caller, Duration::from_secs(1), &Timer::default()).await
    }

    /// Decides about the next charge. Returns true if it is one that is taken back.
    async fn decide(server: &mut StoreBackend, ahead: u64, is_admitted: bool) -> bool {
        let charge = server.charges.recv().await.unwrap();
        let Some(reply) = charge.reply else { return true };
        reply.send(Charged { ahead, is_admitted }).unwrap();
        false
    }

    fn value<'f>(fields: &'f Fields, name: &str) -> Option<&'f str> {
        fields.get(name).map(|value| value.to_str().unwrap())
    }

    #[tokio::test]
    async fn decision_of_the_store_shows_in_the_fields() {
        let (limits, mut server) = limits("shared-fields", "{ rate: 10/s, store: s }");
        let (admitted, _) = tokio::join!(request(&limits), decide(&mut server, SECOND / 2, true));
        let admitted = admitted.ok().unwrap();
        assert_eq!(value(&admitted.fields, "ratelimit"), Some(r#""second";r=4;t=1"#));
        assert!(admitted.queued.is_none());
        let (refused, _) = tokio::join!(request(&limits), decide(&mut server, SECOND, false));
        let refused = refused.err().unwrap();
        assert_eq!(refused.error, Error::RateLimit);
        assert_eq!(value(&refused.fields, "ratelimit"), Some(r#""second";r=0;t=1"#));
        assert_eq!(value(&refused.fields, "retry-after"), Some("1"));
    }

    #[tokio::test]
    async fn request_that_a_second_limit_refuses_is_taken_back_from_the_store() {
        let both = "[{ rate: 10/s, store: s }, { rate: 1/h, store: s }]";
        let (limits, mut server) = limits("shared-both", both);
        let decides = async {
            decide(&mut server, 0, true).await;
            decide(&mut server, 3600 * SECOND, false).await;
            decide(&mut server, 0, true).await
        };
        let (refused, is_taken_back) = tokio::join!(request(&limits), decides);
        assert!(is_taken_back && refused.is_err());
    }

    #[tokio::test]
    async fn limit_of_this_process_refuses_without_the_store() {
        let (limits, mut server) = limits("shared-local", "[{ rate: 10/s, store: s }, { rate: 1/h }]");
        let (admitted, _) = tokio::join!(request(&limits), decide(&mut server, 0, true));
        assert!(admitted.is_ok());
        let refused = request(&limits).await.err().unwrap();
        assert_eq!(value(&refused.fields, "ratelimit"), Some(r#""hour";r=0;t=3600"#));
        assert!(server.charges.try_recv().is_err());
    }

    #[tokio::test]
    async fn queued_request_that_leaves_gives_its_turn_back_to_the_store() {
        let (limits, mut server) = limits("shared-queue", "{ rate: 10/s, burst: 1, queue: 1s, store: s }");
        let (admitted, _) = tokio::join!(request(&limits), decide(&mut server, SECOND / 5, true));
        let queued = admitted.ok().unwrap().queued.unwrap();
        assert_eq!(queued.wait(), Duration::from_millis(200));
        drop(queued);
        assert!(decide(&mut server, 0, true).await);
    }

    #[tokio::test]
    async fn fallback_decides_while_the_store_is_away() {
        let away = |name: &str, on_error: &str| {
            let (limits, server) = limits(name, &format!("{{ rate: 1/h, store: s, on_error: {on_error} }}"));
            server.state.set_lost();
            limits
        };
        let local = away("shared-away-local", "local");
        assert!(request(&local).await.is_ok());
        assert_eq!(request(&local).await.err().unwrap().error, Error::RateLimit);
        let open = away("shared-away-open", "open");
        for _ in 0..3 {
            let admitted = request(&open).await.ok().unwrap();
            assert_eq!(admitted.fields, Fields::new());
        }
        let refused = request(&away("shared-away-closed", "closed")).await.err().unwrap();
        assert_eq!(refused.error, Error::RateLimitStore);
        assert_eq!(refused.fields, Fields::written(&[("retry-after", "1")]));
    }
}
