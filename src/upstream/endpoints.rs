//! An upstream: its present endpoints, and the wait for the first of them.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

use super::balance::Balancer;
use super::breaker::{Breaker, Passage, Refused};
use super::budget::Budget;
use super::endpoint::Endpoint;
use super::health::Troubled;
use super::response_times::ResponseTimes;
use crate::config::{Balance, BreakerSettings, HealthSettings};
use crate::http::error::Error;
use crate::net::clock;
use crate::net::timer::{Timer, deadline};

/// A snapshot of the endpoints of an upstream, with what chooses among them.
pub(crate) struct EndpointSet {
    endpoints: Vec<Arc<Endpoint>>,
    tiers: Vec<Tier>,
    /// True if some endpoints are addresses of one name.
    shares_origins: bool,
    /// True if the choice depends on response times.
    weighs_latency: bool,
    steering: Arc<Steering>,
    common: Common,
}

/// The endpoints of one priority. They get requests while none of an earlier tier can.
struct Tier {
    /// The position of the first one.
    start: usize,
    len: usize,
    balancer: Balancer,
}

/// The state that all endpoint sets of an upstream share, those before a reload included.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) troubled: Arc<Troubled>,
    pub(super) budget: Arc<Budget>,
    breaker: Arc<Breaker>,
    response_times: Arc<ResponseTimes>,
}

impl Common {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            troubled: Arc::default(),
            budget: Arc::new(Budget::new(workers)),
            breaker: Arc::new(Breaker::new(workers)),
            response_times: Arc::new(ResponseTimes::new(workers)),
        }
    }
}

/// The settings by which requests find their endpoint.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Steering {
    pub(super) balance: Balance,
    pub(super) health: HealthSettings,
    pub(super) breaker: Option<BreakerSettings>,
}

impl EndpointSet {
    /// Returns a set of endpoints with these priorities and weights.
    pub(super) fn new(
        mut endpoints: Vec<(Arc<Endpoint>, u16, u32)>,
        steering: Arc<Steering>,
        common: Common,
    ) -> Self {
        endpoints.sort_by_key(|(_, priority, _)| *priority);
        let mut tiers = Vec::new();
        for tier in endpoints.chunk_by(|(_, one, _), (_, next, _)| one == next) {
            let (endpoints, weights): (Vec<_>, Vec<_>) =
                tier.iter().map(|(endpoint, _, weight)| (endpoint.clone(), *weight)).unzip();
            let start = tiers.last().map_or(0, |before: &Tier| before.start + before.len);
            let balancer = Balancer::new(steering.balance, &endpoints, &weights);
            tiers.push(Tier { start, len: tier.len(), balancer });
        }
        let endpoints: Vec<_> = endpoints.into_iter().map(|(endpoint, ..)| endpoint).collect();
        // Addresses of a name are next to each other.
        let mut neighbours = endpoints.iter().zip(endpoints.iter().skip(1));
        let shares_origins = neighbours.any(|(one, next)| one.is_same_origin(next));
        let weighs_latency = endpoints.len() > 1 && tiers.iter().any(|tier| tier.balancer.weighs_latency());
        Self { endpoints, tiers, shares_origins, weighs_latency, steering, common }
    }

    /// Returns a set without endpoints.
    #[cfg(test)]
    pub(super) fn empty() -> Self {
        Self::new(Vec::new(), Arc::default(), Common::new(1))
    }

    pub(crate) fn len(&self) -> usize {
        self.endpoints.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.endpoints.iter()
    }

    /// Returns the endpoint if there is only one: then there is nothing to choose.
    pub(super) fn only(&self) -> Option<&Arc<Endpoint>> {
        if let [endpoint] = &*self.endpoints { Some(endpoint) } else { None }
    }

