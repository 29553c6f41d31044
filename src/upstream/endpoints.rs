//! An upstream: its present endpoints, and the wait for the first of them.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::balance::{Balancer, RoundRobin};
use super::endpoint::Endpoint;
use super::request::UpstreamRequest;
use crate::http::error::Error;
use crate::net::timer::{Timer, deadline};

/// A snapshot of the endpoints of an upstream.
pub(crate) struct EndpointSet {
    endpoints: Vec<Arc<Endpoint>>,
    balancer: Balancer,
}

impl EndpointSet {
    /// Returns a set of endpoints with these weights.
    pub(crate) fn new(endpoints: Vec<(Arc<Endpoint>, u32)>) -> Self {
        let (endpoints, weights): (Vec<_>, Vec<_>) = endpoints.into_iter().unzip();
        Self { balancer: Balancer::RoundRobin(RoundRobin::new(&weights)), endpoints }
    }

    pub(crate) fn len(&self) -> usize {
        self.endpoints.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.endpoints.iter()
    }

    /// Returns the endpoints in the order in which to try them for a request.
    pub(super) fn candidates<'s>(
        &'s self,
        key: &UpstreamRequest<'_>,
    ) -> impl Iterator<Item = &'s Arc<Endpoint>> + use<'s> {
        self.balancer.candidates(key).filter_map(|index| self.endpoints.get(index))
    }

    pub(super) fn balancer(&self) -> &Balancer {
        &self.balancer
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

    /// Sends requests to `endpoints` from now on.
    pub(super) fn replace(&self, endpoints: EndpointSet) {
        self.endpoints.store(Arc::new(endpoints));
        self.changed.notify_waiters();
    }
}