    pub(super) fn get(&self, index: usize) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(index)
    }

    /// Returns true if some endpoints are addresses of one name.
    pub(super) fn shares_origins(&self) -> bool {
        self.shares_origins
    }

    /// Returns the endpoints of each priority, the position of the first of them, and what chooses among them. The lowest priority comes
    /// first.
    pub(super) fn tiers(&self) -> impl Iterator<Item = (&[Arc<Endpoint>], usize, &Balancer)> {
        self.tiers.iter().filter_map(|tier| {
            let endpoints = self.endpoints.get(tier.start..tier.start + tier.len)?;
            Some((endpoints, tier.start, &tier.balancer))
        })
    }

    /// Returns true if the choice depends on response times.
    pub(super) fn weighs_latency(&self) -> bool {
        self.weighs_latency
    }

    pub(super) fn budget(&self) -> &Budget {
        &self.common.budget
    }

    pub(super) fn response_times(&self) -> &ResponseTimes {
        &self.common.response_times
    }

    /// Lets a request pass the breaker, if there is one.
    ///
    /// # Errors
    /// Returns [`Error::BreakerOpen`] if it refuses the request.
    pub(super) fn pass_breaker(&self) -> Result<Option<Passage<'_>>, Error> {
        let Some(settings) = &self.steering.breaker else { return Ok(None) };
        self.common.breaker.pass(settings).map(Some).map_err(|Refused| Error::BreakerOpen)
    }

    /// Returns the state of the breaker, if there is one.
    pub(crate) fn breaker(&self) -> Option<&'static str> {
        self.steering.breaker.as_ref().map(|_| self.common.breaker.state())
    }

    pub(super) fn health(&self) -> &HealthSettings {
        &self.steering.health
    }

    /// Returns the present time if some endpoint is unhealthy and requests avoid it: the rest can take them.
    pub(super) fn health_matters_at(&self) -> Option<Duration> {
        if !self.common.troubled.any() {
            self.note_panic(self.len(), false);
            return None;
        }
        let now = clock::uptime();
        let healthy = self.iter().filter(|endpoint| endpoint.standing().share(now) > 0.0).count();
        // While others stand by, there is no need to send requests to unhealthy ones.
        let percent = if self.tiers.len() > 1 { 0 } else { self.health().panic_percent };
        let is_panic = healthy * 100 < self.len() * percent;
        self.note_panic(healthy, is_panic);
        (!is_panic).then_some(now)
    }

    /// Logs that requests no longer avoid unhealthy endpoints, or that they do so again.
    fn note_panic(&self, healthy: usize, is_panic: bool) {
        if !self.common.troubled.panics(is_panic) {
            return;
        }
        let (of, endpoint) = (self.len(), self.endpoints.first().map(|endpoint| endpoint.url()));
        let percent = self.health().panic_percent;
        if is_panic {
            tracing::warn!(
                endpoint,
                "only {healthy} of {of} endpoints healthy, less than {percent} %: all of them get requests"
            );
        } else {
            tracing::info!(endpoint, "{healthy} of {of} endpoints healthy again: the others get no requests");
        }
    }
}

/// The endpoints that the requests of a route are sent to.
pub(crate) struct Upstream {
    endpoints: ArcSwap<EndpointSet>,
    changed: Notify,
}

impl Upstream {
    pub(crate) fn new(endpoints: EndpointSet) -> Arc<Self> {
        Arc::new(Self { endpoints: ArcSwap::from_pointee(endpoints), changed: Notify::new() })
    }

    /// Returns the current endpoints. There are none until a name has been resolved for the first time; this waits for
    /// the first one.
    ///
    /// # Errors
    /// Returns [`Error::Unresolved`] if there are still none after `timeout`.
    pub(crate) async fn endpoints(
        &self,
        timeout: Option<Duration>,
        timer: &Timer,
    ) -> Result<Arc<EndpointSet>, Error> {
        let endpoints = self.current();
        if !endpoints.endpoints.is_empty() {
            return Ok(endpoints);
        }
        Box::pin(self.resolved(deadline(timeout), timer)).await
    }

    async fn resolved(&self, limit: Option<Instant>, timer: &Timer) -> Result<Arc<EndpointSet>, Error> {
        loop {
            let changed = self.changed.notified();
            let endpoints = self.current();
            if !endpoints.endpoints.is_empty() {
                return Ok(endpoints);
            }
            timer.within(limit, changed).await.map_err(|_elapsed| Error::Unresolved)?;
        }
    }

    /// Returns the current endpoints, which may be none.
    pub(crate) fn current(&self) -> Arc<EndpointSet> {
        self.endpoints.load_full()
    }

    /// Resolves at the next change of the endpoints.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Sends requests to `endpoints` from now on.
    pub(super) fn replace(&self, endpoints: EndpointSet) {
        self.endpoints.store(Arc::new(endpoints));
        self.changed.notify_waiters();
    }
}
